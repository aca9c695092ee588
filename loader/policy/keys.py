"""The keys of a policy as data: what reading accepts, what an editor is told, what docs must name.

Reading takes the names of a table's keys from here, so that no key is read which is not listed, and
none is listed which is not read. `airlock policy schema` writes the same tables as a JSON schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string; `words` are the ones it may be, where it is one of a closed set."""

    words: tuple[str, ...] = ()
    pattern: str = ""
    """An RE2 pattern of what it looks like; empty where anything printable goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An integer within closed bounds."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """`true` or `false`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A date of TOML: 2026-12-31, without quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A table from names to values of one form; `names` are the ones it may hold, if closed."""

    of: Form
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An array of values of one form."""

    of: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A table with keys of its own."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """Any of several forms."""

    forms: tuple[Form, ...]


Form: TypeAlias = Text | Whole | Flag | Day | Named | Listing | Record | OneOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table."""

    name: str
    form: Form
    words: str
    """What it means, in one line, as an editor shows it."""
    required: bool = False


def names_of(*keys: Iterable[Key]) -> tuple[str, ...]:
    """Return the names of these keys."""
    return tuple(key.name for some in keys for key in some)
