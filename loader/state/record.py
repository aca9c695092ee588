"""One attempt, as the ledger keeps it: what came, what was decided, over which evidence.

The bytes of a record are canonical JSON, and its hash covers them; each names the hash of the one
before. The signature of the host's key, where the host has one, stands beside the record and covers
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import rfc8785

from loader.digest import Digest
from loader.model.fields import format_instant

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject

SCHEMA: Final = 1
NO_RECORD: Final = Digest("0" * 64)
"""What the first record names as the one before."""

Outcome = Literal["begun", "loaded", "already-there", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why it ended otherwise than asked."""

    code: str
    message: str
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedImage:
    """One image of the attempt. Text that came with the bundle is escaped when it is shown."""

    name: str
    """The vouched name, with its tag."""
    packed_as: str
    image: Digest
    evidence: tuple[Digest, ...] = ()
    """The pieces of evidence that met a requirement."""
    at: datetime | None = None
    """Their newest verified time."""
    what: str = ""
    """What the runtime did: loaded, already-there; empty where it was not asked."""
    read_back: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What was tried and what came of it; null or empty is what it did not get to."""

    verb: Literal["load", "begin"]
    outcome: Outcome
    at: datetime
    """By the local clock, which nothing relies on."""
    loader: str
    archive: str = ""
    target: str = ""
    statement: Digest | None = None
    created: datetime | None = None
    channel: str | None = None
    sequence: int | None = None
    policy: Digest | None = None
    anchors: tuple[tuple[str, Digest], ...] = ()
    time: datetime | None = None
    """Newest verified time in the bundle."""
    images: tuple[AttemptedImage, ...] = ()
    exceptions: tuple[str, ...] = ()
    downgrade: str | None = None
    """The operator's reason, where `--allow-downgrade` was needed and given."""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None

    def encode(self, *, number: int, previous: Digest, floors: Digest) -> bytes:
        """Return the record's bytes at its place in the chain."""
        document: JsonObject = {
            "schema": SCHEMA,
            "number": number,
            "previous": str(previous),
            "floors": str(floors),
            "verb": self.verb,
            "outcome": self.outcome,
            "at": format_instant(self.at),
            "loader": self.loader,
            "archive": self.archive,
            "target": self.target,
            "statement": _text(self.statement),
            "created": _time(self.created),
            "channel": self.channel,
            "sequence": self.sequence,
            "policy": _text(self.policy),
            "anchors": [{"name": name, "digest": str(digest)} for name, digest in self.anchors],
            "time": _time(self.time),
            "images": [_image(image) for image in self.images],
            "exceptions": list(self.exceptions),
            "downgrade": self.downgrade,
            "warnings": list(self.warnings),
            "failure": None
            if self.failure is None
            else {
                "code": self.failure.code,
                "message": self.failure.message,
                "where": self.failure.where,
            },
        }
        return rfc8785.dumps(document)


def _image(image: AttemptedImage) -> JsonObject:
    return {
        "name": image.name,
        "packed_as": image.packed_as,
        "image": str(image.image),
        "evidence": [str(digest) for digest in image.evidence],
        "at": _time(image.at),
        "what": image.what,
        "read_back": [{"what": what, "value": value} for what, value in image.read_back],
    }


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _time(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)
