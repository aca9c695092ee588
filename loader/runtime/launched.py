"""The launcher's own process: waits for calls, runs the client, bounds its words and its time.

It was forked before the loader cut itself off from the network, so a client can reach its daemon
and the loader cannot reach the client but through here. It trusts nothing that comes over its pipe:
a call is looked up in the table it was forked with, and operands are parsed again
(`calls.Client.command`). It outlives nobody: when the loader's end of the pipe closes, for whatever
reason, the client that runs is killed, the private folder is removed, and the process ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import rfc8785

from loader.errors import AirlockError
from loader.limits import KIB
from loader.model import strictjson
from loader.model.fields import Fields
from loader.runtime.calls import Call, Client
from loader.runtime.pipes import PipeClosedError, read_frame, write_frame

REQUEST_SIZE_MAX: Final = 128 * KIB
"""Bytes of a request: 512 layers at some 90 bytes each are the longest list of operands."""
STDERR_SIZE_MAX: Final = 64 * KIB
"""Bytes of a client's complaint that are kept: the last ones, where the reason stands."""
TERMINAL_SIGNALS: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
FIFO_NAME: Final = "stdin"
ANSWERS_NAME: Final = "stdout"
ABORT: Final = b"abort"
SENT: Final = b"sent"
SYNC: Final = b"sync"
WRITING: Final = b"writing"
LISTENING: Final = b"listening"
_TICK_SECONDS: Final = 0.05
_KILL_SECONDS: Final = 10
"""How long a killed client may take to go: one that waits for a dead disk cannot be killed."""
_READ_SIZE: Final = 64 * KIB


@dataclass(slots=True)
class _Output:
    """What a client said on one stream, as far as it is kept."""

    fd: int
    size_max: int
    text: bytearray
    overflowed: bool = False

    def take(self) -> bool:
        """Read what is there; tell whether more may come."""
        try:
            chunk = os.read(self.fd, _READ_SIZE)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        self.text += chunk
        if len(self.text) > self.size_max:
            self.overflowed = True
            del self.text[: len(self.text) - self.size_max]
        return True

    def take_rest(self) -> None:
        """Read what was said already; not what a child that was left behind may still say."""
        size = -1
        while len(self.text) != size and not self.overflowed:
            size = len(self.text)
            if not self.take():
                return


def serve(
    client: Client, *, requests: int, answers: int, folder: Path, leftovers: tuple[Path, ...]
) -> NoReturn:
    """Answer calls until the loader is gone; never returns into the stack that was forked."""
    status = 1
    try:
        _settle(keep=(requests, answers))
        while True:
            _answer(client, requests=requests, answers=answers, folder=folder)
    except PipeClosedError:
        status = 0
    finally:
        for left in leftovers:
            shutil.rmtree(left, ignore_errors=True)
        os._exit(status)


def _settle(*, keep: tuple[int, int]) -> None:
    """Let go of everything that was the loader's: its terminal, its signals, its open files."""
    os.setsid()
    # Ctrl-C is for the loader to answer: it aborts the call and undoes it, and needs us for that.
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) not in {0, 1, 2, *keep}:
            with contextlib.suppress(OSError):
                os.close(int(entry.name))
    os.chdir("/")


def _answer(client: Client, *, requests: int, answers: int, folder: Path) -> None:
    request = read_frame(requests, size_max=REQUEST_SIZE_MAX)
    if request.startswith(SYNC):
        write_frame(answers, request.removeprefix(SYNC))
        return
    if request in {WRITING, SENT, ABORT}:
        # Of a call that is over: its client ended before the loader had said all.
        return
    try:
        fields = Fields(
            strictjson.parse_object(request, what="a request", size_max=REQUEST_SIZE_MAX), ""
        )
        name = fields.text("call")
        operands = tuple(
            item for item in fields.items("operands", count_max=1024) if isinstance(item, str)
        )
        command = client.command(name, operands)
        call = client.calls[name]
    except AirlockError as e:
        _say(answers, {"problem": str(e)}, b"", b"")
        return
    if not (call.stdin or call.stays):
        _run(client, command, call, stdin=None, stdout=None, requests=requests, answers=answers)
        return
    stdin, stdout = _pipes(call, requests=requests, answers=answers, folder=folder)
    if stdin is None:
        _say(answers, {"problem": "the stream was given up"}, b"", b"")
    else:
        _run(client, command, call, stdin=stdin, stdout=stdout, requests=requests, answers=answers)


