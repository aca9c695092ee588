"""Record headers of a Dangerzone archive: a wider profile than our own format's, and as closed.

What Python's `tarfile` writes for `archive.add(folder, arcname=".")`, which is what Dangerzone
calls (dangerzone/updater/signatures.py, prepare_airgapped_archive): ustar or GNU headers, folders,
regular files below `./`, and before each member a pax header that says the time with a fraction.
Nothing else: no link, no long name, no sparse file, no other pax key, no name twice. Owners, modes
and times are anybody's and mean nothing; fields that mean something are read in one way only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from loader.archive.format import BLOCK_SIZE, RECORD_SIZE, padded
from loader.errors import LimitError, PathError, TarError, TrailingDataError, TruncatedError, shown
from loader.limits import KIB

PAX_SIZE_MAX: Final = 64 * KIB
_MAGICS: Final = (b"ustar\x0000", b"ustar  \0")
_FOLDER: Final = re.compile(rb"\./(?:blobs/(?:sha256/)?)?")
_FILE: Final = re.compile(
    rb"\./(?:oci-layout|index\.json|dangerzone\.json|blobs/sha256/[0-9a-f]{64})"
)
_DIGITS: Final = re.compile(rb"[0-7]*[\0 ]*")
_BASE_256: Final = 0x80
_PAX_LINE: Final = re.compile(rb"([1-9][0-9]{0,5}) ([a-z]+)=([^\n]*)\n")
_PAX_KEYS: Final = frozenset({b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname"})
"""What `tarfile` writes of a file's status, and nothing that changes what a member is."""

