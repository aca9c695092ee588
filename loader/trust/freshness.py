"""What time it is, how old an anchor is, and whether it is still taken (FORMATS §4.3). Pure.

    expires   TUF metadata says until when it is to be believed
    dated     a `trusted_root.json` says nothing of the kind; but the newest thing in it has a date
    neither   a key has no age

What expires is judged at two times. At the newest verified time of the bundle, if it came with the
bundle: expired then, it was packed with stale trust, and no limit lets that pass. And at the time
that this host takes for now: good then and expired since is how things are behind a gap, so it is
said, and refused only once it is past the anchor's `max-staleness`. Signatures, thresholds and
versions are none of this module's business: no limit relaxes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import TrustRootExpiredError, TrustRootStaleError
from loader.model.fields import format_instant
from loader.trust.validity import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.errors import TrustRootError
    from loader.trust.anchors import AnchorRule
    from loader.trust.validity import Validity

MAX_STALENESS_DEFAULT: Final = timedelta(days=90)
"""How long past its expiry TUF metadata is taken where the policy does not say (FORMATS §4.3)."""
_HINT: Final = (
    "bring a newer one with the next bundle; if the clock is wrong, set the clock; "
    "`max-staleness` of [anchor.{name}] is the limit"
)

Source: TypeAlias = Literal["clock", "floor", "evidence"]
_WORDS: Final[dict[Source, str]] = {
    "clock": "this host's clock",
    "floor": "the newest verified time that this host ever saw",
    "evidence": "the newest verified time in the bundle",
}
Holds: TypeAlias = Literal["undated", "fresh", "late", "stale", "expired"]
"""`late`: expired since it was packed, within the limit. `stale`: past the limit. `expired`: when
it was packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoned:
    """The time that this host takes for now: the latest of what it may believe.

    Evidence and floor are verified: it is at least as late as they say. The clock is not; it lets
    things expire, and moves nothing that is kept.
    """

    clock: datetime
    floor: datetime | None = None
    evidence: datetime | None = None

    @property
    def source(self) -> Source:
        """Which of them is the latest; of equal ones a verified one."""
        known: list[tuple[datetime, Source]] = [(self.clock, "clock")]
        known += [(self.floor, "floor")] if self.floor is not None else []
        known += [(self.evidence, "evidence")] if self.evidence is not None else []
        latest = max(at for at, _ in known)
        return [source for at, source in known if at == latest][-1]

    @property
    def at(self) -> datetime:
        """The time."""
        return max(at for at in (self.clock, self.floor, self.evidence) if at is not None)

    @property
    def words(self) -> str:
        """Whose time it is."""
        return _WORDS[self.source]

    @property
    def behind(self) -> timedelta:
        """How far the clock is behind what is verified."""
        return self.at - self.clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """What an anchor itself says of time."""

    dated_at: datetime | None = None
    """Newest date in it: it was written at about that time, or later."""
    expires_at: datetime | None = None
    """When the first part of it expires that must be fresh."""
    carried: bool = True
    """Whether it came with the bundle. What the host remembers was packed with another one, and
    grows old like that one."""
    part: str = ""
    """Which part that is, in words, where there are several."""
    taken_for: timedelta | None = None
    """How long past its expiry it is taken where the policy does not say."""
    window: Validity = ALWAYS
    """Of a key: when it must have signed, as the policy says. It does not age by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorAge:
    """An anchor at a time."""

    name: str
    dates: Dates
    max_staleness: timedelta | None
    """What applies to it; None where nothing does."""
    age: timedelta | None
    """Since the newest date in it, which may lie ahead: then none at all."""
    past: timedelta | None
    """Since it expired; None where it did not."""
    holds: Holds
    problem: TrustRootError | None = None

    @property
    def words(self) -> str:
        """In words for a report."""
        parts: list[str] = []
        if self.dates.dated_at is not None and self.age is not None:
            parts.append(f"{days(self.age)} old (newest date {_day(self.dates.dated_at)})")
        if self.dates.expires_at is not None:
            part = f" ({self.dates.part})" if self.dates.part else ""
            parts.append(
                f"expires {format_instant(self.dates.expires_at)}{part}"
                if self.past is None
                else f"expired {days(self.past)} ago, {format_instant(self.dates.expires_at)}{part}"
            )
        if self.max_staleness is not None:
            parts.append(f"taken up to {days(self.max_staleness)}")
        if self.dates.window != ALWAYS:
            parts.append(f"counts where it signed from {_window(self.dates.window)}")
        return ", ".join(parts) or "has no age"

    @property
    def warning(self) -> str:
        """What to say of one that is taken although it is not fresh; empty where it is fresh."""
        return f"anchor {self.name}: {self.words}" if self.holds == "late" else ""


def age_of(
    name: str, dates: Dates, rule: AnchorRule | None, time: Reckoned, *, where: str = ""
) -> AnchorAge:
    """Return how old an anchor is at a time, and whether it is still taken.

    Args:
        name: the anchor's.
        dates: what it says itself.
        rule: what the policy says of it.
        time: by whom it is what time; `evidence` is also when the bundle was packed at the latest.
        where: file, for messages.
    """
    limit = None if rule is None else rule.max_staleness
    if limit is None and dates.expires_at is not None:
        limit = dates.taken_for or MAX_STALENESS_DEFAULT
    age = None if dates.dated_at is None else max(time.at - dates.dated_at, timedelta())
    past = (
        time.at - dates.expires_at
        if dates.expires_at is not None and time.at > dates.expires_at
        else None
    )
    holds: Holds = "undated" if (age, dates.expires_at) == (None, None) else "fresh"
    problem: TrustRootError | None = None
    expires = dates.expires_at
    packed = time.evidence if dates.carried else None
    if expires is not None and packed is not None and packed > expires:
        holds = "expired"
        problem = TrustRootExpiredError(
            f"the anchor {name!r} had expired when this bundle was packed",
            where=where,
            expected=f"trust material good at {format_instant(packed)}",
            found=f"expired at {format_instant(expires)}"
            + (f": {dates.part}" if dates.part else ""),
            hint="the packing side must fetch fresh trust material first: `airlock trust fetch`",
        )
    elif past is not None or (expires is None and age is not None and limit is not None):
        elapsed = past if past is not None else age
        if limit is not None and elapsed is not None and elapsed > limit:
            holds = "stale"
            problem = TrustRootStaleError(
                f"the anchor {name!r} is stale, by {time.words}",
                where=where,
                expected=f"at most {days(limit)} "
                + ("past its expiry" if past is not None else "since the newest date in it"),
                found=f"{days(elapsed)}; it is {format_instant(time.at)}",
                hint=_HINT.format(name=name),
            )
        elif past is not None:
            holds = "late"
    return AnchorAge(
        name=name,
        dates=dates,
        max_staleness=limit,
        age=age,
        past=past,
        holds=holds,
        problem=problem,
    )


def oldest(ages: Iterable[AnchorAge]) -> AnchorAge:
    """Return the age that decides among an anchor's parts: refused, longest past, ending first."""

    def rank(age: AnchorAge) -> tuple[bool, timedelta, float]:
        expires = age.dates.expires_at
        return (
            age.problem is not None,
            age.past or timedelta(),
            float("-inf") if expires is None else -expires.timestamp(),
        )

    return max(ages, key=rank)


def days(length: timedelta) -> str:
    """Write a length of time for people: whole days, below two days hours."""
    hours = int(length.total_seconds() // 3600)
    if hours < 48:  # noqa: PLR2004 - two days
        return "1 hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"


def _window(window: Validity) -> str:
    start = "the beginning" if window.start is None else _day(window.start)
    return f"{start} on" if window.end is None else f"{start} to {_day(window.end)}"


def _day(at: datetime) -> str:
    return format_instant(at)[:10]
