"""Whether something authorized may come in: not older than what this host accepted. Pure.

In this order: the channel's sequence, the names, the bundle's own expiry, the clock. The local
clock can make things expire, and can be noticed to be wrong; it raises no floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import (
    ClockBehindError,
    ExpiredError,
    LogIndexRollbackError,
    NameRollbackError,
    ReplayError,
    RollbackError,
    UsageError,
    shown,
)
from loader.model.fields import format_instant
from loader.state.floors import ChannelFloor, Floors, NameFloor

if TYPE_CHECKING:
    from loader.digest import Digest

REASON_LENGTH_MAX: Final = 500
_HINT: Final = "get the newest bundle; where going back is meant: --allow-downgrade REASON"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateName:
    """One image under the name that it would get."""

    name: str
    image: Digest
    at: datetime | None
    """Newest verified time of its evidence, in whole seconds."""
    by_time: bool
    """Whether policy minds that the name goes back in time."""
    positions: tuple[tuple[str, str, int], ...] = ()
    """Signer, log and index of each entry that counts, where policy compares indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What floors are compared with. All times are verified ones."""

    statement: Digest
    channel: str | None
    sequence: int | None
    vouched: bool
    """Whether verified evidence covers the statement: only then may its sequence raise a floor."""
    expires: datetime | None
    names: tuple[CandidateName, ...]
    time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What came of the comparison, and the floors once this was accepted and loaded."""

    floors: Floors
    repeat: bool
    """The very bundle that this host accepted last in this channel."""
    downgrades: tuple[str, ...] = ()
    """What is older than before, where an operator's reason lets it in."""
    reason: str | None = None
    warnings: tuple[str, ...] = ()


def consider(
    candidate: Candidate,
    floors: Floors,
    *,
    now: datetime,
    clock: Literal["warn", "strict"],
    allow_downgrade: str | None,
) -> Admission:
    """Compare a bundle with the floors.

    Raises:
        ReplayError: the channel's sequence once more, with other contents; no reason lets it in.
        RollbackError: a lower sequence, and no reason was given.
        NameRollbackError: a name would go back, and no reason was given.
        ExpiredError: the bundle's own time has run out.
        ClockBehindError: the clock is behind the floor, and policy minds.
        UsageError: the reason is empty or too long.
    """
    if allow_downgrade is not None and not 0 < len(allow_downgrade.strip()) <= REASON_LENGTH_MAX:
        raise UsageError(
            "--allow-downgrade wants a reason that can be read years later",
            expected=f"1 to {REASON_LENGTH_MAX} characters",
        )
    problems = [*_sequence(candidate, floors)]
    for name in candidate.names:
        problems.extend(_name(name, floors))
    if problems and allow_downgrade is None:
        raise problems[0]
    warnings = list(_expect_fresh(candidate, floors, now=now, clock=clock))
    before = floors.channels.get(candidate.channel or "")
    return Admission(
        floors=_raised(candidate, floors),
        repeat=before is not None and before.statement == candidate.statement,
        downgrades=tuple(str(problem) for problem in problems),
        reason=allow_downgrade if problems else None,
        warnings=tuple(warnings),
    )


def _sequence(candidate: Candidate, floors: Floors) -> list[RollbackError]:
    if candidate.channel is None or candidate.sequence is None:
        return []
    floor = floors.channels.get(candidate.channel)
    if floor is None or candidate.sequence > floor.sequence:
        return []
    where = f"channel {candidate.channel}"
    if candidate.sequence < floor.sequence:
        return [
            RollbackError(
                "this bundle is older than the one that this host accepted",
                where=where,
                expected=f"sequence {floor.sequence} or higher",
                found=f"sequence {candidate.sequence}",
                hint=_HINT,
            )
        ]
    if candidate.statement != floor.statement:
        raise ReplayError(
            "two different bundles have the same sequence in one channel",
            where=f"{where}, sequence {candidate.sequence}",
            expected=str(floor.statement),
            found=str(candidate.statement),
            hint="ask whoever packs the channel: one of the two should not exist",
        )
    return []


def _name(candidate: CandidateName, floors: Floors) -> list[RollbackError]:
    floor = floors.names.get(candidate.name)
    if floor is not None and floor.image == candidate.image:
        return []
    problems: list[RollbackError] = []
    if (
        candidate.by_time
        and floor is not None
        and floor.at is not None
        and (candidate.at is None or candidate.at < floor.at)
    ):
        problems.append(
            NameRollbackError(
                "an image is older than the one that this host accepted under the same name",
                where=shown(candidate.name),
                expected=f"evidence of {format_instant(floor.at)} or later",
                found="evidence without a verified time"
                if candidate.at is None
                else f"evidence of {format_instant(candidate.at)}",
                hint=_HINT,
            )
        )
    for signer, log, log_index in candidate.positions:
        highest = floors.logs.get((signer, log))
        if highest is not None and log_index < highest:
            problems.append(
                LogIndexRollbackError(
                    "a log entry is older than one by the same signer that this host accepted",
                    where=f"{shown(candidate.name)}, log {shown(log)}",
                    expected=f"log index {highest} or higher",
                    found=f"log index {log_index}",
                    hint=_HINT,
                )
            )
    return problems


def _expect_fresh(
    candidate: Candidate, floors: Floors, *, now: datetime, clock: Literal["warn", "strict"]
) -> list[str]:
    warnings: list[str] = []
    known = max((at for at in (floors.time, candidate.time) if at is not None), default=None)
    at, by = now, "this host's clock"
    if known is not None and known > now:
        at, by = known, "the newest verified time"
    if candidate.expires is not None and at > candidate.expires:
        raise ExpiredError(
            "this bundle has expired",
            expected=f"{by} before {format_instant(candidate.expires)}",
            found=format_instant(at),
            hint="get a newer bundle",
        )
    if known is not None and known > now:
        if clock == "strict":
            raise ClockBehindError(
                "this host's clock is behind the newest verified time",
                expected=f"{format_instant(known)} or later",
                found=format_instant(now),
                hint="set the clock",
            )
        warnings.append(
            f"the clock says {format_instant(now)}, verified evidence is of "
            f"{format_instant(known)}: set the clock"
        )
    return warnings


def _raised(candidate: Candidate, floors: Floors) -> Floors:
    channel = None
    if candidate.vouched and candidate.channel is not None and candidate.sequence is not None:
        channel = (
            candidate.channel,
            ChannelFloor(sequence=candidate.sequence, statement=candidate.statement),
        )
    return floors.raised(
        time=candidate.time,
        channel=channel,
        names={name.name: NameFloor(image=name.image, at=name.at) for name in candidate.names},
        logs=_highest(candidate.names),
    )


def _highest(names: tuple[CandidateName, ...]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name in names:
        for signer, log, log_index in name.positions:
            found[signer, log] = max(log_index, found.get((signer, log), log_index))
    return found
