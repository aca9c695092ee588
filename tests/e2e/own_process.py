"""The loader in a fork of the test itself, with something done to it before it begins.

For what a command line cannot do: an exception at the so-many-th function, a death at any moment.
The fork has one thread, files of its own for what it says, and never returns into the test.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loader import cli

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a run came to."""

    status: int
    """Negative where a signal ended it."""
    out: str
    err: str


@dataclass(slots=True)
class Running:
    """A run that was begun."""

    pid: int
    out: int
    err: int

    @classmethod
    def begin(
        cls, arguments: Sequence[str | Path], *, before: Callable[[], None] = lambda: None
    ) -> Running:
        """Fork, do what is to be done before, and run the command line."""
        out, err = (os.memfd_create(name) for name in ("out", "err"))
        pid = os.fork()
        if not pid:
            _be_the_loader([str(one) for one in arguments], before, out, err)
        return cls(pid, out, err)

    def end(self, *, after: float | None = None) -> Finished:
        """Wait for its end; `after` so many seconds it is killed."""
        deadline = time.monotonic() + (DEADLINE_SECONDS if after is None else after)
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
                break
            time.sleep(0.0005)
        return Finished(
            status=os.waitstatus_to_exitcode(status), out=_text(self.out), err=_text(self.err)
        )


def run(arguments: Sequence[str | Path], *, before: Callable[[], None] = lambda: None) -> Finished:
    """Run the command line to its end."""
    return Running.begin(arguments, before=before).end()


def _be_the_loader(
    arguments: Sequence[str], before: Callable[[], None], out: int, err: int
) -> None:
    status = 99
    try:
        for fd, to in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(fd, to)
        # A loader that is handed a socket ends at once: what other tests left open is not its.
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        # pytest has its own; they lead nowhere here.
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        before()
        status = cli.main(arguments)
        sys.setprofile(None)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _text(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read().decode()
