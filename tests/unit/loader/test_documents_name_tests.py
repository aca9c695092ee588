from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.presence import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    for file, function in NAMED.findall(document.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), file
        if function:
            assert function in functions(ROOT / file), f"{file}::{function}"


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    promises = text.partition("## Promises")[2].partition("## What is not promised")[0]
    parts = re.split(r"^\*\*(P\d+)\.", promises, flags=re.MULTILINE)[1:]
    assert parts[::2] == [f"P{n}" for n in range(1, len(parts) // 2 + 1)]
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        assert NAMED.search(part), name


def test_every_fault_that_was_thought_of_names_its_tests() -> None:
    """CASES part 3: FI-01 to FI-52, each once, each with a test."""
    lines = (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| FI-")]
    assert [row.split()[1] for row in rows] == [f"FI-{n:02d}" for n in range(1, 53)]
    assert [row for row in rows if not NAMED.search(row)] == []
