"""`airlock.lock`: every image, piece of evidence and trust material of a bundle, by digest.

`pack --locked` fetches by these digests and writes the same statement, and so the same archive,
whatever tags have come to mean. For people and their version control: indented, one field a line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loader.errors import FormatError, UsageError
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model import strictjson
from loader.model.bundle import SEQUENCE_MAX, BundleStatement, ImageEntry, TrustEntry
from loader.model.fields import Fields, format_instant
from loader.model.strictjson import JsonObject

LOCK_NAME: Final = "airlock.lock"
SCHEMA: Final = 1
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

    @classmethod
    def of(cls, statement: BundleStatement) -> Lock:
        """Return the lock that leads to this statement again."""
        return cls(
            created=statement.created,
            channel=statement.channel,
            sequence=statement.sequence,
            expires=statement.expires,
            images=statement.images,
            trust=statement.trust,
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
        return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"


def _parse(raw: bytes, *, limits: Limits) -> Lock:
    document = strictjson.parse_object(
        raw, what=LOCK_NAME, size_max=limits.statement_size_max, limits=limits
    )
    fields = Fields(document, "")
    fields.only("schema", "created", "channel", "sequence", "expires", "images", "trust")
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
    )
