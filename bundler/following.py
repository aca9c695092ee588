"""A blob that is read while it arrives: from the memory that it arrived in, not back from the disk.

One thread brings the bytes into the store and gives each piece here; another one, the archive's
writer, reads them in the same order. The last piece is kept back until the store has found the
digest to be right. Where the reader does not keep up, or a download goes on from an earlier run's
beginning, the rest is read from the store: what is held in memory is bounded either way.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final

from bundler.straight import ForwardReader
from loader.limits import MIB

HELD_MAX: Final = 8 * MIB
"""Bytes that arrived and were not read yet; a piece more may be on its way."""
PATIENCE_SECONDS: Final = 1.0
"""How long a download waits for its reader, who may still be at the blob before: the registry must
not take us for dead."""


class Following(ForwardReader):
    """What is between the thread that fetches a blob and the one that reads it."""

    def __init__(
        self,
        *,
        arrived: Callable[[], None],
        kept: Callable[[], BinaryIO],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Make ready for the first piece.

        Args:
            arrived: waits until the whole blob is in the store, and raises what went wrong.
            kept: opens the blob in the store.
            patience: seconds that a piece waits for room.
        """
        self._arrived = arrived
        self._kept = kept
        self._patience = patience
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._end = 0
        """Where in the blob the next piece must begin."""
        self._position = 0
        self._is_followed = True
        self._waits_since: float | None = None
        self._waited_seconds = 0.0
        self._file: BinaryIO | None = None

    # --- on the thread that fetches ------------------------------------------------------------

    def give(self, offset: int, piece: bytes) -> None:
        """Take the piece of the blob that begins at `offset`; wait for room, but not for long."""
        if not piece:
            return  # what was passed over behind a break; to whoever reads it is the end
        with self._changed:
            if offset == self._end and not self._has_room():
                self._await_room()
            if not self._is_followed or offset != self._end or not self._has_room():
                self._leave()
                return
            self._pieces.append(piece)
            self._held += len(piece)
            self._end += len(piece)
            self._changed.notify_all()

    def end(self) -> None:
        """Learn that no more pieces come: all were given, or something went wrong."""
        with self._changed:
            self._is_followed = False
            self._changed.notify_all()

    def waited_seconds(self) -> float:
        """Return for how long the download was kept waiting so far."""
        since = self._waits_since
        return self._waited_seconds + (0 if since is None else time.monotonic() - since)

    def _await_room(self) -> None:
        began = self._waits_since = time.monotonic()
        self._changed.wait_for(self._has_room, timeout=self._patience)
        self._waits_since = None
        self._waited_seconds += time.monotonic() - began

    def _has_room(self) -> bool:
        return self._held < HELD_MAX or not self._is_followed

    def _leave(self) -> None:
        self._is_followed = False
        if not self._position:  # nobody reads yet: the store will have all of it
            self._pieces.clear()
        self._changed.notify_all()

    # --- on the thread that reads --------------------------------------------------------------

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most so many; none at the end.

        Raises:
            AirlockError: whatever went wrong with the blob.
        """
        if size < 0:
            return self.readall()
        with self._changed:
            # The last one is only known to be the last when no more come.
            self._changed.wait_for(lambda: len(self._pieces) > 1 or not self._is_followed)
            if self._is_followed:
                return self._next(size)
        self._arrived()
        with self._changed:
            if self._pieces:
                return self._next(size)
        return self._rest(size)

    def close(self) -> None:
        """Have no more pieces kept for whoever read."""
        with self._changed:
            self._is_followed = False
            self._pieces.clear()
            self._changed.notify_all()
        if self._file is not None:
            self._file.close()
        super().close()

    def _next(self, size: int) -> bytes:
        piece = self._pieces.popleft()
        if len(piece) > size:
            self._pieces.appendleft(piece[size:])
            piece = piece[:size]
        self._held -= len(piece)
        self._position += len(piece)
        self._changed.notify_all()
        return piece

    def _rest(self, size: int) -> bytes:
        if self._file is None:
            self._file = self._kept()
            self._file.seek(self._position)
        return self._file.read(size)
