"""Packing what a lock pins: everything by digest, nothing looked up by name.

No tag is asked for, so a registry that meanwhile says something else changes nothing. What is in
the content store already is not fetched; that is also where images from layouts come from.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from bundler.arriving import Arriving
from bundler.collect import Progress, Registries
from bundler.pack.lock import Lock
from bundler.pack.plan import evidence_blobs
from bundler.registry.client import Repository
from bundler.store import Advance, ContentStore, Give, ungiven
from loader.digest import Digest
from loader.errors import MissingError
from loader.graph import ImageGraph, read_graph
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import ImageEntry
from loader.model.descriptor import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, Descriptor

_DOCUMENTS: Final = INDEX_MEDIA_TYPES | MANIFEST_MEDIA_TYPES
_HINT: Final = "pack it again without --locked, from where it lies now"


@contextmanager
def gathered_locked(
    lock: Lock,
    registries: Registries,
    store: ContentStore,
    progress: Progress,
    *,
    parallel_count: int,
    cancelled: threading.Event,
) -> Iterator[Arriving]:
    """Make sure that the store holds every small blob that the lock's images need.

    Their layers can be had until the end of the block.

    Raises:
        MissingError: a registry no longer has one of them.
        RemoteError: a registry.
    """
    layers: dict[Digest, tuple[Descriptor, Repository]] = {}
    for raw in (*lock.supplements, *lock.growth):
        store.put(raw)
    for entry in lock.images:
        source = _Source(registries.repository(entry.reference), store, progress)
        graph = _small(entry, source)
        for layer in graph.layers:
            layers.setdefault(layer.digest, (layer, source.repository))
    missing = {d: item for d, item in layers.items() if not store.holds(item[0])}
    progress.expect(sum(layer.size for layer, _ in missing.values()))
    failures: list[BaseException] = []

    def fill(digest: Digest, advance: Advance, give: Give) -> None:
        try:
            _fill(*missing[digest], store, advance, give)
        except BaseException as e:
            # What the others are reading must not keep the run from ending.
            failures.append(e)
            cancelled.set()
            registries.close()
            raise

    with ThreadPoolExecutor(parallel_count, thread_name_prefix="locked") as pool:
        try:
            yield Arriving(
                store,
                missing,
                fetch=fill,
                pool=pool,
                cancelled=cancelled,
                first_failure=lambda: next(iter(failures), None),
                advance=progress.advance,
            )
        except BaseException:
            cancelled.set()
            registries.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _small(entry: ImageEntry, source: _Source) -> ImageGraph:
    graph = read_graph(entry, source)
    for item in entry.evidence:
        if item.store == "supplement":
            source.expect(item.manifest, where=str(entry.reference))
            continue
        for blob in evidence_blobs(item, source, limits=DEFAULT_LIMITS):
            source.ensure(blob, where=str(entry.reference))
    return graph


class _Source:
    """A `BlobSource` that fetches what the store does not hold yet."""

    def __init__(self, repository: Repository, store: ContentStore, progress: Progress) -> None:
        self.repository = repository
        self._store = store
        self._progress = progress

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return a small blob; see `loader.model.bundle.BlobSource`."""
        self.ensure(descriptor, where=where)
        return self._store.read(descriptor, where=where, size_max=size_max)

    def expect(self, descriptor: Descriptor, *, where: str) -> None:
        """Check that the store holds a blob which is in no registry."""
        if not self._store.holds(descriptor):
            raise MissingError(
                "the lock lists a supplement and does not hold it",
                where=where,
                expected=str(descriptor.digest),
                hint="pack it again without --locked: the logs are asked again then",
            )

    def ensure(self, descriptor: Descriptor, *, where: str) -> None:
        """Fetch a blob unless the store holds it."""
        if self._store.holds(descriptor):
            return
        if descriptor.media_type not in _DOCUMENTS:
            self._progress.expect(descriptor.size)
            _fill(descriptor, self.repository, self._store, self._progress.advance)
            return
        document = self.repository.document(descriptor.digest)
        if document is None:
            raise MissingError(
                "the registry no longer has what the lock pins",
                where=where,
                expected=str(descriptor.digest),
                hint=_HINT,
            )
        self._store.put(document.raw)


def _fill(
    descriptor: Descriptor,
    repository: Repository,
    store: ContentStore,
    advance: Advance,
    give: Give = ungiven,
) -> None:
    store.fill(
        descriptor,
        lambda offset: repository.blob(descriptor, offset),
        where=f"{repository.name}@{descriptor.digest}",
        advance=advance,
        give=give,
    )
