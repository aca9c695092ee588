"""What a layer's tar holds, entry by entry: names, modes, owners, times, links, content's digest.

A reader of its own, of what builders write: ustar, GNU long names, pax records. Nothing is
unpacked, nothing is followed; a record that it does not know is an error, and everything that a
header claims has a bound. (The standard library's reader hides truncation: docs/adr/0004.)

What counts is what a runtime will make of it, and those read with Go's archive/tar: records for all
entries do nothing there, a link or folder has no content whatever its size says. Where readers are
known to part ways, it is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from loader.errors import LimitError, PathError, TarError, TruncatedError, shown
from loader.limits import KIB, MIB

ENTRY_COUNT_MAX: Final = 500_000
"""Entries of one layer; an entry costs about a kilobyte of memory."""
NAMES_SIZE_MAX: Final = 256 * MIB
"""Bytes of all names, links, attributes and further records of one layer: they stay in memory, and
compressed they are next to nothing. A layer of 100,000 files has about 20 MiB of them."""
PATH_SIZE_MAX: Final = 4096
"""Bytes of one name; no system opens a longer one (PATH_MAX)."""
DEPTH_MAX: Final = 255
"""Folders above one file."""
KEPT_SIZE_MAX: Final = 64 * KIB
"""Bytes of a file whose content is kept, to tell what in it differs."""
_RECORD_SIZE_MAX: Final = 1 * MIB
_BLOCK: Final = 512
_USTAR: Final = b"ustar\0"
_GNU: Final = b"ustar  \0"
_NUMBER: Final = re.compile(rb" *([0-7]*)[ \0]*")
_PAX: Final = re.compile(rb"([1-9][0-9]{0,6}) ([^=\0]{1,255})=")
_KEPT: Final = re.compile(r"etc/(?:shadow|gshadow|passwd|group)-?")
_XATTR: Final = "SCHILY.xattr."
_TELLING: Final = frozenset({"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime"})
_KINDS: Final = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "symbolic link",
    b"3": "character device", b"4": "block device", b"5": "folder", b"6": "pipe",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """One entry; what counts for a container, and apart from that what only a builder leaves."""

    name: str
    """As runtimes read it: no `./`, no `//`, no `/` at either end; bytes that are no UTF-8 are
    surrogates (PEP 383), so that no two names become one."""
    kind: str
    mode: int
    uid: int
    gid: int
    link: str = ""
    device: tuple[int, int] = (0, 0)
    size: int = 0
    content: str = ""
    """SHA-256 in hex, of a file."""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    mtime: str = field(default="", compare=False)
    owner: tuple[str, str] = field(default=("", ""), compare=False)
    others: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Further times and pax records."""
    kept: bytes | None = field(default=None, compare=False, repr=False)
    """The content, of the few files that are looked into."""


def read_entries(
    chunks: Iterable[bytes],
    *,
    where: str,
    count_max: int = ENTRY_COUNT_MAX,
    names_size_max: int = NAMES_SIZE_MAX,
) -> tuple[TarEntry, ...]:
    """Return all entries of a tar, in order; every byte of it is read.

    Raises:
        TarError: something that is no entry of a layer.
        PathError: a name that leads elsewhere than it says.
        TruncatedError: it ends within one.
        LimitError: it has more than `count_max`, or what it says of them is too large.
    """
    tar = _Tar(chunks, where=where, names_size_max=names_size_max)
    found: list[TarEntry] = []
    while (entry := tar.entry()) is not None:
        found.append(entry)
        if len(found) > count_max:
            raise LimitError(
                "a layer has too many entries", where=where, expected=f"at most {count_max}"
            )
    return tuple(found)


