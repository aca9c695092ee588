"""Patterns of the policy: globs for names of repositories, RE2 for identities.

A whole string must match, always. cosign's flags accept a match of a part, so a pattern that would
only match a part is refused together with the pattern to write instead (DESIGN §11): silently
anchoring it would change what an operator wrote, silently searching would let
`https://evil.example/?github.com/org/x` pass for `github.com/org/.*`.

RE2 runs in linear time on whatever a certificate says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import re2

from loader.errors import PolicyFileError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loader.model.reference import Reference

_MATCH: Final = re.compile(r"[a-z0-9._:/*-]+", re.ASCII)
_PATTERN_LENGTH_MAX: Final = 2048
_PATTERN_MEMORY: Final = 1 << 20
"""Bytes RE2 may use for one compiled pattern; a policy's real ones need a few KiB."""
_STRANGERS: Final = (
    "https://github.com/stranger/repo/.github/workflows/x.yml@refs/heads/main",
    "https://gitlab.example/stranger/repo//.gitlab-ci.yml@refs/heads/main",
    "stranger@mail.example",
    "spiffe://stranger.example/workload",
    "https://issuer.stranger.example",
)
"""Whoever accepts all of these accepts everybody."""
_ANY_ON_GITHUB: Final = (
    "https://github.com/stranger/repo/.github/workflows/x.yml@refs/heads/main",
    "https://github.com/another/thing/.github/workflows/release.yml@refs/tags/v1.0.0",
)


class _Found(Protocol):
    def span(self) -> tuple[int, int]: ...


class _Compiled(Protocol):
    def fullmatch(self, text: str) -> _Found | None: ...
    def search(self, text: str) -> _Found | None: ...


def _compile(pattern: str, *, where: str) -> _Compiled:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        compiled: _Compiled = re2.compile(pattern, options=options)
    except re2.error as e:
        reason = e.args[0] if e.args else ""
        raise PolicyFileError(
            "not a pattern in RE2 syntax",
            where=where,
            found=shown(reason.decode(errors="replace") if isinstance(reason, bytes) else reason),
        ) from e
    return compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class Glob:
    """Names of repositories: `*` stays inside one part of the path, `**` crosses parts."""

    text: str
    _compiled: _Compiled = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, *, where: str) -> Glob:
        """Return the glob; it is compared with a repository's full name, without tag or digest.

        Raises:
            PolicyFileError: it could match no name at all.
        """
        if _MATCH.fullmatch(text) is None or "***" in text:
            raise PolicyFileError(
                "not a pattern for names of repositories",
                where=where,
                expected="lower-case names with * and **",
                found=shown(text),
            )
        if ":" in text.rpartition("/")[2] and "/" in text:
            raise PolicyFileError(
                "a pattern with a tag matches no repository's name",
                where=where,
                found=shown(text),
                hint="leave the tag away",
            )
        if "/" not in text and "**" not in text:
            raise PolicyFileError(
                "a pattern without a slash matches no repository's full name",
                where=where,
                expected='a full name, as "ghcr.io/org/*"',
                found=shown(text),
                hint='"**" matches every repository' if text == "*" else "",
            )
        parts = re.split(r"(\*\*|\*)", text)
        wild = {"**": ".*", "*": "[^/]*"}
        pattern = "".join(wild.get(part, re.escape(part)) for part in parts)
        return cls(text=text, _compiled=_compile(pattern, where=where))

    def matches(self, reference: Reference) -> bool:
        """Tell whether the repository's full name matches."""
        return self.matches_name(reference.name)

    def matches_name(self, name: str) -> bool:
        """Tell whether this full name of a repository matches."""
        return self._compiled.fullmatch(name) is not None

    def overlaps(self, other: Glob) -> bool:
        """Tell whether some name matches both."""
        one, two = re.findall(r"\*\*|.", self.text), re.findall(r"\*\*|.", other.text)
        pending, seen = [(0, 0)], {(0, 0)}
        while pending:
            here, there = pending.pop()
            if (here, there) == (len(one), len(two)):
                return True
            left = one[here] if here < len(one) else ""
            right = two[there] if there < len(two) else ""
            steps = [(here + 1, there)] if left in _WILD else []  # it matches nothing more
            steps += [(here, there + 1)] if right in _WILD else []
            if left and left == right and left not in _WILD:
                steps.append((here + 1, there + 1))
            steps += [(here, there + 1)] if right and _takes(left, right) else []
            steps += [(here + 1, there)] if left and _takes(right, left) else []
            pending += [step for step in dict.fromkeys(steps) if step not in seen]
            seen.update(steps)
        return False

    def __str__(self) -> str:
        return self.text


_WILD: Final = frozenset({"*", "**"})


