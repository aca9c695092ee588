"""Ctrl-C and its relatives, as an exception that waits where half a step would be worse.

The first signal raises `InterruptedLoadError` in the main thread, wherever it is; what unwinds then
cleans up, and a second signal does not cut it short. While something is `held` (the commit), a
signal waits.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

from loader.errors import InterruptedLoadError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The signals that end a run."""

    __slots__ = ("_deaf", "_held", "_waiting")

    def __init__(self) -> None:
        self._held = 0
        self._deaf = False
        self._waiting: int | None = None

    @classmethod
    def watch(cls) -> Self:
        """Take the signals over. Only the main thread may."""
        interrupts = cls()
        for number in SIGNALS:
            signal.signal(number, interrupts._hear)
        return interrupts

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._deaf:
            return
        if self._held:
            self._waiting = number
            return
        self._deaf = True
        raise _error(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let what is inside come to its end; a signal that came meanwhile is raised behind it."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._waiting is not None and not self._held and not self._deaf:
            self._deaf = True
            raise _error(self._waiting)

    def ignore(self) -> None:
        """Hear nothing from now on: all is done, or being undone."""
        self._deaf = True


def _error(number: int) -> InterruptedLoadError:
    name = signal.Signals(number).name
    return InterruptedLoadError(
        "stopped by a signal", found=name, hint="nothing was changed; run it again"
    )
