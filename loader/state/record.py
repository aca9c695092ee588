"""One attempt, as the ledger keeps it: what came, what was decided, over which evidence.

The bytes of a record are canonical JSON, and its hash covers them; each names the hash of the one
before, and the key that signed it. The signature stands beside the record and covers the same
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self, get_args

import rfc8785

from loader.digest import Digest
from loader.errors import FormatError, StateError, shown
from loader.limits import MIB, STATE_LIMITS
from loader.model import strictjson
from loader.model.bundle import SEQUENCE_MAX
from loader.model.fields import Fields, format_instant
from loader.trust.root_change import RootChange

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject

SCHEMA: Final = 1
NO_RECORD: Final = Digest("0" * 64)
"""What the first record names as the one before."""
RECORD_SIZE_MAX: Final = 64 * MIB
_COUNT_MAX: Final = 1_000_000

Verb = Literal[
    "begin", "load", "recover", "prune", "policy-accept", "import-log-index", "trust-import"
]
"""What was asked for; `begin` is the first record of every ledger."""
Outcome = Literal["begun", "loaded", "already-there", "refused", "failed", "done"]
"""`done` is for what loads nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why it ended otherwise than asked."""

    code: str
    message: str
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedClaim:
    """One requirement of the policy that was met, and by whom."""

    words: str
    who: tuple[str, ...] = ()
    at: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedImage:
    """One image of the attempt. Text that came with the bundle is escaped when it is shown."""

    name: str
    """The vouched name, with its tag."""
    packed_as: str
    image: Digest
    evidence: tuple[Digest, ...] = ()
    """The pieces of evidence that met a requirement."""
    claims: tuple[AttemptedClaim, ...] = ()
    at: datetime | None = None
    """Their newest verified time."""
    what: str = ""
    """What the runtime did: loaded, already-there; empty where it was not asked."""
    manifests: tuple[Digest, ...] = ()
    """The platforms' manifests that went to the runtime."""
    brought: tuple[str, ...] = ()
    """What the runtime did not have before, in its own words: what `prune` may ever remove."""
    read_back: tuple[tuple[str, str], ...] = ()

    def is_known_as(self, wanted: str) -> bool:
        """Tell whether somebody means this image by a name, a repository, or any of its digests."""
        repository = self.name.rpartition(":")[0]
        digests = {str(self.image), *map(str, self.manifests)}
        digests |= {value for _, value in self.read_back}
        return wanted in {self.name, repository, self.packed_as, *digests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What was tried and what came of it; null or empty is what it did not get to."""

    verb: Verb
    outcome: Outcome
    at: datetime
    """By the local clock, which nothing relies on."""
    loader: str
    archive: str = ""
    target: str = ""
    statement: Digest | None = None
    signatures: tuple[Digest, ...] = ()
    """The statement's signatures, as they came: with the statement, what is judged again later."""
    created: datetime | None = None
    channel: str | None = None
    sequence: int | None = None
    policy: Digest | None = None
    variables: tuple[tuple[str, str], ...] = ()
    """Those of the run (`--var`) that the policy was filled with: what it is judged by again."""
    anchors: tuple[tuple[str, Digest], ...] = ()
    trust: tuple[RootChange, ...] = ()
    """How repositories of trust material moved on with it: whose keys were taken and given up."""
    time: datetime | None = None
    """Newest verified time in the bundle."""
    images: tuple[AttemptedImage, ...] = ()
    exceptions: tuple[str, ...] = ()
    downgrade: str | None = None
    """The operator's reason, where `--allow-downgrade` was needed and given."""
    downgrades: tuple[str, ...] = ()
    """What was older than before, in words."""
    reason: str | None = None
    """The operator's reason for anything else that wants one."""
    notes: tuple[str, ...] = ()
    """What was done, in words; of a load what time was taken for now, how old that made each
    anchor, and how logs stood."""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None

    def encode(
        self, *, number: int, previous: Digest, floors: Digest, key: Digest | None = None
    ) -> bytes:
        """Return the record's bytes at its place in the chain."""
        document: JsonObject = {
            "schema": SCHEMA,
            "number": number,
            "previous": str(previous),
            "floors": str(floors),
            "key": _text(key),
            "verb": self.verb,
            "outcome": self.outcome,
            "at": format_instant(self.at),
            "loader": self.loader,
            "archive": self.archive,
            "target": self.target,
            "statement": _text(self.statement),
            "signatures": [str(digest) for digest in self.signatures],
            "created": _time(self.created),
            "channel": self.channel,
            "sequence": self.sequence,
            "policy": _text(self.policy),
            "variables": [{"name": name, "value": value} for name, value in self.variables],
            "anchors": [{"name": name, "digest": str(digest)} for name, digest in self.anchors],
            "trust": [change.plain() for change in self.trust],
            "time": _time(self.time),
            "images": [_image(image) for image in self.images],
            "exceptions": list(self.exceptions),
            "downgrade": self.downgrade,
            "downgrades": list(self.downgrades),
            "reason": self.reason,
            "notes": list(self.notes),
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
        "claims": [
            {"words": one.words, "who": list(one.who), "at": [format_instant(at) for at in one.at]}
            for one in image.claims
        ],
        "at": _time(image.at),
        "what": image.what,
        "manifests": [str(digest) for digest in image.manifests],
        "brought": list(image.brought),
        "read_back": [{"what": what, "value": value} for what, value in image.read_back],
    }


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _time(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)


# --- read again -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An attempt at its place in the chain, read from its bytes."""

    number: int
    hash: Digest
    previous: Digest
    floors: Digest
    key: Digest | None
    """SHA-256 of the public key that signed it; None in a ledger older than its key."""
    attempt: Attempt
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> Self:
        """Return the record that these bytes write. Fields that a later loader added are skipped.

        Raises:
            StateError: it is none.
        """
        try:
            fields = Fields(parse_record(raw), where)
            return cls(
                number=fields.integer("number"),
                hash=Digest.of(raw),
                previous=fields.digest("previous"),
                floors=fields.digest("floors"),
                key=_digest(fields, "key"),
                attempt=_attempt(fields),
                raw=raw,
            )
        except FormatError as e:
            raise StateError(
                "a record of the ledger cannot be understood", where=where, found=shown(e)
            ) from e


def parse_record(raw: bytes) -> JsonObject:
    """Return a record's document.

    Raises:
        FormatError: it is none, or too large ever to be read again.
    """
    return strictjson.parse_object(
        raw, what="a record", size_max=RECORD_SIZE_MAX, limits=STATE_LIMITS
    )


_VERBS: Final[dict[str, Verb]] = {verb: verb for verb in get_args(Verb)}
_OUTCOMES: Final[dict[str, Outcome]] = {outcome: outcome for outcome in get_args(Outcome)}


def _attempt(fields: Fields) -> Attempt:
    verb, outcome = _VERBS.get(fields.text("verb")), _OUTCOMES.get(fields.text("outcome"))
    if verb is None or outcome is None:
        raise FormatError("a verb or outcome that this loader does not know", where=fields.path)
    failure = fields.optional_fields("failure")
    return Attempt(
        verb=verb,
        outcome=outcome,
        at=fields.instant("at"),
        loader=_string(fields, "loader"),
        archive=_string(fields, "archive"),
        target=_string(fields, "target"),
        statement=_digest(fields, "statement"),
        signatures=_digests(fields, "signatures"),
        created=_instant(fields, "created"),
        channel=fields.optional_text("channel"),
        sequence=fields.integer("sequence", maximum=SEQUENCE_MAX)
        if fields.has("sequence")
        else None,
        policy=_digest(fields, "policy"),
        variables=tuple(
            (_string(item, "name"), _string(item, "value")) for item in _each(fields, "variables")
        ),
        anchors=tuple(
            (item.text("name"), item.digest("digest")) for item in _each(fields, "anchors")
        ),
        trust=tuple(RootChange.parse(item) for item in _each(fields, "trust")),
        time=_instant(fields, "time"),
        images=tuple(_parsed_image(item) for item in _each(fields, "images")),
        exceptions=_strings(fields, "exceptions"),
        downgrade=fields.optional_text("downgrade"),
        downgrades=_strings(fields, "downgrades"),
        reason=fields.optional_text("reason"),
        notes=_strings(fields, "notes"),
        warnings=_strings(fields, "warnings"),
        failure=None
        if failure is None
        else Failure(
            code=_string(failure, "code"),
            message=_string(failure, "message"),
            where=_string(failure, "where"),
        ),
    )


def _parsed_image(fields: Fields) -> AttemptedImage:
    return AttemptedImage(
        name=_string(fields, "name"),
        packed_as=_string(fields, "packed_as"),
        image=fields.digest("image"),
        evidence=_digests(fields, "evidence"),
        claims=tuple(
            AttemptedClaim(
                words=_string(item, "words"),
                who=_strings(item, "who"),
                at=tuple(
                    Fields({"at": at}, item.path).instant("at")
                    for at in item.items("at", count_max=_COUNT_MAX)
                ),
            )
            for item in _each(fields, "claims")
        ),
        at=_instant(fields, "at"),
        what=_string(fields, "what"),
        manifests=_digests(fields, "manifests"),
        brought=_strings(fields, "brought"),
        read_back=tuple(
            (_string(item, "what"), _string(item, "value")) for item in _each(fields, "read_back")
        ),
    )


def _each(fields: Fields, name: str) -> Iterator[Fields]:
    return fields.each(name, count_max=_COUNT_MAX) if fields.has(name) else iter(())


def _string(fields: Fields, name: str) -> str:
    """Return a string that may be empty, or absent in a record of an earlier loader."""
    value = fields.object.get(name)
    return value if isinstance(value, str) else ""


def _strings(fields: Fields, name: str) -> tuple[str, ...]:
    items = fields.items(name, count_max=_COUNT_MAX) if fields.has(name) else []
    return tuple(item for item in items if isinstance(item, str))


def _digest(fields: Fields, name: str) -> Digest | None:
    return fields.digest(name) if fields.has(name) else None


def _digests(fields: Fields, name: str) -> tuple[Digest, ...]:
    return tuple(Digest.parse(text, where=fields.at(name)) for text in _strings(fields, name))


def _instant(fields: Fields, name: str) -> datetime | None:
    return fields.instant(name) if fields.has(name) else None