class _Tar:
    def __init__(self, chunks: Iterable[bytes], *, where: str, names_size_max: int) -> None:
        self._chunks = iter(chunks)
        self._where = where
        self._chunk = b""
        self._used = 0
        """How much of the chunk was read."""
        self._at = 0
        self._room = self._names_size_max = names_size_max
        self._known: dict[bytes, str] = {}
        """Owners and times: most entries of a layer share a few."""

    def entry(self) -> TarEntry | None:
        """Return the next entry, or None behind the last one."""
        pax: dict[str, bytes] | None = None
        long_name: bytes | None = None
        long_link: bytes | None = None
        while True:
            block = self._block()
            if block is None:
                if (pax, long_name, long_link) != (None, None, None):
                    raise self._truncated()
                return None
            kind = block[156:157]
            size = _number(block[124:136], self._where)
            if kind == b"x":
                if pax is not None:
                    raise TarError("two pax headers for one entry", where=self._place())
                pax = self._records(size)
            elif kind == b"g":
                self._expect_idle(self._records(size), (pax, long_name, long_link))
            elif kind == b"L":
                long_name = self._bounded(size).split(b"\0", 1)[0]
            elif kind == b"K":
                long_link = self._bounded(size).split(b"\0", 1)[0]
            elif kind in _KINDS:
                return self._made(block, pax or {}, long_name, long_link)
            else:
                raise TarError(
                    "an entry of an unknown kind", where=self._place(), found=shown(kind)
                )

    def _made(
        self, block: bytes, pax: dict[str, bytes], name: bytes | None, link: bytes | None
    ) -> TarEntry:
        where = self._place()
        if (name and pax.get("path")) or (link and pax.get("linkpath")):
            raise TarError("two long names for one entry", where=where)
        path = pax.get("path") or name or _name(block, where)
        target = pax.get("linkpath") or link or _until_nul(block[157:257])
        kind = _KINDS[block[156:157]]
        size = _decimal(pax, "size", _number(block[124:136], where), where)
        if block[156:157] == b"\0" and path.endswith(b"/"):
            kind = "folder"  # as tar of 1988 wrote them
        content, kept = "", None
        self._take_room(len(path) + len(target))
        if len(target) > PATH_SIZE_MAX:
            raise LimitError(
                "a link is too long", where=where, expected=f"at most {PATH_SIZE_MAX} bytes"
            )
        text = _path(path, where)
        if kind == "file":
            content, kept = self._content(size, keep=_KEPT.fullmatch(text) is not None)
        elif size and kind != "hard link":  # star writes there how large the other one is
            raise TarError(f"a {kind} with content", where=where, found=f"{size} bytes")
        return TarEntry(
            name=text,
            kind=kind,
            mode=_number(block[100:108], where) & 0o7777,
            uid=_decimal(pax, "uid", _number(block[108:116], where), where),
            gid=_decimal(pax, "gid", _number(block[116:124], where), where),
            link=_text(target) if kind.endswith("link") else "",
            device=_device(block, where) if kind.endswith("device") else (0, 0),
            size=size if kind == "file" else 0,
            content=content,
            xattrs=tuple(
                sorted((key, value) for key, value in pax.items() if key.startswith(_XATTR))
            ),
            mtime=self._once(pax.get("mtime") or b"%d" % _number(block[136:148], where)),
            owner=(
                self._once(pax.get("uname") or _until_nul(block[265:297])),
                self._once(pax.get("gname") or _until_nul(block[297:329])),
            ),
            others=tuple(
                sorted(
                    (key, _text(value))
                    for key, value in pax.items()
                    if key not in _TELLING and not key.startswith(_XATTR)
                )
            ),
            kept=kept,
        )

    def _once(self, raw: bytes) -> str:
        return self._known.setdefault(raw, _text(raw))

    def _take_room(self, size: int) -> None:
        """Count what stays in memory.

        Raises:
            LimitError: it is too much for one layer.
        """
        self._room -= size
        if self._room < 0:
            raise LimitError(
                "a layer has too long names, attributes or records",
                where=self._place(),
                expected=f"at most {self._names_size_max} bytes together",
            )

    # --- bytes --------------------------------------------------------------------------------

    def _place(self) -> str:
        return f"{self._where}, byte {self._at}"

    def _block(self) -> bytes | None:
        """Return the next header, or None at the end mark, behind which all is read and ignored."""
        block = self._exactly(_BLOCK, may_end=True)
        if not block:
            return None  # some builders leave the end mark away
        if not any(block):
            while self._fill():
                pass
            return None
        if block[257:263] != _USTAR and block[257:265] != _GNU and any(block[257:265]):
            raise TarError("not a tar header", where=self._place())
        counted = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
        if _number(block[148:156], self._where) != counted:
            raise TarError("a tar header with a wrong checksum", where=self._place())
        return block

    def _bounded(self, size: int) -> bytes:
        if size > _RECORD_SIZE_MAX:
            raise LimitError(
                "a record of a tar is too large",
                where=self._place(),
                expected=f"at most {_RECORD_SIZE_MAX} bytes",
                found=f"{size} bytes",
            )
        self._take_room(size + _BLOCK)
        raw = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return raw

    def _records(self, size: int) -> dict[str, bytes]:
        raw = self._bounded(size)
        found: dict[str, bytes] = {}
        position = 0
        while position < len(raw):
            record = _PAX.match(raw, position)
            length = int(record[1]) if record else 0
            end = position + length
            if record is None or end > len(raw) or raw[end - 1 : end] != b"\n":
                raise TarError("a malformed pax record", where=self._place())
            keyword = _text(record[2])
            if keyword.startswith("GNU.sparse."):
                raise TarError("a sparse file, which no layer has", where=self._place())
            found[keyword] = raw[record.end() : end - 1]
            position = end
        return found

    def _expect_idle(self, records: dict[str, bytes], pending: tuple[object, ...]) -> None:
        """Check that records for all entries, which runtimes pass over, would change nothing.

        What is `pending` for the next entry Go forgets behind them, and others do not.
        """
        if any(one is not None for one in pending):
            raise TarError("a pax header for all entries before the next one", where=self._place())
        telling = {key for key in records if key in _TELLING or key.startswith(_XATTR)}
        if telling:
            raise TarError(
                "a pax record for all entries, which runtimes pass over",
                where=self._place(),
                found=shown(min(telling)),
            )

    def _content(self, size: int, *, keep: bool) -> tuple[str, bytes | None]:
        sha256 = hashlib.sha256()
        kept = bytearray() if keep and size <= KEPT_SIZE_MAX else None
        if kept is not None:
            self._take_room(size)
        for piece in self._pieces(size):
            sha256.update(piece)
            if kept is not None:
                kept += piece
        self._exactly(-size % _BLOCK)
        return sha256.hexdigest(), None if kept is None else bytes(kept)

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if self._used == len(self._chunk) and not self._fill():
                raise self._truncated()
            piece = self._chunk[self._used : self._used + size]
            self._used += len(piece)
            size -= len(piece)
            self._at += len(piece)
            yield piece

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        if may_end and self._used == len(self._chunk) and not self._fill():
            return b""
        return b"".join(self._pieces(size))

    def _fill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._used = bytes(chunk), 0
                return True
        self._chunk, self._used = b"", 0
        return False

    def _truncated(self) -> TruncatedError:
        return TruncatedError("a layer ends within an entry", where=self._place())


