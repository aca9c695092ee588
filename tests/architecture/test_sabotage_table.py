"""scripts/sabotage.toml fits the code: every step has a sabotage, and each of them can be made."""

from __future__ import annotations

from collections import Counter

from scripts.sabotage import expect_fitting, read_table, steps_of
from tests.architecture.tree import ROOT

TABLE = read_table(ROOT)


def test_every_step_of_verification_has_a_sabotage() -> None:
    steps = steps_of(ROOT)
    assert len(steps) > 20
    assert set(steps) <= {one.step for one in TABLE}
    # What is numbered is a step of the document; everything else is named by a word.
    assert {one.step for one in TABLE if one.step[0].isdecimal()} <= set(steps)


def test_every_sabotage_can_be_made() -> None:
    expect_fitting(ROOT, TABLE)


def test_every_sabotage_is_another() -> None:
    assert max(Counter((one.file, one.find, one.replace) for one in TABLE).values()) == 1
    assert max(Counter((one.step, one.check) for one in TABLE).values()) == 1


def test_every_test_is_there() -> None:
    missing = {
        test
        for one in TABLE
        for test in one.tests
        if f"def {test.partition('::')[2].partition('[')[0]}("
        not in (ROOT / test.partition("::")[0]).read_text(encoding="utf-8")
    }
    assert not missing
