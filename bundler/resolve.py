"""From a source to the closed set of documents of its image: indexes, kept manifests, configs.

A tag is asked for once; everything after that goes by digest, so a tag that moves meanwhile changes
nothing. The bytes of every index on the way are kept, whichever platforms are: signatures cover
them. What comes out follows the same rules that the loader reads it back by (`loader.graph`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bundler.errors import RemoteNotFoundError, SourceError
from bundler.registry.client import Document, Repository
from bundler.sources import parse_reference
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import LimitError, OciError, OciPlatformError, shown
from loader.graph import same_platform
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import PlatformManifest
from loader.model.descriptor import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, Descriptor, Platform
from loader.model.image import ImageConfig, ImageIndex, ImageManifest, parse_manifest
from loader.model.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """An image, its documents in the store, its layers but known."""

    reference: Reference
    repository: Repository
    image: Descriptor
    platforms: tuple[PlatformManifest, ...]
    subjects: tuple[Digest, ...]
    """What evidence may speak of: every index on the way, every kept manifest."""
    attestations: tuple[tuple[Descriptor, Digest], ...]
    """BuildKit's entries for what was kept, each with what it says it speaks of."""
    configs: tuple[Descriptor, ...]
    notes: tuple[str, ...]


def top_of(repository: Repository, reference: Reference) -> Document:
    """Return what a registry has under a reference now.

    Raises:
        RemoteNotFoundError: nothing.
        RemoteError: the registry.
    """
    document = (
        repository.tagged(reference.tag)
        if reference.digest is None
        else repository.document(reference.digest)
    )
    if document is None:
        raise RemoteNotFoundError(
            "the registry has no such image",
            where=str(reference),
            hint="a tag that is gone, a misspelt name, or a repository that needs a login",
        )
    return document


def layout_reference(name: str, *, chosen: str | Digest | None, where: str) -> Reference:
    """Return the full reference that a layout knows an image under.

    Raises:
        SourceError: it only knows a tag, or nothing.
    """
    for text in (name, chosen):
        if isinstance(text, str) and "/" in text:
            return parse_reference(text, where=where)
    raise SourceError(
        "the layout does not say the image's full name",
        where=where,
        found=shown(name),
        hint=f"write it in front: registry.example/app:{name or 'tag'}={where}",
    )


def resolve(
    document: Document,
    reference: Reference,
    repository: Repository,
    store: ContentStore,
    *,
    platforms: Sequence[Platform],
    limits: Limits = DEFAULT_LIMITS,
) -> ResolvedImage:
    """Fetch an image's documents down to its configs.

    Args:
        document: the top document, as `top_of` or a layout gave it.
        reference: what the image is packed under.
        repository: where the rest is.
        store: where it goes.
        platforms: those to keep; none means all.
        limits: nesting and counts.

    Raises:
        OciPlatformError: none of the platforms is there.
        RemoteNotFoundError: something that is listed is not.
        FormatError: the image is malformed.
        RemoteError: the registry.
    """
    walk = _Walk(reference, repository, store, platforms=platforms, limits=limits)
    return walk.run(document)