def _number(raw: bytes, where: str) -> int:
    if raw[0] & 0x80:
        value = int.from_bytes(bytes((raw[0] & 0x3F, *raw[1:])), "big")
        if raw[0] & 0x40 or value >> 62:
            raise TarError("a number out of range", where=where)
        return value
    found = _NUMBER.fullmatch(raw)
    if found is None:
        raise TarError("not an octal number", where=where, found=shown(raw))
    return int(found[1] or b"0", 8)


def _decimal(pax: dict[str, bytes], key: str, otherwise: int, where: str) -> int:
    raw = pax.get(key)
    if not raw:
        return otherwise
    if not raw.isdigit() or len(raw) > 19:  # noqa: PLR2004  (as many digits as 64 bits have)
        raise TarError("not a number", where=f"{where}, {key}", found=shown(raw))
    return int(raw)


def _until_nul(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _device(block: bytes, where: str) -> tuple[int, int]:
    if not any(block[257:265]) and any(block[329:345]):
        raise TarError("a device in a header that has no place for one", where=where)
    return _number(block[329:337], where), _number(block[337:345], where)


def _name(block: bytes, where: str) -> bytes:
    if block[257:265] == _GNU:
        for time in (block[345:357], block[357:369]):
            if time[0]:
                _number(time, where)  # where it is none, Go reads the beginning of the name there
    end = 476 if block[508:512] == b"tar\0" else 500  # star keeps other times behind it
    name, prefix = _until_nul(block[:100]), _until_nul(block[345:end])
    return prefix + b"/" + name if block[257:263] == _USTAR and prefix else name


def _path(raw: bytes, where: str) -> str:
    if len(raw) > PATH_SIZE_MAX:
        raise LimitError(
            "a name is too long", where=where, expected=f"at most {PATH_SIZE_MAX} bytes"
        )
    parts = [part for part in _text(raw).split("/") if part not in {"", "."}]
    if ".." in parts or b"\0" in raw:
        raise PathError("a name that leads elsewhere than it says", where=where, found=shown(raw))
    if len(parts) > DEPTH_MAX:
        raise LimitError(
            "a file lies too deep", where=where, expected=f"at most {DEPTH_MAX} folders above it"
        )
    return "/".join(parts) or "."


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
