"""Whether a layer, once decompressed, is the one that the image's config names (its diff_id).

docker and containerd check this when they unpack; podman 4.3 does not (docs/runtimes.md), and a
layout directory has nobody who would. Decompression is told from the first bytes, as the runtimes
do, so that there is one reading of a layer; what counts is the digest that comes out. It runs in a
thread beside the reader of the compressed bytes, on the other core, in bounded memory.
"""

from __future__ import annotations

import collections
import hashlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
from isal import igzip_lib, isal_zlib

from loader.digest import Digest
from loader.errors import DiffIdError, InternalError, LimitError, RefusedError, shown
from loader.limits import DEFAULT_LIMITS, MIB, Limits

_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_END: Final = b"\x2a\x4d\x18"
"""Behind 0x50 to 0x5f: a zstd frame that holds no data (RFC 8878 §3.1.2); zstd:chunked has them."""
_ZSTD_SKIPPABLE: Final = 5
MAGIC_SIZE: Final = 4
_GZIP_WINDOW_BITS: Final = 31
"""zlib's way to say: gzip header and trailer, 32 KiB window."""
_ZSTD_WINDOW_LOG_MAX: Final = 25
"""32 MiB; builders use at most 8 MiB. A larger window would take the memory that is promised."""
_OUTPUT_SIZE: Final = 1 * MIB
_FEED_SIZE_MIN: Final = 1024
"""Bytes fed of a new member, twice as many each time after: what stands behind its end is copied,
and a layer may hold a million members without data."""
MEMBER_COUNT_MAX: Final = 1_000_000
"""Gzip members or zstd frames of a layer: one for each file in estargz and zstd:chunked. To begin
one takes some 15 microseconds."""
_QUEUE_LENGTH: Final = 4
_WAIT_SECONDS: Final = 1.0


Compression = Literal["gzip", "zstd", "tar"]


def compression(head: bytes) -> Compression:
    """Return how a layer that begins with these bytes is compressed, as the runtimes tell it."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    skippable = head[1:MAGIC_SIZE] == _SKIPPABLE_END and head[0] >> 4 == _ZSTD_SKIPPABLE
    return "zstd" if head.startswith(_ZSTD_MAGIC) or skippable else "tar"


class DiffIdCheck:
    """Takes a layer's bytes in order, and says at the end whether they inflate to the diff_id."""

    __slots__ = ("_chunks", "_diff_id", "_holds", "_inflater", "_layer", "_problem", "_thread")

    def __init__(self, layer: Digest, diff_id: Digest, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._layer = layer
        self._diff_id = diff_id
        self._inflater = Inflater(layer, size_max=limits.layer_expanded_size_max)
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUE_LENGTH)
        self._problem: RefusedError | None = None
        self._holds = False
        self._thread = threading.Thread(target=self._work, name="diff-id", daemon=True)
        self._thread.start()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            DiffIdError, LimitError: what came before decides it already.
        """
        if self._problem is not None:
            self.finish()
        self._put(chunk)

    def finish(self) -> None:
        """Establish that all bytes fed are the layer that the config names.

        Raises:
            DiffIdError: they inflate to something else, or do not inflate.
            LimitError: they inflate to more than a layer may have.
        """
        self.close()
        if self._problem is not None:
            raise self._problem
        if not self._holds:
            raise InternalError("a layer's diff_id was not decided", where=str(self._layer))

    def close(self) -> None:
        """End the thread. Without `finish`, nothing is established."""
        self._put(None)
        self._thread.join()

    def _put(self, chunk: bytes | None) -> None:
        while self._thread.is_alive():
            try:
                self._chunks.put(chunk, timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return

    def _work(self) -> None:
        more = True
        try:
            while (chunk := self._chunks.get()) is not None:
                collections.deque(self._inflater.feed(chunk), maxlen=0)
            more = False
            collections.deque(self._inflater.finish(), maxlen=0)
            self._compare()
        except RefusedError as e:
            self._problem = e
        # After a refusal the rest is swallowed, so that whoever feeds is never left waiting.
        while more and self._chunks.get() is not None:
            pass

    def _compare(self) -> None:
        found = self._inflater.digest
        if found != self._diff_id:
            raise DiffIdError(
                "a layer decompresses to something else than the image's config says",
                where=f"layer {self._layer}",
                expected=str(self._diff_id),
                found=str(found),
            )
        self._holds = True


class Inflater:
    """Decompresses one layer in bounded memory and hashes what comes out."""

    __slots__ = ("_decoder", "_hash", "_head", "_kind", "_layer", "_room")

    def __init__(self, layer: Digest, *, size_max: int) -> None:
        self._layer = layer
        self._room = size_max
        self._hash = hashlib.sha256()
        self._head = b""
        self._kind: Compression | None = None
        self._decoder: _Gzip | _Zstd | None = None

    def inflate(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield a whole layer, decompressed.

        Raises:
            DiffIdError: it does not decompress.
            LimitError: it decompresses to more than a layer may have.
        """
        for chunk in chunks:
            yield from self.feed(chunk)
        yield from self.finish()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the next bytes decompress to; see `inflate`."""
        if not self._kind:
            self._head += chunk
            if len(self._head) < MAGIC_SIZE:
                return
            chunk, self._head = self._head, b""
            self._begin(chunk)
        if self._decoder is None:
            yield self._taken(chunk)
            return
        try:
            for part in self._decoder.inflate(chunk):
                yield self._taken(part)
        except (igzip_lib.IsalError, ZstdError, EOFError) as e:  # type: ignore[misc] # its stub
            raise self._damaged(str(e)) from e
        if self._decoder.count > MEMBER_COUNT_MAX:
            raise LimitError(
                "a layer is compressed in too many pieces",
                where=f"layer {self._layer}",
                expected=f"at most {MEMBER_COUNT_MAX}",
            )

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the end; see `inflate`."""
        if not self._kind and self._head:
            yield self._taken(self._head)
        if self._decoder is not None and not self._decoder.whole:
            raise self._damaged("the end is missing")

    @property
    def digest(self) -> Digest:
        """The digest of what came out so far."""
        return Digest(self._hash.hexdigest())

    def _begin(self, head: bytes) -> None:
        self._kind = compression(head)
        match self._kind:
            case "gzip":
                self._decoder = _Gzip()
            case "zstd":
                self._decoder = _Zstd()
            case "tar":
                self._decoder = None

    def _taken(self, part: bytes) -> bytes:
        self._room -= len(part)
        if self._room < 0:
            raise LimitError(
                "a layer decompresses to more than a layer may have",
                where=f"layer {self._layer}",
                hint="the limit is layer_expanded_size_max",
            )
        self._hash.update(part)
        return part

    def _damaged(self, why: str) -> DiffIdError:
        return DiffIdError(
            "a layer cannot be decompressed",
            where=f"layer {self._layer}",
            expected=f"whole {self._kind}",
            found=shown(why, limit=100),
        )


