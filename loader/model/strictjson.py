"""The only door for JSON: UTF-8, unique keys, bounded depth and numbers, nothing behind the end.

Python's `json` takes the last of two equal keys, reads UTF-16, NaN and 1e999, and lone surrogates
(THREATS §3); Go's takes keys that differ in case for one. Two readers that disagree about the same
bytes are how a signed document comes to mean two things, so what they could disagree about is
refused.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias

from loader.errors import JsonError, LimitError, shown
from loader.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loader.limits import Limits

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]
_Hook: TypeAlias = "Callable[[list[tuple[str, JsonValue]]], JsonObject]"

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_BYTE_ORDER_MARK: Final = "\ufeff"
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NOTHING: Final[JsonObject] = {}
"""What is left of an object of which nothing is kept: one for all, as there may be a million."""
_OPENERS: Final = (b",", b"[", b"{")
_WIDE: Final = re.compile(rb"[\xf0-\xf7]|\\u[dD][89abAB]")
"""How a character beyond U+FFFF begins, in UTF-8 or as an escape."""


def parse(
    raw: bytes,
    *,
    what: str,
    size_max: int,
    keys: Literal["exact", "casefold"] = "casefold",
    numbers: Literal["integers", "any"] = "integers",
    limits: Limits = DEFAULT_LIMITS,
) -> JsonValue:
    """Return the value that these bytes write, if there is but one way to read them (RFC 7493).

    Args:
        raw: the document, as it was signed or digested.
        what: its name, for messages: "the bundle statement".
        size_max: bytes.
        keys: whether two keys of an object that differ only in case are refused as well as equal
        ones.
            Our own format and OCI's refuse them; predicates are free to hold them.
        numbers: whether fractions are allowed. They are in predicates (scores), nowhere else.
        limits: depth, number of values, memory, and length of integers.

    Raises:
        LimitError: too long, too deep, too many values, or an integer of too many digits.
        JsonError: anything that a strict reader does not accept.
    """
    text = _decoded(raw, what=what, size_max=size_max, limits=limits)
    if text.startswith(_BYTE_ORDER_MARK):
        raise JsonError(f"{what} begins with a byte order mark")
    builder = _Builder(what=what, keys=keys, numbers=numbers, limits=limits)
    with _in_our_words(what, limits=limits):
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=builder.object,
            parse_int=builder.integer,
            parse_float=builder.fraction,
            parse_constant=builder.constant,
        )
    _walk(value, what=what, depth_max=limits.json_depth_max, strings=r"\u" in text)
    return value


def parse_object(
    raw: bytes,
    *,
    what: str,
    size_max: int,
    keys: Literal["exact", "casefold"] = "casefold",
    numbers: Literal["integers", "any"] = "integers",
    limits: Limits = DEFAULT_LIMITS,
) -> JsonObject:
    """Return the object that these bytes write; see `parse`.

    Raises:
        LimitError: as `parse`.
        JsonError: as `parse`, or the document is not an object.
    """
    value = parse(raw, what=what, size_max=size_max, keys=keys, numbers=numbers, limits=limits)
    if not isinstance(value, dict):
        raise JsonError(f"{what} is not a JSON object", found=type(value).__name__)
    return value


def parse_with_part(
    raw: bytes,
    *,
    what: str,
    size_max: int,
    member: str,
    keep: frozenset[str] | None,
    limits: Limits = DEFAULT_LIMITS,
) -> JsonObject:
    """Return the object that these bytes write; below one member, only what somebody will look at.

    A statement about an image is small but for its predicate, which may be an SBOM of megabytes, of
    which five keys are read. Everything is parsed, and refused, as by `parse_object`; but below
    `member` each object is let go of all other keys as soon as it is read, so that memory follows
    what is kept and not what was sent. What is dropped is not interpreted by anybody.

    Args:
        raw: the document.
        what: its name, for messages.
        size_max: bytes.
        member: a key of the document itself.
        keep: keys that are kept below it, wherever they stand; None keeps all.
        limits: as `parse`; `json_kept_count_max` bounds what is kept.

    Raises:
        LimitError, JsonError: as `parse_object`, or more is kept than the limit.
    """
    text = _decoded(raw, what=what, size_max=size_max, limits=limits)
    builder = _Builder(what=what, keys="exact", numbers="any", limits=limits)
    with _in_our_words(what, limits=limits):
        value = builder.object(list(_members(text, builder, member=member, keep=keep)))
    _walk(value, what=what, depth_max=limits.json_depth_max, strings=r"\u" in text)
    return value


def _decoded(raw: bytes, *, what: str, size_max: int, limits: Limits) -> str:
    if len(raw) > size_max:
        raise LimitError(
            f"{what} is too large", expected=f"at most {size_max} bytes", found=f"{len(raw)} bytes"
        )
    _expect_affordable(raw, what=what, limits=limits)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise JsonError(f"{what} is not UTF-8", where=f"byte {e.start}") from e


@contextmanager
def _in_our_words(what: str, *, limits: Limits) -> Iterator[None]:
    """Translate what the standard library raises."""
    try:
        yield
    except json.JSONDecodeError as e:
        raise JsonError(f"{what} is not JSON", where=f"character {e.pos}", found=e.msg) from e
    except RecursionError as e:
        raise LimitError(
            f"{what} is nested too deeply", expected=f"at most {limits.json_depth_max} levels"
        ) from e


def _members(
    text: str, builder: _Builder, *, member: str, keep: frozenset[str] | None
) -> Iterator[tuple[str, JsonValue]]:
    """Yield the members of the object that is all of this text.

    Raises:
        json.JSONDecodeError: it is none, or something follows.
    """
    whole = builder.decoder(builder.object)
    part = whole if keep is None else builder.decoder(builder.reduced(keep))

    def expect(signs: str, at: int) -> tuple[str, int]:
        at = _after_space(text, at)
        sign = text[at : at + 1]
        if not sign or sign not in signs:
            raise json.JSONDecodeError(f"Expecting one of {signs}", text, at)
        return sign, _after_space(text, at + 1)

    _, at = expect("{", 0)
    if text[at : at + 1] == "}":
        at += 1
    else:
        sign = ","
        while sign == ",":
            expect('"', at)
            key, at = whole.raw_decode(text, at)
            _, at = expect(":", at)
            value, at = (part if key == member else whole).raw_decode(text, at)
            yield key, value
            sign, at = expect(",}", at)
    if _after_space(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _expect_affordable(raw: bytes, *, what: str, limits: Limits) -> None:
    """Refuse what would cost much more than its own size once it is read.

    An empty list has three bytes here and sixty in memory; one character beyond U+FFFF makes all
    others four bytes wide. Counted before anything is built, as everything built at all is lost.
    """
    count = sum(map(raw.count, _OPENERS))
    if count > limits.json_value_count_max:
        raise LimitError(
            f"{what} holds too many values",
            expected=f"at most {limits.json_value_count_max} commas and brackets",
            found=str(count),
        )
    if 4 * len(raw) > limits.json_text_memory_max and _WIDE.search(raw) is not None:
        raise LimitError(
            f"{what} is too large for the characters in it",
            expected=f"at most {limits.json_text_memory_max // 4} bytes",
            found=f"{len(raw)} bytes",
        )


class _Builder:
    """The hooks of one run of the parser, with what they need for a message."""

    __slots__ = ("_keys", "_limits", "_numbers", "_what")

    def __init__(
        self,
        *,
        what: str,
        keys: Literal["exact", "casefold"],
        numbers: Literal["integers", "any"],
        limits: Limits,
    ) -> None:
        self._what = what
        self._keys = keys
        self._numbers = numbers
        self._limits = limits

    def object(self, pairs: list[tuple[str, JsonValue]]) -> JsonObject:
        if len(pairs) > self._limits.json_key_count_max:
            raise LimitError(
                f"{self._what} has an object of too many keys",
                expected=f"at most {self._limits.json_key_count_max}",
                found=str(len(pairs)),
            )
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise JsonError(
                        f"{self._what} has the same key twice in one object", found=shown(key)
                    )
                seen.add(key)
        if self._keys == "casefold" and len({key.casefold() for key in found}) != len(found):
            raise JsonError(
                f"{self._what} has keys that differ only in case", found=shown(sorted(found))
            )
        return found

    def reduced(self, keep: frozenset[str]) -> _Hook:
        """Return a hook that keeps only these keys, and counts what it keeps."""
        left = self._limits.json_kept_count_max

        def reduce(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
            nonlocal left
            found = self.object(pairs)
            if found.keys() <= keep:
                kept = found
            else:
                kept = {key: value for key, value in found.items() if key in keep} or _NOTHING
            left -= len(kept)
            if left < 0:
                raise LimitError(
                    f"{self._what} says too much of what policy asks for",
                    expected=f"at most {self._limits.json_kept_count_max} such values",
                    hint="the limit is `json_kept_count_max`",
                )
            return kept

        return reduce

    def decoder(self, hook: _Hook) -> json.JSONDecoder:
        """Return a decoder that refuses what this builder refuses."""
        return json.JSONDecoder(
            object_pairs_hook=hook,
            parse_int=self.integer,
            parse_float=self.fraction,
            parse_constant=self.constant,
        )

    def integer(self, text: str) -> int:
        digits_max = self._limits.json_integer_digits_max
        if len(text.lstrip("-")) > digits_max:
            raise LimitError(
                f"{self._what} has a number of more than {digits_max} digits",
                found=shown(text),
            )
        if text == "-0":
            raise JsonError(f"{self._what} has a negative zero")
        return int(text)

    def fraction(self, text: str) -> float:
        if self._numbers == "integers":
            raise JsonError(f"{self._what} has a number that is not an integer", found=shown(text))
        value = float(text)
        if not math.isfinite(value):
            raise JsonError(f"{self._what} has a number out of range", found=shown(text))
        return value

    def constant(self, text: str) -> NoReturn:
        raise JsonError(f"{self._what} has a value that JSON does not know", found=shown(text))


def _walk(value: JsonValue, *, what: str, depth_max: int, strings: bool) -> None:
    """Refuse what the parser's hooks do not see: depth, and halves of surrogate pairs."""
    level: list[JsonValue] = [value]
    for _ in range(depth_max + 1):
        below: list[JsonValue] = []
        for item in level:
            match item:
                case dict():
                    if strings:
                        for key in item:
                            _refuse_surrogates(key, what=what)
                    below.extend(item.values())
                case list():
                    below.extend(item)
                case str() if strings:
                    _refuse_surrogates(item, what=what)
                case _:
                    pass
        if not below:
            return
        level = below
    raise LimitError(f"{what} is nested too deeply", expected=f"at most {depth_max} levels")


def _refuse_surrogates(text: str, *, what: str) -> None:
    if _SURROGATE.search(text) is not None:
        raise JsonError(f"{what} has half of a surrogate pair", found=shown(text))
