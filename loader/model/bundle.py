"""The bundle statement, `airlock.json`: what one archive holds, member by member (docs/format.md).

Everything behind the statement is compared with it, not interpreted: names, sizes and digests are
known before the first of them is read. `oci-layout` and `index.json` say nothing of their own:
both follow from the statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import rfc8785

from loader.digest import Digest
from loader.errors import (
    FormatError,
    JsonError,
    LimitError,
    PathError,
    UnsupportedVersionError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.descriptor import OCI_INDEX
from loader.model.entries import (
    SIZE_MAX,
    EvidenceEntry,
    ImageEntry,
    PlatformManifest,
    Store,
    TrustEntry,
    TrustKind,
)
from loader.model.fields import Fields, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from loader.limits import Limits
    from loader.model.descriptor import Descriptor
    from loader.model.strictjson import JsonObject, JsonValue

__all__ = [
    "BlobSource",
    "BundleStatement",
    "EvidenceEntry",
    "ImageEntry",
    "Member",
    "PlatformManifest",
    "Store",
    "TrustEntry",
    "TrustKind",
    "blob_name",
    "layout_index",
]

SCHEMA: Final = 1
STATEMENT_NAME: Final = "airlock.json"
LAYOUT_NAME: Final = "oci-layout"
LAYOUT_INDEX_NAME: Final = "index.json"
LAYOUT_BYTES: Final = b'{"imageLayoutVersion":"1.0.0"}'
REFERENCE_ANNOTATION: Final = "org.opencontainers.image.ref.name"
SEQUENCE_MAX: Final = SIZE_MAX
_UNLISTED: Final = frozenset({"buildkit", "supplement"})
"""Evidence that `index.json` leaves out: an index lists it itself, or it is no manifest."""

_CHANNEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)


class BlobSource(Protocol):
    """Whoever can give a blob's bytes; they have the digest and size that were asked for."""

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return the blob.

        Raises:
            MissingError: it is not there.
            LimitError: it is larger than `size_max`.
            DigestError: its size or digest is another.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One regular file of the archive."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleStatement:
    """What one archive holds. `raw` is what signatures cover; the rest is a view of it."""

    raw: bytes
    created: datetime
    channel: str | None
    sequence: int | None
    expires: datetime | None
    images: tuple[ImageEntry, ...]
    trust: tuple[TrustEntry, ...]
    metadata: tuple[Member, ...]
    """`oci-layout`, `index.json`, then trust material, manifests, configs and evidence."""
    layers: tuple[Member, ...]

    @property
    def digest(self) -> Digest:
        """The bundle's own digest: what two people compare."""
        return Digest.of(self.raw)

    @property
    def members(self) -> tuple[Member, ...]:
        """Everything behind the statement's signatures, in order."""
        return self.metadata + self.layers

    @classmethod
    def parse(cls, raw: bytes, *, limits: Limits = DEFAULT_LIMITS) -> BundleStatement:
        """Return the statement that these bytes write: canonical JSON, no unknown fields.

        Raises:
            UnsupportedVersionError: a later version of the format.
            FormatError: anything else that this version does not hold.
        """
        document = strictjson.parse_object(
            raw, what=STATEMENT_NAME, size_max=limits.statement_size_max, limits=limits
        )
        fields = Fields(document, "")
        _expect_schema(fields)
        fields.only(
            "schema",
            "created",
            "channel",
            "sequence",
            "expires",
            "base",
            "images",
            "trust",
            "members",
            "totals",
        )
        channel, sequence = _channel(fields)
        if fields.value("base") is not None:
            raise UnsupportedVersionError(
                "a bundle that builds on another one",
                where="base",
                hint="this needs a newer loader",
            )
        metadata, layers = _members(fields, limits=limits)
        statement = cls(
            raw=raw,
            created=fields.instant("created"),
            channel=channel,
            sequence=sequence,
            expires=fields.instant("expires") if fields.has("expires") else None,
            images=tuple(
                ImageEntry.parse(item, limits=limits)
                for item in fields.each("images", count_max=limits.image_count_max)
            ),
            trust=tuple(
                TrustEntry.parse(item, limits=limits)
                for item in fields.each("trust", count_max=1024)
            ),
            metadata=metadata,
            layers=layers,
        )
        # Lets go of the decoded form first: a long statement is in memory often enough.
        del document, fields
        if not _writes(statement, raw):
            raise JsonError(
                "the statement is not canonical JSON", where=STATEMENT_NAME, expected="RFC 8785"
            )
        _expect_derived(statement)
        return statement

    @classmethod
    def make(
        cls,
        *,
        created: datetime,
        channel: str | None,
        sequence: int | None,
        expires: datetime | None,
        images: Sequence[ImageEntry],
        trust: Sequence[TrustEntry],
        metadata: Sequence[Descriptor],
        layers: Sequence[Descriptor],
    ) -> BundleStatement:
        """Return the statement of a bundle that holds these blobs, in this order, each once.

        Raises:
            FormatError: a loader would refuse it.
        """
        index = layout_index(images)
        derived = [
            Member(name=LAYOUT_NAME, size=len(LAYOUT_BYTES), digest=Digest.of(LAYOUT_BYTES)),
            Member(name=LAYOUT_INDEX_NAME, size=len(index), digest=Digest.of(index)),
        ]
        draft = cls(
            raw=b"",
            created=created,
            channel=channel,
            sequence=sequence,
            expires=expires,
            images=tuple(images),
            trust=tuple(trust),
            metadata=(*derived, *(_blob(d) for d in metadata)),
            layers=tuple(_blob(d) for d in layers),
        )
        return cls.parse(b"".join(_canonical(draft)))


def blob_name(digest: Digest) -> str:
    """Return the name of a blob's member."""
    return f"blobs/sha256/{digest.hex}"


