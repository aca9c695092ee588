"""Large files, written straight to their disk and read straight from it: past the page cache.

An archive is synced before it gets its name, so all of its bytes must reach the medium anyway.
Past the page cache (`O_DIRECT`, where the file system has it) they do so while the next ones are
made, and not in one long wait at the end; nobody else's cached files are pushed out; and the
progress that is shown is the medium's. For a download it is the processor's time that is saved:
copying bytes into fresh cache pages costs more of it than hashing them. Measured in
docs/performance.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from mmap import mmap
from typing import Any, Final

from loader.limits import KIB, MIB

BUFFER_SIZE: Final = 4 * MIB
_BUFFER_COUNT: Final = 2
_BLOCK: Final = 4 * KIB
"""What offset, size and address must be multiples of: no disk has larger sectors."""


class StraightFile:
    """An open file that is written front to back. Whoever made it closes the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Anonymous maps begin on a page, as direct writes want their memory to.
        self._buffers = [mmap(-1, BUFFER_SIZE) for _ in range(_BUFFER_COUNT)]
        self._views = [memoryview(buffer) for buffer in self._buffers]
        self._filled = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._pending: Future[None] | None = None
        with contextlib.suppress(OSError):  # a file system without it says so here, or later
            _set_direct(descriptor, on=True)

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes; they are written soon.

        Raises:
            OSError: the disk did not take what was written before.
        """
        rest = memoryview(data)
        while rest:
            piece = rest[: BUFFER_SIZE - self._filled]
            rest = rest[len(piece) :]
            self._views[0][self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            if self._filled == BUFFER_SIZE:
                self._send()

    def finish(self) -> None:
        """Write what is left, and leave the descriptor as others know it.

        Raises:
            OSError: the disk does not take it.
        """
        self._send()
        self._await()
        _set_direct(self._descriptor, on=False)

    def close(self) -> None:
        """Wait until nothing writes any more. What was not finished is lost."""
        self._pool.shutdown(wait=True)

    def _send(self) -> None:
        """Have the buffer written, and go on with the other one."""
        self._await()
        self._pending = self._pool.submit(self._put, self._views[0][: self._filled])
        self._views.reverse()
        self._filled = 0

    def _await(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _put(self, rest: memoryview) -> None:
        while rest:
            if len(rest) < _BLOCK:
                _set_direct(self._descriptor, on=False)
            try:
                count = os.write(self._descriptor, rest[: len(rest) // _BLOCK * _BLOCK] or rest)
            except OSError as e:
                if e.errno != errno.EINVAL or not _is_direct(self._descriptor):
                    raise
                # Direct writes are not for this file system, or not of these blocks.
                _set_direct(self._descriptor, on=False)
                continue
            rest = rest[count:]
            if count % _BLOCK:
                _set_direct(self._descriptor, on=False)


class ForwardReader(io.RawIOBase):
    """Whatever is read front to back, by a `read` of its own."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, target: Any, /) -> int:  # noqa: ANN401 - whatever io gives
        """Read the next bytes into a buffer, and tell how many."""
        with memoryview(target).cast("B") as view:
            piece = self.read(len(view))
            view[: len(piece)] = piece
        return len(piece)


class StraightReader(ForwardReader):
    """An open file that is read front to back, from wherever. It closes the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = mmap(-1, BUFFER_SIZE)
        self._rest = memoryview(b"")
        with contextlib.suppress(OSError):
            _set_direct(descriptor, on=True)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go on reading from there."""
        self._rest = memoryview(b"")
        return os.lseek(self._descriptor, offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        if size < 0:
            return self.readall()
        if not self._rest:
            self._rest = memoryview(self._buffer)[: self._fill()]
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _fill(self) -> int:
        try:
            return os.readv(self._descriptor, [self._buffer])
        except OSError as e:
            if e.errno != errno.EINVAL or not _is_direct(self._descriptor):
                raise
            # Not for this file system, or not from here: behind the last whole block.
            _set_direct(self._descriptor, on=False)
            return os.readv(self._descriptor, [self._buffer])


def _is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def _set_direct(descriptor: int, *, on: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
    if wanted != flags:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, wanted)
