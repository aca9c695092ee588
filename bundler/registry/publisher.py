"""Puts one image with its evidence into a repository: what is missing there, in the safe order.

    blobs → manifests → evidence → (whoever calls looks at all of it again) → tags

Nothing that a registry has is lost: blobs and manifests go by digest, a list of referrers is read
and merged, one of cosign's tags is replaced only by a manifest that holds all that the old one
does. So a run that broke off is simply run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from bundler.errors import (
    RemoteDigestError,
    RemoteIncompleteError,
    RemoteReferrersTagError,
)
from bundler.registry.client import Document
from bundler.registry.publication import Attachment, Publication, by_subject
from bundler.registry.referrers_tag import listed_in, merged, tag_of
from bundler.registry.repository import RegistryRepository
from bundler.registry.signature_tag import signatures_in, signatures_of, united
from bundler.registry.writer import Read, RegistryWriter
from loader.digest import Digest
from loader.model.descriptor import OCI_CONFIG, Descriptor

T = TypeVar("T")
R = TypeVar("R")

_MERGE_TRIES: Final = 3
"""Rounds of read, merge and write of a referrers tag, if others write it at the same time."""


class Progress(Protocol):
    """Who is told how many bytes are done."""

    def advance(self, size: int) -> None:
        """So many bytes more; negative where something had to begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Threads that work on many requests at a time, and what ends them all."""

    pool: ThreadPoolExecutor
    stop: Callable[[], None]
    """Called when one has failed: the others' connections break now."""

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do the work for all items; the first error ends it, and is the one raised."""
        futures = [self.pool.submit(work, item) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        first = next((f.exception() for f in futures if f in done and f.exception()), None)
        if first is not None:
            self.stop()
            for future in futures:
                future.cancel()
            wait(futures)
            raise first
        return [future.result() for future in futures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a repository does not have of a publication."""

    blobs: tuple[Descriptor, ...] = ()
    manifests: tuple[Document, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.blobs or self.manifests or self.attachments)


@dataclass(slots=True, kw_only=True)
class Mounts:
    """Where else in the registry blobs are, so that it can take them from there."""

    found: dict[Digest, str] = field(default_factory=dict)
    """A repository for each blob."""


