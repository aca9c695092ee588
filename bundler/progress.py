"""How far a run is: bars on a terminal (bytes, rate, time left), quiet lines elsewhere.

Everything here goes to standard error; standard output is for results.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO

from bundler.inspect import in_words

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

_CALM_SECONDS: Final = 5.0
"""Seconds that a phase must have taken to be worth a line where little is expected."""
_QUIET_SECONDS: Final = 30.0
"""Seconds between two lines where nobody watches a bar."""


class Phase(Protocol):
    """One thing that takes time, counted in bytes. Safe to call from several threads."""

    def expect(self, size: int, /) -> None:
        """Learn that so many more bytes will have to come."""

    def advance(self, size: int, /) -> None:
        """Learn that so many more bytes were done."""

    def end(self) -> None:
        """Learn that nothing more will come."""


class Meter(Protocol):
    """Whoever shows phases to a person."""

    def phase(self, label: str) -> Phase:
        """Begin a phase."""

    def say(self, line: str) -> None:
        """Show one line above whatever moves."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def meter(stream: TextIO, *, bars: bool | None = None) -> Meter:
    """Return the meter that fits where standard error goes; `bars` decides where it is not None."""
    if bars if bars is not None else stream.isatty():
        return _Bars(stream)
    return _Lines(stream)


class Collecting:
    """The collector's progress on our meter; the phase begins with the first byte expected."""

    def __init__(self, meter: Meter, label: str = "collect") -> None:
        self._meter = meter
        self._label = label
        self._lock = threading.Lock()
        self._phase: Phase | None = None

    def expect(self, size: int) -> None:
        """So many more bytes are to come."""
        self._begun().expect(size)

    def advance(self, size: int) -> None:
        """So many bytes more are there."""
        self._begun().advance(size)

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self._meter.say(text)

    def end(self) -> None:
        """Nothing more comes."""
        if self._phase is not None:
            self._phase.end()

    def _begun(self) -> Phase:
        with self._lock:
            if self._phase is None:
                self._phase = self._meter.phase(self._label)
            return self._phase


def calm_meter(stream: TextIO, *, bars: bool | None = None) -> Meter:
    """Return a meter for what mostly takes a moment: it leaves nothing behind.

    Bars go away when they are done; elsewhere a phase is only spoken of after some seconds.
    """
    if bars if bars is not None else stream.isatty():
        return _Bars(stream, calm=True)
    return _Lines(stream, calm=True)


class _Lines:
    """One line when a phase ends, and one every half minute while it goes on."""

    def __init__(self, stream: TextIO, *, calm: bool = False) -> None:
        self._stream = stream
        self._calm = calm

    def phase(self, label: str) -> Phase:
        return _LinePhase(self, label, seconds_min=_CALM_SECONDS if self._calm else 0.0)

    def say(self, line: str) -> None:
        if not self._calm:
            self.tell(line)

    def tell(self, line: str) -> None:
        """Print one line, whatever was asked for."""
        print(line, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _LinePhase:
    def __init__(self, lines: _Lines, label: str, *, seconds_min: float) -> None:
        self._lines = lines
        self._seconds_min = seconds_min
        self._label = label
        self._lock = threading.Lock()
        self._expected = 0
        self._done = 0
        self._began = self._said = time.monotonic()

    def expect(self, size: int, /) -> None:
        with self._lock:
            self._expected += size

    def advance(self, size: int, /) -> None:
        with self._lock:
            self._done += size
            now = time.monotonic()
            if now - self._said < _QUIET_SECONDS:
                return
            self._said = now
            line = f"{self._label}: {in_words(self._done)} of {in_words(self._expected)}"
        self._lines.tell(line)

    def end(self) -> None:
        seconds = max(time.monotonic() - self._began, 1e-6)
        if seconds < self._seconds_min:
            return
        rate = in_words(int(self._done / seconds))
        self._lines.tell(f"{self._label}: {in_words(self._done)} in {seconds:.1f} s ({rate}/s)")


class _Bars:
    """Bars by `rich`, imported only where somebody watches."""

    def __init__(self, stream: TextIO, *, calm: bool = False) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress: Progress = Progress(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream, highlight=False, markup=False),
            transient=calm,
        )
        self._calm = calm

    def phase(self, label: str) -> Phase:
        return _BarPhase(self._progress, self._progress.add_task(label, total=None))

    def say(self, line: str) -> None:
        if self._calm:
            return
        self._progress.console.print(line, highlight=False, markup=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class _BarPhase:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._lock = threading.Lock()
        self._expected = 0

    def expect(self, size: int, /) -> None:
        with self._lock:
            self._expected += size
            self._progress.update(self._task, total=self._expected)

    def advance(self, size: int, /) -> None:
        self._progress.advance(self._task, size)

    def end(self) -> None:
        self._progress.stop_task(self._task)
