"""What changes from one policy to another, in words that say in which direction. Pure.

Default deny decides what is looser: a block for images that no other block matches lets more in; a
requirement more, a channel less, a `[[deny]]` more lets less in. What cannot be told is `changed`,
and nothing that differs is left out.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import rfc8785

from loader.errors import shown
from loader.policy.rules import in_words

if TYPE_CHECKING:
    from loader.model.strictjson import JsonValue
    from loader.policy.model import Policy
    from loader.policy.rules import ImageRule
    from loader.policy.toml import TomlValue

Direction = Literal["looser", "tighter", "changed"]
_TIGHTER_WHEN_LISTED: Final = frozenset({"deny"})
_LOOSER_WHEN_LISTED: Final = frozenset({"exception"})
_VALUE_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs."""

    direction: Direction
    words: str


def changes(old: Policy, new: Policy) -> tuple[Change, ...]:
    """Return everything that differs; nothing where the two mean the same, whatever their bytes."""
    found = [*_images(old, new), *_rest(old, new)]
    return tuple(sorted(found, key=lambda one: (one.direction != "looser", one.words)))


def _images(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = _by_match(old), _by_match(new)
    for match in sorted({*before, *after}):
        where = f"[[image]] match = {shown(match)}"
        if match not in before:
            yield Change(direction="looser", words=f"{where}: a new block; it lets images in")
            for rule in after[match]:
                for one in rule.require:
                    yield Change(direction="changed", words=f"{where}: asks for {in_words(one)}")
        elif match not in after:
            yield Change(
                direction="changed",
                words=f"{where}: no such block any more; its images are refused, unless another "
                "block matches them, which then asks for less",
            )
        else:
            yield from _block(where, before[match], after[match])


def _by_match(policy: Policy) -> dict[str, list[ImageRule]]:
    found: dict[str, list[ImageRule]] = {}
    for rule in policy.rules:
        found.setdefault(str(rule.match), []).append(rule)
    return found


def _block(where: str, old: list[ImageRule], new: list[ImageRule]) -> Iterator[Change]:
    before, after = (
        Counter(in_words(one) for rule in rules for one in rule.require) for rules in (old, new)
    )
    for words in sorted((before - after).elements()):
        yield Change(direction="looser", words=f"{where}: does not ask any more for {words}")
    for words in sorted((after - before).elements()):
        yield Change(direction="tighter", words=f"{where}: asks for {words}")


def _rest(old: Policy, new: Policy) -> Iterator[Change]:
    """Compare the files key by key, but for what `_images` said better."""
    before, after = tomllib.loads(old.raw.decode()), tomllib.loads(new.raw.decode())
    yield from _settings(before, after)
    for name in sorted({*before, *after} - {"image", "schema"}):
        old_value, new_value = before.get(name), after.get(name)
        if name == "deny-list" and (old_value is None) != (new_value is None):
            yield Change(
                direction="looser" if new_value is None else "tighter",
                words=f"[deny-list]: {_said(old_value)} became {_said(new_value)}",
            )
        else:
            yield from _value(name, old_value, new_value)


def _settings(before: Mapping[str, TomlValue], after: Mapping[str, TomlValue]) -> Iterator[Change]:
    """Compare everything in the image blocks byte for byte: words may say two things alike."""
    one, other = (Counter(_blocks(document)) for document in (before, after))
    for text in sorted((one - other).elements()):
        yield Change(direction="changed", words=f"[[image]] was: {text}")
    for text in sorted((other - one).elements()):
        yield Change(direction="changed", words=f"[[image]] is now: {text}")


def _blocks(document: Mapping[str, TomlValue]) -> Iterator[str]:
    blocks = document.get("image")
    for block in blocks if isinstance(blocks, list) else []:
        yield _text(block)


def _value(path: str, old: TomlValue | None, new: TomlValue | None) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict | None) and isinstance(new, dict | None):
        before, after = old or {}, new or {}
        for name in sorted({*before, *after}):
            yield from _value(f"{path}.{name}", before.get(name), after.get(name))
        return
    if isinstance(old, list | None) and isinstance(new, list | None):
        yield from _listed(path, old or [], new or [], began=old is None, ended=new is None)
        return
    words = f"{path}: {_said(old)} became {_said(new)}"
    yield Change(direction=_direction(path, old, new), words=words)


def _listed(
    path: str, old: list[TomlValue], new: list[TomlValue], *, began: bool, ended: bool
) -> Iterator[Change]:
    name = path.partition(".")[0]
    one, other = Counter(map(_text, old)), Counter(map(_text, new))
    more: Direction = "changed"
    less: Direction = "changed"
    if name in _TIGHTER_WHEN_LISTED:
        more, less = "tighter", "looser"
    elif name in _LOOSER_WHEN_LISTED:
        more, less = "looser", "tighter"
    elif path == "bundle.channels":
        # Without the list every channel is taken: the first entry makes it narrow.
        more, less = ("tighter" if began else "looser"), ("looser" if ended else "tighter")
    for text in sorted((other - one).elements()):
        yield Change(direction=more, words=f"{path}: added {text}")
    for text in sorted((one - other).elements()):
        yield Change(direction=less, words=f"{path}: removed {text}")


def _direction(path: str, old: TomlValue | None, new: TomlValue | None) -> Direction:
    if path in {"time.clock", "time"}:
        return (
            "tighter" if "strict" in str(new) else "looser" if "strict" in str(old) else "changed"
        )
    return "changed"


def _said(value: TomlValue | None) -> str:
    return "nothing" if value is None else _text(value)


def _text(value: TomlValue) -> str:
    """Write a value the same way whatever the order of its keys."""
    return shown(rfc8785.dumps(_plain(value)).decode(), limit=_VALUE_LENGTH_MAX)


def _plain(value: TomlValue) -> JsonValue:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case bool() | int() | str():
            return value
        case _:
            return str(value)