def _takes(wild: str, char: str) -> bool:
    """Tell whether a wildcard takes this one character of the other pattern."""
    return char not in _WILD and (wild == "**" or (wild == "*" and char != "/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """One literal text: equal character by character, letter case included."""

    text: str

    def matches(self, value: str) -> bool:
        """Tell whether the value is this text."""
        return value == self.text

    def filled(self, fill: Callable[[str], str]) -> Exact:
        """Return the text with variables filled in."""
        return Exact(text=fill(self.text))

    def instead(self, value: str) -> str:
        """Return no advice: there is no partial match to mistake for a match."""
        del value
        return ""

    def __str__(self) -> str:
        return shown(self.text)


def _expect_short(pattern: str, *, where: str) -> None:
    if len(pattern) > _PATTERN_LENGTH_MAX:
        raise PolicyFileError(
            "a pattern is too long", where=where, expected=f"at most {_PATTERN_LENGTH_MAX}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Regexp:
    """An RE2 pattern that the whole value must match."""

    text: str
    _compiled: _Compiled = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, *, where: str) -> Regexp:
        """Return the pattern.

        Raises:
            PolicyFileError: not RE2, matches everything, or obviously written for a partial match.
        """
        _expect_short(text, where=where)
        pattern = cls(text=text, _compiled=_compile(text, where=where))
        if all(pattern.matches(stranger) for stranger in _STRANGERS):
            raise PolicyFileError(
                "a pattern that everybody matches names nobody", where=where, found=shown(text)
            )
        if text.endswith("/"):
            raise PolicyFileError(
                "a pattern must match the whole text, and no identity ends with a slash",
                where=where,
                found=shown(text),
                hint=f"write '{text}.*'",
            )
        return pattern

    def matches(self, value: str) -> bool:
        """Tell whether the whole value matches."""
        return self._compiled.fullmatch(value) is not None

    def filled(self, fill: Callable[[str], str]) -> Regexp:
        """Return the pattern: what an image says of itself stands in none."""
        del fill
        return self

    def instead(self, value: str) -> str:
        """Return advice where cosign, which accepts a match of a part, would have said yes.

        The pattern to write is only given where what is missing is a scheme before it or anything
        behind it: completing it with a stranger's own text would advise to trust the stranger.
        """
        found = self._compiled.search(value)
        if found is None or self.matches(value):
            return ""
        start, end = found.span()
        before = value[:start]
        advice = "only a part of the identity matches, and the whole must"
        if before not in {"", "https://"}:
            return advice
        inner = f"(?:{self.text})" if "|" in self.text else self.text.removesuffix("$")
        whole = f"{before}{inner}{'.*' if end < len(value) else ''}"
        return f"{advice}; write '{whole}'"

    def warnings(self, *, where: str) -> tuple[str, ...]:
        """Return what an operator should look at: it is allowed, and perhaps not meant."""
        found: list[str] = []
        literal = escape_dots(self.text)
        if literal != self.text:
            found.append(
                f"{where}: a dot matches any character; if full stops are meant, write '{literal}'"
            )
        if all(self.matches(stranger) for stranger in _ANY_ON_GITHUB):
            found.append(f"{where}: every repository on github.com matches '{self.text}'")
        return tuple(found)

    def __str__(self) -> str:
        # As the operator wrote it: with the backslashes doubled, nobody could copy it.
        return "/" + "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in self.text) + "/"


TextPattern: TypeAlias = Exact | Regexp

_VARIABLE: Final = re.compile(r"(?<!\\[xpP])\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)
_TOKEN: Final = re.compile(
    r"\\[xpP]\{[^}]*\}"
    r"|(?P<closed>\\Q.*?(?:\\E|\Z)|\[\^?\]?(?:\[:\^?[a-z]{1,8}:\]|\\.|[^\]\\])*\])"
    r"|\\."
    r"|\{(?P<name>[a-z][a-z0-9_]{0,31})\}(?P<repeated>(?=[*+?{]))?",
    re.ASCII | re.DOTALL,
)
"""What braces may stand in: escapes, quoted text and sets, and variables."""


def variables_of(pattern: str, *, where: str) -> tuple[str, ...]:
    """Return the names of the variables in a pattern.

    Raises:
        PolicyFileError: the pattern is too long, or one stands where it would not stand for its
            text.
    """
    _expect_short(pattern, where=where)
    found: dict[str, None] = {}
    for token in _TOKEN.finditer(pattern):
        if token["closed"] and _VARIABLE.search(token["closed"]):
            raise PolicyFileError(
                "a variable in quoted text or a set of characters",
                where=where,
                found=shown(token["closed"]),
            )
        if token["name"]:
            found[token["name"]] = None
    return tuple(found)


def filled_pattern(pattern: str, values: Mapping[str, str]) -> str:
    """Return a pattern with its variables filled in, each standing for its text and nothing else.

    All variables of the pattern must have a value (`variables_of`).
    """

    def text(token: re.Match[str]) -> str:
        if not token["name"]:
            return token[0]
        quoted: str = re2.escape(values[token["name"]])
        return f"(?:{quoted})" if token["repeated"] is not None else quoted

    return _TOKEN.sub(text, pattern)


def escape_dots(pattern: str) -> str:
    """Return the pattern with those dots escaped that stand alone: not `.*`, not in a class."""
    out: list[str] = []
    position, in_class = 0, False
    while position < len(pattern):
        here, ahead = pattern[position], pattern[position + 1 : position + 2]
        if here == "\\":
            out.append(here + ahead)
            position += 2
            continue
        if here == "[" and not in_class:
            in_class = True
        elif here == "]" and in_class and pattern[position - 1] != "[":
            in_class = False
        alone = here == "." and not in_class and ahead not in {"*", "+", "?", "{"}
        out.append(r"\." if alone else here)
        position += 1
    return "".join(out)
