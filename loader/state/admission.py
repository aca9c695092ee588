"""Whether something authorized may come in: not older than what this host accepted. Pure.

In this order: the anchors' ages, the channel's sequence, the names, the bundle's own expiry, the
clock. The local clock can make things expire, and can be noticed to be wrong; it raises no floor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import (
    ClockBehindError,
    ExpiredError,
    LogIndexRollbackError,
    NameRollbackError,
    RefusedError,
    ReplayError,
    RollbackError,
    UsageError,
    shown,
)
from loader.model.fields import format_instant
from loader.state.floors import ChannelFloor, Floors, NameFloor
from loader.state.log_memory import Standing, compare, remember
from loader.trust.freshness import AnchorAge, Reckoned

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.policy.facts import LogSighting
    from loader.trust.memory import Seen, TrustKey
    from loader.verify.growth import Growth

Ages: TypeAlias = Callable[[Reckoned], tuple[AnchorAge, ...]]
"""How old every anchor that judged is at a time."""

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
    trust: Mapping[TrustKey, Seen] = field(default_factory=dict)
    """What was seen of trust material that grows; the judge compared it with what came before."""
    sightings: tuple[LogSighting, ...] = ()
    """Where logs recorded evidence that verifies."""
    counting: tuple[LogSighting, ...] = ()
    """... and evidence that counts."""
    growth: tuple[Growth, ...] = ()
    """What the bundle shows of how logs grew."""
    growth_problems: tuple[str, ...] = ()

    @property
    def signed_channel(self) -> str | None:
        """The channel, if somebody signed it: a name of a courier's own would be seen first."""
        return self.channel if self.vouched else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What came of the comparison, and the floors once this was accepted and loaded."""

    floors: Floors
    repeat: bool
    """The very bundle that this host accepted last in this channel."""
    logs: tuple[Standing, ...] = ()
    downgrades: tuple[str, ...] = ()
    """What is older than before, where an operator's reason lets it in."""
    reason: str | None = None
    warnings: tuple[str, ...] = ()


def _no_anchors(_: Reckoned) -> tuple[AnchorAge, ...]:
    return ()


def consider(
    candidate: Candidate,
    floors: Floors,
    *,
    now: datetime,
    clock: Literal["warn", "strict"],
    allow_downgrade: str | None,
    ages: Ages = _no_anchors,
    witness: Collection[str] = (),
    least: Mapping[str, int] | None = None,
) -> Admission:
    """Compare a bundle with the floors.

    Args:
        candidate: the bundle.
        floors: what this host keeps.
        now: its clock.
        clock: whether policy minds a clock that is behind.
        allow_downgrade: an operator's reason to let something older in.
        ages: how old every anchor is.
        witness: ids of the logs that policy wants witnessed.
        least: by channel, the sequence that even a host without memory knows.

    Raises:
        LogForkError: a log shows two histories; no reason lets that in.
        UnwitnessedError: policy wants a witness, nothing links a log to what it showed before, and
            no reason was given.
        TrustRootExpiredError: an anchor had expired when the bundle was packed.
        TrustRootStaleError: an anchor is older than policy takes it for; no reason lets it in.
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
    time = Reckoned(clock=now, floor=floors.time, evidence=candidate.time)
    known = ages(time)
    for age in known:
        if age.problem is not None:
            raise age.problem
    logs = compare(
        candidate.sightings,
        candidate.counting,
        candidate.growth,
        floors.trust,
        channel=candidate.signed_channel,
        required=witness,
    )
    problems: list[RefusedError] = [
        *_sequence(candidate, floors),
        *_born_with(candidate, least or {}),
    ]
    for name in candidate.names:
        problems.extend(_name(name, floors))
    problems += [one.problem for one in logs if one.problem is not None]
    if problems and allow_downgrade is None:
        raise problems[0]
    warnings = [age.warning for age in known if age.warning]
    warnings += candidate.growth_problems
    warnings += [
        f"log {one.name}: {one.words}"
        for one in logs
        if (one.holds == "unwitnessed" and one.remembered is not None) or one.beside
    ]
    warnings += _expect_fresh(candidate, time, clock=clock)
    before = floors.channels.get(candidate.channel or "")
    return Admission(
        floors=_raised(candidate, floors, logs),
        repeat=before is not None and before.statement == candidate.statement,
        logs=logs,
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


def _born_with(candidate: Candidate, least: Mapping[str, int]) -> list[RollbackError]:
    """Compare with what `config.toml` says that even a host without memory knows (CASES A106)."""
    if candidate.channel is None or candidate.sequence is None:
        return []
    lowest = least.get(candidate.channel, 0)
    if candidate.sequence >= lowest:
        return []
    return [
        RollbackError(
            "this bundle is older than what this host was told to begin with",
            where=f"channel {candidate.channel}, [floors] of config.toml",
            expected=f"sequence {lowest} or higher",
            found=f"sequence {candidate.sequence}",
            hint=_HINT,
        )
    ]


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
    candidate: Candidate, time: Reckoned, *, clock: Literal["warn", "strict"]
) -> list[str]:
    if candidate.expires is not None and time.at > candidate.expires:
        raise ExpiredError(
            "this bundle has expired",
            expected=f"{time.words} before {format_instant(candidate.expires)}",
            found=format_instant(time.at),
            hint="get a newer bundle",
        )
    if time.behind <= timedelta():
        return []
    if clock == "strict":
        raise ClockBehindError(
            f"this host's clock is behind {time.words}",
            expected=f"{format_instant(time.at)} or later",
            found=format_instant(time.clock),
            hint="set the clock",
        )
    said, known = format_instant(time.clock), format_instant(time.at)
    return [
        f"the clock says {said}, and is behind {time.words}, {known}: that was used; set the clock"
    ]


def _raised(candidate: Candidate, floors: Floors, logs: tuple[Standing, ...]) -> Floors:
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
        trust={**candidate.trust, **remember(logs, channel=candidate.signed_channel)},
    )


def _highest(names: tuple[CandidateName, ...]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name in names:
        for signer, log, log_index in name.positions:
            found[signer, log] = max(log_index, found.get((signer, log), log_index))
    return found
