"""Writes a file straight to its disk, on a thread of its own.

An archive is synced before it gets its name, so all of its bytes must reach the medium anyway.
Past the page cache (`O_DIRECT`, where the file system has it) they do so while the next ones are
made, and not in one long wait at the end; nobody else's cached files are pushed out; and the
progress that is shown is the medium's. Measured in docs/performance.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from concurrent.futures import Future, ThreadPoolExecutor
from mmap import mmap
from typing import Final

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
            self._set_direct(on=True)

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
        """Write what is left.

        Raises:
            OSError: the disk does not take it.
        """
        self._send()
        self._await()

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
                self._set_direct(on=False)
            try:
                count = os.write(self._descriptor, rest[: len(rest) // _BLOCK * _BLOCK] or rest)
            except OSError as e:
                if e.errno != errno.EINVAL or not self._is_direct:
                    raise
                # Direct writes are not for this file system, or not of these blocks.
                self._set_direct(on=False)
                continue
            rest = rest[count:]
            if count % _BLOCK:
                self._set_direct(on=False)

    @property
    def _is_direct(self) -> bool:
        return bool(fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_DIRECT)

    def _set_direct(self, *, on: bool) -> None:
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        if wanted != flags:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, wanted)
