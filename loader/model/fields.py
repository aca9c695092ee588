"""Typed getters over decoded JSON; an error names the path to the field: `images[2].image.size`."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import JsonFieldError, LimitError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.model.strictjson import JsonObject, JsonValue

INTEGER_MAX: Final = 2**63 - 1
TEXT_LENGTH_MAX: Final = 4096
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)


def decode_base64(text: str, *, where: str) -> bytes:
    """Return the bytes that canonical, padded standard base64 writes (RFC 4648 §4).

    Raises:
        JsonFieldError: another alphabet, white space, missing padding, or bits behind the end.
    """
    raw = text.encode("ascii", "replace")
    try:
        decoded = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as e:
        raise JsonFieldError("not standard base64", where=where, found=shown(text, limit=60)) from e
    # What Python lets pass and another reader might not: nothing that it would not write itself.
    if base64.b64encode(decoded) != raw:
        raise JsonFieldError("not canonical base64", where=where, found=shown(text, limit=60))
    return decoded


def encode_base64(raw: bytes) -> str:
    """Write bytes as `decode_base64` reads them."""
    return base64.b64encode(raw).decode("ascii")


def decode_hex(text: str, *, where: str) -> bytes:
    """Return the bytes that lower-case hexadecimal digits write.

    Raises:
        JsonFieldError: anything else.
    """
    if _HEX.fullmatch(text) is None:
        raise JsonFieldError("not lower-case hexadecimal", where=where, found=shown(text, limit=60))
    return bytes.fromhex(text)


def parse_instant(text: str, *, where: str) -> datetime:
    """Return the aware UTC instant that `YYYY-MM-DDTHH:MM:SSZ` writes (RFC 3339, whole seconds).

    Raises:
        JsonFieldError: anything else.
    """
    if _INSTANT.fullmatch(text) is None:
        raise JsonFieldError(
            "not an instant", where=where, expected="YYYY-MM-DDTHH:MM:SSZ", found=shown(text)
        )
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as e:
        raise JsonFieldError("not an instant", where=where, found=shown(text)) from e


def format_instant(at: datetime) -> str:
    """Write an aware instant as `parse_instant` reads it, in UTC and whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Fields:
    """An object of a decoded document, with the path that leads to it."""

    __slots__ = ("_object", "_path")

    def __init__(self, value: JsonValue, path: str) -> None:
        if not isinstance(value, dict):
            raise JsonFieldError("not an object", where=path, found=_kind(value))
        self._object = value
        self._path = path

    @property
    def path(self) -> str:
        """Where this object stands."""
        return self._path

    @property
    def object(self) -> JsonObject:
        """The object itself."""
        return self._object

    def at(self, name: str) -> str:
        """Return the path of one of its fields."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self._object.get(name) is not None

    def only(self, *names: str) -> None:
        """Refuse fields with other names than these.

        Raises:
            JsonFieldError: there is one.
        """
        unknown = sorted(set(self._object) - set(names))
        if unknown:
            raise JsonFieldError(
                "unknown field", where=self.at(shown(unknown[0])), expected=", ".join(names)
            )

    def value(self, name: str) -> JsonValue:
        """Return a field that must be there.

        Raises:
            JsonFieldError: it is not.
        """
        if name not in self._object:
            raise JsonFieldError("missing field", where=self.at(name))
        return self._object[name]

    def text(self, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
        """Return a string of 1 to `length_max` characters.

        Raises:
            JsonFieldError: it is missing, empty or not a string.
            LimitError: it is longer.
        """
        value = self.value(name)
        if not isinstance(value, str) or not value:
            raise JsonFieldError(
                "not a string with characters in it", where=self.at(name), found=_kind(value)
            )
        if len(value) > length_max:
            raise LimitError(
                "a string is too long",
                where=self.at(name),
                expected=f"at most {length_max}",
                found=str(len(value)),
            )
        return value

    def optional_text(self, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str | None:
        """Return the string, or None where the field is absent or null; see `text`."""
        return self.text(name, length_max=length_max) if self.has(name) else None

    def text_or_empty(self, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
        """Return the string, or "" where the field is absent, null or empty; see `text`.

        Whatever else is falsy in Python, a zero or an empty list, is no string.
        """
        value = self._object.get(name)
        return "" if value is None or value == "" else self.text(name, length_max=length_max)

    def integer(self, name: str, *, minimum: int = 0, maximum: int = INTEGER_MAX) -> int:
        """Return an integer within closed bounds.

        Raises:
            JsonFieldError: it is missing, not an integer (a string, a fraction, a boolean), or out
            of bounds.
        """
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise JsonFieldError(
                "not an integer in range",
                where=self.at(name),
                expected=f"{minimum} to {maximum}",
                found=shown(value, limit=60),
            )
        return value

    def digest(self, name: str) -> Digest:
        """Return a digest.

        Raises:
            JsonFieldError: it is missing or not a string.
            OciError: it is not a digest.
        """
        return Digest.parse(self.text(name), where=self.at(name))

    def instant(self, name: str) -> datetime:
        """Return an instant; see `parse_instant`."""
        return parse_instant(self.text(name), where=self.at(name))

    def base64(self, name: str, *, length_max: int) -> bytes:
        """Return the bytes of a base64 string; see `decode_base64`."""
        return decode_base64(self.text(name, length_max=length_max), where=self.at(name))

    def fields(self, name: str) -> Fields:
        """Return an object that must be there.

        Raises:
            JsonFieldError: it is missing or not an object.
        """
        return Fields(self.value(name), self.at(name))

    def optional_fields(self, name: str) -> Fields | None:
        """Return the object, or None where the field is absent or null."""
        return self.fields(name) if self.has(name) else None

    def items(self, name: str, *, count_max: int) -> list[JsonValue]:
        """Return a list of at most `count_max` items.

        Raises:
            JsonFieldError: it is missing or not a list.
            LimitError: it is longer.
        """
        value = self.value(name)
        if not isinstance(value, list):
            raise JsonFieldError("not a list", where=self.at(name), found=_kind(value))
        if len(value) > count_max:
            raise LimitError(
                "too many items",
                where=self.at(name),
                expected=f"at most {count_max}",
                found=str(len(value)),
            )
        return value

    def each(self, name: str, *, count_max: int) -> Iterator[Fields]:
        """Yield the objects of a list; see `items`."""
        for position, item in enumerate(self.items(name, count_max=count_max)):
            yield Fields(item, f"{self.at(name)}[{position}]")

    def text_map(self, name: str, *, count_max: int) -> dict[str, str]:
        """Return a map of strings, empty where the field is absent or null.

        Raises:
            JsonFieldError: it is not an object, or a value is not a string.
            LimitError: it has more than `count_max` entries.
        """
        value = self._object.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise JsonFieldError("not an object", where=self.at(name), found=_kind(value))
        if len(value) > count_max:
            raise LimitError(
                "too many entries", where=self.at(name), expected=f"at most {count_max}"
            )
        texts: dict[str, str] = {}
        for key, item in value.items():
            if not isinstance(item, str):
                raise JsonFieldError(
                    "not a string", where=f"{self.at(name)}[{shown(key)}]", found=_kind(item)
                )
            texts[key] = item
        return texts


def _kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string" if value else "an empty string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"
