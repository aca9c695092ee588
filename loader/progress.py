"""How far the layers are: a bar on a terminal, a line now and then elsewhere, nothing for a moment.

Nothing that came with the bundle is ever shown here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from loader.limits import GIB, KIB, MIB

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from loader.run import Progress

QUIET_SECONDS: Final = 1.0
"""What is done before that needs no progress."""
LINE_SECONDS: Final = 10.0
_REFRESH_SECONDS: Final = 0.2


def sized(size: float) -> str:
    """Return a size for people."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"


class _Timed:
    """Counts, and shows once there is something to show."""

    __slots__ = ("_began", "_clock", "_done", "_shown_at", "_size", "_what")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what = ""
        self._size = self._done = 0
        self._began, self._shown_at = 0.0, float("-inf")

    def begin(self, what: str, size: int) -> None:
        """See `run.Progress`."""
        self._what, self._size, self._done = what, size, 0
        self._began = self._clock()
        self._shown_at = float("-inf")

    def advance(self, size: int) -> None:
        """See `run.Progress`."""
        self._done += size
        now = self._clock()
        if now - self._began < QUIET_SECONDS or now - self._shown_at < self._interval():
            return
        self._shown_at = now
        self._show(now)

    def end(self) -> None:
        """See `run.Progress`."""

    def _interval(self) -> float:
        raise NotImplementedError

    def _show(self, now: float) -> None:
        raise NotImplementedError


class Lines(_Timed):
    """A line of text every ten seconds."""

    __slots__ = ("_out",)

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._out = out

    def _interval(self) -> float:
        return LINE_SECONDS

    def _show(self, now: float) -> None:
        rate = self._done / (now - self._began)
        left = (self._size - self._done) / rate if rate else 0
        print(
            f"{self._what}: {sized(self._done)} of {sized(self._size)}, "
            f"{sized(rate)}/s, {left:.0f} s left",
            file=self._out,
            flush=True,
        )


class TerminalBar(_Timed):
    """A bar, drawn by `rich`, which is imported when there is one to draw."""

    __slots__ = ("_bar", "_out", "_task")

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._out = out
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _interval(self) -> float:
        return _REFRESH_SECONDS

    def _show(self, now: float) -> None:
        del now
        if self._bar is None or self._task is None:
            self._bar = _bar(self._out)
            self._task = self._bar.add_task(self._what, total=self._size)
            self._bar.start()
        self._bar.update(self._task, completed=self._done)
        self._bar.refresh()


def _bar(out: TextIO) -> Bar:
    from rich.console import Console  # noqa: PLC0415 - only where there is a bar to draw
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=out),
        # No thread of its own: this process must be able to say what it does, and when.
        auto_refresh=False,
        transient=True,
    )


def progress_on(out: TextIO | None) -> Progress:
    """Return what suits this output."""
    if out is not None and out.isatty():
        return TerminalBar(out)
    return Lines(out) if out is not None else Silence()


class Silence:
    """Shows nothing."""

    def begin(self, what: str, size: int) -> None:
        """See `run.Progress`."""

    def advance(self, size: int) -> None:
        """See `run.Progress`."""

    def end(self) -> None:
        """See `run.Progress`."""
