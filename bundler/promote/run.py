"""One run of `airlock promote`, a straight line; the destination's tags are its last step.

    PromoteOrder ─collect→ image ─judge→ Judgement ─compare→ Missing ─push→ there
        ─read again, judge again→ the same Judgement ─tags→ Promoted

Everything is verified at the source before the destination is written to, and verified again from
what the destination gives back before a tag points to it. Layers go straight from registry to
registry, past their digest; no disk sees them. The policy speaks of the source's name, in both
places: that is the name that evidence vouches for.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.collect import CollectedImage, Wanted, gathered
from bundler.errors import RemoteIncompleteError, RemoteNotFoundError
from bundler.evidence import Evidence, Finder
from bundler.pack.plan import plan
from bundler.preflight import WHEN_PACKED, FarSide
from bundler.progress import Collecting, Meter
from bundler.promote.order import PromoteOrder
from bundler.promote.summary import Promoted
from bundler.promote.tags import TagStep, decide, wishes
from bundler.promote.unjudged import unjudged
from bundler.promote.versions import REVISION, said_of, tags_of
from bundler.registry.oras_client import RegistryClient
from bundler.registry.publication import Publication, publication
from bundler.registry.publisher import Missing, Mounts, Publisher, Workers
from bundler.registry.repository import RegistryRepository
from bundler.registry.retry import patient
from bundler.registry.streams import blob_reader
from bundler.sources import RegistryImage
from bundler.store import ContentStore
from loader.digest import Digest
from loader.graph import ImageGraph
from loader.model.bundle import EvidenceEntry, ImageEntry
from loader.model.descriptor import Descriptor
from loader.policy.facts import Judgement

_NESTED_EVIDENCE: int = 2
"""Levels of evidence about evidence that go along: a signed SBOM, and who saw that signature."""


def promote(order: PromoteOrder, *, meter: Meter) -> Promoted:
    """Promote one image, and return what came of it.

    Raises:
        RefusedError: the policy refuses it, there or here; or a tag is taken. No tag was written.
        RemoteError: a registry.
        LocalError: this machine.
        UsageError: the order cannot be carried out as it is.
    """
    began = time.monotonic()
    asked = FarSide.open(order.policy)
    far_side = asked.between_registries(order.source.reference)
    cancelled = threading.Event()
    store = ContentStore(order.reach.cache, cancelled=cancelled)
    progress = Collecting(meter, "promote")
    with order.reach.registries(cancelled) as registries:
        wanted = Wanted(sources=(order.source,), parallel_count=order.reach.jobs)
        with gathered(wanted, registries, store, progress, cancelled=cancelled) as found:
            (image,) = found.images
            judgement = _judged(far_side, image.entry, store, order)
            run = _Run(order, image, store, registries, progress, cancelled)
            with run.workers() as workers:
                promoted = run.all(workers, far_side, judgement)
    progress.end()
    return replace(
        promoted,
        notes=(*promoted.notes, *((WHEN_PACKED,) if asked.asks_of_bundles else ())),
        warnings=far_side.policy.warnings,
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destination:
    """Where it goes."""

    reader: RegistryRepository
    publisher: Publisher
    publication: Publication


class _Run:
    """One promotion, with its image collected and judged."""

    def __init__(
        self,
        order: PromoteOrder,
        image: CollectedImage,
        store: ContentStore,
        registries: RegistryClient,
        progress: Collecting,
        cancelled: threading.Event,
    ) -> None:
        self._order = order
        self._image = image
        self._store = store
        self._registries = registries
        self._progress = progress
        self._cancelled = cancelled

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """Give threads, until the end of the block."""
        with ThreadPoolExecutor(self._order.reach.jobs, thread_name_prefix="promote") as pool:
            yield Workers(pool=pool, stop=self._stop)

    def all(self, workers: Workers, far_side: FarSide, judgement: Judgement) -> Promoted:
        """Do what is to be done, or only say it."""
        order, graph = self._order, self._image.graph
        further, notes = self._further(workers)
        source = self._registries.repository(order.source.reference)
        beside = unjudged(self._image.entry, graph, source)
        whole = publication(graph, self._store, further=further, beside=beside.manifests)
        there = self._destination(whole, workers)
        steps = self._tags(there)
        missing = there.publisher.missing(whole)
        promoted = Promoted(
            order=order,
            judgement=judgement,
            publication=whole,
            missing=missing,
            tags=steps,
            notes=(*self._image.notes, *notes, *beside.notes),
        )
        self._count(whole, missing)
        if order.dry_run:
            return promoted
        there.publisher.push(missing)
        self._confirm(there, far_side, workers)
        steps = self._tags(there)  # somebody may have been here since
        for step in steps:
            if step.writes:
                there.publisher.put_tag(whole.top, step.tag, before=step.before)
        return replace(promoted, tags=steps)

    def _destination(self, whole: Publication, workers: Workers) -> _Destination:
        order = self._order
        source = order.source.reference
        reader = self._registries.repository(order.destination, writes=not order.dry_run)
        mounts = Mounts()
        if source.registry == order.destination.registry:
            mounts.found.update({blob.digest: source.repository for blob in whole.blobs})
        return _Destination(
            reader=reader,
            publisher=Publisher(
                reader,
                self._registries.writer(order.destination, writes=not order.dry_run),
                read=blob_reader(self._registries.repository(source), self._store),
                workers=workers,
                progress=self._progress,
                mounts=mounts,
                repair_referrers_tag=order.repair_referrers_tag,
            ),
            publication=whole,
        )

    def _tags(self, there: _Destination) -> tuple[TagStep, ...]:
        order = self._order
        asked = wishes(
            order.templates,
            version=order.version,
            commit=order.commit or said_of(self._image.graph, REVISION),
        )
        present, said = tags_of(there.reader, asked)
        return decide(
            asked,
            digest=there.publication.top.descriptor.digest,
            version=order.version,
            present=present,
            said=said,
            movable=order.movable,
        )

    def _further(self, workers: Workers) -> tuple[tuple[EvidenceEntry, ...], tuple[str, ...]]:
        """Collect evidence about evidence. Nothing is judged by it; it belongs to the image."""
        repository = self._registries.repository(self._order.source.reference)
        finder = Finder(repository, self._store)
        known = self._image.graph.digests
        entries: list[EvidenceEntry] = []
        notes: list[str] = []
        level = [e for e in self._image.entry.evidence if e.store == "referrer"]
        for _ in range(_NESTED_EVIDENCE):
            subjects = dict.fromkeys(entry.manifest.digest for entry in level)
            unseen = [subject for subject in subjects if subject not in known]
            known |= set(unseen)
            found: list[Evidence] = workers.each(finder.about, unseen)
            pieces = [piece for one in found for piece in one.pieces]
            blobs = {blob.digest: blob for piece in pieces for blob in piece.manifest.blobs}
            workers.each(lambda blob: self._fetch(repository, blob), blobs.values())
            notes += [note for one in found for note in one.notes]
            level = [piece.entry for piece in pieces]
            entries += level
        return tuple(entries), tuple(notes)

    def _fetch(self, repository: RegistryRepository, blob: Descriptor) -> None:
        self._store.fill(
            blob,
            lambda offset: repository.blob(blob, offset),
            where=f"{repository.name}@{blob.digest}",
        )

    def _count(self, whole: Publication, missing: Missing) -> None:
        """Tell of bytes that are there already, and of small ones that are sent once more."""
        layers = {layer.digest for layer in self._image.graph.layers}
        absent = {blob.digest for blob in missing.blobs}
        self._progress.expect(sum(b.size for b in missing.blobs if b.digest not in layers))
        self._progress.advance(
            sum(b.size for b in whole.blobs if b.digest in layers and b.digest not in absent)
        )

    # --- verifying again ----------------------------------------------------------------------

    def _confirm(self, there: _Destination, far_side: FarSide, workers: Workers) -> None:
        """Read the destination, all of it but layers, and judge what it gives.

        Raises:
            RemoteIncompleteError: it does not show what was written, asked several times.
            RefusedError: what it shows is not what the policy accepts.
        """
        order, timing = self._order, self._order.reach.settings.timing
        missing = there.publisher.missing(there.publication)
        for _ in range(timing.visible_count - 1):
            if not missing:
                break
            patient(self._cancelled)(timing.visible_seconds)
            missing = there.publisher.missing(there.publication)
        if missing:
            raise RemoteIncompleteError(
                "the destination does not show what was written to it",
                where=order.destination.name,
                expected=f"it, within {timing.visible_count} looks",
                found=_in_words(missing),
                hint="no tag was written; run it again when the registry is well",
            )
        if order.deep:
            layers = {layer.digest for layer in self._image.graph.layers}
            blobs = [blob for blob in there.publication.blobs if blob.digest in layers]
            workers.each(there.publisher.read_back, blobs)
        with _fresh_folder(order.reach.cache) as folder:
            store = ContentStore(folder, cancelled=self._cancelled)
            entry = self._collected_there(store, there.publication.top.descriptor.digest)
            _judged(far_side, entry, store, order)

    def _collected_there(self, store: ContentStore, digest: Digest) -> ImageEntry:
        """Collect the image as the destination has it, as if for the first time."""
        order = self._order
        here = replace(order.destination, tag="", digest=digest)
        wanted = Wanted(sources=(RegistryImage(reference=here),), parallel_count=order.reach.jobs)
        with gathered(wanted, self._registries, store, _Silent(), cancelled=self._cancelled) as got:
            (image,) = got.images
        _expect_same(image.graph, self._image.graph, where=str(here))
        return replace(image.entry, reference=order.source.reference)

    def _stop(self) -> None:
        self._cancelled.set()
        self._registries.close()


class _Silent:
    """Nobody is told."""

    def expect(self, size: int) -> None:
        """Do nothing."""

    def advance(self, size: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


def _judged(
    far_side: FarSide, entry: ImageEntry, store: ContentStore, order: PromoteOrder
) -> Judgement:
    statement = plan((entry,), (), store, created=order.now)
    return far_side.judge(statement, (), store, now=order.now)


def _expect_same(there: ImageGraph, here: ImageGraph, *, where: str) -> None:
    """Check that the destination has all manifests; what has its digest is the same.

    Raises:
        RemoteNotFoundError: one is not there.
    """
    lacking = here.digests - there.digests
    if lacking:
        raise RemoteNotFoundError(
            "the destination has not all of the image", where=where, found=str(min(lacking))
        )


def _in_words(missing: Missing) -> str:
    what = {
        "blobs": len(missing.blobs),
        "manifests": len(missing.manifests),
        "pieces of evidence": len(missing.attachments),
    }
    return ", ".join(f"{count} {name} missing" for name, count in what.items() if count)


@contextmanager
def _fresh_folder(cache: Path) -> Iterator[Path]:
    """Give an empty folder: what is read again must come from there, not from a cache."""
    folder = Path(tempfile.mkdtemp(prefix="again-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
