"""Spans of time as people write them on a command line: `12h`, `30d`, `4w`, `1y`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from loader.errors import UsageError, shown

_DURATION: Final = re.compile(r"([0-9]{1,5})([hdwy])", re.ASCII)
_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def parse_duration(text: str, *, where: str) -> timedelta:
    """Return the span that `text` writes.

    Raises:
        UsageError: it writes none, or nothing at all.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(
            "not a duration", where=where, expected="12h, 30d, 4w or 1y", found=shown(text)
        )
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])