class Publisher:
    """Writes to one repository."""

    def __init__(
        self,
        reader: RegistryRepository,
        writer: RegistryWriter,
        *,
        read: Callable[[Descriptor], Read],
        workers: Workers,
        progress: Progress,
        mounts: Mounts,
        repair_referrers_tag: bool = False,
    ) -> None:
        """Make ready.

        Args:
            reader: the repository.
            writer: the same one.
            read: gives the bytes of a blob, checked.
            workers: threads.
            progress: is told of every blob's bytes, sent or there already.
            mounts: blobs in other repositories of this registry; what is pushed is added.
            repair_referrers_tag: replace an image that sits under a referrers tag.
        """
        self._reader = reader
        self._writer = writer
        self._read = read
        self._workers = workers
        self._progress = progress
        self._mounts = mounts
        self._repairs = repair_referrers_tag

    # --- looking ------------------------------------------------------------------------------

    def missing(self, publication: Publication) -> Missing:
        """Return what is not there; nothing is written.

        Raises:
            EvidenceTakenError, RemoteReferrersTagError: what is there would be lost.
            RemoteError: the registry.
        """
        has = self._workers.each(self._writer.has_blob, publication.blobs)
        there = self._workers.each(
            lambda document: self._reader.document(document.descriptor.digest) is not None,
            publication.manifests,
        )
        return Missing(
            blobs=tuple(
                blob for blob, is_there in zip(publication.blobs, has, strict=True) if not is_there
            ),
            manifests=tuple(
                document
                for document, is_there in zip(publication.manifests, there, strict=True)
                if not is_there
            ),
            attachments=self.missing_evidence(publication),
        )

    def missing_evidence(self, publication: Publication) -> tuple[Attachment, ...]:
        """Return what of the evidence cannot be found there by who looks for it.

        Raises:
            EvidenceTakenError, RemoteReferrersTagError: what is there would be lost.
            RemoteError: the registry.
        """
        tagged = [one for one in publication.attachments if one.tag]
        shown_there = self._workers.each(self._is_tagged, tagged)
        absent = [one for one, is_there in zip(tagged, shown_there, strict=True) if not is_there]
        groups = list(by_subject(publication.attachments))
        for (_, group), listed in zip(
            groups, self._workers.each(lambda item: self._listed(item[0]), groups), strict=True
        ):
            documents = self._workers.each(
                lambda one: self._reader.document(one.document.descriptor.digest), group
            )
            absent += [
                one
                for one, document in zip(group, documents, strict=True)
                if document is None or one.document.descriptor.digest not in listed
            ]
        return tuple(absent)

    def _is_tagged(self, one: Attachment) -> bool:
        """Tell whether one of cosign's tags shows all that ours does, by itself or among more."""
        there = self._reader.tagged(one.tag)
        if there is None:
            return False
        if there.descriptor.digest == one.document.descriptor.digest:
            return True
        theirs = signatures_in(there, where=f"{self._reader.name}:{one.tag}")
        whole = frozenset(signatures_of(one.manifest)) <= theirs
        return whole and self._reader.document(one.document.descriptor.digest) is not None

    def _listed(self, subject: Digest) -> frozenset[Digest]:
        """Return what is found there as referring to a subject, by the API or else by the tag."""
        by_api = self._reader.referrers(subject)
        if not by_api.unsupported:
            return frozenset(entry.digest for entry in by_api.descriptors)
        return frozenset(self._by_tag(subject))

    def _by_tag(self, subject: Digest) -> Mapping[Digest, Descriptor]:
        where = f"{self._reader.name}:{tag_of(subject)}"
        document = self._reader.tagged(tag_of(subject))
        try:
            return listed_in(document, subject, where=where)
        except RemoteReferrersTagError:
            if self._repairs:
                return {}
            raise

    # --- writing ------------------------------------------------------------------------------

    def push(self, missing: Missing) -> None:
        """Write what is missing: blobs, then manifests, then evidence. No tag of the image.

        Raises:
            RemoteError: the registry.
        """
        self._workers.each(self._push_blob, sorted(missing.blobs, key=lambda blob: -blob.size))
        for document in missing.manifests:  # what is listed stands before what lists it
            self._writer.put_manifest(document.raw, document.descriptor)
        self._workers.each(self._put_attachment, missing.attachments)
        for subject, group in by_subject(missing.attachments):
            self._list_by_tag(subject, group)

    def put_tag(self, document: Document, tag: str, *, before: Digest | None) -> None:
        """Point a tag to a manifest that is there, and look that it does.

        It is read once more just before: what somebody else has set meanwhile is not replaced.
        What somebody sets in between is safe where the registry compares, and with others lost.

        Args:
            document: the manifest.
            tag: which.
            before: what the tag pointed to when it was decided that it may move; None for nothing.

        Raises:
            RemoteIncompleteError: it points elsewhere, before or afterwards.
            RemoteError: the registry.
        """
        wanted = document.descriptor.digest
        there = self._reader.tagged(tag)
        current = None if there is None else there.descriptor.digest
        if current not in {wanted, before}:
            raise self._moved(tag, expected=before, found=current)
        if current != wanted:
            self._writer.put_tag(document.raw, document.descriptor, tag, before=there)
            there = self._reader.tagged(tag)
            found = None if there is None else there.descriptor.digest
            if found != wanted:
                raise self._moved(tag, expected=wanted, found=found)

    def _moved(
        self, tag: str, *, expected: Digest | None, found: Digest | None
    ) -> RemoteIncompleteError:
        return RemoteIncompleteError(
            "somebody else has set the tag meanwhile",
            where=f"{self._reader.name}:{tag}",
            expected="no such tag" if expected is None else str(expected),
            found="nothing" if found is None else str(found),
            hint="does somebody else write this tag at the same time? Run it again",
        )

    def _push_blob(self, blob: Descriptor) -> None:
        source = self._mounts.found.get(blob.digest)
        if source is not None and self._writer.mount(blob, source=source):
            self._progress.advance(blob.size)
            return
        self._writer.push_blob(blob, self._read(blob), advance=self._progress.advance)

    def _put_attachment(self, one: Attachment) -> None:
        document = one.document
        self._writer.put_manifest(document.raw, document.descriptor)
        if not one.tag:
            return
        for _ in range(_MERGE_TRIES):
            there = self._reader.tagged(one.tag)
            both = self._with_theirs(one, there)
            if both is None or self._writer.put_tag(
                both.raw, both.descriptor, one.tag, before=there
            ):
                return
        raise RemoteIncompleteError(
            "a tag of cosign's changes each time before it is written",
            where=f"{self._reader.name}:{one.tag}",
            hint="does somebody else sign the image at the same time?",
        )

    def _with_theirs(self, one: Attachment, there: Document | None) -> Document | None:
        """Return what the tag must show to show both; None where it does."""
        if there is None:
            return one.document
        theirs = signatures_in(there, where=f"{self._reader.name}:{one.tag}")
        ours = frozenset(signatures_of(one.manifest))
        if ours <= theirs:
            return None
        if theirs <= ours:
            return one.document
        config, document = united(there, one)
        described = Descriptor.make(OCI_CONFIG, config)
        self._writer.push_blob(
            described, lambda offset: iter((config[offset:],)), advance=lambda _: None
        )
        return document

    def _list_by_tag(self, subject: Digest, group: Iterable[Attachment]) -> None:
        """Write the referrers tag, if there is no referrers API. Others may write it too."""
        if not self._reader.referrers(subject).unsupported:
            return
        wanted = tuple(group)
        for _ in range(_MERGE_TRIES):
            self._by_tag(subject)  # nothing that is no list is merged with
            there = self._reader.tagged(tag_of(subject))
            foreign = there is not None and self._repairs and not _is_list(there, subject)
            whole = merged(None if foreign else there, wanted)
            self._writer.put_tag(whole.raw, whole.descriptor, tag_of(subject), before=there)
            if {one.document.descriptor.digest for one in wanted} <= set(self._by_tag(subject)):
                return
        raise RemoteIncompleteError(
            "a list of referrers does not keep what is written into it",
            where=f"{self._reader.name}:{tag_of(subject)}",
            hint="does somebody else write this tag at the same time?",
        )

    # --- reading back -------------------------------------------------------------------------

    def read_back(self, blob: Descriptor) -> None:
        """Read a blob to its last byte, and compare its digest.

        Raises:
            RemoteDigestError: the registry has something else.
            RemoteError: the registry.
        """
        sha256 = hashlib.sha256()
        for chunk in self._reader.blob(blob, 0):
            sha256.update(chunk)
        if sha256.hexdigest() != blob.digest.hex:
            raise RemoteDigestError(
                "the registry does not have what was pushed",
                where=f"{self._reader.name}@{blob.digest}",
                expected=str(blob.digest),
                found=f"sha256:{sha256.hexdigest()}",
            )


def _is_list(document: Document, subject: Digest) -> bool:
    try:
        listed_in(document, subject, where="")
    except RemoteReferrersTagError:
        return False
    return True
