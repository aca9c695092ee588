"""What `airlock-push` does with each question: look, or write and read back.

    named    what the tag points to
    look     ... and what of an image is not there
    push     write what is missing, read everything back, set the tag
    check    read everything back; write nothing
    point    set a tag to a manifest that is there; remove: take a tag away

Decides nothing about trust: what it is given was verified by who started it. The tag comes last,
when everything was read back from the registry with its digest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from bundler.errors import RemoteIncompleteError
from bundler.push.intake import Question
from bundler.push.settings import PushSettings
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.oras_client import RegistryClient
from bundler.registry.publication import Publication, publication
from bundler.registry.publisher import Missing, Mounts, Publisher, Workers
from bundler.registry.repository import RegistryRepository
from bundler.registry.retry import patient
from bundler.registry.streams import blob_reader
from bundler.registry.writer import RegistryWriter
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import FormatError, OciError
from loader.graph import read_graph
from loader.model.bundle import ImageEntry
from loader.model.reference import Reference
from loader.model.strictjson import JsonObject

JOBS: Final = 4


class _Silent:
    """Nobody is told."""

    def advance(self, size: int) -> None:
        """Do nothing."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """What is known from earlier questions; a session that failed does not take it along."""

    read_back: Mounts = field(default_factory=Mounts)
    """Blobs that were read to their last byte, each with the repository it was read from."""
    looked: tuple[Reference, Digest, Missing] | None = None
    """What the last look found, for the push that follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The registry, and threads: until something fails."""

    settings: PushSettings
    registries: RegistryClient
    workers: Workers
    cancelled: threading.Event
    memory: Memory

    @classmethod
    @contextmanager
    def open(cls, settings: PushSettings, memory: Memory) -> Iterator[Session]:
        """Give a session until the end of the block."""
        cancelled = threading.Event()
        environment = settings.registry.environment
        client = RegistryClient(
            settings.registry,
            Credentials(environment, helper=HelperPrograms(environment=environment)),
            sleep=patient(cancelled),
        )

        def stop() -> None:
            cancelled.set()
            client.close()

        try:
            with ThreadPoolExecutor(JOBS, thread_name_prefix="push") as pool:
                yield cls(
                    settings=settings,
                    registries=client,
                    workers=Workers(pool=pool, stop=stop),
                    cancelled=cancelled,
                    memory=memory,
                )
        finally:
            client.close()

    def answer(self, asked: Question, store: ContentStore) -> JsonObject:
        """Do what is asked, and say what came of it.

        Args:
            asked: the question.
            store: holds the documents and blobs that came with it.

        Raises:
            RemoteError: the registry.
            FormatError: what came is no image.
        """
        match asked.call:
            case "named":
                return {"current": self._current(asked.name, writes=False)}
            case "remove":
                self._repository(asked.name)[1].remove_tag(asked.name.tag)
                return {"current": self._current(asked.name)}
            case "point":
                return self._point(asked.name, asked.digest)
            case "look":
                return self._look(asked.name, self._image(asked, store))
            case "check":
                return self._check(asked, self._image(asked, store))
            case "push":
                return self._push(asked, self._image(asked, store))

    # --- questions ----------------------------------------------------------------------------

    def _look(self, name: Reference, image: _Image) -> JsonObject:
        missing = image.publisher.missing(image.whole)
        self.memory.looked = name, image.top, missing
        return {
            "current": self._current(name),
            "top": str(image.top),
            "missing": [str(blob.digest) for blob in missing.blobs],
            "whole": not missing,
        }

    def _push(self, asked: Question, image: _Image) -> JsonObject:
        """Write what is missing, read everything back, then set the tag.

        Raises:
            RemoteIncompleteError: the tag is not what it was when the loader looked.
            RemoteError: the registry.
        """
        name, looked = asked.name, self.memory.looked
        self.memory.looked = None
        if looked is not None and looked[:2] == (name, image.top):
            missing = looked[2]  # what has come with this question is what was missing then
        else:
            missing = image.publisher.missing(image.whole)
        image.publisher.push(missing)
        answer = self._read_back(image)
        if not name.tag:
            return {**answer, "current": None}
        image.publisher.put_tag(image.whole.top, name.tag, before=asked.current)
        return {**answer, "current": str(image.top)}

    def _check(self, asked: Question, image: _Image) -> JsonObject:
        missing = image.publisher.missing(image.whole)
        if missing:
            absent = [
                *(blob.digest for blob in missing.blobs),
                *(document.descriptor.digest for document in missing.manifests),
                *(one.document.descriptor.digest for one in missing.attachments),
            ]
            return {
                "current": self._current(asked.name, writes=False),
                "read_back": [],
                "asked": [],
                "missing": [str(digest) for digest in absent],
            }
        return {
            "current": self._current(asked.name, writes=False),
            **self._read_back(image, anew=asked.anew, looked=True),
        }

    def _point(self, name: Reference, digest: Digest | None) -> JsonObject:
        reader, writer = self._repository(name)
        document = None if digest is None else reader.document(digest)
        if document is None:
            raise RemoteIncompleteError(
                "the registry does not have it any more", where=str(name), found=str(digest)
            )
        writer.put_manifest(document.raw, document.descriptor, tag=name.tag)
        return {"current": self._current(name)}

    # --- one image ----------------------------------------------------------------------------

    def _current(self, name: Reference, *, writes: bool = True) -> str | None:
        if not name.tag:
            return None
        document = self._repository(name, writes=writes)[0].tagged(name.tag)
        return None if document is None else str(document.descriptor.digest)

    def _repository(
        self, name: Reference, *, writes: bool = True
    ) -> tuple[RegistryRepository, RegistryWriter]:
        return (
            self.registries.repository(name, writes=writes),
            self.registries.writer(name, writes=writes),
        )

    def _image(self, asked: Question, store: ContentStore) -> _Image:
        entry = _entry(asked)
        graph = read_graph(entry, store)
        whole = publication(graph, store)
        if not whole.is_whole and len(graph.kept) > 1:
            raise OciError(
                "several platforms without the index that lists them all",
                where=str(entry.reference),
                hint="a registry takes an index only with all its platforms: choose one",
            )
        reader, writer = self._repository(asked.name, writes=asked.call != "check")
        return _Image(
            whole=whole,
            repository=asked.name.repository,
            reader=reader,
            publisher=Publisher(
                reader,
                writer,
                read=blob_reader(reader, store),
                workers=self.workers,
                progress=_Silent(),
                mounts=self.memory.read_back,
                repair_referrers_tag=self.settings.repair_referrers_tag,
            ),
        )

    def _read_back(self, image: _Image, *, anew: bool = False, looked: bool = False) -> JsonObject:
        """Read all of an image from the registry, and say what came, and what was asked only.

        A blob that was read back for another image of this run is there with its size: no registry
        holds two contents under one digest.

        Raises:
            RemoteIncompleteError: something does not show, asked several times.
            RemoteDigestError: something else came.
        """
        if not looked:
            self._await(image)
        # Documents were read to see that they are there, and whoever reads one compares its digest;
        # but for those that were seen under a tag.
        self.workers.each(
            lambda one: self._expect_document(image.reader, one.document.descriptor.digest),
            [one for one in image.whole.attachments if one.tag],
        )
        documents = [
            *(document.descriptor.digest for document in image.whole.manifests),
            *(one.document.descriptor.digest for one in image.whole.attachments),
        ]
        known = {} if anew else self.memory.read_back.found
        blobs = [blob for blob in image.whole.blobs if blob.digest not in known]
        asked = [str(blob.digest) for blob in image.whole.blobs if blob.digest in known]
        self.workers.each(image.publisher.read_back, blobs)
        for blob in blobs:
            self.memory.read_back.found.setdefault(blob.digest, image.repository)
        return {
            "read_back": [*(str(blob.digest) for blob in blobs), *map(str, documents)],
            "asked": [*asked],
        }

    @staticmethod
    def _expect_document(reader: RegistryRepository, digest: Digest) -> None:
        if reader.document(digest) is None:
            raise RemoteIncompleteError(
                "the registry lost a manifest", where=reader.name, found=str(digest)
            )

    def _await(self, image: _Image) -> None:
        timing = self.settings.registry.timing
        missing = image.publisher.missing(image.whole)
        for _ in range(timing.visible_count - 1):
            if not missing:
                return
            patient(self.cancelled)(timing.visible_seconds)
            missing = image.publisher.missing(image.whole)
        if missing:
            raise RemoteIncompleteError(
                "the registry does not show what was written to it",
                where=image.reader.name,
                found=f"{len(missing.blobs)} blobs, {len(missing.manifests)} manifests,"
                f" {len(missing.attachments)} pieces of evidence missing",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image on its way."""

    whole: Publication
    repository: str
    reader: RegistryRepository
    publisher: Publisher

    @property
    def top(self) -> Digest:
        """What its tag points to."""
        return self.whole.top.descriptor.digest


def _entry(asked: Question) -> ImageEntry:
    if asked.image is None:
        raise FormatError("a question about no image", where=asked.call)
    return asked.image