def _pipes(
    call: Call, *, requests: int, answers: int, folder: Path
) -> tuple[int | None, int | None]:
    """Return the client's ends of the loader's pipes, the second for one that stays; or None."""
    fifo, replies = folder / FIFO_NAME, folder / ANSWERS_NAME
    os.mkfifo(fifo, 0o600)
    stdin = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if call.stays:
        os.mkfifo(replies, 0o600)
    write_frame(answers, LISTENING)
    # The writer opens before the client starts, or the client would read an end that is none.
    go = read_frame(requests, size_max=REQUEST_SIZE_MAX)
    stdout: int | None = None
    if call.stays:
        with contextlib.suppress(OSError):  # nobody is there to hear
            stdout = os.open(replies, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        replies.unlink()
    fifo.unlink()
    if go == WRITING and (stdout is not None or not call.stays):
        for end in filter(None, (stdin, stdout)):
            os.set_blocking(end, True)
        return stdin, stdout
    for end in filter(None, (stdin, stdout)):
        os.close(end)
    return None, None


def _run(
    client: Client,
    command: tuple[str, ...],
    call: Call,
    *,
    stdin: int | None,
    stdout: int | None,
    requests: int,
    answers: int,
) -> None:
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed table of arguments, no shell
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            env=dict(client.environment),
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
    except OSError as e:
        _say(answers, {"problem": f"the client cannot be started: {e.strerror}"}, b"", b"")
        return
    finally:
        for end in (stdin, stdout):
            if end is not None:
                os.close(end)
    watch = _Watch(process, call)
    try:
        watch.until_end(requests)
    finally:
        _kill(process)
    _say(
        answers,
        {
            "status": process.returncode,
            "stopped": watch.stopped,
            "overflowed": watch.stdout is not None and watch.stdout.overflowed,
        },
        b"" if watch.stdout is None else bytes(watch.stdout.text),
        bytes(watch.stderr.text),
    )


class _Watch:
    """Collects what a client says until it ends, is too slow, or the loader wants it to end."""

    __slots__ = ("_call", "_deadline", "_open", "_poll", "_process", "stderr", "stdout", "stopped")

    def __init__(self, process: subprocess.Popen[bytes], call: Call) -> None:
        if process.stderr is None:
            raise PipeClosedError
        self._process = process
        self._call = call
        self._poll = select.poll()
        self.stdout: _Output | None = None
        """None where the loader hears the client's answers itself."""
        if process.stdout is not None:
            self.stdout = _Output(process.stdout.fileno(), call.stdout_size_max, bytearray())
        self.stderr = _Output(process.stderr.fileno(), STDERR_SIZE_MAX, bytearray())
        outputs = (self.stdout, self.stderr)
        self._open = {output.fd: output for output in outputs if output is not None}
        for fd in self._open:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._deadline = None if call.stdin or call.stays else time.monotonic() + call.seconds
        self.stopped: str | None = None

    def until_end(self, requests: int) -> None:
        """Return when the client is gone and what it said is taken."""
        self._poll.register(requests, select.POLLIN)
        with _exit_event(self._process) as ended:
            if ended is not None:
                self._poll.register(ended, select.POLLIN)
            while self._process.poll() is None:
                for fd, _ in self._poll.poll(_TICK_SECONDS * 1000):
                    if fd == requests:
                        self._hear(read_frame(requests, size_max=REQUEST_SIZE_MAX))
                    elif fd in self._open and not self._open[fd].take():
                        self._poll.unregister(fd)
                        del self._open[fd]
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self.stopped = self.stopped or "timeout"
                if self.stopped is not None:
                    _kill(self._process)
        for output in self._open.values():
            output.take_rest()

    def _hear(self, word: bytes) -> None:
        if word == SENT:
            self._deadline = time.monotonic() + self._call.seconds
        else:
            self.stopped = self.stopped or "aborted"


@contextlib.contextmanager
def _exit_event(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """Give a descriptor that becomes readable when the process ends; None before Linux 5.3."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a client that has not ended. What it left behind on purpose (podman's pause) stays."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)


def _say(
    answers: int, facts: dict[str, str | int | bool | None], stdout: bytes, stderr: bytes
) -> None:
    for frame in (rfc8785.dumps(facts), stdout, stderr):
        write_frame(answers, frame)
