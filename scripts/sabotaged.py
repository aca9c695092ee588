"""One run of tests in a copy of the tree, for `sabotage.py`: `sabotaged.py MODULE TEST...`.

Prints one line of JSON: how many tests passed, and what the first one that did not ran into. A
failure counts as noticing only if it is a difference in what the loader said: an assertion, a
refusal that did not come, or one that should not have come. What is merely broken notices nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest


@dataclass(slots=True, eq=False)
class Run:
    """What became of the tests."""

    passed: int = 0
    skipped: int = 0
    failed: str = ""
    """The first test that did not pass."""
    text: str = ""
    """What it ran into."""
    is_difference: bool = False
    errors: list[str] = field(default_factory=list)
    """What kept tests from running at all."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take down how one part of one test ended."""
        report = yield
        self.passed += report.passed and call.when == "call"
        self.skipped += report.skipped
        if report.failed and not self.failed and call.excinfo is not None:
            from loader.errors import AirlockError  # noqa: PLC0415 - the copy's own

            differences = (AssertionError, pytest.fail.Exception, AirlockError)
            self.failed = item.nodeid
            self.text = f"{call.excinfo.typename}: {call.excinfo.value}".partition("\n")[0]
            self.is_difference = call.when == "call" and isinstance(call.excinfo.value, differences)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take down files that could not even be imported."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext[-300:]}")


def main(module: str, *tests: str) -> None:
    """Import the module, run the tests, say what came of it."""
    run = Run()
    with contextlib.redirect_stdout(sys.stderr):
        sys.path.insert(0, str(Path.cwd()))
        found = Path(importlib.import_module(module).__file__ or "")
        if not found.is_relative_to(Path.cwd()):
            run.errors.append(f"{module} was imported from {found}, not from the copy")
        else:
            options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "--no-header"]
            status = pytest.main([*options, *tests], plugins=[run])
            if status not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
                run.errors.append(f"pytest ended with {status!r}")
    print(json.dumps(asdict(run)))


if __name__ == "__main__":
    main(*sys.argv[1:])
