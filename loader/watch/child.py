"""One attempt, in a process of its own: what a file does to it, it does to nobody else.

The parent reads no file of the folder. It forks, hears what the child reports, and counts its
patience: a child that crashes, is killed or hangs on a dying stick is ended, and the next file is
taken. What a child says is data; whoever took one over could make it say anything, and would gain
a line in the journal: what is accepted stands in the ledger.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, Self

import rfc8785

from loader.errors import InterruptedLoadError
from loader.limits import MIB
from loader.model import strictjson
from loader.model.fields import Fields
from loader.runtime.pipes import PipeClosedError, PipeStalledError, read_frame, write_frame

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject

BEAT_SIZE: Final = 1 * MIB
"""Bytes of the medium between two signs of life."""
REPORT_SIZE_MAX: Final = 1 * MIB
_BEAT: Final = b""
_KILL_SECONDS: Final = 5.0
"""How long a killed child may take to go: one that waits for a dead disk cannot be killed."""
_INTERRUPT_SECONDS: Final = 90.0
"""How long a child may take to put everything back after a signal."""


class Reporter:
    """The child's end."""

    __slots__ = ("_fd", "_since", "_word")

    def __init__(self, fd: int, word: int) -> None:
        self._fd = fd
        self._word = word
        self._since = 0

    def wait_for_word(self) -> None:
        """Wait until the parent has counted the next attempt; where it is gone, end.

        Raises:
            SystemExit: nobody would hear what came of it.
        """
        if not os.read(self._word, 1):
            raise SystemExit(0)

    def say(self, document: JsonObject) -> None:
        """Report something. Where nobody listens any more, what is done is done all the same."""
        with contextlib.suppress(PipeClosedError, OSError):
            write_frame(self._fd, rfc8785.dumps(document))

    def advanced(self, size: int) -> None:
        """Give a sign of life for every mebibyte that the medium gave."""
        self._since += size
        if self._since >= BEAT_SIZE:
            self._since = 0
            with contextlib.suppress(PipeClosedError, OSError):
                write_frame(self._fd, _BEAT)


class SilentError(Exception):
    """The child ended without an answer, or gave no sign of life for too long."""

    def __init__(self, how: str, *, hung: bool) -> None:
        super().__init__(how)
        self.how = how
        self.hung = hung


class Child:
    """The parent's end. Use it as a context manager: the child is gone after the block."""

    __slots__ = ("_fd", "_pid", "_word")

    def __init__(self, pid: int, fd: int, word: int) -> None:
        self._pid = pid
        self._fd = fd
        self._word = word

    @classmethod
    def start(cls, task: Callable[[Reporter], None]) -> Child:
        """Fork, and let the child do its task. Call it while this process has one thread."""
        ours, theirs = os.pipe()
        heard, word = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.close(ours)
            os.close(word)
            _do(task, theirs, heard)
        os.close(theirs)
        os.close(heard)
        return cls(pid, ours, word)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd < 0:
            return
        os.close(self._fd)
        os.close(self._word)
        self._fd = -1
        self._end(signal.SIGKILL, seconds=_KILL_SECONDS)

    def give_word(self) -> None:
        """Let it begin with the next file: the attempt is counted."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._word, b"!")

    def hear(self, *, seconds: float) -> Fields:
        """Return the next report; signs of life are heard and passed over.

        Args:
            seconds: how long there may be neither.

        Raises:
            SilentError: it ended, or gave no sign of life.
            InterruptedLoadError: a signal came; the child had its time to put everything back.
        """
        try:
            while True:
                deadline = time.monotonic() + seconds
                frame = read_frame(self._fd, size_max=REPORT_SIZE_MAX, deadline=deadline)
                if frame != _BEAT:
                    report = strictjson.parse_object(
                        frame, what="a report", size_max=REPORT_SIZE_MAX
                    )
                    return Fields(report, "report")
        except PipeStalledError:
            self._end(signal.SIGKILL, seconds=_KILL_SECONDS)
            raise SilentError(f"no sign of life in {seconds:.0f} seconds", hung=True) from None
        except PipeClosedError:
            how = self._end(signal.SIGKILL, seconds=_KILL_SECONDS)
            raise SilentError(how, hung=False) from None
        except InterruptedLoadError:
            self._end(signal.SIGTERM, seconds=_INTERRUPT_SECONDS)
            raise

    def _end(self, number: signal.Signals, *, seconds: float) -> str:
        """Wait for the child, after it was told to go; say how it ended."""
        if self._pid < 0:
            return "it ended before"
        pid, self._pid = self._pid, -1
        if number is signal.SIGKILL:
            status = _waited(pid, seconds=0.5)  # one that ends by itself says how
            if status is not None:
                return _how(status)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        status = _waited(pid, seconds=seconds)
        return "it cannot be ended: its medium does not answer" if status is None else _how(status)


def _waited(pid: int, *, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if done:
            return status
        if time.monotonic() > deadline:
            return None
        select.select([], [], [], 0.005)  # a length; `sleep` waits until a time, which may leap


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with status {code}, without a report"


def _do(task: Callable[[Reporter], None], fd: int, word: int) -> NoReturn:
    """Do the task, and end: nothing of the parent's stack is ever returned to."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Whoever opens a file to write while it is asked for a lease sends this one.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        task(Reporter(fd, word))
        status = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
