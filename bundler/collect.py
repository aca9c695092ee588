"""Collects images and all evidence about them into the content store, many requests at a time.

In four steps, each over all images at once: what the references point to and contain; evidence
about every index and kept manifest; small blobs; layers, which wait until somebody has judged the
rest. The first error ends all of it, and what was downloaded stays for the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bundler.arriving import Arriving
from bundler.dangerzone.signatures import NO_SIGNATURES, SignatureFolders, WithSignatures
from bundler.errors import (
    CancelledError,
    RemoteDigestError,
    RemoteProtocolError,
    RemoteTruncatedError,
    SourceError,
)
from bundler.evidence import Evidence, Finder, Piece, expect_within
from bundler.registry.client import Document, Repository
from bundler.registry.layout import FolderFiles, LayoutRepository, TarFiles
from bundler.resolve import ResolvedImage, layout_reference, resolve, top_of
from bundler.sources import LayoutImage, RegistryImage, Source
from bundler.store import Advance, ContentStore, Give, ungiven
from loader.digest import Digest
from loader.errors import DigestError
from loader.graph import ImageGraph, read_graph
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import ImageEntry
from loader.model.descriptor import Descriptor, Platform
from loader.model.reference import Reference

T = TypeVar("T")
R = TypeVar("R")

PARALLEL_COUNT: Final = 4


class Progress(Protocol):
    """Who is told how far it is; called from several threads. Rates are for the caller to make."""

    def expect(self, size: int) -> None:
        """So many more bytes are to come."""

    def advance(self, size: int) -> None:
        """So many bytes more are there; negative where a download had to begin anew."""

    def say(self, text: str) -> None:
        """One line about what happens now."""


class Registries(Protocol):
    """Opens repositories; `bundler.registry.oras_client.RegistryClient` is one."""

    def repository(self, reference: Reference) -> Repository:
        """Return the repository that a reference names."""

    def close(self) -> None:
        """Cut every connection: the run has failed, or is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to collect."""

    sources: tuple[Source, ...]
    platforms: tuple[Platform, ...] = ()
    """Those to keep of every image; none means all."""
    parallel_count: int = PARALLEL_COUNT
    signatures: SignatureFolders = NO_SIGNATURES
    """Signatures in folders, beside those that registries and layouts have."""
    layers: bool = True
    """Whether their layers will be asked for: what is expected, a person is shown."""
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedImage:
    """An image whose blobs, and whose evidence's, are all in the store."""

    entry: ImageEntry
    graph: ImageGraph
    notes: tuple[str, ...]
    """What was left out, and why; for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Images with everything about them but their layers."""

    images: tuple[CollectedImage, ...]
    """In the order of their sources."""
    layers: Arriving


def collect(
    wanted: Wanted,
    registries: Registries,
    store: ContentStore,
    progress: Progress,
    *,
    cancelled: threading.Event,
) -> tuple[CollectedImage, ...]:
    """Fetch everything, layers too; see `gathered`."""
    with gathered(wanted, registries, store, progress, cancelled=cancelled) as found:
        found.layers.finish()
        return found.images


@contextmanager
def gathered(
    wanted: Wanted,
    registries: Registries,
    store: ContentStore,
    progress: Progress,
    *,
    cancelled: threading.Event,
) -> Iterator[Gathered]:
    """Fetch everything but the layers, which can be had until the end of the block.

    Args:
        wanted: images, platforms, bounds.
        registries: where registry images come from.
        store: where blobs go; one made with the same `cancelled`.
        progress: who is told.
        cancelled: set here when something fails, here or in the block, so that other threads stop.

    Raises:
        SourceError: two sources are packed under one name, or a layout knows no name.
        RemoteError: a registry.
        FormatError: an image, a layout or an archive is malformed, or over a limit.
        LocalError: this machine.
    """
    run = _Run(wanted, registries, store, progress, cancelled)
    with ThreadPoolExecutor(wanted.parallel_count, thread_name_prefix="collect") as pool:
        try:
            yield run.all(pool)
        except BaseException:
            cancelled.set()
            registries.close()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            run.close()


