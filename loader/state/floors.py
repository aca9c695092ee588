"""What this host accepted, as values: floors that only rise, and what it put where.

    channel    the highest sequence, and the statement that had it
    full name  the newest verified time of an image accepted under it, and that image
    key, log   the highest index of an entry that counted, where policy compares indexes
    time       the newest verified time ever seen; the local clock never raises it
    trust      what was seen of roots and logs that grow (`loader.trust.memory`)

Pure but for `read_copy` and `prepare_copy`: a second copy of all of this lies beside the ledger
with a checksum, so that a ledger that lost its end, or was put back to an older day, is noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import rfc8785

from loader.digest import Digest
from loader.errors import FormatError, StateError, StateVersionError, shown
from loader.limits import MIB, STATE_LIMITS
from loader.model import strictjson
from loader.model.bundle import SEQUENCE_MAX
from loader.model.fields import Fields, format_instant
from loader.model.strictjson import JsonObject
from loader.places import expect_private, state_error
from loader.trust.memory import Seen, TrustKey, covers, parse_kind, parse_seen

SCHEMA: Final = 2
"""2 may hold `trust`; 1, which never does, is read as well."""
COPY_SIZE_MAX: Final = 256 * MIB
"""Bytes of the second copy: a million names at some 200 bytes each fit."""
_HEAD: Final = re.compile(rb"airlock-floors 1 sha256:([0-9a-f]{64})\n")
_ENTRY_COUNT_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFloor:
    """The highest sequence accepted in a channel."""

    sequence: int
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFloor:
    """The newest image accepted under a full name with its tag."""

    image: Digest
    at: datetime | None
    """Newest verified time of its evidence; None where no evidence had a verified time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """Everything that must not fall, and what was loaded where under which name."""

    channels: Mapping[str, ChannelFloor] = field(default_factory=dict)
    names: Mapping[str, NameFloor] = field(default_factory=dict)
    loaded: Mapping[tuple[str, str], Digest] = field(default_factory=dict)
    """By target and name: the image that we put there."""
    logs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By signer and log: the highest index that counted under `rollback = "log-index"`."""
    time: datetime | None = None
    trust: Mapping[TrustKey, Seen] = field(default_factory=dict)

    def raised(
        self,
        *,
        time: datetime | None,
        channel: tuple[str, ChannelFloor] | None,
        names: Mapping[str, NameFloor],
        logs: Mapping[tuple[str, str], int],
        trust: Mapping[TrustKey, Seen] | None = None,
    ) -> Floors:
        """Return the floors after an acceptance: each the higher of old and new, never lower.

        Trust material was compared with what was seen before when it was judged; what does not
        follow it is a bug, which `covers` and the ledger then refuse.
        """
        channels = dict(self.channels)
        if channel is not None:
            name, new = channel
            old = channels.get(name)
            if old is None or new.sequence > old.sequence:
                channels[name] = new
        kept = dict(self.names)
        for key, floor in names.items():
            kept[key] = _newer(kept.get(key), floor)
        indexes = dict(self.logs)
        for place, log_index in logs.items():
            indexes[place] = max(log_index, indexes.get(place, log_index))
        return replace(
            self,
            channels=channels,
            names=kept,
            logs=indexes,
            time=_later(self.time, time),
            trust={**self.trust, **(trust or {})},
        )

    def with_loaded(self, loaded: Mapping[tuple[str, str], Digest]) -> Floors:
        """Return the floors with what was put where."""
        return replace(self, loaded={**self.loaded, **loaded})

    def joined(self, other: Floors) -> Floors:
        """Return floors that cover both: each the higher one. For a memory that was damaged."""
        joined = self
        for channel in other.channels.items():
            joined = joined.raised(time=other.time, channel=channel, names={}, logs={})
        joined = joined.raised(time=other.time, channel=None, names=other.names, logs=other.logs)
        trust = {
            key: seen
            for key, seen in other.trust.items()
            if key not in self.trust or covers(seen, self.trust[key])
        }
        return replace(
            joined,
            loaded={**other.loaded, **self.loaded},
            trust={**self.trust, **trust},
        )

    def covers(self, other: Floors) -> bool:
        """Tell whether no floor here is below the other's."""
        return (
            _later(self.time, other.time) == self.time
            and all(
                name in self.channels and self.channels[name].sequence >= floor.sequence
                for name, floor in other.channels.items()
            )
            and all(
                name in self.names and _later(self.names[name].at, floor.at) == self.names[name].at
                for name, floor in other.names.items()
            )
            and all(self.logs.get(place, -1) >= index for place, index in other.logs.items())
            and all(
                key in self.trust and covers(self.trust[key], seen)
                for key, seen in other.trust.items()
            )
        )

    @property
    def trust_files(self) -> frozenset[Digest]:
        """The files that trust material needs again: the ledger keeps their bytes."""
        return frozenset(digest for seen in self.trust.values() for digest in seen.files.values())

    def plain(self) -> JsonObject:
        """Return the floors as a JSON object."""
        document: JsonObject = {
            "channels": {
                name: {"sequence": floor.sequence, "statement": str(floor.statement)}
                for name, floor in self.channels.items()
            },
            "names": {
                name: {"image": str(floor.image), "at": _text(floor.at)}
                for name, floor in self.names.items()
            },
            "loaded": [
                {"target": target, "name": name, "image": str(image)}
                for (target, name), image in sorted(self.loaded.items())
            ],
            "logs": [
                {"signer": signer, "log": log, "log_index": log_index}
                for (signer, log), log_index in sorted(self.logs.items())
            ],
            "time": _text(self.time),
        }
        if self.trust:
            # Left out where there is none: so a ledger of version 1 keeps the digest it recorded.
            document["trust"] = [
                {"kind": kind, "name": name, "seen": seen.plain()}
                for (kind, name), seen in sorted(self.trust.items(), key=lambda item: item[0])
            ]
        return document

    @property
    def digest(self) -> Digest:
        """What a ledger record says of the floors that stood after it."""
        return Digest.of(rfc8785.dumps(self.plain()))

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return the floors that a JSON object writes.

        Raises:
            FormatError: it is not one.
        """
        fields.only("channels", "names", "loaded", "logs", "time", "trust")
        channels, names = fields.fields("channels"), fields.fields("names")
        loaded: dict[tuple[str, str], Digest] = {}
        for item in fields.each("loaded", count_max=_ENTRY_COUNT_MAX):
            item.only("target", "name", "image")
            loaded[item.text("target"), item.text("name")] = item.digest("image")
        logs: dict[tuple[str, str], int] = {}
        for item in fields.each("logs", count_max=_ENTRY_COUNT_MAX):
            item.only("signer", "log", "log_index")
            logs[item.text("signer"), item.text("log")] = item.integer("log_index")
        trust: dict[TrustKey, Seen] = {}
        if fields.has("trust"):
            for item in fields.each("trust", count_max=_ENTRY_COUNT_MAX):
                item.only("kind", "name", "seen")
                kind = parse_kind(item.text("kind"), where=item.at("kind"))
                trust[kind, item.text("name")] = parse_seen(kind, item.fields("seen"))
        return cls(
            channels={name: _channel_floor(channels.fields(name)) for name in channels.object},
            names={name: _name_floor(names.fields(name)) for name in names.object},
            loaded=loaded,
            logs=logs,
            time=fields.instant("time") if fields.has("time") else None,
            trust=trust,
        )


def _channel_floor(fields: Fields) -> ChannelFloor:
    fields.only("sequence", "statement")
    return ChannelFloor(
        sequence=fields.integer("sequence", minimum=1, maximum=SEQUENCE_MAX),
        statement=fields.digest("statement"),
    )


def _name_floor(fields: Fields) -> NameFloor:
    fields.only("image", "at")
    return NameFloor(
        image=fields.digest("image"), at=fields.instant("at") if fields.has("at") else None
    )


def _newer(old: NameFloor | None, new: NameFloor) -> NameFloor:
    if old is None or old.at is None:
        return new
    if new.at is None or new.at < old.at:
        return old
    return new


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def _text(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The second copy: the floors as they stood after one record of the ledger."""

    number: int
    record: Digest
    """Hash of that record."""
    floors: Floors

    def encode(self) -> bytes:
        """Return the bytes of the file: a line with the checksum, then canonical JSON."""
        body = rfc8785.dumps(
            {
                "schema": SCHEMA,
                "record": {"number": self.number, "hash": str(self.record)},
                "floors": self.floors.plain(),
            }
        )
        return f"airlock-floors 1 sha256:{hashlib.sha256(body).hexdigest()}\n".encode() + body

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> Self:
        """Return the copy that these bytes write.

        Raises:
            StateError: one bit of it is not as it was written.
        """
        head = _HEAD.match(raw)
        if head is None:
            raise StateError(
                "the second copy of the floors is damaged",
                where=where,
                expected="airlock-floors 1 sha256:…",
                found=shown(raw[:40]),
            )
        body = raw[head.end() :]
        found = hashlib.sha256(body).hexdigest()
        if found.encode() != head.group(1):
            raise StateError(
                "the second copy of the floors is damaged",
                where=where,
                expected=f"sha256:{head.group(1).decode()}",
                found=f"sha256:{found}",
            )
        try:
            # Tags that differ only in case are two tags.
            document = strictjson.parse_object(
                body, what="the floors", size_max=COPY_SIZE_MAX, keys="exact", limits=STATE_LIMITS
            )
            fields = Fields(document, "floors")
            schema = fields.integer("schema", minimum=1)
            if schema > SCHEMA:
                raise StateVersionError(
                    "a second copy of the floors of another version",
                    where=where,
                    expected=f"at most {SCHEMA}",
                    found=str(schema),
                    hint="a newer loader wrote it: use that one, nothing was changed",
                )
            fields.only("schema", "record", "floors")
            record = fields.fields("record")
            return cls(
                number=record.integer("number"),
                record=record.digest("hash"),
                floors=Floors.parse(fields.fields("floors")),
            )
        except FormatError as e:
            raise StateError(
                "the second copy of the floors cannot be understood", where=where, found=shown(e)
            ) from e


