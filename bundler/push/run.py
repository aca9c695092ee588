"""The calls that `airlock-push` knows: each looks, or writes and reads back, and answers in JSON.

    named NAME          what the tag points to
    look NAME           ... and what of the image that comes on standard input is not there
    push NAME           write what is missing, read everything back, set the tag
    check NAME          read everything back; write nothing
    point NAME DIGEST   set a tag to a manifest that is there; remove NAME: take a tag away

Decides nothing about trust: what it is given was verified by who started it. The tag comes last,
when everything was read back from the registry with its digest.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bundler.errors import RemoteDigestError, RemoteIncompleteError
from bundler.push.intake import Plan, take_in
from bundler.push.settings import PushSettings
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.oras_client import RegistryClient
from bundler.registry.publication import Publication, publication
from bundler.registry.publisher import Mounts, Publisher, Workers
from bundler.registry.repository import RegistryRepository
from bundler.registry.retry import patient
from bundler.registry.streams import blob_reader
from bundler.registry.writer import RegistryWriter
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import OciError
from loader.graph import read_graph
from loader.model.descriptor import Descriptor
from loader.model.reference import Reference
from loader.model.strictjson import JsonObject, JsonValue

JOBS: Final = 4


class _Silent:
    """Nobody is told."""

    def advance(self, size: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of the program: the registry, and where blobs wait."""

    settings: PushSettings
    registries: RegistryClient
    workers: Workers
    cancelled: threading.Event
    scratch: Path

    @classmethod
    @contextmanager
    def open(cls, settings: PushSettings, scratch: Path) -> Iterator[Session]:
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
                    scratch=scratch,
                )
        finally:
            client.close()

    # --- calls --------------------------------------------------------------------------------

    def named(self, name: Reference) -> JsonObject:
        """Say what the tag points to now."""
        return {"current": self._current(name, writes=False)}

    def look(self, name: Reference, stream: BinaryIO) -> JsonObject:
        """Say what the tag points to, and what is not there; write nothing."""
        image = self._image(name, stream)
        missing = image.publisher.missing(image.whole)
        return {
            "current": self._current(name),
            "top": str(image.whole.top.descriptor.digest),
            "missing": [str(blob.digest) for blob in missing.blobs],
            "whole": not missing,
        }

    def push(self, name: Reference, stream: BinaryIO) -> JsonObject:
        """Write what is missing, read everything back, then set the tag.

        Raises:
            RemoteIncompleteError: the tag is not what it was when the loader looked.
            RemoteError: the registry.
        """
        image = self._image(name, stream)
        missing = image.publisher.missing(image.whole)
        image.publisher.push(missing)
        found = self._read_back(image)
        if name.tag:
            current = self._current(name)
            if current not in {
                str(image.whole.top.descriptor.digest),
                None if image.plan.current is None else str(image.plan.current),
            }:
                raise RemoteIncompleteError(
                    "somebody else has set the tag meanwhile",
                    where=str(name),
                    expected=str(image.plan.current or "no such tag"),
                    found=str(current),
                )
            image.publisher.put_tag(image.whole.top, name.tag, before=image.plan.current)
        return {"current": self._current(name), "read_back": found}

    def check(self, name: Reference, stream: BinaryIO) -> JsonObject:
        """Read everything back; write nothing."""
        image = self._image(name, stream, writes=False)
        missing = image.publisher.missing(image.whole)
        if missing:
            absent = [
                *(blob.digest for blob in missing.blobs),
                *(document.descriptor.digest for document in missing.manifests),
                *(one.document.descriptor.digest for one in missing.attachments),
            ]
            return {
                "current": self._current(name, writes=False),
                "read_back": [],
                "missing": [str(digest) for digest in absent],
            }
        current = self._current(name, writes=False)
        return {"current": current, "read_back": self._read_back(image)}

    def point(self, name: Reference, digest: Digest) -> JsonObject:
        """Set a tag to a manifest that is there."""
        reader, writer = self._repository(name)
        document = reader.document(digest)
        if document is None:
            raise RemoteIncompleteError(
                "the registry does not have it any more", where=str(name), found=str(digest)
            )
        writer.put_manifest(document.raw, document.descriptor, tag=name.tag)
        return {"current": self._current(name)}

    def remove(self, name: Reference) -> JsonObject:
        """Take a tag away."""
        _, writer = self._repository(name)
        writer.remove_tag(name.tag)
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
        return self.registries.repository(name, writes=writes), self.registries.writer(name)

    def _image(self, name: Reference, stream: BinaryIO, *, writes: bool = True) -> _Image:
        store = ContentStore(self.scratch, cancelled=self.cancelled)
        plan = take_in(stream, store)
        graph = read_graph(plan.image, store)
        whole = publication(graph, store)
        if not whole.is_whole and len(graph.kept) > 1:
            raise OciError(
                "several platforms without the index that lists them all",
                where=str(plan.image.reference),
                hint="a registry takes an index only with all its platforms: choose one",
            )
        reader, writer = self._repository(name, writes=writes)
        return _Image(
            plan=plan,
            whole=whole,
            reader=reader,
            publisher=Publisher(
                reader,
                writer,
                read=blob_reader(reader, store),
                workers=self.workers,
                progress=_Silent(),
                mounts=Mounts(found=dict(plan.mounts)),
                repair_referrers_tag=self.settings.repair_referrers_tag,
            ),
        )

    def _read_back(self, image: _Image) -> list[JsonValue]:
        """Read all of an image from the registry, and return the digests of what came.

        Raises:
            RemoteIncompleteError: something does not show, asked several times.
            RemoteDigestError: something else came.
        """
        self._await(image)
        # What was read back for another image of this run is there with its size: that was asked.
        known = image.plan.mounts
        blobs = [blob for blob in image.whole.blobs if blob.digest not in known]
        self.workers.each(image.publisher.read_back, blobs)
        found = [
            self._document_digest(image.reader, one.descriptor) for one in image.whole.manifests
        ]
        found += [
            self._document_digest(image.reader, one.document.descriptor)
            for one in image.whole.attachments
        ]
        return [*(str(blob.digest) for blob in blobs), *found]

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

    @staticmethod
    def _document_digest(reader: RegistryRepository, described: Descriptor) -> str:
        document = reader.document(described.digest)
        if document is None:
            raise RemoteIncompleteError(
                "the registry lost a manifest", where=reader.name, found=str(described.digest)
            )
        digest = f"sha256:{hashlib.sha256(document.raw).hexdigest()}"
        if digest != str(described.digest):
            raise RemoteDigestError("another manifest", where=reader.name, found=digest)
        return digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image on its way."""

    plan: Plan
    whole: Publication
    reader: RegistryRepository
    publisher: Publisher
