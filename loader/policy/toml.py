"""Typed getters over decoded TOML; an error names the path to the key: `image[0].require[1].log`.

A key that nobody reads would be a check that nobody makes, so an unknown key is an error, with the
nearest known one as advice.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from loader.errors import PolicyFileError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

TomlValue: TypeAlias = (
    "bool | int | float | str | datetime | date | time | list[TomlValue] | dict[str, TomlValue]"
)
TomlObject: TypeAlias = dict[str, TomlValue]
Word = TypeVar("Word", bound=str)
DURATION: Final = r"([1-9][0-9]{0,4})([hdwy])"
"""What a length of time looks like."""
_DURATION: Final = re.compile(DURATION, re.ASCII)
_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def parse(raw: bytes, *, where: str, size_max: int) -> Table:
    """Return the table that these bytes write (TOML 1.0).

    Raises:
        PolicyFileError: too large, not UTF-8, or not TOML.
    """
    if len(raw) > size_max:
        raise PolicyFileError(
            "the policy is too large",
            where=where,
            expected=f"at most {size_max} bytes",
            found=f"{len(raw)} bytes",
        )
    try:
        document: TomlObject = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise PolicyFileError("the policy is not UTF-8", where=f"{where}, byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        raise PolicyFileError("the policy is not TOML", where=where, found=shown(str(e))) from e
    except RecursionError as e:
        raise PolicyFileError("the policy is nested too deeply", where=where) from e
    return Table(document, "")


class Table:
    """A table of the policy, with the path that leads to it."""

    __slots__ = ("_items", "_path")

    def __init__(self, value: TomlValue, path: str) -> None:
        if not isinstance(value, dict):
            raise PolicyFileError("not a table", where=path, found=kind_of(value))
        self._items = value
        self._path = path

    @property
    def path(self) -> str:
        """Where this table stands."""
        return self._path

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that are there, in the order of the file."""
        return tuple(self._items)

    def mapped(self, change: Callable[[TomlValue, str], TomlValue]) -> Table:
        """Return the table that becomes of this one at this path."""
        return Table(change(self._items, self._path), self._path)

    def at(self, name: str) -> str:
        """Return the path of one of its keys."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Tell whether the key is there."""
        return name in self._items

    def only(self, known: Collection[str], *, elsewhere: Mapping[str, str] | None = None) -> None:
        """Refuse keys with other names than these.

        Args:
            known: the keys that this table may hold.
            elsewhere: keys that mean something, but not here or not yet, each with what to say.

        Raises:
            PolicyFileError: there is one.
        """
        for name in self._items:
            if name in known:
                continue
            if elsewhere is not None and name in elsewhere:
                raise PolicyFileError(elsewhere[name], where=self.at(name))
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise PolicyFileError(
                "unknown key",
                where=self.at(shown(name)),
                hint=f"the nearest known key is {near[0]!r}"
                if near
                else "known here: " + ", ".join(sorted(known)),
            )

    def value(self, name: str) -> TomlValue:
        """Return a value that must be there.

        Raises:
            PolicyFileError: it is not.
        """
        if name not in self._items:
            raise PolicyFileError("a key is missing", where=self.at(name))
        return self._items[name]

    def text(self, name: str) -> str:
        """Return a string of printable characters that is not empty.

        Raises:
            PolicyFileError: it is missing, empty, not a string, or holds control characters.
        """
        value = self.value(name)
        if not isinstance(value, str) or not value:
            raise PolicyFileError(
                "not a string with characters in it", where=self.at(name), found=kind_of(value)
            )
        if not value.isprintable():
            raise PolicyFileError(
                "a string with characters that cannot be seen",
                where=self.at(name),
                found=shown(value),
            )
        return value

    def optional_text(self, name: str) -> str | None:
        """Return the string, or None where the key is absent; see `text`."""
        return self.text(name) if self.has(name) else None

    def integer(self, name: str, *, minimum: int, maximum: int) -> int:
        """Return an integer within closed bounds; neither a string nor a boolean is one.

        Raises:
            PolicyFileError: it is missing, or anything else.
        """
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise PolicyFileError(
                "not an integer in range",
                where=self.at(name),
                expected=f"{minimum} to {maximum}",
                found=shown(value, limit=60),
            )
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean.

        Raises:
            PolicyFileError: it is missing, or anything else.
        """
        value = self.value(name)
        if not isinstance(value, bool):
            raise PolicyFileError("not true or false", where=self.at(name), found=kind_of(value))
        return value

    def day(self, name: str) -> date:
        """Return a date without a time, written without quotes.

        Raises:
            PolicyFileError: it is missing, or anything else.
        """
        value = self.value(name)
        if not isinstance(value, date) or isinstance(value, datetime):
            raise PolicyFileError(
                "not a date", where=self.at(name), expected="2026-12-31, without quotes"
            )
        return value

    def texts(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """Return an array of different strings, of which there must be one.

        Raises:
            PolicyFileError: it is missing, empty, too long, or holds something else or one twice.
        """
        value = self.value(name)
        if not isinstance(value, list) or not 1 <= len(value) <= count_max:
            raise PolicyFileError(
                "not an array of strings", where=self.at(name), expected=f"1 to {count_max} of them"
            )
        found = tuple(
            Table({"": item}, f"{self.at(name)}[{number}]").text("")
            for number, item in enumerate(value)
        )
        if len(set(found)) != len(found):
            raise PolicyFileError("the same twice", where=self.at(name))
        return found

    def duration(self, name: str) -> timedelta:
        """Return a length of time: `12h`, `30d`, `4w`, `1y` (365 days).

        Raises:
            PolicyFileError: it is missing, or anything else.
        """
        text = self.text(name)
        match = _DURATION.fullmatch(text)
        if match is None:
            raise PolicyFileError(
                "not a length of time",
                where=self.at(name),
                expected='"12h", "30d", "4w" or "1y"',
                found=shown(text),
            )
        return timedelta(hours=int(match[1]) * _HOURS[match[2]])

    def word(self, name: str, words: Mapping[str, Word]) -> Word:
        """Return one of a closed set of words.

        Raises:
            PolicyFileError: it is missing, or another.
        """
        text = self.text(name)
        if text not in words:
            near = difflib.get_close_matches(text, words, n=1)
            raise PolicyFileError(
                "not a word that is known here",
                where=self.at(name),
                expected=", ".join(f'"{word}"' for word in words),
                found=shown(text),
                hint=f'"{near[0]}" is meant?' if near else "",
            )
        return words[text]

    def table(self, name: str) -> Table:
        """Return a table that must be there.

        Raises:
            PolicyFileError: it is missing, or no table.
        """
        return Table(self.value(name), self.at(name))

    def each(self, name: str, *, count_max: int) -> Iterator[Table]:
        """Yield the tables of an array, which must be there.

        Raises:
            PolicyFileError: it is missing, no array of tables, empty or too long.
        """
        value = self.value(name)
        if not isinstance(value, list) or not value or len(value) > count_max:
            raise PolicyFileError(
                "not an array of tables",
                where=self.at(name),
                expected=f"1 to {count_max} of them",
                found=f"{len(value)} items" if isinstance(value, list) else kind_of(value),
            )
        for position, item in enumerate(value):
            yield Table(item, f"{self.at(name)}[{position}]")

    def text_map(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a table of strings as pairs.

        Raises:
            PolicyFileError: it is missing, empty, or holds something else.
        """
        table = self.table(name)
        if not table.names:
            raise PolicyFileError("an empty table asks for nothing", where=self.at(name))
        return tuple((key, table.text(key)) for key in table.names)


def kind_of(value: TomlValue) -> str:
    """Name a value's type in the words of TOML."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a string" if value else "an empty string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"
