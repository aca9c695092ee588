"""Completes evidence that carries only a log's promise: asks the log for the proof behind it.

Every such entry whose promise holds under a trusted root of the policy is asked for, once. What the
log answers must speak of the same entry, and prove it, by the far side's own code; then it goes
into the bundle as a supplement (docs/format.md). A log that cannot be asked, or answers something
else, is said. Nothing else changes: whether a promise is enough, policy decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

from bundler.errors import RemoteError, RemoteLogError
from bundler.rekor.client import LogAnswer, RekorClient
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import FormatError, VerificationError, shown
from loader.evidence import Broken, Unsigned, evidence_of
from loader.graph import read_graph
from loader.model.bundle import EvidenceEntry, ImageEntry
from loader.model.descriptor import Descriptor
from loader.model.entry import LogEntry
from loader.model.supplement import MEDIA_TYPE, Supplement
from loader.supplement import bare_promises
from loader.trust.store import TrustStore
from loader.trust.trusted_root import Log, TrustedRoot
from loader.verify.log import verify_entry

Place: TypeAlias = tuple[Digest, bytes, int]
"""Blob of evidence, log, index: what a supplement is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Images with a supplement beside all evidence that one could be had for."""

    images: tuple[ImageEntry, ...]
    proof_count: int = 0
    promise_count: int = 0
    """Promises that there are, with or without a proof now."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """One entry that a known log promised to include."""

    blob: Digest
    entry: LogEntry
    logs: tuple[Log, ...]
    """Those of its id: one, or one for each window of its key."""

    @property
    def place(self) -> Place:
        return self.blob, self.entry.log_id, self.entry.log_index


def prove(
    images: Sequence[ImageEntry],
    store: ContentStore,
    trust: TrustStore,
    client: RekorClient,
    *,
    base: str | None,
    parallel_count: int,
) -> Proven:
    """Ask the logs, put what they prove into the store, and return the images with it.

    Args:
        images: collected, small blobs in the store.
        store: where supplements go.
        trust: whose logs count.
        client: asks.
        base: where to ask instead of at the address that a trusted root has for the log.
        parallel_count: questions at a time.

    Raises:
        FormatError: an image is malformed.
    """
    roots = [anchor.value for anchor in trust.anchors if isinstance(anchor.value, TrustedRoot)]
    logs = tuple(log for root in roots for log in root.logs)
    by_image = [tuple(_promises(image, store, logs)) for image in images]
    wanted = {promise.place: promise for promises in by_image for promise in promises}

    def ask(promise: _Promise) -> Supplement | RemoteError:
        try:
            return _asked(promise, client, base=base)
        except RemoteError as e:
            return e

    with ThreadPoolExecutor(parallel_count, thread_name_prefix="prove") as pool:
        try:
            found = dict(zip(wanted, pool.map(ask, wanted.values()), strict=True))
        except BaseException:
            client.close()  # what is being read must not keep the run from ending
            raise
    added = {
        place: EvidenceEntry(
            subject=place[0],
            store="supplement",
            manifest=Descriptor.make(MEDIA_TYPE, one.raw),
        )
        for place, one in found.items()
        if isinstance(one, Supplement)
    }
    for one in found.values():
        if isinstance(one, Supplement):
            store.put(one.raw)
    return Proven(
        images=tuple(
            replace(
                image,
                evidence=image.evidence
                + tuple(
                    added[place]
                    for place in dict.fromkeys(promise.place for promise in promises)
                    if place in added
                ),
            )
            for image, promises in zip(images, by_image, strict=True)
        ),
        proof_count=len(added),
        promise_count=len(wanted),
        notes=tuple(_notes(wanted.values(), found)),
    )


def _promises(image: ImageEntry, store: ContentStore, logs: tuple[Log, ...]) -> Iterator[_Promise]:
    """Yield the entries of this image's evidence that carry a promise which holds, and no proof."""
    graph = read_graph(image, store)
    for found in evidence_of(image, graph, store):
        if found.blob is None or isinstance(found.evidence, Broken | Unsigned):
            continue
        for entry in bare_promises(found.evidence):
            known = tuple(log for log in logs if log.log_id == entry.log_id)
            if not known:
                continue
            try:
                verify_entry(entry, known, need="promise")
            except VerificationError:
                continue  # a log that promised nothing is not asked to prove it
            yield _Promise(blob=found.blob, entry=entry, logs=known)


def _asked(promise: _Promise, client: RekorClient, *, base: str | None) -> Supplement:
    """Ask for one proof, and verify it as the far side will."""
    entry, where = promise.entry, base or promise.logs[0].name
    answer = client.entry(where, entry.log_index)
    _expect_same(answer, entry, where=where)
    try:
        supplement = Supplement.make(
            subject=promise.blob,
            log_id=entry.log_id,
            log_index=entry.log_index,
            proof=answer.proof,
        )
        verify_entry(replace(entry, proof=supplement.proof), promise.logs, need="proof")
    except (FormatError, VerificationError) as e:
        raise RemoteLogError(
            f"the log's proof does not hold: {e.message}",
            where=where,
            expected=e.expected,
            found=e.found,
        ) from e
    return supplement


def _expect_same(answer: LogAnswer, entry: LogEntry, *, where: str) -> None:
    """Check that the log speaks of the entry that it promised, in everything that it signed then.

    Raises:
        RemoteLogError: it does not.
    """
    at = entry.integrated_time
    pairs: list[tuple[str, object, object]] = [
        ("log", entry.log_id.hex(), answer.log_id.hex()),
        ("index", entry.log_index, answer.log_index),
        ("time", None if at is None else int(at.timestamp()), answer.integrated_time),
        ("body", Digest.of(entry.body), Digest.of(answer.body)),
    ]
    for what, expected, found in pairs:
        if expected != found:
            raise RemoteLogError(
                f"the log answers with another {what} than it promised",
                where=where,
                expected=str(expected),
                found=shown(str(found))[1:-1],
            )


def _notes(
    promises: Iterable[_Promise], found: Mapping[Place, Supplement | RemoteError]
) -> Iterator[str]:
    """Yield a line for each log and each kind of failure."""
    failures: dict[tuple[str, str], list[RemoteError]] = {}
    for promise in promises:
        error = found[promise.place]
        if isinstance(error, RemoteError):
            failures.setdefault((promise.logs[0].name, error.code), []).append(error)
    for (name, code), errors in sorted(failures.items(), key=lambda item: item[0]):
        count = f"{len(errors)} promises stay" if len(errors) > 1 else "a promise stays"
        yield f"{name}: {count} without proof: {code}: {errors[0]}"
