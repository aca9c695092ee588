"""Image indexes, manifests and configs (OCI image-spec 1.1; Docker image manifest v2, schema 2).

The raw bytes are the identity, the parsed form a view of them. Key sets of index and manifest are
exclusive, and a `mediaType` inside must be the one that led here: one document must not be read as
two things (CVE-2021-41190).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import JsonFieldError, OciError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.descriptor import (
    CONFIG_MEDIA_TYPES,
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    Descriptor,
    Platform,
)
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.limits import Limits

SCHEMA_VERSION: Final = 2
ATTESTATION_MANIFEST: Final = "attestation-manifest"
"""Value of `vnd.docker.reference.type` on BuildKit's attestation manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """An image index or Docker manifest list."""

    raw: bytes
    descriptor: Descriptor
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @classmethod
    def parse(
        cls, raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> ImageIndex:
        """Return the index that these bytes write; `descriptor` was compared with them already.

        Raises:
            FormatError: it is not one, or could be read as something else too.
        """
        fields = _open(
            raw, descriptor, where=where, limits=limits, foreign=("config", "layers", "fsLayers")
        )
        return cls(
            raw=raw,
            descriptor=descriptor,
            manifests=tuple(
                Descriptor.parse(item, where=item.path, limits=limits)
                for item in fields.each("manifests", count_max=limits.image_descriptor_count_max)
            ),
            annotations=fields.text_map("annotations", count_max=limits.annotation_count_max),
            artifact_type=fields.optional_text("artifactType", length_max=255) or "",
        )

    @property
    def platform_manifests(self) -> tuple[Descriptor, ...]:
        """The manifests that are images of a platform: not BuildKit's attestations."""
        return tuple(d for d in self.manifests if not is_attestation_entry(d))

    @property
    def attestation_manifests(self) -> tuple[tuple[Descriptor, Digest | None], ...]:
        """BuildKit's attestation manifests, each with the digest it says it speaks of."""
        return tuple((d, _referred(d)) for d in self.manifests if is_attestation_entry(d))


def is_attestation_entry(descriptor: Descriptor) -> bool:
    """Tell whether an index's entry is one of BuildKit's attestation manifests."""
    return descriptor.annotations.get("vnd.docker.reference.type") == ATTESTATION_MANIFEST


def _referred(descriptor: Descriptor) -> Digest | None:
    text = descriptor.annotations.get("vnd.docker.reference.digest")
    return None if text is None else Digest.parse(text, where="vnd.docker.reference.digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An image manifest: of a container image, or of any other artifact."""

    raw: bytes
    descriptor: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> ImageManifest:
        """Return the manifest that these bytes write; `descriptor` was compared with them already.

        Raises:
            FormatError: it is not one, or could be read as something else too.
        """
        fields = _open(
            raw, descriptor, where=where, limits=limits, foreign=("manifests", "fsLayers", "blobs")
        )
        subject = fields.optional_fields("subject")
        return cls(
            raw=raw,
            descriptor=descriptor,
            config=Descriptor.parse(
                fields.fields("config"), where=fields.at("config"), limits=limits
            ),
            layers=tuple(
                Descriptor.parse(item, where=item.path, limits=limits)
                for item in fields.each("layers", count_max=limits.layer_count_max)
            ),
            subject=None
            if subject is None
            else Descriptor.parse(subject, where=subject.path, limits=limits),
            artifact_type=fields.optional_text("artifactType", length_max=255) or "",
            annotations=fields.text_map("annotations", count_max=limits.annotation_count_max),
        )

    @property
    def is_container_image(self) -> bool:
        """Whether a runtime can run it: its config is an image config."""
        return self.config.media_type in CONFIG_MEDIA_TYPES and not self.artifact_type

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers."""
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What of a config we rely on: its platform, the digests of its layers once decompressed."""

    raw: bytes
    descriptor: Descriptor
    platform: Platform
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(
        cls, raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> ImageConfig:
        """Return the config that these bytes write (image-spec config.md).

        Raises:
            FormatError: it is not one.
        """
        document = strictjson.parse_object(
            raw,
            what=where,
            size_max=limits.document_size_max,
            keys="exact",
            numbers="any",
            limits=limits,
        )
        fields = Fields(document, where)
        rootfs = fields.fields("rootfs")
        if rootfs.text("type") != "layers":
            raise OciError(
                "an image config of another kind", where=rootfs.at("type"), expected="layers"
            )
        diff_ids: list[Digest] = []
        for position, item in enumerate(rootfs.items("diff_ids", count_max=limits.layer_count_max)):
            path = f"{rootfs.at('diff_ids')}[{position}]"
            if not isinstance(item, str):
                raise JsonFieldError("not a string", where=path)
            diff_ids.append(Digest.parse(item, where=path))
        return cls(
            raw=raw,
            descriptor=descriptor,
            platform=Platform.from_fields(fields),
            diff_ids=tuple(diff_ids),
        )


def _open(
    raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits, foreign: tuple[str, ...]
) -> Fields:
    document = strictjson.parse_object(
        raw, what=where, size_max=limits.document_size_max, limits=limits
    )
    fields = Fields(document, where)
    if fields.integer("schemaVersion") != SCHEMA_VERSION:
        raise OciError(
            "another schema version", where=fields.at("schemaVersion"), expected=str(SCHEMA_VERSION)
        )
    if fields.has("mediaType") and fields.text("mediaType") != descriptor.media_type:
        raise OciError(
            "a document says that it is something else than its descriptor does",
            where=fields.at("mediaType"),
            expected=descriptor.media_type,
            found=shown(document["mediaType"]),
        )
    for name in foreign:
        if name in document:
            raise OciError("a document that could be read as two kinds", where=fields.at(name))
    return fields


def parse_manifest(
    raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
) -> ImageIndex | ImageManifest:
    """Return the index or manifest that `descriptor` announces.

    Raises:
        OciError: its media type is neither.
        FormatError: it is malformed.
    """
    if descriptor.media_type in INDEX_MEDIA_TYPES:
        return ImageIndex.parse(raw, descriptor, where=where, limits=limits)
    if descriptor.media_type in MANIFEST_MEDIA_TYPES:
        return ImageManifest.parse(raw, descriptor, where=where, limits=limits)
    raise OciError(
        "neither an image index nor an image manifest",
        where=where,
        found=shown(descriptor.media_type),
    )
