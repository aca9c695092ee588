"""Rules about the source that no linter of ours states."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import loader
from tests.architecture import tree

# One idea a file: about 400 lines, with slack so that no cut is made in the wrong place.
LINES_MAX = 450
LONGER: dict[str, str] = {
    "loader/errors.py": "one list of every refusal, in one order; read as a table",
}
FAKES = Path("tests/fakes")


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_a_file_holds_one_idea(path: Path) -> None:
    if tree.relative(path) in LONGER:
        return
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX, f"{lines} lines: split it, or say in LONGER why not"


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_no_assert_is_shipped(path: Path) -> None:
    # `python -O` removes them: what they would have refused is accepted.
    found = [node.lineno for node in ast.walk(tree.parsed(path)) if isinstance(node, ast.Assert)]
    assert found == [], "raise an error that -O does not remove"


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_nothing_is_named_for_want_of_an_idea(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


@pytest.mark.parametrize(
    "path", [p for top in tree.SHIPPED for p in (tree.ROOT / top).rglob("*") if p.is_dir()]
)
def test_every_package_says_what_it_is(path: Path) -> None:
    if not any(path.glob("*.py")):
        return
    init = path / "__init__.py"
    assert init.is_file(), "without it the folder is left out of the wheel"
    assert ast.get_docstring(tree.parsed(init)), f"{tree.relative(init)}: a docstring"
    if path.parent != tree.ROOT:
        assert len(tree.parsed(init).body) == 1, f"{tree.relative(init)}: nothing but a docstring"


@pytest.mark.parametrize("path", tree.files("tests/fakes"), ids=tree.relative)
def test_fakes_know_nothing_of_the_code_under_test(path: Path) -> None:
    # A fake that shares code with what it judges repeats its mistakes and calls them right.
    ours = {name for name in tree.imported(path) if name.split(".")[0] in tree.SHIPPED}
    assert ours == set()


def test_fakes_do_not_reach_the_code_through_another_test_file() -> None:
    seen: dict[str, set[str]] = {}
    pending = [tree.relative(path) for path in tree.files("tests/fakes")]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen[name] = tree.imported(tree.ROOT / name)
        for module in seen[name]:
            path = tree.ROOT / (module.replace(".", "/") + ".py")
            if module.startswith("tests.") and path.is_file():
                pending.append(tree.relative(path))
    reached = {n for n, names in seen.items() if {m.split(".")[0] for m in names} & {*tree.SHIPPED}}
    assert reached == set()


@pytest.mark.parametrize("path", tree.files("loader"), ids=tree.relative)
def test_the_loader_reads_no_environment_but_at_its_door(path: Path) -> None:
    # No environment variable may relax a check (DESIGN §11): only the command line looks at it.
    if tree.relative(path) == "loader/cli.py":
        return
    read = [
        node.lineno
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv", "getenvb"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert read == []


def test_the_version_is_written_twice_and_is_one() -> None:
    # A frozen program has no metadata to ask.
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == loader.VERSION
