"""Which of a repository's tags is meant: by a part of its name, by the date in it, by its age.

Nightly builds are often tagged with their date, as Dangerzone's are (20250909-0.10.0-339-g1234abc).
A tag is a name that anybody with access may move, and nothing here makes it more than that: what
comes out is a digest, and whether that is the right image, signatures say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from bundler.errors import RemoteNotFoundError, StaleTagError
from loader.errors import UsageError, shown

_DATE: Final = re.compile(r"(?:^|[-_.])(2[0-9]{3})(-?)([0-9]{2})\2([0-9]{2})(?=$|[-_.])", re.ASCII)
_NUMBERS: Final = re.compile(r"[0-9]+", re.ASCII)
_COSIGN: Final = re.compile(r"sha256-[0-9a-f]{64}(?:\..*)?", re.ASCII)
_LISTED_MAX: Final = 5

_Place: TypeAlias = tuple[date, tuple[tuple[int, int | str], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which tag is wanted."""

    contains: str = ""
    newest: bool = False
    max_age: timedelta | None = None


def date_of(tag: str) -> date | None:
    """Return the date that a tag names, as 20250909 or 2025-09-09 between other parts."""
    for found in _DATE.finditer(tag):
        try:
            return date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:
            continue
    return None


def choose(tags: Iterable[str], wish: Wish, *, where: str) -> str:
    """Return the one tag that is wanted.

    Raises:
        RemoteNotFoundError: no tag fits.
        UsageError: several do, and nobody said that the newest is meant.
    """
    every = [tag for tag in tags if _COSIGN.fullmatch(tag) is None]
    fitting = sorted((tag for tag in every if wish.contains in tag), key=_place, reverse=True)
    if wish.newest:
        # A tag without a date is neither newer nor older than another.
        fitting = [tag for tag in fitting if date_of(tag) is not None]
    if not fitting:
        newest = sorted(every, key=_place, reverse=True)[:_LISTED_MAX]
        raise RemoteNotFoundError(
            "no tag of the repository is the one that is asked for",
            where=where,
            expected=f"a tag that contains {wish.contains!r}" if wish.contains else "a dated tag",
            found=f"{len(every)} tags, the newest {', '.join(map(shown, newest))}"
            if every
            else "no tags",
        )
    if len(fitting) > 1 and not wish.newest:
        raise UsageError(
            "more than one tag fits",
            where=where,
            found=f"{len(fitting)}: {', '.join(map(shown, fitting[:_LISTED_MAX]))}",
            hint="--newest takes the one with the latest date",
        )
    return fitting[0]


def age_of(tag: str, *, now: datetime) -> timedelta | None:
    """Return how old a tag's date is, in whole days (UTC); None where it names no date."""
    dated = date_of(tag)
    return None if dated is None else now.astimezone(UTC).date() - dated


def expect_fresh(tag: str, max_age: timedelta, *, now: datetime, where: str) -> None:
    """Check that a tag's date lies no further back than so long, and not in the future.

    Raises:
        StaleTagError: it does.
        UsageError: the tag names no date.
    """
    age = age_of(tag, now=now)
    if age is None:
        raise UsageError(
            "a tag without a date has no age",
            where=where,
            expected="a date in it, as 20250909",
            found=shown(tag),
        )
    if age > max_age or age < -timedelta(days=1):
        raise StaleTagError(
            "the tag is too old" if age > max_age else "the tag is dated in the future",
            where=where,
            expected=f"at most {in_words(max_age)} old",
            found=f"{in_words(age)} old",
            hint="nothing newer was built, or nothing newer reached this registry"
            if age > max_age
            else "",
        )


def in_words(span: timedelta) -> str:
    """Write a span in days, or in hours where it is not whole days."""
    hours = int(span.total_seconds()) // 3600
    if hours % 24:
        return f"{hours} hours"
    return f"{hours // 24} day{'s' * (abs(hours) != 24)}"  # noqa: PLR2004  (one day has 24)


def _place(tag: str) -> _Place:
    """Return where a tag stands: by date, then by its parts, numbers as numbers."""
    parts = tuple(
        (1, int(part)) if _NUMBERS.fullmatch(part) else (0, part)
        for part in re.split(r"([0-9]+)", tag)
    )
    return date_of(tag) or date.min, parts
