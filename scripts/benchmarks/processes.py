"""Whole processes, measured; contenders in turn, so that a busy machine is busy for all of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self

TIMEOUT_SECONDS: Final = 900
"""For one command. An 8 GiB layer on a slow disk takes minutes."""


class CommandError(RuntimeError):
    """A command that is to be measured did not end as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run took."""

    status: int
    seconds: float
    cpu_seconds: float
    memory_size: int
    """Bytes of the largest process of the tree, as wait4(2) tells it."""
    stdout: str
    stderr: str


class Spawner:
    """A hold on `spawner.py`. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("spawner.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, expect: int = 0
    ) -> Ran:
        """Run a command in our folder.

        Raises:
            CommandError: it ended with another status than expected.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise CommandError("the spawner has no pipes")
        out, err = self._folder / "stdout", self._folder / "stderr"
        order = {
            "argv": list(argv),
            "environment": {**os.environ, **(environment or {})},
            "folder": str(self._folder),
            "stdout": str(out),
            "stderr": str(err),
            "timeout_seconds": TIMEOUT_SECONDS,
        }
        # What the run before left to be written must not slow this one down.
        os.sync()
        print(json.dumps(order), file=self._process.stdin, flush=True)
        figures = json.loads(self._process.stdout.readline())
        ran = Ran(
            **figures,
            stdout=out.read_text(errors="replace"),
            stderr=err.read_text(errors="replace"),
        )
        if ran.status != expect:
            said = "\n".join((ran.stderr or ran.stdout).splitlines()[-20:])
            raise CommandError(f"$ {shlex.join(argv)}\nstatus {ran.status}, not {expect}:\n{said}")
        return ran


def _nothing() -> None:
    """Prepare or tidy nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the job that is measured."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] = _nothing
    """Makes the state that every run begins in."""
    expect: int = 0

    @property
    def shown(self) -> str:
        """The command as a person would type it."""
        words = list(self.command)
        text = words[-1] if words[:2] == ["bash", "-c"] else shlex.join(words)
        return " ".join([*(f"{k}={shlex.quote(v)}" for k, v in self.environment.items()), text])


def pipe(*commands: Sequence[str]) -> list[str]:
    """Return a command that runs these one into the next, and fails if one of them does."""
    return ["bash", "-c", "set -o pipefail; " + " | ".join(map(shlex.join, commands))]


@dataclass(frozen=True, slots=True)
class Measured:
    """All runs of one contender, in the order of the rounds."""

    runs: tuple[Ran, ...]

    @property
    def seconds(self) -> float:
        """The median."""
        return median(run.seconds for run in self.runs)

    @property
    def memory_size(self) -> int:
        """The largest of all."""
        return max(run.memory_size for run in self.runs)

    def ratio_to(self, other: Measured) -> float:
        """Return the median over the rounds of what this one took for each second of the other."""
        pairs = zip(self.runs, other.runs, strict=True)
        return median(mine.seconds / its.seconds for mine, its in pairs)


def compare(
    spawner: Spawner, contenders: Sequence[Contender], *, count: int, say: Callable[[str], None]
) -> list[Measured]:
    """Run all contenders `count` times, in rounds; every other round goes backwards."""
    runs: list[list[Ran]] = [[] for _ in contenders]
    places = list(range(len(contenders)))
    for number in range(count):
        for place in places if number % 2 == 0 else reversed(places):
            contender = contenders[place]
            contender.prepare()
            ran = spawner.run(
                contender.command, environment=contender.environment, expect=contender.expect
            )
            runs[place].append(ran)
            say(f"{number + 1}/{count} {contender.name}: {ran.seconds:.2f} s")
    return [Measured(tuple(each)) for each in runs]