Kind: TypeAlias = Literal["file", "folder", "pax"]
_KINDS: Final[dict[bytes, Kind]] = {b"0": "file", b"5": "folder", b"x": "pax"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a header says."""

    kind: Kind
    name: str
    size: int


def decode(block: bytes, *, where: str) -> Record:
    """Return what a header says.

    Raises:
        TarError: its checksum is wrong, or it is of another dialect or kind.
        PathError: its name is none that such an archive has.
        LimitError: a pax header is too large.
    """
    total = sum(block[:148]) + sum(block[156:]) + 8 * 0x20
    if block[148:156] not in (b"%06o\0 " % total, b"%07o\0" % total):
        raise TarError("a record header's checksum is wrong", where=where)
    if block[257:265] not in _MAGICS:
        raise TarError(
            "a record header of another dialect", where=where, found=shown(block[257:265])
        )
    kind = _KINDS.get(block[156:157])
    if kind is None:
        raise TarError(
            "a member that is neither a regular file nor a folder",
            where=where,
            found=f"type {shown(block[156:157])}",
        )
    for name, field in (("mode", block[100:108]), ("owner", block[108:116]),
                        ("group", block[116:124]), ("time", block[136:148]),
                        ("device", block[329:337]), ("device", block[337:345])):  # fmt: skip
        if _DIGITS.fullmatch(field) is None and field[0] != _BASE_256:
            raise TarError(f"a record header's {name} is no number", where=where)
    if block[157:257].strip(b"\0") or block[345:512].strip(b"\0"):
        raise TarError("a record header with a link or a prefix", where=where)
    record = Record(kind=kind, name=_name(block, kind, where=where), size=_size(block, where=where))
    if kind == "folder" and record.size:
        raise TarError("a folder with content", where=where)
    if kind == "pax" and record.size > PAX_SIZE_MAX:
        raise LimitError("a pax header is too large", where=where, found=f"{record.size} bytes")
    return record


def _name(block: bytes, kind: Kind, *, where: str) -> str:
    name, _, rest = block[:100].partition(b"\0")
    if kind == "pax":
        return ""  # it names nothing: the member behind it does
    form = _FILE if kind == "file" else _FOLDER
    if form.fullmatch(name) is None or rest.strip(b"\0"):
        raise PathError(
            "a member's name is none that a Dangerzone archive has",
            where=where,
            expected="./index.json, ./dangerzone.json, ./oci-layout, ./blobs/sha256/DIGEST",
            found=shown(block[:100].rstrip(b"\0")),
        )
    return name.decode("ascii")


def _size(block: bytes, *, where: str) -> int:
    field = block[124:136]
    digits = field[:11]
    size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
    if size < 0 or field != b"%011o\0" % size:
        raise TarError(
            "a member's size is not eleven octal digits and NUL", where=where, found=shown(field)
        )
    return size


def expect_pax(raw: bytes, *, where: str) -> None:
    """Refuse a pax header that says anything of what a member is: name, size, link, sparseness.

    Raises:
        TarError: it does, or it is malformed (POSIX.1-2001, pax Extended Header).
    """
    at = 0
    seen: set[bytes] = set()
    while at < len(raw):
        line = _PAX_LINE.match(raw, at)
        if line is None or line.end() - at != int(line[1]) or line[2] in seen:
            raise TarError("a malformed pax header", where=where)
        if line[2] not in _PAX_KEYS:
            raise TarError(
                "a pax header that changes its member", where=where, found=shown(line[2])
            )
        seen.add(line[2])
        at = line.end()


Take: TypeAlias = Callable[[int], bytes]
"""Gives so many bytes, fewer only where the file ends."""


class Records:
    """Reads one archive front to back; `take` gives its bytes, as a medium does."""

    __slots__ = ("_names", "_take", "position")

    def __init__(self, take: Take) -> None:
        self._take = take
        self._names: set[str] = set()
        self.position = 0

    @property
    def where(self) -> str:
        """The place, for messages."""
        return f"byte {self.position} of the archive"

    def next(self) -> Record | None:
        """Return the next file's header; None at the archive's end, which is read to its last byte.

        Raises:
            FormatError: it is outside the profile.
        """
        while True:
            where = self.where
            block = self._exactly(BLOCK_SIZE)
            if not block.strip(b"\0"):
                self._end(where=where)
                return None
            record = decode(block, where=where)
            if record.kind == "pax":
                expect_pax(self._exactly(record.size), where=where)
                self._padding(record.size)
                following = decode(self._peeked(where=where), where=where)
                record = following
                if record.kind == "pax":
                    raise TarError("two pax headers in a row", where=where)
            if record.name in self._names:
                raise PathError("a member stands there twice", where=where, found=record.name)
            self._names.add(record.name)
            if record.kind == "file":
                return record

    def _peeked(self, *, where: str) -> bytes:
        block = self._exactly(BLOCK_SIZE)
        if not block.strip(b"\0"):
            raise TarError("a pax header without its member", where=where)
        return block

    def content(self, size: int, *, chunk: int) -> Iterator[bytes]:
        """Yield the content of the file whose header was returned last."""
        left = size
        while left:
            piece = self._exactly(min(left, chunk))
            left -= len(piece)
            yield piece
        self._padding(size)

    def _padding(self, size: int) -> None:
        if self._exactly(padded(size) - size).strip(b"\0"):
            raise TarError("bytes that are not zero fill a block", where=self.where)

    def _end(self, *, where: str) -> None:
        if self._exactly(BLOCK_SIZE).strip(b"\0"):
            raise TarError("one block of zeros between members", where=where)
        while rest := self._take(RECORD_SIZE):
            self.position += len(rest)
            if rest.strip(b"\0"):
                raise TrailingDataError("bytes behind the end of the archive", where=where)
        if self.position % RECORD_SIZE:
            raise TruncatedError("the archive ends within a record", where=self.where)

    def _exactly(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing:
            piece = self._take(missing)
            if not piece:
                raise TruncatedError(
                    "the archive ends too early", where=self.where, expected=f"{missing} more bytes"
                )
            pieces.append(piece)
            missing -= len(piece)
            self.position += len(piece)
        return b"".join(pieces)
