"""One image as a graph of its blobs: top document, indexes, kept manifests, configs.

Nothing here is believed: the graph only says which digests belong together, so that a signature
over one of them is known to speak of this image. The statement's descriptors are what the walk
starts from; every document below is read through its digest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.errors import LimitError, OciError, OciPlatformError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.descriptor import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, Platform
from loader.model.image import ImageConfig, ImageIndex, ImageManifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loader.digest import Digest
    from loader.limits import Limits
    from loader.model.bundle import BlobSource, ImageEntry
    from loader.model.descriptor import Descriptor

_SAME_VARIANT: Final = {("arm64", "v8"): "", ("arm", ""): "v7", ("amd64", "v1"): ""}
"""Variants that are but another spelling (containerd's `platforms.Normalize`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptManifest:
    """One manifest that the bundle carries whole, with its config where it is an image."""

    platform: Platform | None
    """None for artifacts that are no container images: charts, databases."""
    manifest: ImageManifest
    config: ImageConfig | None
    listed_by: frozenset[Digest]
    """The indexes from the top down to the one that lists it; empty where it is the top itself."""

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.manifest.descriptor.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGraph:
    """An image: its top document, the indexes below it, and the manifests that were kept."""

    entry: ImageEntry
    top: ImageIndex | ImageManifest
    indexes: tuple[ImageIndex, ...]
    """All indexes, the top one first; empty where the top is a manifest."""
    kept: tuple[KeptManifest, ...]

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of all kept manifests, each blob once, in order."""
        found = {layer.digest: layer for kept in self.kept for layer in kept.manifest.layers}
        return tuple(found.values())

    @property
    def metadata(self) -> tuple[Descriptor, ...]:
        """Indexes, kept manifests and their configs, each blob once."""
        found = {index.descriptor.digest: index.descriptor for index in self.indexes}
        for kept in self.kept:
            for descriptor in (kept.manifest.descriptor, kept.manifest.config):
                found[descriptor.digest] = descriptor
        return tuple(found.values())

    @property
    def digests(self) -> frozenset[Digest]:
        """Every digest that evidence about this image may speak of: indexes and kept manifests."""
        return frozenset(
            {index.descriptor.digest for index in self.indexes}
            | {kept.digest for kept in self.kept}
        )


def read_graph(
    entry: ImageEntry, blobs: BlobSource, *, limits: Limits = DEFAULT_LIMITS
) -> ImageGraph:
    """Read an image from its top document down to its configs; layers are but described.

    What becomes true: the reference's digest, where it has one, is the image's; every kept manifest
    is one that the image lists, described alike in both places; its config says the platform that
    index and statement say, and names as many layers as the manifest; no digest is described with
    two sizes.

    Raises:
        OciError: any of that does not hold.
        MissingError, DigestError: a document is not there, or another.
        FormatError: a document is malformed or over a limit.
    """
    where = str(entry.reference)
    if entry.reference.digest not in (None, entry.image.digest):
        raise OciError(
            "a reference names another digest than its image has",
            where=where,
            expected=str(entry.reference.digest),
            found=str(entry.image.digest),
        )
    walk = _Walk(blobs=blobs, limits=limits)
    top = walk.document(entry.image, where=where)
    if isinstance(top, ImageManifest):
        graph = ImageGraph(entry=entry, top=top, indexes=(), kept=(_single(entry, top, walk),))
    else:
        walk.down(top, where=where)
        graph = ImageGraph(
            entry=entry, top=top, indexes=tuple(walk.indexes.values()), kept=_kept(entry, walk)
        )
    _expect_one_size(graph, where=where)
    return graph


def read_graphs(
    entries: Iterable[ImageEntry], blobs: BlobSource, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[ImageGraph]:
    """Yield each image's graph; names of one image share one.

    Raises:
        FormatError: as `read_graph`, or all of them together are too large.
    """
    known: dict[str, ImageGraph] = {}
    size = 0
    for entry in entries:
        parts = repr((entry.image, entry.platforms))
        if parts not in known:
            known[parts] = read_graph(entry, blobs, limits=limits)
            size += sum(blob.size for blob in known[parts].metadata)
        if size > limits.graph_size_max:
            raise LimitError(
                "the images' indexes, manifests and configs are too large together",
                where=str(entry.reference),
                expected=f"at most {limits.graph_size_max} bytes",
                hint="pack fewer images into one bundle",
            )
        yield replace(known[parts], entry=entry)


class _Walk:
    """One walk down an image's indexes; each index is read once, however often it is listed."""

    __slots__ = ("_blobs", "_count", "_limits", "_seen", "indexes", "listed", "parents")

    def __init__(self, *, blobs: BlobSource, limits: Limits) -> None:
        self._blobs = blobs
        self._limits = limits
        self._count = 0
        self._seen: set[Digest] = set()
        self.indexes: dict[Digest, ImageIndex] = {}
        self.listed: dict[Digest, Descriptor] = {}
        """Manifests that are no attestations, as an index describes them."""
        self.parents: dict[Digest, set[Digest]] = {}

    def document(self, descriptor: Descriptor, *, where: str) -> ImageIndex | ImageManifest:
        place = f"{where} {descriptor.digest.short}"
        raw = self._read(descriptor, place)
        return parse_manifest(raw, descriptor, where=place, limits=self._limits)

    def index(self, descriptor: Descriptor, *, where: str) -> ImageIndex:
        place = f"{where} {descriptor.digest.short}"
        raw = self._read(descriptor, place)
        return ImageIndex.parse(raw, descriptor, where=place, limits=self._limits)

    def manifest(self, descriptor: Descriptor, *, where: str) -> ImageManifest:
        place = f"{where} {descriptor.digest.short}"
        raw = self._read(descriptor, place)
        return ImageManifest.parse(raw, descriptor, where=place, limits=self._limits)

    def config(self, descriptor: Descriptor, *, where: str) -> ImageConfig:
        place = f"{where} {descriptor.digest.short}"
        raw = self._read(descriptor, place)
        return ImageConfig.parse(raw, descriptor, where=place, limits=self._limits)

    def _read(self, descriptor: Descriptor, place: str) -> bytes:
        return self._blobs.read(descriptor, where=place, size_max=self._limits.document_size_max)

    def down(self, top: ImageIndex, *, where: str) -> None:
        level = [top]
        for _ in range(self._limits.index_nesting_max):
            below: list[ImageIndex] = []
            for index in level:
                below.extend(self._open(index, where=where))
            if not below:
                return
            level = below
        raise LimitError(
            "indexes are nested too deeply",
            where=where,
            expected=f"at most {self._limits.index_nesting_max} levels",
        )

    def _open(self, index: ImageIndex, *, where: str) -> Iterator[ImageIndex]:
        self.indexes[index.descriptor.digest] = index
        self._count += len(index.manifests)
        if self._count > self._limits.image_descriptor_count_max:
            raise LimitError(
                "an image lists too many manifests",
                where=where,
                expected=f"at most {self._limits.image_descriptor_count_max}",
            )
        for descriptor in index.platform_manifests:
            self.parents.setdefault(descriptor.digest, set()).add(index.descriptor.digest)
            if descriptor.media_type in MANIFEST_MEDIA_TYPES:
                self._list(descriptor, where=where)
            elif descriptor.media_type in INDEX_MEDIA_TYPES:
                if descriptor.digest not in self._seen:
                    self._seen.add(descriptor.digest)
                    yield self.index(descriptor, where=where)
            else:
                raise OciError(
                    "an index lists something that is neither index nor manifest",
                    where=where,
                    found=shown(descriptor.media_type),
                )

    def _list(self, descriptor: Descriptor, *, where: str) -> None:
        known = self.listed.setdefault(descriptor.digest, descriptor)
        if (known.size, known.media_type, known.platform) != (
            descriptor.size,
            descriptor.media_type,
            descriptor.platform,
        ):
            raise OciError(
                "an image describes the same manifest in two ways",
                where=where,
                found=str(descriptor.digest),
            )

    def ancestors(self, digest: Digest) -> frozenset[Digest]:
        found: set[Digest] = set()
        level = self.parents.get(digest, set())
        while level:
            found |= level
            level = {up for one in level for up in self.parents.get(one, set())} - found
        return frozenset(found)


def _single(entry: ImageEntry, top: ImageManifest, walk: _Walk) -> KeptManifest:
    """Return the one manifest of an image without index, or of another artifact."""
    where = str(entry.reference)
    if not top.is_container_image:
        if entry.platforms:
            raise OciPlatformError("a platform of what is no container image", where=where)
        return KeptManifest(platform=None, manifest=top, config=None, listed_by=frozenset())
    if [kept.manifest.digest for kept in entry.platforms] != [entry.image.digest]:
        raise OciPlatformError(
            "an image of one manifest has that as its one platform",
            where=where,
            expected=str(entry.image.digest),
        )
    _expect_same(entry.platforms[0].manifest, entry.image, where=where)
    return _image(top, entry.platforms[0].platform, walk, where=where, listed_by=frozenset())


def _kept(entry: ImageEntry, walk: _Walk) -> tuple[KeptManifest, ...]:
    where = str(entry.reference)
    if not entry.platforms:
        return tuple(_artifact(d, walk, where=where) for d in walk.listed.values())
    seen: set[Digest] = set()
    kept: list[KeptManifest] = []
    for item in entry.platforms:
        digest = item.manifest.digest
        listed = walk.listed.get(digest)
        if listed is None:
            raise OciPlatformError(
                "a kept manifest that the image does not list", where=where, found=str(digest)
            )
        if digest in seen:
            raise OciPlatformError("a manifest is kept twice", where=where, found=str(digest))
        seen.add(digest)
        _expect_same(item.manifest, listed, where=where)
        if listed.platform is not None and not same_platform(listed.platform, item.platform):
            raise OciPlatformError(
                "the statement names another platform than the image's index",
                where=where,
                expected=str(listed.platform),
                found=str(item.platform),
            )
        manifest = walk.manifest(listed, where=where)
        if not manifest.is_container_image:
            raise OciPlatformError(
                "a platform of what is no container image", where=where, found=str(digest)
            )
        kept.append(
            _image(manifest, item.platform, walk, where=where, listed_by=walk.ancestors(digest))
        )
    return tuple(kept)


def _artifact(descriptor: Descriptor, walk: _Walk, *, where: str) -> KeptManifest:
    manifest = walk.manifest(descriptor, where=where)
    if manifest.is_container_image:
        raise OciPlatformError(
            "an image index of which no platform is kept",
            where=where,
            hint="the bundle names no platform of this image; pack it again",
        )
    return KeptManifest(
        platform=None,
        manifest=manifest,
        config=None,
        listed_by=walk.ancestors(descriptor.digest),
    )


def _image(
    manifest: ImageManifest,
    platform: Platform,
    walk: _Walk,
    *,
    where: str,
    listed_by: frozenset[Digest],
) -> KeptManifest:
    config = walk.config(manifest.config, where=where)
    if not _config_agrees(platform, config.platform):
        raise OciPlatformError(
            "an image's config names another platform than its index",
            where=f"{where} {manifest.descriptor.digest.short}",
            expected=str(platform),
            found=str(config.platform),
        )
    if len(config.diff_ids) != len(manifest.layers):
        raise OciError(
            "an image's config names another number of layers than its manifest",
            where=f"{where} {manifest.descriptor.digest.short}",
            expected=str(len(manifest.layers)),
            found=str(len(config.diff_ids)),
        )
    return KeptManifest(platform=platform, manifest=manifest, config=config, listed_by=listed_by)


def _variant(platform: Platform) -> str:
    return _SAME_VARIANT.get((platform.architecture, platform.variant), platform.variant)


def same_platform(one: Platform, other: Platform) -> bool:
    """Tell whether two platforms are the same, whichever way their variant is written."""
    return (one.os, one.architecture, _variant(one)) == (
        other.os,
        other.architecture,
        _variant(other),
    )


def _config_agrees(said: Platform, config: Platform) -> bool:
    """Compare with a config, which may leave the variant away: builders before 2021 all did."""
    silent = not config.variant and (said.os, said.architecture) == (
        config.os,
        config.architecture,
    )
    return silent or same_platform(said, config)


def _expect_same(said: Descriptor, listed: Descriptor, *, where: str) -> None:
    if said.plain() != listed.plain():
        raise OciError(
            "the statement describes a manifest otherwise than the image",
            where=where,
            expected=f"{listed.media_type}, {listed.size} bytes",
            found=f"{said.media_type}, {said.size} bytes",
        )


def _expect_one_size(graph: ImageGraph, *, where: str) -> None:
    sizes: dict[Digest, int] = {}
    described = [*graph.metadata]
    for kept in graph.kept:
        described.extend(kept.manifest.blobs)
    for descriptor in described:
        if sizes.setdefault(descriptor.digest, descriptor.size) != descriptor.size:
            raise OciError(
                "an image describes the same blob with two sizes",
                where=where,
                found=str(descriptor.digest),
            )
