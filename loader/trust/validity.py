"""Windows of time in which a key, a log or an authority may be believed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from loader.errors import JsonFieldError, shown

if TYPE_CHECKING:
    from loader.model.fields import Fields

_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """A closed interval: both ends belong to it (sigstore protobuf-specs, `TimeRange`).

    An open side is None.
    """

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def from_fields(cls, fields: Fields | None) -> Validity:
        """Return the window that a `validFor` writes; everything where it is absent.

        Raises:
            JsonFieldError: an end is no instant, or the start lies behind the end.
        """
        if fields is None:
            return ALWAYS
        start = _instant(fields, "start")
        end = _instant(fields, "end")
        if start is not None and end is not None and start > end:
            raise JsonFieldError("a window that ends before it starts", where=fields.path)
        return cls(start=start, end=end)

    def holds_at(self, at: datetime) -> bool:
        """Tell whether an instant lies in the window."""
        return (self.start is None or self.start <= at) and (self.end is None or at <= self.end)

    def has_begun(self, at: datetime) -> bool:
        """Tell whether an instant lies in the window, or behind it."""
        return self.start is None or self.start <= at

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else self.start.isoformat()
        end = "no end" if self.end is None else self.end.isoformat()
        return f"{start} to {end}"


ALWAYS: Final = Validity()


def _instant(fields: Fields, name: str) -> datetime | None:
    text = fields.optional_text(name, length_max=40)
    if text is None:
        return None
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise JsonFieldError("not an instant in UTC", where=fields.at(name), found=shown(text))
    try:
        at = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError as e:
        raise JsonFieldError("not an instant", where=fields.at(name), found=shown(text)) from e
    return at.replace(microsecond=int((match.group(2) or "0")[:6].ljust(6, "0")))