def _blob(descriptor: Descriptor) -> Member:
    return Member(name=blob_name(descriptor.digest), size=descriptor.size, digest=descriptor.digest)


def layout_index(images: Sequence[ImageEntry]) -> bytes:
    """Return the `index.json` of these images: each under its reference, then all evidence."""
    manifests: list[JsonValue] = [
        entry.image.plain() | {"annotations": {REFERENCE_ANNOTATION: str(entry.reference)}}
        for entry in images
    ]
    seen = {entry.image.digest for entry in images}
    for entry in images:
        for evidence in entry.evidence:
            if evidence.store not in _UNLISTED and evidence.manifest.digest not in seen:
                seen.add(evidence.manifest.digest)
                manifests.append(evidence.manifest.plain())
    return _dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def _dumps(document: JsonObject) -> bytes:
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as e:
        raise LimitError(
            "a number that canonical JSON cannot write", expected=f"at most {SEQUENCE_MAX}"
        ) from e


def _writes(statement: BundleStatement, raw: bytes) -> bool:
    """Tell whether these bytes are the statement's canonical form, without making another copy."""
    at = 0
    for piece in _canonical(statement):
        if not raw.startswith(piece, at):
            return False
        at += len(piece)
    return at == len(raw)


def _canonical(statement: BundleStatement) -> Iterator[bytes]:
    """Write the statement as RFC 8785 does, in pieces.

    Members are written here: there may be 200,000 of them, and nothing in their three fields needs
    an escape. `"members":[]` stands nowhere else: within strings quotes are escaped.
    """
    document: JsonObject = {
        "schema": SCHEMA,
        "created": format_instant(statement.created),
        "channel": statement.channel,
        "sequence": statement.sequence,
        "expires": None if statement.expires is None else format_instant(statement.expires),
        "base": None,
        "images": [entry.plain() for entry in statement.images],
        "trust": [entry.plain() for entry in statement.trust],
        "members": [],
        "totals": {"metadata": _total(statement.metadata), "layers": _total(statement.layers)},
    }
    head, opening, tail = _dumps(document).partition(b'"members":[')
    yield head + opening
    for position, member in enumerate(statement.members):
        comma = "," if position else ""
        fields = f'"name":"{member.name}","sha256":"{member.digest.hex}","size":{member.size}'
        yield f"{comma}{{{fields}}}".encode()
    yield tail


def _total(members: Sequence[Member]) -> JsonObject:
    return {"count": len(members), "size": sum(member.size for member in members)}


def _expect_schema(fields: Fields) -> None:
    schema = fields.value("schema")
    if schema is SCHEMA or (
        isinstance(schema, int) and not isinstance(schema, bool) and schema == SCHEMA
    ):
        return
    newer = isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA
    raise UnsupportedVersionError(
        "a bundle of a version that this loader does not know",
        where="schema",
        expected=str(SCHEMA),
        found=shown(schema, limit=40),
        hint="a newer loader is needed" if newer else "",
    )


def _channel(fields: Fields) -> tuple[str | None, int | None]:
    channel = fields.optional_text("channel", length_max=64)
    if channel is None and not fields.has("sequence"):
        fields.value("channel"), fields.value("sequence")
        return None, None
    if channel is None or _CHANNEL.fullmatch(channel) is None:
        raise FormatError(
            "not a channel's name", where="channel", expected=_CHANNEL.pattern, found=shown(channel)
        )
    return channel, fields.integer("sequence", minimum=1, maximum=SEQUENCE_MAX)


def _members(fields: Fields, *, limits: Limits) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    members = tuple(
        _member(item) for item in fields.each("members", count_max=limits.member_count_max)
    )
    if len({member.name for member in members}) != len(members):
        raise PathError("a member is announced twice", where="members")
    totals = fields.fields("totals")
    totals.only("metadata", "layers")
    count = totals.fields("metadata").integer("count", maximum=len(members))
    parts = members[:count], members[count:]
    for name, part in zip(("metadata", "layers"), parts, strict=True):
        total = totals.fields(name)
        total.only("count", "size")
        size = sum(member.size for member in part)
        if (total.integer("count"), total.integer("size", maximum=SEQUENCE_MAX)) != (
            len(part),
            size,
        ):
            raise FormatError(
                "the totals do not add up",
                where=total.path,
                expected=f"{len(part)} members of {size} bytes",
            )
    return parts


def _member(fields: Fields) -> Member:
    fields.only("name", "size", "sha256")
    name, digest = (
        fields.text("name", length_max=255),
        Digest.parse("sha256:" + fields.text("sha256"), where=fields.path),
    )
    if name not in {LAYOUT_NAME, LAYOUT_INDEX_NAME} and name != blob_name(digest):
        raise PathError(
            "not a member's name",
            where=fields.at("name"),
            expected=blob_name(digest),
            found=shown(name),
        )
    return Member(name=name, size=fields.integer("size", maximum=SEQUENCE_MAX), digest=digest)


def _expect_derived(statement: BundleStatement) -> None:
    """Check that the two members which OCI tools read first say what the statement implies."""
    index = layout_index(statement.images)
    expected = ((LAYOUT_NAME, LAYOUT_BYTES), (LAYOUT_INDEX_NAME, index))
    for position, (name, raw) in enumerate(expected):
        member = statement.metadata[position] if position < len(statement.metadata) else None
        if member != Member(name=name, size=len(raw), digest=Digest.of(raw)):
            raise FormatError(
                f"{name} is not what the statement implies", where=f"members[{position}]"
            )
    if any(member.name in {LAYOUT_NAME, LAYOUT_INDEX_NAME} for member in statement.members[2:]):
        raise PathError("a member stands at another place than the format's", where="members")