class _Run:
    """One run of `collect`."""

    def __init__(
        self,
        wanted: Wanted,
        registries: Registries,
        store: ContentStore,
        progress: Progress,
        cancelled: threading.Event,
    ) -> None:
        self._wanted = wanted
        self._registries = registries
        self._store = store
        self._progress = progress
        self._cancelled = cancelled
        self._layouts: dict[tuple[str, Path], LayoutRepository] = {}
        self._lock = threading.Lock()
        self._first: BaseException | None = None
        """What went wrong first, on whatever thread."""

    def close(self) -> None:
        """Close the archives that were read."""
        for layout in self._layouts.values():
            layout.close()

    def all(self, pool: ThreadPoolExecutor) -> Gathered:
        limits = self._wanted.limits
        images = self._map(pool, self._resolve, self._wanted.sources)
        _expect_distinct(images)
        evidence = self._evidence(pool, images)
        for image, found in zip(images, evidence, strict=True):
            expect_within(found.pieces, where=str(image.reference), limits=limits)
        entries = [_entry(image, found) for image, found in zip(images, evidence, strict=True)]
        small = [
            (image.repository, blob)
            for image, found in zip(images, evidence, strict=True)
            for blob in (*image.configs, *_blobs(found.pieces))
        ]
        self._download(pool, small)
        graphs = [read_graph(entry, self._store, limits=limits) for entry in entries]
        found_in = {
            layer.digest: (image.repository, layer)
            for image, graph in zip(reversed(images), reversed(graphs), strict=True)
            for layer in graph.layers
        }
        collected = tuple(
            CollectedImage(entry=entry, graph=graph, notes=(*image.notes, *found.notes))
            for entry, graph, image, found in zip(entries, graphs, images, evidence, strict=True)
        )
        if self._wanted.layers:
            self._progress.expect(sum(layer.size for _, layer in found_in.values()))
        return Gathered(images=collected, layers=self._arriving(pool, graphs, found_in))

    def _arriving(
        self,
        pool: ThreadPoolExecutor,
        graphs: Sequence[ImageGraph],
        found_in: Mapping[Digest, tuple[Repository, Descriptor]],
    ) -> Arriving:
        def fetch(digest: Digest, advance: Advance, give: Give) -> None:
            self._guarded(lambda item: self._fetch(item, advance, give), found_in[digest])

        return Arriving(
            self._store,
            (layer.digest for graph in graphs for layer in graph.layers),
            fetch=fetch,
            pool=pool,
            cancelled=self._cancelled,
            first_failure=lambda: self._first,
            advance=self._progress.advance,
        )

    # --- documents ----------------------------------------------------------------------------

    def _resolve(self, source: Source) -> ResolvedImage:
        repository, reference, document = self._top(source)
        if self._wanted.signatures.folders:
            repository = WithSignatures(repository, self._wanted.signatures)
        image = resolve(
            document,
            reference,
            repository,
            self._store,
            platforms=self._wanted.platforms,
            limits=self._wanted.limits,
        )
        self._progress.say(f"{reference}: {image.image.digest}")
        return image

    def _top(self, source: Source) -> tuple[Repository, Reference, Document]:
        match source:
            case RegistryImage():
                repository = self._registries.repository(source.reference)
                return repository, source.reference, top_of(repository, source.reference)
            case LayoutImage():
                layout = self._layout(source)
                document, name = layout.choose(source.wanted)
                reference = source.reference or layout_reference(
                    name,
                    chosen=source.wanted,
                    where=str(source),
                )
                return layout, reference, document

    def _layout(self, source: LayoutImage) -> LayoutRepository:
        with self._lock:
            key = source.kind, source.path
            if key not in self._layouts:
                files = FolderFiles(source.path) if source.kind == "oci" else TarFiles(source.path)
                try:
                    layout = LayoutRepository(files, f"{source.kind}:{source.path}")
                except BaseException:
                    files.close()
                    raise
                self._layouts[key] = layout
            return self._layouts[key]

    def _evidence(
        self, pool: ThreadPoolExecutor, images: Sequence[ResolvedImage]
    ) -> list[Evidence]:
        jobs: list[tuple[int, Callable[[], Evidence]]] = []
        for position, image in enumerate(images):
            finder = Finder(image.repository, self._store, limits=self._wanted.limits)
            jobs += [(position, _about(finder, subject)) for subject in image.subjects]
            jobs += [
                (position, _attestation(finder, descriptor, subject))
                for descriptor, subject in image.attestations
            ]
        found = self._map(pool, lambda job: job[1](), jobs)
        gathered = [Evidence(pieces=()) for _ in images]
        for (position, _), one in zip(jobs, found, strict=True):
            before = gathered[position]
            gathered[position] = Evidence(
                pieces=before.pieces + one.pieces, notes=before.notes + one.notes
            )
        return gathered

    # --- blobs --------------------------------------------------------------------------------

    def _download(
        self, pool: ThreadPoolExecutor, blobs: Iterable[tuple[Repository, Descriptor]]
    ) -> None:
        once: dict[Digest, tuple[Repository, Descriptor]] = {}
        for repository, descriptor in blobs:
            once.setdefault(descriptor.digest, (repository, descriptor))
        # The largest first: the last one alone on the line is then a small one.
        ordered = sorted(once.values(), key=lambda item: -item[1].size)
        self._progress.expect(sum(descriptor.size for _, descriptor in ordered))
        self._map(pool, self._fetch, ordered)

    def _fetch(
        self,
        item: tuple[Repository, Descriptor],
        advance: Advance | None = None,
        give: Give = ungiven,
    ) -> None:
        repository, descriptor = item
        where = f"{repository.name}@{descriptor.digest}"
        try:
            self._store.fill(
                descriptor,
                lambda offset: repository.blob(descriptor, offset),
                where=where,
                advance=advance or self._progress.advance,
                give=give,
            )
        except (RemoteDigestError, RemoteProtocolError, RemoteTruncatedError) as e:
            if isinstance(repository, LayoutRepository):  # nothing remote about it
                raise DigestError(e.message, where=where, expected=e.expected, found=e.found) from e
            raise

    def _map(self, pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do the work for all items. The first error stops the others, and is the one raised."""
        futures = [pool.submit(self._guarded, work, item) for item in items]
        wait(futures)
        if self._first is not None:
            raise self._first
        return [future.result() for future in futures]

    def _guarded(self, work: Callable[[T], R], item: T) -> R:
        if self._cancelled.is_set():
            raise CancelledError("stopped")
        try:
            return work(item)
        except BaseException as e:
            with self._lock:
                self._first = self._first or e
            # The others' connections break now: what they say of that is only an echo.
            self._cancelled.set()
            self._registries.close()
            raise


def _expect_distinct(images: Sequence[ResolvedImage]) -> None:
    seen: set[Reference] = set()
    for image in images:
        if image.reference in seen:
            raise SourceError("two images under one name", where=str(image.reference))
        seen.add(image.reference)


def _about(finder: Finder, subject: Digest) -> Callable[[], Evidence]:
    return lambda: finder.about(subject)


def _attestation(finder: Finder, descriptor: Descriptor, subject: Digest) -> Callable[[], Evidence]:
    return lambda: finder.attestation(descriptor, subject)


def _entry(image: ResolvedImage, evidence: Evidence) -> ImageEntry:
    return ImageEntry(
        reference=image.reference,
        image=image.image,
        platforms=image.platforms,
        evidence=tuple(piece.entry for piece in evidence.pieces),
    )


def _blobs(pieces: Iterable[Piece]) -> Iterator[Descriptor]:
    for piece in pieces:
        yield from piece.manifest.blobs
