"""The example in the README runs, and the fakes import nothing that they are to test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[2] / "fakes"


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```python\n(.*?)```", (FAKES / "README.md").read_text(), re.DOTALL)
    assert found is not None
    exec(compile(found[1], "README.md", "exec"), {})
    assert "/acme/app:1.0.0 []" in capsys.readouterr().out


def test_fakes_import_neither_side() -> None:
    for path in sorted(FAKES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & {"loader", "bundler"}, path
