"""`make sabotage`: each step of docs/verification.md is switched off in turn; a test must notice.

`sabotage.toml` is the list, step by step: a piece of the loader's code, what stands in its place,
and the few tests that must fail then. All of it happens in throw-away copies of the tree. First the
tests run on the code as it is: there they pass, all of them, and none is skipped.

Exit status 1 if a sabotage was not noticed, could not be made, or a step has none.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import queue
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).resolve().parents[1]
TABLE: Final = Path("scripts/sabotage.toml")
DOCUMENT: Final = Path("docs/verification.md")
COPIED: Final = (
    *("bundler", "docs", "loader", "policies", "scripts", "tests", "trust-roots"),
    *("Makefile", "pyproject.toml"),
)
"""What tests of the loader read; whatever a tree does not have is left out."""
TESTS: Final = "tests/unit/loader/"
"""What the table's paths of tests are below."""
TIMEOUT_SECONDS: Final = 60
BASELINE_TIMEOUT_SECONDS: Final = 600
WORKER_COUNT: Final = 2
_STEP: Final = re.compile(r"^\| \(([0-9.]+)\) \|", re.MULTILINE)
_TEXT_MAX: Final = 110


class SabotageError(Exception):
    """The table does not fit the tree, or the tests do not pass as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sabotage:
    """One check, how to switch it off, and who must notice."""

    step: str
    """Its number in docs/verification.md; a word for what lies outside of it."""
    check: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """The name that the file is imported by."""
        return self.file.removesuffix(".py").replace("/", ".")

    def applied(self, text: str) -> str:
        """Return the file's text without the check.

        Raises:
            SabotageError: what to replace is not there exactly once, or what comes of it is the
                same or no Python.
        """
        count = text.count(self.find)
        if count != 1:
            raise SabotageError(f"{self}: what to replace is in {self.file} {count} times")
        changed = text.replace(self.find, self.replace)
        try:
            same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
        except SyntaxError as e:
            raise SabotageError(f"{self}: no Python comes of it: {e}") from e
        if same:
            raise SabotageError(f"{self}: it changes nothing")
        return changed

    def __str__(self) -> str:
        return f"({self.step}) {self.check}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one run."""

    verdict: Literal["noticed", "survived", "broken"]
    text: str


def read_table(root: Path) -> list[Sabotage]:
    """Return the sabotages of a tree.

    Raises:
        SabotageError: an entry lacks something, or has something unknown.
    """
    with (root / TABLE).open("rb") as file:
        items = tomllib.load(file)["sabotage"]
    try:
        return [
            Sabotage(**{**item, "tests": tuple(TESTS + test for test in item["tests"])})
            for item in items
        ]
    except (KeyError, TypeError) as e:
        raise SabotageError(f"{TABLE}: {e}") from e


def steps_of(root: Path) -> list[str]:
    """Return the numbers of the steps that docs/verification.md has."""
    return _STEP.findall((root / DOCUMENT).read_text(encoding="utf-8"))


def expect_fitting(root: Path, sabotages: Sequence[Sabotage]) -> None:
    """Check that every sabotage can be made in this tree.

    Raises:
        SabotageError: some cannot; all of them are named.
    """
    problems: list[str] = []
    for one in sabotages:
        try:
            one.applied((root / one.file).read_text(encoding="utf-8"))
        except (OSError, SabotageError) as e:
            problems.append(str(e))
    if problems:
        raise SabotageError("\n".join(problems))


def copy_tree(root: Path, to: Path) -> None:
    """Copy what tests need; modification times as well, so that compiled files stay good."""
    to.mkdir()
    for name in COPIED:
        source = root / name
        if source.is_dir():
            ignore = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
            shutil.copytree(source, to / name, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, to / name)