class _Walk:
    """One image's walk; see `resolve`."""

    def __init__(
        self,
        reference: Reference,
        repository: Repository,
        store: ContentStore,
        *,
        platforms: Sequence[Platform],
        limits: Limits,
    ) -> None:
        self._reference = reference
        self._where = str(reference)
        self._repository = repository
        self._store = store
        self._wanted = platforms
        self._limits = limits
        self._indexes: dict[Digest, ImageIndex] = {}
        self._leaves: dict[Digest, Descriptor] = {}
        self._manifests: dict[Digest, ImageIndex | ImageManifest] = {}
        self._notes: list[str] = []

    def run(self, document: Document) -> ResolvedImage:
        top = parse_manifest(
            document.raw, document.descriptor, where=self._where, limits=self._limits
        )
        self._store.put(document.raw)
        if isinstance(top, ImageManifest):
            kept = self._single(top)
            leaves: Sequence[Descriptor] = (top.descriptor,)
        else:
            self._down(top)
            kept = self._select()
            leaves = [item.manifest for item in kept] or list(self._leaves.values())
        documents = {top.descriptor.digest: top} | self._manifests
        configs = [
            manifest.config
            for leaf in leaves
            if isinstance(manifest := documents[leaf.digest], ImageManifest)
        ]
        subjects = (*self._indexes, *(leaf.digest for leaf in leaves))
        return ResolvedImage(
            reference=self._reference,
            repository=self._repository,
            image=document.descriptor,
            platforms=kept,
            subjects=subjects,
            attestations=tuple(self._attestations(set(subjects))),
            configs=tuple(configs),
            notes=tuple(self._notes),
        )

    def _down(self, top: ImageIndex) -> None:
        level = [top]
        for _ in range(self._limits.index_nesting_max):
            below: list[ImageIndex] = []
            for index in level:
                self._indexes[index.descriptor.digest] = index
                below.extend(self._open(index))
            if not below:
                return
            level = below
        raise LimitError(
            "indexes are nested too deeply",
            where=self._where,
            expected=f"at most {self._limits.index_nesting_max} levels",
        )

    def _open(self, index: ImageIndex) -> Iterator[ImageIndex]:
        for descriptor in index.platform_manifests:
            if descriptor.media_type in MANIFEST_MEDIA_TYPES:
                self._leaves.setdefault(descriptor.digest, descriptor)
            elif descriptor.media_type not in INDEX_MEDIA_TYPES:
                raise OciError(
                    "an index lists something that is neither index nor manifest",
                    where=self._where,
                    found=shown(descriptor.media_type),
                )
            elif descriptor.digest not in self._indexes:
                nested = self._document(descriptor)
                if isinstance(nested, ImageIndex):
                    yield nested
        if len(self._leaves) > self._limits.image_descriptor_count_max:
            raise LimitError(
                "an image lists too many manifests",
                where=self._where,
                expected=f"at most {self._limits.image_descriptor_count_max}",
            )

    def _select(self) -> tuple[PlatformManifest, ...]:
        kept: list[PlatformManifest] = []
        others = 0
        for leaf in self._leaves.values():
            if leaf.platform is not None and not self._asked_for(leaf.platform):
                continue
            manifest = self._document(leaf)
            if not isinstance(manifest, ImageManifest) or not manifest.is_container_image:
                others += 1
                continue
            platform = leaf.platform or self._config(manifest).platform
            if self._asked_for(platform):
                kept.append(PlatformManifest(platform=platform, manifest=_bare(leaf)))
        if not kept and others == len(self._leaves):
            return ()  # an index of other artifacts is carried whole
        if others:
            self._notes.append(
                f"{others} entries of the index are no container images: not judged, nor packed"
            )
        self._expect_found([item.platform for item in kept])
        return tuple(kept)

    def _single(self, manifest: ImageManifest) -> tuple[PlatformManifest, ...]:
        if not manifest.is_container_image:
            return ()
        platform = self._config(manifest).platform
        if not self._asked_for(platform):
            self._expect_found([], there=[platform])
        return (PlatformManifest(platform=platform, manifest=_bare(manifest.descriptor)),)

    def _asked_for(self, platform: Platform) -> bool:
        return not self._wanted or any(_matches(wanted, platform) for wanted in self._wanted)

    def _expect_found(
        self, kept: Sequence[Platform], *, there: Sequence[Platform] | None = None
    ) -> None:
        missing = [w for w in self._wanted if not any(_matches(w, platform) for platform in kept)]
        if there is None:
            there = [leaf.platform for leaf in self._leaves.values() if leaf.platform is not None]
        if not kept:
            raise OciPlatformError(
                "the image has none of the platforms asked for",
                where=self._where,
                expected=", ".join(map(str, self._wanted)) or "at least one platform",
                found=", ".join(sorted(map(str, there))[:20]) or "none",
            )
        self._notes.extend(f"has no {platform}" for platform in missing)

    def _attestations(self, subjects: set[Digest]) -> Iterator[tuple[Descriptor, Digest]]:
        for index in self._indexes.values():
            for descriptor, subject in index.attestation_manifests:
                if subject is not None and subject in subjects:
                    yield descriptor, subject

    def _document(self, descriptor: Descriptor) -> ImageIndex | ImageManifest:
        """Fetch what an index lists; its description there is what it is read by."""
        document = self._repository.document(descriptor.digest)
        if document is None:
            raise RemoteNotFoundError(
                "a manifest is listed and not there",
                where=f"{self._repository.name}@{descriptor.digest}",
                hint=f"{self._where} lists it; -p chooses platforms that are there",
            )
        where = f"{self._where} {descriptor.digest.short}"
        descriptor.check(document.raw, what=where)
        parsed = parse_manifest(document.raw, descriptor, where=where, limits=self._limits)
        self._store.put(document.raw)
        self._manifests[descriptor.digest] = parsed
        return parsed

    def _config(self, manifest: ImageManifest) -> ImageConfig:
        descriptor = manifest.config
        where = f"{self._where} {descriptor.digest.short}"
        if descriptor.size > self._limits.document_size_max:
            raise LimitError(
                "a config is too large",
                where=where,
                expected=f"at most {self._limits.document_size_max} bytes",
            )
        self._store.fill(
            descriptor, lambda offset: self._repository.blob(descriptor, offset), where=where
        )
        raw = self._store.read(descriptor, where=where, size_max=self._limits.document_size_max)
        return ImageConfig.parse(raw, descriptor, where=where, limits=self._limits)


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )


def _matches(wanted: Platform, platform: Platform) -> bool:
    """Tell whether a platform is one that was asked for; no variant asked for means any."""
    if not wanted.variant:
        return (wanted.os, wanted.architecture) == (platform.os, platform.architecture)
    return same_platform(wanted, platform)
