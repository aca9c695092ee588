"""JSON pointers (RFC 6901): the one place in a document that a policy names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from loader.errors import JsonFieldError, shown

if TYPE_CHECKING:
    from loader.model.strictjson import JsonValue

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_LENGTH_MAX: Final = 512
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JsonPointer:
    """A place in a document that is not the whole of it."""

    text: str

    @classmethod
    def parse(cls, text: str, *, where: str) -> Self:
        """Return the pointer that a text writes.

        Raises:
            JsonFieldError: it writes none.
        """
        if len(text) > _LENGTH_MAX or _POINTER.fullmatch(text) is None:
            raise JsonFieldError(
                "not a JSON pointer",
                where=where,
                expected='"/key", "/key/0/inner" (RFC 6901)',
                found=shown(text),
            )
        return cls(text)

    def find_text(self, document: JsonValue) -> str | None:
        """Return the string at this place; None where there is none."""
        value = self.find(document)
        return value if isinstance(value, str) else None

    def find(self, document: JsonValue) -> JsonValue:
        """Return what is at this place; None where nothing is, too."""
        value = document
        for step in self.text.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            match value:
                case dict() if key in value:
                    value = value[key]
                case list() if _INDEX.fullmatch(key) and int(key) < len(value):
                    value = value[int(key)]
                case _:
                    return None
        return value

    def __str__(self) -> str:
        return self.text