def run(copy: Path, module: str, tests: Sequence[str], *, timeout_seconds: int) -> Outcome:
    """Run tests in a copy of the tree, and say whether one noticed something."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "AIRLOCK"))},
        "AIRLOCK_SHARED": os.environ.get("AIRLOCK_SHARED", str(ROOT.parent / "shared")),
        "PYTHONPATH": str(copy),
    }
    command = [sys.executable, str(Path(__file__).with_name("sabotaged.py")), module, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(verdict="broken", text=f"not done after {timeout_seconds} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Outcome(verdict="broken", text=f"cannot be imported: {last}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["errors"]:
        return Outcome(verdict="broken", text=said["errors"][0])
    if said["failed"]:
        text = f"{said['failed'].rpartition('/')[2]}: {said['text']}"
        return Outcome(verdict="noticed" if said["is_difference"] else "broken", text=text)
    if said["skipped"] or not said["passed"]:
        return Outcome(verdict="broken", text=f"{said['skipped']} tests were skipped")
    return Outcome(verdict="survived", text=f"{said['passed']} tests passed")


def commit(copy: Path, sabotage: Sabotage) -> Outcome:
    """Switch one check off in a copy, run its tests, and put the copy right again."""
    path = copy / sabotage.file
    before, text = path.stat(), path.read_text(encoding="utf-8")
    try:
        path.write_text(sabotage.applied(text), encoding="utf-8")
        # Another second than the original's: its compiled file must not be taken for this one's.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10 * 10**9))
        return run(copy, sabotage.module, sabotage.tests, timeout_seconds=TIMEOUT_SECONDS)
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def expect_passing(copy: Path, sabotages: Sequence[Sabotage]) -> None:
    """Run every test that is named, on the code as it is.

    Raises:
        SabotageError: one fails or is skipped: what it says of sabotage would mean nothing.
    """
    tests = sorted({test for one in sabotages for test in one.tests})
    outcome = run(copy, "loader.errors", tests, timeout_seconds=BASELINE_TIMEOUT_SECONDS)
    if outcome.verdict != "survived":
        raise SabotageError(f"with nothing switched off: {outcome.text}")


def sabotage_all(
    root: Path, sabotages: Sequence[Sabotage], *, worker_count: int
) -> list[tuple[Sabotage, Outcome]]:
    """Commit every sabotage in copies of a tree, and say what came of each.

    Raises:
        SabotageError: the table does not fit the tree, or its tests fail as it is.
    """
    expect_fitting(root, sabotages)
    with tempfile.TemporaryDirectory(prefix="airlock-sabotage-") as folder:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        first = Path(folder, "0")
        copy_tree(root, first)
        expect_passing(first, sabotages)
        copies.put(first)
        for number in range(1, worker_count):
            shutil.copytree(first, Path(folder, str(number)))
            copies.put(Path(folder, str(number)))

        def one_by_one(sabotage: Sabotage) -> Outcome:
            copy = copies.get()
            try:
                return commit(copy, sabotage)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(worker_count) as pool:
            return list(zip(sabotages, pool.map(one_by_one, sabotages), strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Sabotage, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="STEP", help="sabotages of this step, or those like it")
    arguments = parser.parse_args(argv)
    sabotages, steps = read_table(ROOT), steps_of(ROOT)
    if arguments.only:
        sabotages = [one for one in sabotages if arguments.only in str(one)]
        steps = [step for step in steps if any(one.step == step for one in sabotages)]
    try:
        outcomes = sabotage_all(ROOT, sabotages, worker_count=WORKER_COUNT)
    except SabotageError as e:
        print(f"sabotage: {e}", file=sys.stderr)
        return 1
    for one, outcome in outcomes:
        print(f"{outcome.verdict:<9} {one}\n          {outcome.text[:_TEXT_MAX]}")
    return _conclude(outcomes, steps)


def _conclude(outcomes: Sequence[tuple[Sabotage, Outcome]], steps: Sequence[str]) -> int:
    unnoticed = [one for one, outcome in outcomes if outcome.verdict != "noticed"]
    bad = {one.step for one in unnoticed}
    good = {one.step for one, _ in outcomes} - bad
    others = {one.step for one, _ in outcomes} - set(steps)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{len(outcomes) - len(unnoticed)} of {len(outcomes)} sabotages noticed")
    print(f"{len(others & good)} of {len(others)} steps beyond docs/verification.md")
    print(
        f"{len(good & set(steps))} of {len(steps)} steps of docs/verification.md: "
        f"switched off in turn, noticed by a test ({used.ru_utime + used.ru_stime:.0f} s of CPU)"
    )
    return 1 if unnoticed or set(steps) - good else 0


if __name__ == "__main__":
    sys.exit(main())