class _Gzip:
    """Members of gzip, one behind the other (RFC 1952 §2.2); estargz layers have thousands."""

    __slots__ = ("_feed_size", "_member", "count")

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
        self._feed_size = _FEED_SIZE_MIN
        self.count = 1

    @property
    def whole(self) -> bool:
        return bool(self._member.eof)

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        rest = memoryview(chunk)
        while rest:
            if self._member.eof:
                self._member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
                self._feed_size = _FEED_SIZE_MIN
                self.count += 1
            fed, rest = rest[: self._feed_size], rest[self._feed_size :]
            self._feed_size *= 2
            part = self._member.decompress(fed, _OUTPUT_SIZE)
            yield part
            # A full part may have left something inside, though all input was taken.
            while part and (self._member.unconsumed_tail or len(part) == _OUTPUT_SIZE):
                part = self._member.decompress(self._member.unconsumed_tail, _OUTPUT_SIZE)
                yield part
            if self._member.eof:
                rest = _behind(self._member.unused_data, chunk, rest)


class _Zstd:
    """Frames of zstd, one behind the other, some of them without data."""

    __slots__ = ("_feed_size", "_frame", "count")

    def __init__(self) -> None:
        self._frame = self._begin()
        self._feed_size = _FEED_SIZE_MIN
        self.count = 1

    @staticmethod
    def _begin() -> ZstdDecompressor:
        return ZstdDecompressor(
            options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
        )

    @property
    def whole(self) -> bool:
        return self._frame.eof

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        rest = memoryview(chunk)
        while rest:
            if self._frame.eof:
                self._frame = self._begin()
                self._feed_size = _FEED_SIZE_MIN
                self.count += 1
            fed, rest = rest[: self._feed_size], rest[self._feed_size :]
            self._feed_size *= 2
            yield self._frame.decompress(fed, _OUTPUT_SIZE)
            while not self._frame.needs_input and not self._frame.eof:
                yield self._frame.decompress(b"", _OUTPUT_SIZE)
            if self._frame.eof:
                rest = _behind(self._frame.unused_data, chunk, rest)


def _behind(unused: bytes, chunk: bytes, rest: memoryview) -> memoryview:
    """Return what stands behind the end of a member: what was fed in vain, and what was not fed."""
    return memoryview(chunk)[len(chunk) - len(rest) - len(unused) :]
