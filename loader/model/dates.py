"""Dates as producers write them into predicates: RFC 3339, with fractions and offsets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,12})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_FRACTION: Final = re.compile(r"\.([0-9]{1,12})", re.ASCII)
_NEVER: Final = 1970
"""Go writes the year 1 where nobody set a time."""


def read_date(value: object) -> datetime | None:
    """Return the aware instant that a text writes; None for no date, and for Go's zero time."""
    if not isinstance(value, str) or _DATE.fullmatch(value) is None:
        return None
    # Python takes three or six digits of a fraction.
    text = _FRACTION.sub(lambda m: f".{m[1][:6]:0<6}", value.upper())
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.year <= _NEVER else found.astimezone(UTC)
