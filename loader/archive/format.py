"""Record headers of the archive: how each is written and strictly read (docs/format.md).

The archive is a tar in GNU's dialect with a single kind of member, a regular file. Every field but
name and size is fixed, and both are written in one way only, so that a header is compared rather
than interpreted: what other readers clean, guess or skip (THREATS D1, D3) is refused here. Bytes
in, values out; nothing is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from loader.errors import LimitError, PathError, TarError, shown

BLOCK_SIZE: Final = 512
RECORD_SIZE: Final = 20 * BLOCK_SIZE
"""An archive's length is a multiple of this, as tar has padded its archives since there were
tapes."""
END_SIZE: Final = 2 * BLOCK_SIZE
"""Zero bytes that end the members; zero padding to a whole record follows."""
SIZE_MAX: Final = 2**53 - 1
"""The largest size that a statement can announce (RFC 7493 §2.2)."""
SIGNATURE_COUNT_MAX: Final = 16

_MAGIC: Final = b"ustar  \0"
_OCTAL_SIZE_MAX: Final = 8**11 - 1
"""One byte below 8 GiB: eleven octal digits and a NUL. GNU tar writes larger sizes in base 256."""
_NAME: Final = re.compile(
    rb"airlock\.json|airlock\.sigstore\.(?:[1-9]|1[0-6])\.json|oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}"
)
_NAME_FIELD: Final = slice(0, 100)
_SIZE_FIELD: Final = slice(124, 136)
_CHECKSUM_FIELD: Final = slice(148, 156)
_TYPE: Final = 156
_MAGIC_FIELD: Final = slice(257, 265)
_KINDS: Final = {
    b"\0": "a regular file of the old kind",
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"A": "an access control list",
    b"D": "a directory of an incremental dump",
    b"K": "a long link name",
    b"L": "a long name",
    b"M": "a file continued from another volume",
    b"S": "a sparse file",
    b"V": "a volume label",
    b"X": "a pax header of Solaris",
    b"g": "a global pax header",
    b"x": "a pax header",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a record header says: a regular file of this name and size."""

    name: str
    size: int

    @property
    def stored_size(self) -> int:
        """Bytes that the content takes with the zeros that fill its last block."""
        return padded(self.size)


def padded(size: int) -> int:
    """Return a size rounded up to whole blocks."""
    return -(-size // BLOCK_SIZE) * BLOCK_SIZE


def archive_size(sizes: list[int]) -> int:
    """Return the length of the tar that holds members of these sizes."""
    content = sum(BLOCK_SIZE + padded(size) for size in sizes) + END_SIZE
    return -(-content // RECORD_SIZE) * RECORD_SIZE


def signature_name(number: int) -> str:
    """Return the name of the statement's signature of this number, counted from 1."""
    return f"airlock.sigstore.{number}.json"


def encode(header: Header) -> bytes:
    """Return the 512 bytes of a header."""
    block = bytearray(BLOCK_SIZE)
    name = header.name.encode("ascii")
    block[: len(name)] = name
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[_SIZE_FIELD] = _encode_size(header.size)
    block[136:148] = b"00000000000\0"
    block[_TYPE : _TYPE + 1] = b"0"
    block[_MAGIC_FIELD] = _MAGIC
    block[_CHECKSUM_FIELD] = _encode_checksum(block)
    return bytes(block)


def decode(block: bytes, *, where: str) -> Header:
    """Return what a header says. Only bytes that `encode` writes pass.

    Raises:
        TarError: its checksum is wrong, it is of another dialect or kind, or a field is written in
            another way.
        PathError: its name is none that the format has.
        LimitError: its size is beyond every limit.
    """
    if block[_CHECKSUM_FIELD] != _encode_checksum(block):
        raise TarError(
            "a record header's checksum is wrong",
            where=where,
            expected=shown(_encode_checksum(block)),
            found=shown(block[_CHECKSUM_FIELD]),
        )
    if block[_MAGIC_FIELD] != _MAGIC:
        raise TarError(
            "a record header of another dialect",
            where=where,
            expected=shown(_MAGIC),
            found=shown(block[_MAGIC_FIELD]),
        )
    kind = block[_TYPE : _TYPE + 1]
    if kind != b"0":
        raise TarError(
            "a member that is not a regular file",
            where=where,
            found=_KINDS.get(kind, f"unknown type {shown(kind)}"),
        )
    header = Header(
        name=_decode_name(block[_NAME_FIELD], where=where),
        size=_decode_size(block[_SIZE_FIELD], where=where),
    )
    written = encode(header)
    if written != block:
        # The checksum differs too, but only because of another field.
        others = (i for i in range(BLOCK_SIZE) if not 148 <= i < 156)  # noqa: PLR2004
        at = next(i for i in others if written[i] != block[i])
        raise TarError(
            "a record header is written in another way than the format's",
            where=f"{where}, byte {at} of the header",
            expected=shown(written[at : at + 12]),
            found=shown(block[at : at + 12]),
        )
    return header


def _decode_name(field: bytes, *, where: str) -> str:
    name, _, rest = field.partition(b"\0")
    if _NAME.fullmatch(name) is None or rest.strip(b"\0"):
        raise PathError(
            "a member's name is none that the format has",
            where=where,
            expected="airlock.json, airlock.sigstore.N.json, oci-layout, index.json, "
            "blobs/sha256/DIGEST",
            found=shown(field.rstrip(b"\0")),
        )
    return name.decode("ascii")


def _decode_size(field: bytes, *, where: str) -> int:
    if field[0] == 0x80:  # noqa: PLR2004  # base 256, positive
        size = int.from_bytes(field[1:], "big")
        if size > SIZE_MAX:
            raise LimitError(
                "a member's size is beyond every limit",
                where=where,
                expected=f"at most {SIZE_MAX}",
                found=str(size),
            )
    else:
        digits = field[:11]
        # int() also takes signs, spaces and underscores; what it would clean is refused by this
        # very line.
        size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
    if size < 0 or _encode_size(size) != field:
        raise TarError(
            "a member's size is not written in the format's way",
            where=where,
            expected="eleven octal digits and NUL, or base 256 from 8 GiB on",
            found=shown(field),
        )
    return size


def _encode_size(size: int) -> bytes:
    if size <= _OCTAL_SIZE_MAX:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def _encode_checksum(block: bytes | bytearray) -> bytes:
    """Return the checksum field: the sum of the header's bytes, its own field counted as blanks."""
    total = sum(block) - sum(block[_CHECKSUM_FIELD]) + 8 * 0x20
    return b"%06o\0 " % total
