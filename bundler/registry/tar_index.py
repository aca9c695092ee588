"""Where each member of an `oci-archive` lies: a walk over its headers, nothing is unpacked.

The standard library's reader hides truncation, follows what headers claim and knows twelve kinds of
record. Here a tar is a list of (name, offset, size) in one open file, and only what tools write for
an OCI layout passes: regular files and folders, names from a closed list, each once, sizes in octal
(or base-256 from 8 GiB on). A `pax` header is passed over where it says nothing about the name, the
size or a link, which is what Go programs write for times and owners.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO, Final

from loader.errors import LimitError, PathError, TarError, TruncatedError, shown
from loader.limits import DEFAULT_LIMITS, Limits

_BLOCK: Final = 512
_PAX_SIZE_MAX: Final = 64 * 1024
_NAME: Final = re.compile(
    r"oci-layout|(?:index|dangerzone|manifest)\.json|repositories|blobs/sha256/[0-9a-f]{64}",
    re.ASCII,
)
_FOLDER: Final = re.compile(r"(?:\.|blobs|blobs/sha256)?/?", re.ASCII)
_OCTAL: Final = re.compile(rb" *([0-7]+)[ \0]*")
_HARMLESS: Final = frozenset({"atime", "ctime", "mtime", "uid", "gid", "uname", "gname", "comment"})
_PAX_RECORD: Final = re.compile(rb"([1-9][0-9]{0,5}) ([^=]{1,255})=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a member's bytes are in the file."""

    offset: int
    size: int


def index_tar(file: BinaryIO, *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Place]:
    """Return where each regular file of the tar lies.

    Raises:
        TarError: a kind of record, or a header, that no OCI layout needs.
        PathError: a name that no OCI layout has, or one that comes twice.
        TruncatedError: the file ends before its members do.
    """
    end = os.fstat(file.fileno()).st_size
    places: dict[str, Place] = {}
    position = 0
    while position < end:
        block = _read(file, position, _BLOCK, end)
        if not any(block):
            return places  # the end mark; what follows it is never looked at
        where = f"byte {position}"
        size = _expect_header(block, where)
        if position + _BLOCK + size > end:
            raise TruncatedError(
                "an archive ends within a member",
                where=where,
                expected=f"{size} bytes",
                found=f"{end - position - _BLOCK} bytes",
            )
        _enter(places, block, Place(offset=position + _BLOCK, size=size), file, where=where)
        if len(places) > limits.member_count_max:
            raise LimitError(
                "an archive has too many members", expected=f"at most {limits.member_count_max}"
            )
        position += _BLOCK + size + -size % _BLOCK
    raise TruncatedError("an archive without its end mark", where=f"byte {end}")


def _enter(
    places: dict[str, Place], block: bytes, place: Place, file: BinaryIO, *, where: str
) -> None:
    kind = block[156:157]
    if kind in {b"x", b"g"}:
        _expect_harmless(file, place, where=where)
        return
    name = _name(block, where)
    if kind == b"5":
        if place.size or _FOLDER.fullmatch(name) is None:
            raise PathError("a folder that no OCI layout has", where=where, found=shown(name))
        return
    if kind not in {b"0", b"\0"}:
        raise TarError(
            "a record that is neither file nor folder",
            where=where,
            expected="type 0 or 5",
            found=shown(kind),
        )
    if _NAME.fullmatch(name) is None:
        raise PathError("a file that no OCI layout has", where=where, found=shown(name))
    if name in places:
        raise PathError("a file comes twice", where=where, found=shown(name))
    places[name] = place


def _read(file: BinaryIO, offset: int, size: int, end: int) -> bytes:
    raw = os.pread(file.fileno(), size, offset)
    if len(raw) != size:
        raise TruncatedError("an archive ends within a record", where=f"byte {min(offset, end)}")
    return raw


def _expect_header(block: bytes, where: str) -> int:
    """Check magic and checksum; return the size."""
    if block[257:262] != b"ustar":
        hint = "is it compressed? gunzip or unzstd it first" if where == "byte 0" else ""
        raise TarError("not a tar header", where=where, hint=hint)
    counted = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    if _number(block[148:156], where) != counted:
        raise TarError("a tar header with a wrong checksum", where=where)
    return _number(block[124:136], where)


def _number(field: bytes, where: str) -> int:
    if field[0] == 0x80:  # noqa: PLR2004  # GNU's mark for base-256
        value = int.from_bytes(field[1:], "big")
        if value >> 62:
            raise TarError("a number out of range", where=where)
        return value
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise TarError("not an octal number", where=where, found=shown(field))
    return int(found.group(1), 8)


def _name(block: bytes, where: str) -> str:
    name, prefix = (field.split(b"\0", 1)[0] for field in (block[:100], block[345:500]))
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    try:
        text = name.decode("ascii")
    except UnicodeDecodeError as e:
        raise PathError("a name that is not ASCII", where=where, found=shown(name)) from e
    return text.removeprefix("./")


def _expect_harmless(file: BinaryIO, place: Place, *, where: str) -> None:
    if place.size > _PAX_SIZE_MAX:
        raise TarError("a pax header that is too large", where=where)
    raw = _read(file, place.offset, place.size, place.offset)
    position = 0
    while position < len(raw):
        record = _PAX_RECORD.match(raw, position)
        length = int(record.group(1)) if record else 0
        if record is None or raw[position + length - 1 : position + length] != b"\n":
            raise TarError("a malformed pax header", where=where)
        keyword = record.group(2).decode("utf-8", "replace")
        if keyword not in _HARMLESS and not keyword.startswith("SCHILY.xattr."):
            raise TarError(
                "a pax header that says more than times and owners",
                where=where,
                found=shown(keyword),
            )
        position += length
