"""The loader's hold on its launcher: the one way from a process without network to a client.

`Launcher.start` forks before the archive is opened and before the loader gives up its network; what
was forked (`launched`) runs one client from a fixed table of calls. Bytes for the client's standard
input go through a FIFO in a private folder that exists for as long as the launcher does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, NoReturn, Self

import rfc8785

from loader.errors import RuntimeAbsentError, RuntimeLoadError, shown
from loader.limits import KIB, MIB
from loader.model import strictjson
from loader.model.fields import Fields
from loader.model.strictjson import JsonObject
from loader.runtime import launched
from loader.runtime.calls import Client
from loader.runtime.pipes import (
    PipeClosedError,
    PipeStalledError,
    read_frame,
    skip_past,
    write_frame,
    write_within,
)

STALL_SECONDS: Final = 600
"""How long a client may take nothing of its stream: a daemon may unpack while it reads."""
ANSWER_MARGIN_SECONDS: Final = 30
"""What the launcher itself gets beyond a call's own time."""
STDERR_SHOWN_LENGTH: Final = 400
_SYNC_SIZE: Final = 16
_HEAD_SIZE_MAX: Final = 4 * KIB
_STDOUT_SIZE_MAX: Final = 16 * MIB
TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - for a folder of our own
"""Where the private folder goes, unless the client has a TMPDIR that was looked at. Never the
working directory, which is often the medium."""
_PIPE_SIZE: Final = 1 * MIB
"""Bytes the kernel holds for us: fewer switches between us and a daemon's client on two cores."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What one call came to. The client ended by itself, in time, and said no more than it may."""

    call: str
    status: int
    stdout: bytes
    stderr: str
    """The end of it, escaped and cut: it may repeat an archive's text or control a terminal."""
    took_all: bool = True
    """Whether it read its stream to the end."""


