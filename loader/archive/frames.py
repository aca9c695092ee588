"""From the file's bytes to the tar's: zstd frames of one profile, or no compression at all.

Sans I/O: bytes are handed in by `receive`, taken out by `take`, and nothing is read ahead of what
was handed in. The profile (docs/format.md, "Frames") is what keeps hostile frames cheap: each says
how much it holds, at most 64 MiB behind a window of at most 8 MiB, and short frames are counted, so
that time and memory follow the file's size and not the sender's wishes. `backports.zstd` is told
both bounds; the frame header is read here, because libzstd would take dictionaries, skippable
frames and frames without checksums (THREATS §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from loader.errors import (
    CompressionError,
    FormatError,
    LimitError,
    TrailingDataError,
    TruncatedError,
    shown,
)
from loader.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from loader.limits import Limits

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_PLAIN_START: Final = b"airl"
"""The first four bytes of `airlock.json`'s name: of an archive that is not compressed."""
_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_FOREIGN: Final = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zX": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "a zip archive",
    b"\x04\x22\x4d\x18": "lz4",
}
_HEADER_SIZE_MAX: Final = 18
"""Magic, descriptor, window, dictionary and the longest content size (RFC 8878 §3.1.1)."""
_FEED_SIZE_MIN: Final = 1024
_FEED_SIZE_MAX: Final = 1024 * 1024

_CHECKSUM_FLAG: Final = 0x04
_DICTIONARY_FLAG: Final = 0x03
_SINGLE_SEGMENT_FLAG: Final = 0x20
_RESERVED_FLAGS: Final = 0x18
"""The reserved bit, which must be zero, and the unused one, which decoders ignore and this format
does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """What a frame's header says (RFC 8878 §3.1.1.1)."""

    header_size: int
    window_size: int
    content_size: int

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits) -> FrameHeader | None:
        """Return the header at the beginning of `raw`, or None where it may not be whole yet.

        Raises:
            CompressionError: no frame, or one outside the profile.
            LimitError: it asks for a larger window or holds more than the profile allows.
        """
        if len(raw) < len(MAGIC) + 1:
            return None
        if raw[:4] != MAGIC:
            skippable = int.from_bytes(raw[:4], "little") in _SKIPPABLE
            raise CompressionError(
                "a skippable frame" if skippable else "no zstd frame where one is expected",
                where=where,
                expected=shown(MAGIC),
                found=shown(raw[:4]),
            )
        flags = raw[4]
        if flags & _DICTIONARY_FLAG:
            raise CompressionError("a frame that needs a dictionary", where=where)
        if flags & _RESERVED_FLAGS:
            raise CompressionError("a frame with reserved bits", where=where)
        if not flags & _CHECKSUM_FLAG:
            raise CompressionError("a frame without a checksum", where=where)
        single = bool(flags & _SINGLE_SEGMENT_FLAG)
        length = (1 if single else 0, 2, 4, 8)[flags >> 6]
        if not length:
            raise CompressionError("a frame that does not say how much it holds", where=where)
        start = 5 if single else 6
        if len(raw) < start + length:
            return None
        content = int.from_bytes(raw[start : start + length], "little")
        content += 256 if length == 2 else 0  # noqa: PLR2004
        window = content if single else _window_size(raw[5])
        if window > 1 << limits.window_log_max or content > limits.frame_size_max:
            raise LimitError(
                "a frame is larger than the format allows",
                where=where,
                expected=f"a window of {1 << limits.window_log_max} and "
                f"{limits.frame_size_max} bytes",
                found=f"a window of {window} and {content} bytes",
            )
        if not content or length != _content_length(content):
            raise CompressionError(
                "a frame writes its content size in another way than the format's",
                where=where,
                found=f"{content} in {length} bytes",
            )
        return cls(header_size=start + length, window_size=window, content_size=content)


