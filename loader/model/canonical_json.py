r"""Canonical JSON as Notary v1 signs it: docker/go, `canonical/json` (after OLPC's, not RFC 8785).

Keys in the order of their UTF-8 bytes, no white space, integers alone; in strings a backslash
stands before `"` and `\` and nothing else is escaped, control characters included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.errors import JsonError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.model.strictjson import JsonValue

_WORDS: Final = {None: "null", True: "true", False: "false"}
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


def canonical(value: JsonValue) -> bytes:
    """Return the bytes that a Notary signature covers.

    Args:
        value: what the strict reader made of a document: no duplicate keys, no lone surrogates, and
            a depth that is bounded.

    Raises:
        JsonError: a number that is not an integer; nobody signs one.
    """
    return "".join(_pieces(value)).encode("utf-8")


def _pieces(value: JsonValue) -> Iterator[str]:
    match value:
        case None | True | False:
            yield _WORDS[value]
        case str():
            yield f'"{value.translate(_ESCAPES)}"'
        case int():
            yield str(value)
        case list():
            yield "["
            for position, item in enumerate(value):
                yield "," if position else ""
                yield from _pieces(item)
            yield "]"
        case dict():
            yield "{"
            for position, key in enumerate(sorted(value, key=str.encode)):
                yield f'{"," if position else ""}"{key.translate(_ESCAPES)}":'
                yield from _pieces(value[key])
            yield "}"
        case _:
            raise JsonError("a number that canonical JSON does not hold", expected="an integer")
