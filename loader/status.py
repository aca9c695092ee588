"""`status`: one screen of what this host has, knows, and was told last; and one line for Nagios.

Reads memory, policy and anchors; asks no runtime (`verify-local` does) and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import AirlockError
from loader.model.fields import format_instant
from loader.recheck import held_images
from loader.renewal import remembered
from loader.report import error_plain, plain
from loader.state.audit import Noted
from loader.state.floors import Floors
from loader.state.history import reading, unfinished_policy
from loader.state.ledger import Look, look
from loader.trust.freshness import Reckoned
from loader.trust.memory import HeadSeen, ListsSeen, RootsSeen

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.strictjson import JsonObject
    from loader.places import Places
    from loader.recheck import Held
    from loader.run import Host
    from loader.state.record import Record
    from loader.trust.freshness import AnchorAge

SCHEMA: Final = "airlock-status/1"
ATTEMPT_COUNT: Final = 5
IMAGE_COUNT_SHOWN: Final = 40
_GOOD: Final = frozenset({"loaded", "already-there"})
Level = Literal["OK", "WARNING", "CRITICAL", "UNKNOWN"]
NAGIOS: Final[dict[Level, int]] = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
"""Exit statuses that monitoring plug-ins have (Nagios Plugins Development Guidelines)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """An anchor that the policy refers to."""

    name: str
    kind: str
    fingerprint: str
    since: datetime | None
    """The first of the records, back from the last, that used these very bytes."""
    age: AnchorAge


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that there is to say."""

    now: datetime
    records: int
    head: Noted | None
    held: tuple[Held, ...]
    floors: Floors
    note: str
    anchors: tuple[Anchor, ...]
    last: tuple[Record, ...]
    """The newest attempts, the newest first."""
    loaded: Record | None
    """The newest record that let something in."""
    downgrades: tuple[Record, ...]
    exceptions: tuple[str, ...]
    """What of all that is loaded was let in though it is not as policy asks, and why."""
    error: AirlockError | None
    """Why memory, policy or anchors could not be read."""
    policy: Digest | None = None
    policy_since: datetime | None = None
    """The first of the records, back from the last, that judged by this policy."""
    unfinished: Digest | None = None
    """The policy whose acceptance was cut off."""

    @property
    def clock_behind(self) -> bool:
        """Whether the clock is behind the newest verified time."""
        return self.floors.time is not None and self.now < self.floors.time


def examine(places: Places, host: Host | AirlockError, *, now: datetime) -> Status:
    """Read everything; a part that cannot be read hides no other."""
    error = host if isinstance(host, AirlockError) else None
    seen = Look(floors=Floors())
    records: tuple[Record, ...] = ()
    try:
        seen = look(places)
    except AirlockError as e:
        error = e
    try:
        with reading(places) as ledger:
            records = tuple(ledger.records())
    except AirlockError as e:
        error = error or e
    held = held_images(records)
    return Status(
        now=now,
        records=len(records),
        head=Noted(number=records[0].number, hash=records[0].hash) if records else None,
        held=held,
        floors=seen.floors,
        note=seen.note,
        anchors=()
        if isinstance(host, AirlockError)
        else tuple(_anchors(host, records, seen, now=now)),
        last=tuple(r for r in records if r.attempt.verb != "begin")[:ATTEMPT_COUNT],
        loaded=next((r for r in records if r.attempt.outcome in _GOOD), None),
        downgrades=tuple(r for r in records if r.attempt.downgrade is not None),
        exceptions=tuple(
            dict.fromkeys(words for one in held for words in one.record.attempt.exceptions)
        ),
        error=error,
        policy=None if isinstance(host, AirlockError) else host.policy.digest,
        policy_since=None
        if isinstance(host, AirlockError)
        else _judged_since(records, host.policy.digest),
        unfinished=unfinished_policy(records),
    )


def _anchors(
    host: Host, records: tuple[Record, ...], seen: Look, *, now: datetime
) -> Iterator[Anchor]:
    time = Reckoned(clock=now, floor=seen.floors.time, evidence=None)
    trust = remembered(host.trust, seen.trust)
    ages = trust.ages(host.policy.anchor_rules, time)
    for anchor, age in zip(trust.anchors, ages, strict=True):
        yield Anchor(
            name=anchor.name,
            kind=anchor.kind,
            fingerprint=anchor.fingerprint,
            since=_since(records, anchor.name, anchor.file_digest),
            age=age,
        )


def _judged_since(records: tuple[Record, ...], policy: Digest) -> datetime | None:
    since = None
    for record in records:
        if record.attempt.verb != "load":
            continue
        if record.attempt.policy != policy:
            break
        since = record.attempt.at
    return since


def _since(records: tuple[Record, ...], name: str, digest: Digest) -> datetime | None:
    since = None
    for record in records:
        used = dict(record.attempt.anchors)
        if name not in used:
            continue
        if used[name] != digest:
            break
        since = record.attempt.at
    return since


# --- text -----------------------------------------------------------------------------------------


def as_text(status: Status) -> str:
    """Return one screen for people."""
    return "".join(f"{plain(line)}\n" for line in _lines(status))


def _lines(status: Status) -> Iterator[str]:
    if status.error is not None:
        yield f"FAULT      {status.error.code}: {status.error}"
    head = "" if status.head is None else f", head {status.head.number}:{status.head.hash}"
    yield f"ledger     {status.records} records{head}"
    if status.note:
        yield f"           {status.note}"
    yield from _policy(status)
    yield from _clock(status)
    for channel, floor in sorted(status.floors.channels.items()):
        yield f"channel    {channel}: sequence {floor.sequence} or higher"
    yield from _trust(status)
    yield f"loaded     {_images(len(status.held))}"
    for held in status.held[:IMAGE_COUNT_SHOWN]:
        at = format_instant(held.record.attempt.at)
        yield f"           {held.image.name}  {held.image.image.short}  {at}  {held.target}"
    if len(status.held) > IMAGE_COUNT_SHOWN:
        yield f"           and {len(status.held) - IMAGE_COUNT_SHOWN} more: --json has them"
    for record in status.last:
        attempt = record.attempt
        code = "" if attempt.failure is None else f"  {attempt.failure.code}"
        at = format_instant(attempt.at)
        yield f"attempt    {record.number}  {at}  {attempt.verb}: {attempt.outcome}{code}"
    for record in status.downgrades:
        attempt = record.attempt
        at = format_instant(attempt.at)
        yield f"DOWNGRADE  record {record.number}, {at}, let in because: {attempt.downgrade}"
    for words in status.exceptions:
        yield f"EXCEPTED   {words}"


def _policy(status: Status) -> Iterator[str]:
    if status.policy is not None:
        since = status.policy_since
        words = "judged nothing yet" if since is None else f"judges since {since:%Y-%m-%d}"
        yield f"policy     {status.policy.short}  {words}"
    if status.unfinished is not None:
        yield (
            f"UNFINISHED to accept the policy {status.unfinished.short} was begun: "
            "airlock-loader policy accept, once more"
        )


def _clock(status: Status) -> Iterator[str]:
    words = f"clock      {format_instant(status.now)}"
    if status.floors.time is not None:
        words += f"; newest verified time {format_instant(status.floors.time)}"
    yield words + (": SET THE CLOCK" if status.clock_behind else "")


def _trust(status: Status) -> Iterator[str]:
    for anchor in status.anchors:
        since = "not used yet" if anchor.since is None else f"used since {anchor.since:%Y-%m-%d}"
        yield (
            f"anchor     {anchor.name}  {anchor.kind}  {anchor.fingerprint[:16]}  {since}; "
            f"{anchor.age.words}"
        )
    for (kind, name), seen in sorted(status.floors.trust.items()):
        match seen:
            case RootsSeen():
                yield f"seen       {kind} {name}: root version {seen.newest}"
            case HeadSeen():
                yield f"seen       {kind} {name}: {seen.size} entries"
            case ListsSeen():
                yield f"seen       {kind}: {len(seen.files)} signed lists, applied to every bundle"


# --- JSON -----------------------------------------------------------------------------------------


def as_json(status: Status) -> str:
    """Return everything for programs."""
    floors = status.floors
    document: JsonObject = {
        "schema": SCHEMA,
        "clock": format_instant(status.now),
        "clock_behind": status.clock_behind,
        "records": status.records,
        "head": None
        if status.head is None
        else {"number": status.head.number, "hash": str(status.head.hash)},
        "note": status.note or None,
        "policy": None if status.policy is None else str(status.policy),
        "policy_since": None
        if status.policy_since is None
        else format_instant(status.policy_since),
        "policy_unfinished": None if status.unfinished is None else str(status.unfinished),
        "floors": floors.plain(),
        "anchors": [
            {
                "name": a.name,
                "kind": a.kind,
                "fingerprint": a.fingerprint,
                "used_since": None if a.since is None else format_instant(a.since),
                "age": a.age.words,
            }
            for a in status.anchors
        ],
        "loaded": [
            {
                "name": held.image.name,
                "image": str(held.image.image),
                "target": held.target,
                "record": held.record.number,
                "at": format_instant(held.record.attempt.at),
            }
            for held in status.held
        ],
        "attempts": [_attempt(record) for record in status.last],
        "downgrades": [_attempt(record) for record in status.downgrades],
        "exceptions": list(status.exceptions),
        **error_plain(status.error),
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _attempt(record: Record) -> JsonObject:
    attempt = record.attempt
    return {
        "number": record.number,
        "at": format_instant(attempt.at),
        "verb": attempt.verb,
        "outcome": attempt.outcome,
        "code": None if attempt.failure is None else attempt.failure.code,
        "downgrade": attempt.downgrade,
    }


# --- Nagios ---------------------------------------------------------------------------------------


def nagios(status: Status, *, max_age: timedelta | None) -> tuple[Level, str]:
    """Return level and line for a monitoring plug-in.

    Args:
        status: what was found.
        max_age: how long ago something may have been let in last; None asks nothing.
    """
    level, words = _level(status, max_age=max_age)
    figures = f"images={len(status.held)} records={status.records}"
    if status.loaded is not None:
        age = int((status.now - status.loaded.attempt.at).total_seconds())
        figures += f" age={age}s"
    # A bar would begin the figures, and a second line another plug-in's long text.
    return level, f"AIRLOCK {level}: {plain(words).replace('|', '/')} | {figures}\n"


def _level(status: Status, *, max_age: timedelta | None) -> tuple[Level, str]:
    """Return the worst of what there is to say, and of several the first."""
    worries = list(_worries(status, max_age=max_age))
    for level in ("CRITICAL", "WARNING"):
        for one, words in worries:
            if one == level:
                return one, words
    last = status.last[0].attempt if status.last else None
    since = "nothing was loaded yet" if last is None else f"last attempt {format_instant(last.at)}"
    return "OK", f"{_images(len(status.held))}, {since}"


def _worries(status: Status, *, max_age: timedelta | None) -> Iterator[tuple[Level, str]]:
    if status.error is not None:
        yield "CRITICAL", f"{status.error.code}: {status.error.message}"
    if max_age is not None:
        at = None if status.loaded is None else status.loaded.attempt.at
        if at is None or status.now - at > max_age:
            when = "ever" if at is None else f"since {format_instant(at)}"
            yield "CRITICAL", f"nothing was let in {when}"
    for anchor in status.anchors:
        if anchor.age.problem is not None:
            yield "CRITICAL", f"anchor {anchor.name}: {anchor.age.words}"
        elif anchor.age.warning:
            yield "WARNING", anchor.age.warning
    if status.clock_behind:
        yield "WARNING", "the clock is behind the newest verified time"
    if status.unfinished is not None:
        yield "WARNING", f"to accept the policy {status.unfinished.short} was begun, and not ended"
    yield from _last(status)


def _last(status: Status) -> Iterator[tuple[Level, str]]:
    last = status.last[0].attempt if status.last else None
    if last is not None and last.failure is not None:
        yield "WARNING", f"the last attempt: {last.outcome}, {last.failure.code}"
    elif last is not None and last.downgrade is not None:
        yield "WARNING", f"the last attempt went back: {last.downgrade}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
