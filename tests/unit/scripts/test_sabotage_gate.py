"""The gate itself: what it calls noticed, survived and broken, on a tree of two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.sabotage import Sabotage, SabotageError, read_table, sabotage_all

DOOR = """\
from loader.errors import AirlockError

def open_to(name: str) -> str:
    if name != "friend":
        raise AirlockError(name)
    return name
"""
TESTS = """\
import pytest
from loader.door import open_to
from loader.errors import AirlockError

def test_a_stranger():
    with pytest.raises(AirlockError):
        open_to("stranger")

def test_a_friend():
    assert open_to("friend") == "friend"

@pytest.mark.skip
def test_skipped():
    raise ValueError

def test_fails_anyway():
    assert open_to("friend") == "foe"
"""
STRANGER = "tests/test_door.py::test_a_stranger"
FRIEND = "tests/test_door.py::test_a_friend"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "loader/__init__.py": "",
        "loader/errors.py": "class AirlockError(Exception):\n    pass\n",
        "loader/door.py": DOOR,
        "tests/test_door.py": TESTS,
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n',
    }.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tree"


def sabotage(replace: str, *tests: str, find: str = 'name != "friend"') -> Sabotage:
    return Sabotage(
        step="1", check="who comes", file="loader/door.py", find=find, replace=replace, tests=tests
    )


def test_verdicts(tree: Path) -> None:
    cases = {
        sabotage("False", STRANGER): "noticed",
        sabotage("True", FRIEND): "noticed",  # refuses where it should not
        sabotage("False", FRIEND): "survived",
        sabotage("nobody", STRANGER): "broken",  # a NameError is no check that was missed
        sabotage("from nowhere import AirlockError", STRANGER, find=DOOR.splitlines()[0]): "broken",
    }
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    found = sabotage_all(tree, list(cases), worker_count=2)
    assert {one: outcome.verdict for one, outcome in found} == cases
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (sabotage("False", STRANGER, find="not there"), "0 times"),
        (sabotage("False", STRANGER, find="name"), "4 times"),
        (sabotage("name  !=  'friend'", STRANGER), "changes nothing"),
        (sabotage("(", STRANGER), "no Python"),
        (sabotage("False", "tests/test_door.py::test_skipped"), "skipped"),
        (sabotage("False", "tests/test_door.py::test_fails_anyway"), "nothing switched off"),
        (sabotage("False", "tests/test_door.py::test_that_is_not_there"), "nothing switched off"),
    ],
)
def test_what_means_nothing_is_said(tree: Path, bad: Sabotage, why: str) -> None:
    with pytest.raises(SabotageError, match=why):
        sabotage_all(tree, [bad], worker_count=1)


@pytest.mark.parametrize("line", ['check = "x"', 'tests = ["x"]\nunknown = 1'])
def test_a_table_has_just_these_columns(tree: Path, line: str) -> None:
    (tree / "scripts").mkdir()
    (tree / "scripts" / "sabotage.toml").write_text(f"[[sabotage]]\n{line}\n")
    with pytest.raises(SabotageError):
        read_table(tree)
