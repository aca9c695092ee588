"""`WWW-Authenticate`: what a registry asks for, and what of it we are willing to pass on.

A registry names the place that credentials are sent to and what the token shall allow. Both are
its words, so both are looked at: the realm must be a place that may have them, the scope may not
ask for more than reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"\s*,?\s*({_WORD})(?=\s|,|$)(?!\s*=)")
_PARAMETER: Final = re.compile(rf'\s*,?\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_LENGTH_MAX: Final = 8192
_READING: Final = "pull"
_WRITING: Final = "pull,push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One scheme that the registry would accept."""

    scheme: str
    """In lower case: `bearer`, `basic`."""
    realm: str
    service: str
    scope: str


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Return the challenges of a header (RFC 9110 §11.6.1), in order, as far as it has sense."""
    return tuple(_challenges(header[:_LENGTH_MAX]))


def _challenges(header: str) -> Iterator[Challenge]:
    position = 0
    while position < len(header):
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            return
        position = scheme.end()
        found: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, position)) is not None:
            quoted, plain = parameter.group(2), parameter.group(3)
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found.setdefault(parameter.group(1).lower(), value)
            position = parameter.end()
        yield Challenge(
            scheme=scheme.group(1).lower(),
            realm=found.get("realm", ""),
            service=found.get("service", ""),
            scope=found.get("scope", ""),
        )


def reading_scope(asked: str, repository: str) -> str:
    """Return the scope to ask a token for: what the registry asks, without anything but reading."""
    wanted: list[str] = []
    for item in asked.split():
        kind, colon, rest = item.partition(":")
        name, second, _ = rest.rpartition(":")
        if colon and second and kind == "repository":
            wanted.append(f"{kind}:{name}:{_READING}")
        elif kind != "registry":
            wanted.append(item)
    return " ".join(dict.fromkeys(wanted)) or f"repository:{repository}:{_READING}"


def writing_scope(asked: str, repository: str) -> str:
    """Return the scope of a token to push: our repository alone, and what a mount reads from.

    Not what the registry asks: nobody needs to delete, and `*` is more than we want to hold.
    """
    reads = f"repository:{repository}:{_READING}"
    others = [item for item in reading_scope(asked, repository).split() if item != reads]
    return " ".join((f"repository:{repository}:{_WRITING}", *others))
