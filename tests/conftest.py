"""What every test run shares: which tests can run here, and an honest list of those that cannot.

Without more ado a missing engine skips its tests and the closing summary names it with the command
that brings it. Under ``AIRLOCK_REQUIRE=all`` (CI) a missing engine fails, and so does every other
skip that no ``may_skip`` marker explains: nothing goes quietly untested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import presence

INJECTED = "injected faults"
FIGURE = "figure"
"""A measured figure that a test bounds; the closing summary shows it."""
_MISSING = "airlock-missing"

pytest_plugins = ("tests.engines", "tests.rekor")
"""Engines that tests ask for by name: declared once, so that a run starts each of them once."""

presence.find_tools()


def pytest_report_header(config: pytest.Config) -> str:
    """Name the mode and the folder of real input at the top of every run."""
    del config
    mode = "all (a missing engine fails)" if presence.REQUIRE_ALL else "what is here"
    return f"airlock: requires {mode}; shared: {presence.SHARED}"


def _need(item: pytest.Item, name: str) -> None:
    if name not in presence.NEEDS:
        pytest.fail(f"engine({name!r}) is not listed in tests/presence.py", pytrace=False)
    lack = presence.missing(name)
    if lack is None:
        return
    item.user_properties.append((_MISSING, name))
    said = f"{name}: {lack} ({presence.NEEDS[name].mend})"
    if presence.REQUIRE_ALL:
        pytest.fail(f"required, and missing here: {said}", pytrace=False)
    pytest.skip(f"missing here: {said}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or under REQUIRE=all fail, before any fixture starts an engine that is not here."""
    for mark in item.iter_markers("engine"):
        if not mark.args:
            pytest.fail("engine() needs the name of an engine", pytrace=False)
        for name in mark.args:
            _need(item, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that nobody explained into a failure where all is required."""
    report = yield
    excused = hasattr(report, "wasxfail") or item.get_closest_marker("may_skip") is not None
    if presence.REQUIRE_ALL and report.skipped and not excused:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"REQUIRE=all allows no skip without a may_skip marker: {why}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself while it is collected."""
    report = yield
    if presence.REQUIRE_ALL and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"REQUIRE=all allows no skipped file: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with figures, how many faults were injected, and what could not be tested here."""
    figures = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for key, value in getattr(report, "user_properties", ())
        if key == FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
        for figure in sorted(figures):
            terminalreporter.line(figure)
    injected = [
        int(value)
        for report in terminalreporter.getreports("passed")
        for key, value in getattr(report, "user_properties", ())
        if key == INJECTED
    ]
    if injected:
        terminalreporter.section("injected faults")
        terminalreporter.line(f"{sum(injected)} faults, after each the old or the whole new state")
    counted: Counter[str] = Counter()
    for outcome in ("skipped", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            for key, value in getattr(report, "user_properties", ()):
                if key == _MISSING:
                    counted[str(value)] += 1
    if not counted:
        return
    terminalreporter.section("missing here")
    for name, count in sorted(counted.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.line(f"{name} ({tests}): {presence.NEEDS[name].mend}")


@pytest.fixture(scope="session")
def project_dir() -> Path:
    """The checkout."""
    return presence.ROOT


@pytest.fixture
def shared_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of real input beside the checkout; its tests are listed where it is missing."""
    _need(request.node, "shared")
    return presence.SHARED
