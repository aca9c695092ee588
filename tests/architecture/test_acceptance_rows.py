"""Every row that was asked for names its tests, and every test that a row names is there."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.presence import ROOT, SHARED

ROWS: dict[str, dict[str, Any]] = tomllib.loads(
    (ROOT / "tests/rows.toml").read_text(encoding="utf-8")
)
ASKED = (
    "DZ-1",
    "DZ-2",
    "DZ-5",
    "DZ-9",
    "DZ-13",
    "X-4",
    "DZ-4",
    "DZ-8",
    "X-10",
    "OP-7",
    "OP-8",
    "OP-9",
    "OP-10",
    "OP-11",
    *(f"DC-{number}" for number in range(1, 11)),
    "DZ-3",
    "OP-5",
    "X-1",
    "X-2",
    "X-3",
    "X-5",
    "X-7",
    "X-12",
)


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_no_row_is_missing() -> None:
    assert set(ASKED) <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    found = ROWS[row]
    assert set(found) == {"means", "tests"}
    assert found["tests"]
    for named in found["tests"]:
        file, _, function = named.partition("::")
        assert function.startswith("test_"), named
        assert function in functions(ROOT / file), named


@pytest.mark.usefixtures("shared_dir")
def test_rows_are_those_of_the_list() -> None:
    listed = (SHARED / "ACCEPTANCE.md").read_text(encoding="utf-8")
    assert [row for row in ROWS if f"| {row} |" not in listed] == []
