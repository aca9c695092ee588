"""A loader that is started once and forked for each run: whole runs at a small part of their price.

Python and the loader's modules are loaded once, by a process of their own. Each run is a fork of
it: `loader.cli.main` from command line to exit status, in a process that cuts itself off from the
network, has signals, files and a working directory of its own, and ends. What the run cost is the
kernel's count for that process alone; none of a test's memory is in it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
HANG_SECONDS = 60
"""After this a run is killed: its status is then negative, which no test expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run came to."""

    status: int
    """Negative where a signal ended it."""
    out: str
    err: str
    wall_seconds: float
    cpu_seconds: float
    memory: int
    """The most bytes that the process ever held."""

    @property
    def verdict(self) -> dict[str, Any]:
        """What `--json` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def code(self) -> str:
        """The code in the one line that says what is wrong; empty where there is none."""
        lines = [line for line in self.err.splitlines() if line.startswith("airlock: error[")]
        assert len(lines) <= 1, self.err
        return lines[0].removeprefix("airlock: error[").partition("]")[0] if lines else ""


class Forker:
    """The process that is forked. One request, one run, one answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def start(cls, *, everything: bool = False) -> Iterator[Self]:
        """Start it, and end it afterwards.

        Args:
            everything: import all of the loader before the first run, so that what a run asks of
                the system is its own business and not Python's.
        """
        with subprocess.Popen(
            [sys.executable, "-m", "tests.forked", *(["everything"] if everything else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        ) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=10) == 0

    @property
    def pid(self) -> int:
        """The process that is forked: whoever traces it traces every run."""
        return self._process.pid

    def run(
        self,
        *arguments: str | Path,
        folder: Path,
        at: datetime | None = None,
        raising: int | None = None,
    ) -> Ended:
        """Run the loader in a folder, which becomes its working directory and its `TMPDIR`.

        Args:
            arguments: the command line.
            folder: where.
            at: what its clock says; None leaves it the machine's.
            raising: the so many-th of the loader's functions that is entered raises an exception
                that nobody expects; 0 raises none. Which they were is left in `folder/entered`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": [str(one) for one in arguments],
            "folder": str(folder),
            "at": None if at is None else at.isoformat(),
            "raising": raising,
        }
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Ended(**json.loads(self._process.stdout.readline()))


# --- in the process that is forked ----------------------------------------------------------------


def _serve() -> None:
    # What a load imports on its way; the rest of it is imported by the runs themselves.
    from loader import cli, pipeline, progress, report, run  # noqa: F401, PLC0415
    from loader.runtime import targets  # noqa: F401, PLC0415

    if sys.argv[1:] == ["everything"]:
        _import_all()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_run(**request)), file=answers, flush=True)


def _import_all() -> None:
    import importlib  # noqa: PLC0415
    import pkgutil  # noqa: PLC0415

    import cryptography  # noqa: PLC0415

    import loader  # noqa: PLC0415

    for package in (loader, cryptography):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def _run(
    *, arguments: Sequence[str], folder: str, at: str | None, raising: int | None
) -> dict[str, object]:
    out, err = (os.memfd_create(name) for name in ("out", "err"))
    began = time.monotonic()
    child = os.fork()
    if not child:
        _be_the_loader(arguments, folder, at, raising, out, err)
    _, status, used = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "out": _text(out),
        "err": _text(err),
        "wall_seconds": time.monotonic() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * 1024,
    }


def _be_the_loader(
    arguments: Sequence[str], folder: str, at: str | None, raising: int | None, out: int, err: int
) -> None:
    status = 99
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(fd, to)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir(folder)
        os.environ["TMPDIR"] = folder
        signal.alarm(HANG_SECONDS)
        from loader import cli  # noqa: PLC0415

        with _entered(Path(folder, "entered"), raising):
            if at is None:
                status = cli.main(arguments)
            else:
                now = datetime.fromisoformat(at)
                status = cli.main(arguments, clock=lambda: now)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


@contextmanager
def _entered(note: Path, raising: int | None) -> Iterator[None]:
    """Raise where a function of the loader is entered for the first time, and say which it was."""
    if raising is None:
        yield
        return
    seen: dict[CodeType, str] = {}
    folder = f"{ROOT / 'loader'}/"

    def entering(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code not in seen and code.co_filename.startswith(folder):
            seen[code] = f"{code.co_filename.removeprefix(folder)} {code.co_name}"
            if len(seen) == raising:
                sys.settrace(None)
                note.write_text(seen[code])
                raise RuntimeError("a bug that was put in")

    sys.settrace(entering)
    try:
        yield
    finally:
        sys.settrace(None)
        if not raising:
            note.write_text("\n".join(seen.values()))


def _text(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read().decode()


if __name__ == "__main__":
    _serve()