def _window_size(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _content_length(content: int) -> int:
    """Return the bytes that libzstd writes a content size in: the fewest that hold it."""
    if content < 256:  # noqa: PLR2004
        return 1
    return 2 if content < 65536 + 256 else 4


class Frames:
    """Bytes of the file in, bytes of the tar out. Once it raised, it is of no further use."""

    __slots__ = (
        "_at",
        "_closing",
        "_content_left",
        "_data",
        "_decompressor",
        "_ended",
        "_feed_size",
        "_limits",
        "_offset",
        "_short_frames_left",
        "_state",
    )

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._state: Literal["start", "plain", "header", "body"] = "start"
        self._data = memoryview(b"")
        self._at = 0
        self._ended = False
        self._closing = False
        self._offset = 0
        self._decompressor = ZstdDecompressor()
        self._content_left = 0
        self._feed_size = _FEED_SIZE_MIN
        self._short_frames_left = limits.short_frame_count_max

    @property
    def format(self) -> Literal["zstd", "plain", ""]:
        """How the archive is stored; empty before its first bytes are there."""
        match self._state:
            case "start":
                return ""
            case "plain":
                return "plain"
            case "header" | "body":
                return "zstd"

    @property
    def where(self) -> str:
        """The place in the file up to which everything was understood."""
        return f"byte {self._offset} of the file"

    def receive(self, data: bytes) -> None:
        """Hand in the next bytes of the file; none at all say that it ends here."""
        if not data:
            self._ended = True
            return
        rest = bytes(self._data[self._at :])
        self._data = memoryview(rest + data if rest else data)
        self._at = 0

    def close(self) -> None:
        """Learn that no frame may begin any more."""
        self._closing = True

    def take(self, size_max: int) -> memoryview | None:
        """Return the next bytes of the tar, none at its end, None where more must be handed in.

        Raises:
            TruncatedError: the file ends within a frame, or before there is one.
            CompressionError: a frame is damaged or outside the profile.
            LimitError: a frame is too large, or there are too many short ones.
            TrailingDataError: after `close`, there is more than the end.
            FormatError: this is no archive of ours.
        """
        if self._state == "start" and not self._recognized():
            return None
        if self._state == "plain":
            return None if self._drained and not self._ended else self._consume(size_max)
        while True:
            if self._state == "header":
                if self._drained and self._ended:
                    return memoryview(b"")
                if self._closing and not self._drained:
                    raise TrailingDataError("bytes behind the end of the archive", where=self.where)
                if not self._begun():
                    return None
            piece = self._decompress(size_max)
            if piece is None or piece:
                return piece

    @property
    def _drained(self) -> bool:
        return self._at == len(self._data)

    def _consume(self, size: int) -> memoryview:
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        self._offset += len(piece)
        return piece

    def _return(self, behind: bytes) -> None:
        """Take back what was fed from behind the end of a frame."""
        self._offset -= len(behind)
        if len(behind) <= self._at:
            self._at -= len(behind)
        else:
            self._data = memoryview(behind + bytes(self._data[self._at :]))
            self._at = 0

    def _recognized(self) -> bool:
        start = bytes(self._data[:4])
        if len(start) < 4 and not self._ended:  # noqa: PLR2004
            return False
        if start == MAGIC:
            self._state = "header"
        elif start == _PLAIN_START:
            self._state = "plain"
        elif MAGIC.startswith(start) or _PLAIN_START.startswith(start):
            raise TruncatedError("the file ends before it begins", found=f"{len(start)} bytes")
        else:
            kind = next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), "")
            raise FormatError(
                "not an Airlock bundle",
                where=self.where,
                expected="a zstd frame, or a tar that begins with airlock.json",
                found=kind or shown(start),
            )
        return True

    def _begun(self) -> bool:
        raw = bytes(self._data[self._at : self._at + _HEADER_SIZE_MAX])
        header = FrameHeader.parse(raw, where=self.where, limits=self._limits)
        if header is None:
            if self._ended:
                raise TruncatedError("the file ends within a frame's header", where=self.where)
            return False
        if header.content_size < self._limits.frame_size_min:
            if not self._short_frames_left:
                raise LimitError(
                    "too many short frames",
                    where=self.where,
                    expected=f"at most {self._limits.short_frame_count_max} of less than "
                    f"{self._limits.frame_size_min} bytes",
                )
            self._short_frames_left -= 1
        self._decompressor = ZstdDecompressor(
            options={DecompressionParameter.window_log_max: self._limits.window_log_max}
        )
        self._content_left = header.content_size
        self._feed_size = _FEED_SIZE_MIN
        self._state = "body"
        return True

    def _decompress(self, size_max: int) -> memoryview | None:
        """Return bytes, maybe none, or None where more must be handed in."""
        decompressor = self._decompressor
        fed = memoryview(b"")
        if decompressor.needs_input:
            if self._drained:
                if self._ended:
                    raise TruncatedError("the file ends within a frame", where=self.where)
                return None
            # What lies behind the end of a frame is copied back: feeding little at first keeps that
            # in proportion to the frame, however short frames are.
            fed = self._consume(self._feed_size)
            self._feed_size = min(2 * self._feed_size, _FEED_SIZE_MAX)
        try:
            piece = decompressor.decompress(fed, size_max)
        except ZstdError as e:
            raise CompressionError(
                "a damaged frame", where=f"before {self.where}", found=shown(str(e))
            ) from e
        self._content_left -= len(piece)
        # libzstd does not compare the content size where the last block is empty (THREATS §3).
        if self._content_left < 0 or (decompressor.eof and self._content_left):
            raise CompressionError("a frame holds another size than it says", where=self.where)
        if decompressor.eof:
            self._return(decompressor.unused_data)
            self._state = "header"
        return memoryview(piece)
