"""Archives in pieces: records and frames that can be bent, dropped and put together again.

Nothing here shares code with reader or writer, beyond the golden bundle that the writer made.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

BLOCK = 512
RECORD = 10_240
END = bytes(2 * BLOCK)
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "checksum": (148, 8),
    "type": (156, 1),
    "linkname": (157, 100),
    "magic": (257, 8),
    "uname": (265, 32),
    "gname": (297, 32),
    "devmajor": (329, 8),
    "devminor": (337, 8),
    "prefix": (345, 155),
    "rest": (500, 12),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A header and the blocks behind it."""

    header: bytes
    body: bytes = b""

    def field(self, name: str) -> bytes:
        start, length = FIELDS[name]
        return self.header[start : start + length]

    def with_field(self, name: str, value: bytes, *, fix: bool = True) -> Record:
        """Return it with another field, and the checksum that then is right."""
        start, length = FIELDS[name]
        value = value.ljust(length, b"\0")[:length]
        header = self.header[:start] + value + self.header[start + length :]
        changed = Record(header=header, body=self.body)
        if not fix or name == "checksum":
            return changed
        blank = header[:148] + b" " * 8 + header[156:]
        return changed.with_field("checksum", b"%06o\0 " % sum(blank))

    def with_name(self, name: bytes) -> Record:
        return self.with_field("name", name)

    def with_body(self, body: bytes) -> Record:
        return Record(header=self.header, body=body)

    @property
    def raw(self) -> bytes:
        return self.header + self.body


def split(archive: bytes) -> list[Record]:
    """Return the records of a plain archive."""
    records = []
    while archive[:BLOCK].strip(b"\0"):
        size = int(archive[124:135], 8)
        stored = -(-size // BLOCK) * BLOCK
        records.append(Record(header=archive[:BLOCK], body=archive[BLOCK : BLOCK + stored]))
        archive = archive[BLOCK + stored :]
    return records


def join(records: Sequence[Record], *, end: bytes | None = None) -> bytes:
    """Return the archive of these records, with its end unless another is given."""
    raw = b"".join(record.raw for record in records)
    if end is not None:
        return raw + end
    raw += END
    return raw + bytes(-len(raw) % RECORD)


def record(name: bytes, content: bytes, *, kind: bytes = b"0") -> Record:
    """Return a new record in our dialect."""
    blank = Record(header=bytes(BLOCK), body=content + bytes(-len(content) % BLOCK))
    for field, value in (
        ("name", name),
        ("mode", b"0000644\0"),
        ("uid", b"0000000\0"),
        ("gid", b"0000000\0"),
        ("size", b"%011o\0" % len(content)),
        ("mtime", b"00000000000\0"),
        ("type", kind),
        ("magic", b"ustar  \0"),
    ):
        blank = blank.with_field(field, value)
    return blank


def frame(
    content: bytes,
    *,
    level: int = 3,
    window_log: int = 0,
    checksum: bool = True,
    content_size: bool = True,
) -> bytes:
    """Return one frame."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=window_log,
        write_checksum=checksum,
        write_content_size=content_size,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def frames(archive: bytes, size: int, **options: int) -> bytes:
    """Return an archive in frames that hold so many bytes each."""
    return b"".join(
        frame(archive[at : at + size], **options)  # type: ignore[arg-type]
        for at in range(0, len(archive), size)
    )


def raw_frame(
    blocks: Sequence[tuple[int, bytes, int]],
    *,
    flags: int,
    fields: bytes,
    checksum: bytes = b"",
    magic: bytes = b"\x28\xb5\x2f\xfd",
) -> bytes:
    """Return a frame byte by byte (RFC 8878 §3.1.1).

    Args:
        blocks: type (0 raw, 1 run, 2 compressed, 3 reserved), bytes, and the size field.
        flags: the frame header descriptor.
        fields: window descriptor, dictionary and content size.
        checksum: four bytes, where the flags say so.
        magic: the first four bytes.
    """
    out = [magic, bytes([flags]), fields]
    for position, (kind, data, size) in enumerate(blocks):
        last = position == len(blocks) - 1
        out += (struct.pack("<I", last | kind << 1 | size << 3)[:3], data)
    return b"".join((*out, checksum))


def skippable(content: bytes = b"hidden") -> bytes:
    """Return a skippable frame (RFC 8878 §3.1.2)."""
    return struct.pack("<II", 0x184D2A50, len(content)) + content
