"""OCI descriptors and platforms (image-spec 1.1, descriptor.md and image-index.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NewType

from loader.digest import Digest
from loader.errors import DigestError, OciError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import Fields, decode_base64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.limits import Limits
    from loader.model.strictjson import JsonObject, JsonValue

MediaType = NewType("MediaType", str)

OCI_INDEX: Final = MediaType("application/vnd.oci.image.index.v1+json")
OCI_MANIFEST: Final = MediaType("application/vnd.oci.image.manifest.v1+json")
OCI_CONFIG: Final = MediaType("application/vnd.oci.image.config.v1+json")
OCI_EMPTY: Final = MediaType("application/vnd.oci.empty.v1+json")
DOCKER_INDEX: Final = MediaType("application/vnd.docker.distribution.manifest.list.v2+json")
DOCKER_MANIFEST: Final = MediaType("application/vnd.docker.distribution.manifest.v2+json")
DOCKER_CONFIG: Final = MediaType("application/vnd.docker.container.image.v1+json")

INDEX_MEDIA_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_MEDIA_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_MEDIA_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)
_MEDIA_TYPE_PARAMETERS: Final = re.compile(r"(?:; ?[A-Za-z0-9_.-]+=[A-Za-z0-9_.+-]+){0,4}")
_PLATFORM_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse_media_type(text: str, *, where: str) -> MediaType:
    """Return a media type (RFC 6838 §4.2 names, with simple parameters).

    Raises:
        OciError: anything else.
    """
    kind, semicolon, parameters = text.partition(";")
    if (
        _MEDIA_TYPE.fullmatch(kind) is None
        or _MEDIA_TYPE_PARAMETERS.fullmatch(semicolon + parameters) is None
    ):
        raise OciError("not a media type", where=where, found=shown(text))
    return MediaType(text)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Platform:
    """What a manifest of an index is built for; written `os/architecture[/variant]`."""

    os: str
    architecture: str
    variant: str = ""

    def __post_init__(self) -> None:
        for part in (self.os, self.architecture, self.variant or "x"):
            if _PLATFORM_PART.fullmatch(part) is None:
                raise OciError(
                    "not a platform", expected="os/architecture[/variant]", found=shown(part)
                )

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that `os/architecture[/variant]` writes.

        Raises:
            OciError: anything else.
        """
        parts = text.split("/")
        if len(parts) not in {2, 3}:
            raise OciError(
                "not a platform", expected="os/architecture[/variant]", found=shown(text)
            )
        return cls(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else "")  # noqa: PLR2004

    @classmethod
    def from_fields(cls, fields: Fields) -> Platform:
        """Return the platform of a descriptor or config; `os.version` and features are ignored.

        Raises:
            JsonFieldError, OciError: a part is missing or malformed.
        """
        return cls(
            os=fields.text("os", length_max=64),
            architecture=fields.text("architecture", length_max=64),
            variant=fields.text_or_empty("variant", length_max=64),
        )

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a blob is, how long, with which digest. Annotations and artifact type are but hints."""

    media_type: MediaType
    digest: Digest
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @classmethod
    def make(cls, media_type: str, raw: bytes) -> Descriptor:
        """Return the descriptor of these bytes."""
        return cls(media_type=MediaType(media_type), digest=Digest.of(raw), size=len(raw))

    @classmethod
    def parse(
        cls, value: JsonValue | Fields, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> Descriptor:
        """Return a descriptor.

        `urls` are refused: a runtime that follows them fetches from the network, and prefers that
        to the blob at hand (THREATS T14). `data` must be what the digest says, and is never read
        as content (T15). Other unknown fields are ignored, as the specification asks.

        Raises:
            JsonFieldError, OciError, LimitError: it is malformed.
        """
        fields = value if isinstance(value, Fields) else Fields(value, where)
        if fields.object.get("urls") not in (None, []):
            raise OciError(
                "a descriptor asks to be fetched from elsewhere", where=fields.at("urls")
            )
        descriptor = cls(
            media_type=parse_media_type(fields.text("mediaType"), where=fields.at("mediaType")),
            digest=fields.digest("digest"),
            size=fields.integer("size"),
            artifact_type=fields.optional_text("artifactType", length_max=255) or "",
            annotations=fields.text_map("annotations", count_max=limits.annotation_count_max),
            platform=_platform(fields),
        )
        if fields.has("data"):
            _agree(
                descriptor,
                fields.text("data", length_max=limits.document_size_max),
                where=fields.at("data"),
            )
        return descriptor

    def check(self, raw: bytes, *, what: str = "a blob") -> bytes:
        """Return the bytes if they are the ones described.

        Raises:
            DigestError: another size or digest.
        """
        if len(raw) != self.size:
            raise DigestError(
                f"{what} has another size", expected=f"{self.size} bytes", found=f"{len(raw)} bytes"
            )
        found = Digest.of(raw)
        if found != self.digest:
            raise DigestError(
                f"{what} has another digest", expected=str(self.digest), found=str(found)
            )
        return raw

    def plain(self) -> JsonObject:
        """Return what identifies the blob, as an OCI descriptor's three mandatory fields."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}


def _platform(fields: Fields) -> Platform | None:
    platform = fields.optional_fields("platform")
    return None if platform is None else Platform.from_fields(platform)


def _agree(descriptor: Descriptor, data: str, *, where: str) -> None:
    raw = decode_base64(data, where=where)
    if len(raw) != descriptor.size or Digest.of(raw) != descriptor.digest:
        raise OciError("embedded data contradicts its descriptor's digest", where=where)
