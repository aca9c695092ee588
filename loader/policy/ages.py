"""How old a document is that evidence carries: against this host's time, and against its signature.

The date is what the producer wrote, and signed. A document that was made after it was signed, or
that will be made tomorrow, has no date that anybody could go by.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from loader.errors import ContentsError
from loader.model.fields import format_instant
from loader.policy.facts import Problem

if TYPE_CHECKING:
    from datetime import datetime

    from loader.policy.facts import About
    from loader.verify.facts import Signed

SKEW: Final = timedelta(minutes=10)
"""By how much the clocks of a scanner and of a log may differ."""


def in_words(age: timedelta) -> str:
    """Return an age in days, or in hours where it is less than two days."""
    hours = int(age.total_seconds()) // 3600
    return f"{hours // 24}d" if hours >= 48 else f"{hours}h"  # noqa: PLR2004


def too_old(
    made: datetime | None,
    signed: Signed,
    about: About,
    *,
    age_max: timedelta,
    allow_undated: bool,
    what: str,
) -> Problem | None:
    """Tell whether a document is older than policy allows, or has no date to tell it by.

    Args:
        made: when it says that it was made.
        signed: the evidence that carries it.
        about: has the time of this host.
        age_max: how old it may be.
        allow_undated: whether its first verified time stands in where it has no date.
        what: its name, for messages: "scan".
    """
    times = sorted(time.at for time in signed.times)
    if made is None and allow_undated and times:
        made = times[0]
    if made is None:
        return Problem(
            code=ContentsError.code,
            message=f"the {what} says no date, and policy limits its age",
            expected=f"at most {in_words(age_max)} old",
            found="no date",
        )
    if times and made > times[0] + SKEW:
        return Problem(
            code=ContentsError.code,
            message=f"the {what} says that it was made after it was signed",
            expected=f"at most {format_instant(times[0])}",
            found=format_instant(made),
        )
    age = about.now - made
    if age < -SKEW and not times:
        return Problem(
            code=ContentsError.code,
            message=f"the {what} is dated later than this host's time",
            expected=f"at most {format_instant(about.now)}",
            found=format_instant(made),
        )
    if age > age_max:
        return Problem(
            code=ContentsError.code,
            message=f"the {what} is too old",
            expected=f"at most {in_words(age_max)} at {format_instant(about.now)}",
            found=f"{in_words(age)}: {format_instant(made)}",
            hint=f"make a new {what}, attest it, and pack the image again",
        )
    return None
