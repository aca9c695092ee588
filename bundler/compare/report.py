"""What came of a comparison: a verdict for each platform, and the first difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bundler.compare.files import Level
from bundler.compare.hints import Hint
from bundler.compare.ladder import Difference, PlatformVerdict, worst
from bundler.compare.side import Side
from loader.model.strictjson import JsonObject

SCHEMA: Final = "airlock-compare/1"
_STATUS: Final[dict[Level, int]] = {
    "identical": 0,
    "same-content": 3,
    "same-files": 3,
    "different": 1,
}
_WORDS: Final[dict[Level, str]] = {
    "identical": "identical",
    "same-content": "same content in other bytes",
    "same-files": "same files but for order and times",
    "different": "different",
}


_LINE_MAX: Final = 98
"""Characters of a difference that fits on one line; two digests do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two images, compared."""

    a: Side
    b: Side
    verdicts: tuple[PlatformVerdict, ...]
    hints: tuple[tuple[Hint, ...], tuple[Hint, ...]] | None = None
    """What either says of how it was built, where that was asked for."""

    @property
    def level(self) -> Level:
        """The lowest rung of all platforms."""
        return worst(self.verdicts)

    @property
    def exit_status(self) -> int:
        """0 identical, 3 the same content or files, 1 different (docs/errors.md)."""
        return _STATUS[self.level]

    def as_text(self, *, explain: bool) -> Iterator[str]:
        """Yield the lines that a person reads; all differences where they are to be explained."""
        for label, side in (("a", self.a), ("b", self.b)):
            yield f"{label}         {side.name}" + (f" {side.digest}" if side.digest else "")
        for verdict in self.verdicts:
            yield f"{verdict.platform}: {_WORDS[verdict.level]}"
            if explain:
                for one in verdict.differences:
                    yield from _lines(one)
                if verdict.more:
                    yield f"  and {verdict.more} more"
            elif verdict.first is not None:
                yield from _lines(verdict.first)
                left = len(verdict.differences) + verdict.more - 1
                if left:
                    yield f"  and {left} more: --explain lists them"
        if self.note:
            yield f"note      {self.note}"
        for label, found in zip("ab", self.hints or (), strict=False):
            said = "not verified: what it says of itself" if found else "it says nothing"
            yield f"rebuild {label} {said}"
            yield from (f"  {hint}" for hint in found)
        yield f"verdict   {_WORDS[self.level]}"

    @property
    def note(self) -> str:
        """What else should be known: the same platforms below another index."""
        a, b = self.a.digest, self.b.digest
        if self.level != "identical" or a is None or b is None or a == b:
            return ""
        return "their top documents differ: a signature of one index is none of the other"

    def as_json(self) -> JsonObject:
        """Return the document of schema `airlock-compare/1`."""
        return {
            "schema": SCHEMA,
            "a": {"name": self.a.name, "digest": _text(self.a)},
            "b": {"name": self.b.name, "digest": _text(self.b)},
            "verdict": self.level,
            "platforms": [
                {
                    "platform": verdict.platform,
                    "verdict": verdict.level,
                    "first": None if verdict.first is None else _plain(verdict.first),
                    "differences": [_plain(one) for one in verdict.differences],
                    "more": verdict.more,
                }
                for verdict in self.verdicts
            ],
            "note": self.note,
            "rebuild": None
            if self.hints is None
            else {
                label: [hint.plain() for hint in found]
                for label, found in zip("ab", self.hints, strict=True)
            },
        }


def _lines(one: Difference) -> Iterator[str]:
    text = str(one)
    if len(text) <= _LINE_MAX:
        yield f"  {text}"
    else:
        yield f"  {one.place}"
        yield f"    a: {one.a}"
        yield f"    b: {one.b}"
    if one.cause:
        yield f"    likely: {one.cause}"


def _plain(one: Difference) -> JsonObject:
    return {
        "level": one.level,
        "path": list(one.path),
        "a": one.a,
        "b": one.b,
        "cause": one.cause,
    }


def _text(side: Side) -> str | None:
    return None if side.digest is None else str(side.digest)
