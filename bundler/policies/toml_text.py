"""Policies as text: what the command line means, what is proposed, what was imported.

A policy that this side makes is always written down and read by the loader's own reader, so that it
means what the same words mean in a file, and can be shown, kept and reviewed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

Value: TypeAlias = "str | int | bool | Sequence[Value] | Mapping[str, Value]"

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WIDTH: Final = 100


def key(name: str) -> str:
    """Return a key as TOML writes it."""
    return name if _BARE.fullmatch(name) is not None else text(name)


def text(value: str) -> str:
    """Return a string: literal where it can be, so that a pattern looks as it was written."""
    if "\\" in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004


def value(item: Value) -> str:
    """Return any value on one line."""
    match item:
        case bool():
            return "true" if item else "false"
        case int():
            return str(item)
        case str():
            return text(item)
        case Mapping():
            inside = ", ".join(f"{key(name)} = {value(one)}" for name, one in item.items())
            return f"{{ {inside} }}" if inside else "{}"
        case _:
            return f"[{', '.join(value(one) for one in item)}]"


def lines(table: Mapping[str, Value]) -> Iterator[str]:
    """Yield the lines of a table's keys; a long array takes a line for each of its items."""
    for name, item in table.items():
        line = f"{key(name)} = {value(item)}"
        if len(line) <= _WIDTH or isinstance(item, str | int | Mapping):
            yield line
            continue
        yield f"{key(name)} = ["
        for one in item:
            yield f"    {value(one)},"
        yield "]"


def comment(words: str) -> str:
    """Return words as a comment; a line break in them stays inside it."""
    safe = "".join(char if char.isprintable() else " " for char in words)
    return f"# {safe}"
