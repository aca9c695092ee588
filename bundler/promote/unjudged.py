"""Entries of an index that are no images: they go along as they are, and nothing is judged by them.

A signature covers the bytes of the index, so every entry stays in it; and a registry may refuse an
index that lists what it has not. An index can list artifacts beside its platforms, and BuildKit's
attestations of something that it does not list.
"""

from __future__ import annotations

from dataclasses import dataclass

from bundler.registry.repository import RegistryRepository
from loader.graph import ImageGraph
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import ImageEntry
from loader.model.descriptor import INDEX_MEDIA_TYPES
from loader.model.image import ImageManifest, parse_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """What an index lists beside what is judged."""

    manifests: tuple[ImageManifest, ...] = ()
    notes: tuple[str, ...] = ()


def unjudged(
    entry: ImageEntry,
    graph: ImageGraph,
    repository: RegistryRepository,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Unjudged:
    """Fetch the manifests that an image's indexes list and that were not collected.

    Raises:
        FormatError: one is no manifest, or another than the index describes.
        RemoteError: the registry.
    """
    known = graph.digests | {piece.manifest.digest for piece in entry.evidence}
    listed = {
        one.digest: one
        for index in graph.indexes
        for one in index.manifests
        if one.digest not in known and one.media_type not in INDEX_MEDIA_TYPES
    }
    found: list[ImageManifest] = []
    notes: list[str] = []
    for descriptor in listed.values():
        document = repository.document(descriptor.digest)
        if document is None:
            notes.append(f"the index lists {descriptor.digest.short}, which the source has not")
            continue
        where = f"{entry.reference} {descriptor.digest.short}"
        descriptor.check(document.raw, what=where)
        manifest = parse_manifest(document.raw, descriptor, where=where, limits=limits)
        if isinstance(manifest, ImageManifest):
            found.append(manifest)
    if found:
        notes.append(
            f"entries of the index that nothing was judged by, copied as they are: {len(found)}"
        )
    return Unjudged(manifests=tuple(found), notes=tuple(notes))