def read_copy(folder: int, name: str, *, where: str) -> Copy | None:
    """Return the second copy, or None where there is none.

    Raises:
        StateError: it cannot be read, is not ours alone, or is damaged.
    """
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except FileNotFoundError:
        return None
    except OSError as e:
        raise state_error(
            e, what="the second copy of the floors cannot be opened", where=where
        ) from e
    try:
        with os.fdopen(fd, "rb") as file:
            expect_private(os.fstat(fd), where=where)
            raw = file.read(COPY_SIZE_MAX + 1)
    except OSError as e:
        raise state_error(
            e, what="the second copy of the floors cannot be read", where=where
        ) from e
    return Copy.parse(raw, where=where)


class PreparedCopy:
    """A new second copy, on disk under another name, that one rename puts in its place.

    Everything that can run out of space has happened before the ledger commits.
    """

    __slots__ = ("_folder", "_name", "_where")

    def __init__(self, folder: int, name: str, *, where: str) -> None:
        self._folder = folder
        self._name = name
        self._where = where

    def publish(self) -> None:
        """Put it in its place, durably.

        Raises:
            LocalError: it could not be; the copy before it still stands.
        """
        try:
            os.rename(
                _draft(self._name), self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder
            )
            os.fsync(self._folder)
        except OSError as e:
            raise state_error(
                e, what="the second copy of the floors cannot be written", where=self._where
            ) from e


def prepare_copy(folder: int, path: Path, copy: Copy) -> PreparedCopy:
    """Write a new second copy beside the old one, durably, and return the way to publish it.

    Raises:
        StateError: it could not be understood when it is read again; nothing was written.
        LocalError: it cannot be written.
    """
    where = shown(str(path))
    raw = copy.encode()
    if Copy.parse(raw, where=where) != copy:
        raise StateError("the second copy of the floors would not be read as it is", where=where)
    draft = _draft(path.name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(draft, flags, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(fd)
    except OSError as e:
        raise state_error(
            e, what="the second copy of the floors cannot be written", where=where
        ) from e
    return PreparedCopy(folder, path.name, where=where)


def _draft(name: str) -> str:
    return f"{name}.new"
