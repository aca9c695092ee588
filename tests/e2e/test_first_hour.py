"""The first hour as docs/first-hour.md tells it: typed on a bare Debian, and coming to the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.presence import ROOT

SCRIPT = ROOT / "scripts/first_hour.py"


@pytest.mark.engine("bare-debian", "frozen", "fusefat")
@pytest.mark.may_skip("the bare system comes from Debian's mirror, once")
def test_a_new_operator_comes_to_what_the_document_says() -> None:
    """`make first-hour` compares every word; here it is what each command came to."""
    made = subprocess.run(
        [sys.executable, SCRIPT, "--system"],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"no bare Debian: {made.stderr[-300:]}")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--verdicts"],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