class Launcher:
    """A process forked for one client. Use it as a context manager; it ends with the block."""

    __slots__ = ("_answers", "_client", "_folder", "_leftovers", "_pid", "_requests", "_staying")

    stall_seconds: ClassVar[float] = STALL_SECONDS

    def __init__(
        self,
        client: Client,
        *,
        pid: int,
        requests: int,
        answers: int,
        folder: Path,
        leftovers: tuple[Path, ...],
    ) -> None:
        self._client = client
        self._pid = pid
        self._requests = requests
        self._answers = answers
        self._folder = folder
        self._leftovers = leftovers
        self._staying = False
        """Whether a client that stays runs: nothing else is heard until it ends."""

    @classmethod
    def start(cls, client: Client) -> Self:
        """Fork the launcher. Call it while this process has one thread and still its network.

        Raises:
            RuntimeLoadError: no process or folder can be made.
        """
        try:
            folder = Path(tempfile.mkdtemp(prefix="airlock-launcher-", dir=_place(client)))
            leftovers: tuple[Path, ...] = (folder,)
            if client.scratch is not None:
                # A killed podman leaves what it had of the stream; here it is found and removed.
                scratch = tempfile.mkdtemp(prefix="airlock-scratch-", dir=client.scratch)
                leftovers = (folder, Path(scratch))
                environment = {**client.environment, "TMPDIR": scratch}
                client = dataclasses.replace(client, environment=environment)
            request_end, requests = os.pipe()
            answers, answer_end = os.pipe()
            # Until the new process has let go of our terminal, no Ctrl-C may reach it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, launched.TERMINAL_SIGNALS)
            pid = os.fork()
        except OSError as e:
            raise RuntimeLoadError(
                "the launcher for the runtime's client cannot be started", found=shown(e.strerror)
            ) from e
        if pid == 0:
            ends = {"requests": request_end, "answers": answer_end}
            launched.serve(client, **ends, folder=folder, leftovers=leftovers)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(request_end)
        os.close(answer_end)
        return cls(
            client,
            pid=pid,
            requests=requests,
            answers=answers,
            folder=folder,
            leftovers=leftovers,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def client(self) -> Client:
        """Whom it runs."""
        return self._client

    def close(self) -> None:
        """End the launcher, and a client that still runs."""
        if self._requests < 0:
            return
        os.close(self._requests)
        os.close(self._answers)
        self._requests = self._answers = -1
        deadline = time.monotonic() + ANSWER_MARGIN_SECONDS
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    break
                time.sleep(0.005)
        for left in self._leftovers:
            shutil.rmtree(left, ignore_errors=True)

    def run(
        self,
        call: str,
        *operands: str,
        stdin: Iterable[bytes | memoryview] | None = None,
    ) -> Completed:
        """Run the client once and return what came of it, whatever its status.

        Args:
            call: a name in the client's table.
            operands: what the table leaves open, in order.
            stdin: chunks that become its standard input. Where the iterable raises, the client is
                killed before it sees an end of its input, and the exception goes on.

        Raises:
            RuntimeAbsentError: the client cannot be started.
            RuntimeLoadError: it took too long, stalled, or said too much; it is dead by then.
        """
        self._expect_open(call)
        with contextlib.ExitStack() as stack:
            try:
                self._expect_alone(call)
                request: JsonObject = {"call": call, "operands": [*operands]}
                write_frame(self._requests, rfc8785.dumps(request))
                took_all = stdin is None or self._feed(stdin, call, stack)
                return self._completed(call, took_all=took_all)
            except PipeClosedError as e:
                self._lost(call, "the launcher ended", e)
            except PipeStalledError as e:
                self._lost(call, "the launcher does not answer", e)
            except BaseException:
                # Also Ctrl-C, at any point. The client is dead before its FIFO closes behind us.
                self._resync(call)
                raise

    def _feed(
        self, chunks: Iterable[bytes | memoryview], call: str, stack: contextlib.ExitStack
    ) -> bool:
        """Stream into the client; tell whether it took all. The FIFO closes with the stack."""
        fifo = self._listening(call)
        stack.callback(os.close, fifo)
        write_frame(self._requests, launched.WRITING)
        took_all = self.write(fifo, chunks, call)
        stack.close()
        write_frame(self._requests, launched.SENT)
        return took_all

    def _listening(self, call: str) -> int:
        """Return the FIFO that will be the client's standard input."""
        deadline = time.monotonic() + ANSWER_MARGIN_SECONDS
        listening = read_frame(self._answers, size_max=_HEAD_SIZE_MAX, deadline=deadline)
        if listening != launched.LISTENING:
            raise RuntimeAbsentError(
                _answer(listening).optional_text("problem") or "the launcher makes no sense",
                where=f"{self._client.name} {call}",
            )
        path = self._folder / launched.FIFO_NAME
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            # Beyond an unprivileged user's share it stays as it was, and is only slower.
            fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        return fifo

    # --- a client that stays (`conversation`) -------------------------------------------------

    def begin(self, call: str) -> tuple[int, int]:
        """Start a client that stays, and return the ends of its two pipes: to ask, and to hear.

        It runs until `finish` or `abandon`, or until something else is to be run.

        Raises:
            RuntimeAbsentError: the client cannot be started.
            RuntimeLoadError: the launcher is gone.
        """
        self._expect_open(call)
        with contextlib.ExitStack() as stack:
            try:
                self._expect_alone(call)
                self._staying = True
                request: JsonObject = {"call": call, "operands": []}
                write_frame(self._requests, rfc8785.dumps(request))
                questions = self._listening(call)
                stack.callback(os.close, questions)
                path = self._folder / launched.ANSWERS_NAME
                answers = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                stack.callback(os.close, answers)
                write_frame(self._requests, launched.WRITING)
            except PipeClosedError as e:
                self._lost(call, "the launcher ended", e)
            except PipeStalledError as e:
                self._lost(call, "the launcher does not answer", e)
            except BaseException:
                self._resync(call)
                raise
            stack.pop_all()
        return questions, answers

    def finish(self, call: str) -> Completed:
        """Return what came of a client that stayed, behind the end of its input; as `run`."""
        self._expect_open(call)
        try:
            write_frame(self._requests, launched.SENT)
            done = self._completed(call, took_all=True)
            self._staying = False
        except PipeClosedError as e:
            self._lost(call, "the launcher ended", e)
        except PipeStalledError as e:
            self._lost(call, "the launcher does not answer", e)
        except BaseException:
            self._resync(call)
            raise
        return done

    def abandon(self, call: str) -> None:
        """End a client that stays, wherever it is. It is dead before its input closes."""
        if self._requests >= 0 and self._staying:
            self._resync(call)

    def _expect_open(self, call: str) -> None:
        if self._requests < 0:
            raise RuntimeLoadError("the launcher ended before", where=f"{self._client.name} {call}")

    def _expect_alone(self, call: str) -> None:
        """End a client that stays and that nobody ended: an interrupt may have come just then."""
        if self._staying:
            self._resync(call)

    def write(self, fifo: int, chunks: Iterable[bytes | memoryview], call: str) -> bool:
        """Write chunks into a client; tell whether it took all.

        Raises:
            RuntimeLoadError: it took nothing for `stall_seconds`.
        """
        for chunk in chunks:
            try:
                write_within(fifo, chunk, seconds=self.stall_seconds)
            except PipeClosedError:
                return False
            except PipeStalledError as e:
                raise RuntimeLoadError(
                    "the runtime's client stopped reading",
                    where=f"{self._client.name} {call}",
                    expected=f"at least one read in {self.stall_seconds:.0f} seconds",
                ) from e
        return True

    def _resync(self, call: str) -> None:
        """End whatever runs, and skip what is still to come of it.

        The conversation may have been left anywhere, also within a frame: nothing is counted on but
        a fresh number that comes back.
        """
        number = os.urandom(_SYNC_SIZE)
        deadline = time.monotonic() + ANSWER_MARGIN_SECONDS
        try:
            write_frame(self._requests, launched.ABORT)
            write_frame(self._requests, launched.SYNC + number)
            skip_past(self._answers, number, deadline=deadline)
            self._staying = False
        except PipeClosedError as e:
            self._lost(call, "the launcher ended", e)
        except PipeStalledError as e:
            self._lost(call, "the launcher does not answer", e)

    def _completed(self, call: str, *, took_all: bool) -> Completed:
        seconds = self._client.calls[call].seconds
        deadline = time.monotonic() + seconds + ANSWER_MARGIN_SECONDS
        head = read_frame(self._answers, size_max=_HEAD_SIZE_MAX, deadline=deadline)
        stdout = read_frame(self._answers, size_max=_STDOUT_SIZE_MAX, deadline=deadline)
        stderr = read_frame(self._answers, size_max=launched.STDERR_SIZE_MAX, deadline=deadline)
        fields = _answer(head)
        where = f"{self._client.name} {call}"
        if fields.has("problem"):
            raise RuntimeAbsentError(
                fields.text("problem"), where=where, hint=f"looked for {self._client.path}"
            )
        if fields.has("stopped"):
            raise RuntimeLoadError(
                "the runtime's client took too long and was stopped",
                where=where,
                expected=f"at most {seconds} seconds",
                found=_shown_end(stderr),
            )
        if fields.value("overflowed") is True:
            raise RuntimeLoadError(
                "the runtime's client says more than can be understood",
                where=where,
                expected=f"at most {self._client.calls[call].stdout_size_max} bytes",
            )
        return Completed(
            call=call,
            status=fields.integer("status", minimum=-(2**31)),
            stdout=stdout,
            stderr=_shown_end(stderr),
            took_all=took_all,
        )

    def _lost(self, call: str, why: str, error: Exception) -> NoReturn:
        self.close()
        raise RuntimeLoadError(why, where=f"{self._client.name} {call}") from error


def _answer(head: bytes) -> Fields:
    return Fields(
        strictjson.parse_object(head, what="the launcher's answer", size_max=_HEAD_SIZE_MAX), ""
    )


def _shown_end(raw: bytes) -> str:
    """Return the end of what a client wrote, as text that a terminal and a log survive."""
    text = raw.decode("utf-8", "replace").strip()
    if len(text) > STDERR_SHOWN_LENGTH:
        text = "..." + text[-STDERR_SHOWN_LENGTH:]
    return shown(text, limit=2 * STDERR_SHOWN_LENGTH)


def _place(client: Client) -> str:
    """Return where the private folder goes; see `clients.temporary_folder`."""
    chosen = client.environment.get("TMPDIR")
    return chosen or str(next((p for p in TEMPORARY if os.access(p, os.W_OK)), TEMPORARY[0]))
