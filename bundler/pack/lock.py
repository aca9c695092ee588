"""`airlock.lock`: every image, piece of evidence and trust material of a bundle, by digest.

`pack --locked` fetches by these digests and writes the same statement, and so the same archive,
whatever tags have come to mean. Supplements, and what shows how logs grew, stand in it whole: a log
asked again would give another proof, of a larger tree. For people and their version control:
indented, one field a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import rfc8785

from loader.errors import FormatError, UsageError
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model import strictjson
from loader.model.bundle import SEQUENCE_MAX, BundleStatement, ImageEntry, TrustEntry
from loader.model.entry import HASH_SIZE, int64
from loader.model.fields import Fields, decode_hex, format_instant
from loader.model.growth import LogGrowth
from loader.model.strictjson import JsonObject, JsonValue
from loader.model.supplement import Supplement
from loader.verify.facts import LogTree

LOCK_NAME: Final = "airlock.lock"
SCHEMA: Final = 1
_HEAD_COUNT_MAX: Final = 100_000
_CHANNEL_LENGTH_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a statement says, short of its members: those follow."""

    created: datetime
    channel: str | None
    sequence: int | None
    expires: datetime | None
    images: tuple[ImageEntry, ...]
    trust: tuple[TrustEntry, ...]
    supplements: tuple[bytes, ...] = ()
    """The documents that the images' evidence lists as such."""
    growth: tuple[bytes, ...] = ()
    """The documents that show how logs grew."""
    heads: tuple[LogTree, ...] = ()
    """The newest trees that bundles of this channel brought, this one's among them: the next one
    links to each, and so to whatever a host remembers."""

    @classmethod
    def of(
        cls,
        statement: BundleStatement,
        *,
        supplements: Sequence[bytes] = (),
        growth: Sequence[bytes] = (),
        heads: Sequence[LogTree] = (),
    ) -> Lock:
        """Return the lock that leads to this statement again."""
        return cls(
            created=statement.created,
            channel=statement.channel,
            sequence=statement.sequence,
            expires=statement.expires,
            images=statement.images,
            trust=statement.trust,
            supplements=tuple(supplements),
            growth=tuple(growth),
            heads=tuple(sorted(set(heads))),
        )

    @classmethod
    def parse(cls, raw: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Lock:
        """Return the lock that a file writes.

        Raises:
            UsageError: it is none. The file is the user's own, so nothing is refused but the call.
        """
        try:
            return _parse(raw, limits=limits)
        except FormatError as e:
            raise UsageError(
                "the lock cannot be understood",
                where=e.where or LOCK_NAME,
                found=str(e),
                hint="pack without --locked writes a new one",
            ) from e

    def write(self) -> bytes:
        """Return the file's bytes."""
        document: JsonObject = {
            "schema": SCHEMA,
            "created": format_instant(self.created),
            "channel": self.channel,
            "sequence": self.sequence,
            "expires": None if self.expires is None else format_instant(self.expires),
            "images": [entry.plain() for entry in self.images],
            "trust": [entry.plain() for entry in self.trust],
        }
        if self.supplements:
            document["supplements"] = [_decoded(raw) for raw in self.supplements]
        if self.growth:
            document["growth"] = [_decoded(raw) for raw in self.growth]
        if self.heads:
            document["heads"] = [
                {
                    "log": head.log,
                    "origin": head.origin,
                    "size": str(head.size),
                    "rootHash": head.root_hash.hex(),
                }
                for head in self.heads
            ]
        return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"


def _parse(raw: bytes, *, limits: Limits) -> Lock:
    document = strictjson.parse_object(
        raw, what=LOCK_NAME, size_max=limits.statement_size_max, limits=limits
    )
    fields = Fields(document, "")
    fields.only(
        *("schema", "created", "channel", "sequence", "expires", "images", "trust"),
        *("supplements", "growth", "heads"),
    )
    fields.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
    return Lock(
        created=fields.instant("created"),
        channel=fields.optional_text("channel", length_max=_CHANNEL_LENGTH_MAX),
        sequence=fields.integer("sequence", minimum=1, maximum=SEQUENCE_MAX)
        if fields.has("sequence")
        else None,
        expires=fields.instant("expires") if fields.has("expires") else None,
        images=tuple(
            ImageEntry.parse(item, limits=limits)
            for item in fields.each("images", count_max=limits.image_count_max)
        ),
        trust=tuple(
            TrustEntry.parse(item, limits=limits)
            for item in fields.each("trust", count_max=limits.image_count_max)
        ),
        supplements=tuple(_supplements(fields, limits=limits)),
        growth=tuple(_growth(fields, limits=limits)),
        heads=tuple(_heads(fields)),
    )


def _supplements(fields: Fields, *, limits: Limits) -> Iterator[bytes]:
    if fields.has("supplements"):
        for item in fields.each("supplements", count_max=limits.member_count_max):
            raw = _encoded(item, what="a supplement")
            yield Supplement.parse(raw, where=item.path, limits=limits).raw


def _growth(fields: Fields, *, limits: Limits) -> Iterator[bytes]:
    if fields.has("growth"):
        for item in fields.each("growth", count_max=limits.member_count_max):
            raw = _encoded(item, what="how a log grew")
            yield LogGrowth.parse(raw, where=item.path, limits=limits).raw


def _heads(fields: Fields) -> Iterator[LogTree]:
    if fields.has("heads"):
        for item in fields.each("heads", count_max=_HEAD_COUNT_MAX):
            item.only("log", "origin", "size", "rootHash")
            yield LogTree(
                log=item.text("log", length_max=2 * HASH_SIZE),
                origin=item.text("origin"),
                size=int64(item, "size"),
                root_hash=decode_hex(item.text("rootHash"), where=item.at("rootHash")),
            )


def _encoded(fields: Fields, *, what: str) -> bytes:
    try:
        return rfc8785.dumps(fields.object)
    except rfc8785.CanonicalizationError as e:
        raise FormatError(f"not {what}", where=fields.path) from e


def _decoded(raw: bytes) -> JsonValue:
    return strictjson.parse(raw, what="a supplement", size_max=len(raw))
