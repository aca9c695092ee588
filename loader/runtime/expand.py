"""Layers decompressed on their way to docker, beside the thread that writes them.

docker 20 reads no zstd, and unpacks gzip with one thread after it has copied the whole stream. The
size of a tar member stands before its bytes, so it must be known first: gzip tells it at its end
(RFC 1952 §2.3.1: the last member's size, modulo 4 GiB); a layer of zstd is decompressed once to be
counted. Neither is believed: what comes out must have that size, and be what the config names.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import DiffIdError
from loader.inflate import MAGIC_SIZE, Inflater, compression
from loader.limits import DEFAULT_LIMITS
from loader.runtime.blobs import read_blob

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.descriptor import Descriptor
    from loader.runtime.base import StagedBlobs

_GZIP_SIZE_FIELD: Final = 4
_AHEAD_COUNT: Final = 4
_WAIT_SECONDS: Final = 0.5


class SizeGuessError(Exception):
    """A layer of gzip does not have the size that its last member tells."""


def expanded_size(
    blobs: StagedBlobs, layer: Descriptor, *, gzip: Literal["expand", "keep"]
) -> int | None:
    """Return the size under which a layer is to be sent decompressed; None to send it as it is.

    Raises:
        DigestError, DiffIdError, LimitError: a layer had to be read to be counted; see `expand`.
    """
    with blobs.open(layer.digest) as file:
        kind = compression(file.read(MAGIC_SIZE).ljust(MAGIC_SIZE, b"\0"))
    match kind:
        case "tar":
            return None
        case "zstd":
            parts = _inflater(layer).inflate(read_blob(blobs, layer))
            return sum(len(part) for part in parts)
        case "gzip":
            guess = _gzip_size(blobs, layer)
            # Less than the layer itself: more than one member (estargz), or more than 4 GiB.
            return guess if gzip == "expand" and guess >= layer.size else None


def _gzip_size(blobs: StagedBlobs, layer: Descriptor) -> int:
    with blobs.open(layer.digest) as file:
        file.seek(-min(_GZIP_SIZE_FIELD, layer.size), os.SEEK_END)
        return int.from_bytes(file.read(_GZIP_SIZE_FIELD), "little")


def expand(blobs: StagedBlobs, layer: Descriptor, diff_id: Digest, *, size: int) -> Iterator[bytes]:
    """Yield a layer decompressed: exactly `size` bytes, and what the config names.

    Raises:
        SizeGuessError: it has another size; at most `size` bytes were yielded.
        DigestError: the staged blob is no longer the verified one.
        DiffIdError: it is not what the config names, or does not decompress.
        LimitError: it decompresses to more than a layer may have.
    """
    inflater = _inflater(layer)
    room = size
    for part in _read_ahead(inflater.inflate(read_blob(blobs, layer))):
        room -= len(part)
        if room < 0:
            raise SizeGuessError
        yield part
    if room:
        raise SizeGuessError
    if inflater.digest != diff_id:
        raise DiffIdError(
            "a layer decompresses to something else than the image's config says",
            where=f"layer {layer.digest}",
            expected=str(diff_id),
            found=str(inflater.digest),
        )


def _inflater(layer: Descriptor) -> Inflater:
    return Inflater(layer.digest, size_max=DEFAULT_LIMITS.layer_expanded_size_max)


def _read_ahead(source: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what `source` yields, made in a thread that is a few parts ahead."""
    ahead = _Ahead(source)
    try:
        yield from iter(ahead.take, None)
    finally:
        ahead.close()


class _Ahead:
    """A thread that runs an iterator, and the few parts that it is ahead."""

    __slots__ = ("_ready", "_source", "_thread", "_unwanted")

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD_COUNT)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="expand", daemon=True)
        self._thread.start()

    def take(self) -> bytes | None:
        """Return the next part, or None at the end; raise what the iterator raised."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End the thread, also in the middle."""
        self._unwanted.set()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for part in self._source:
                self._hand_over(part)
                if self._unwanted.is_set():
                    return
        except BaseException as e:  # noqa: BLE001 - raised again where it is taken
            last = e
        self._hand_over(last)

    def _hand_over(self, item: bytes | BaseException | None) -> None:
        while not self._unwanted.is_set():
            try:
                self._ready.put(item, timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return
