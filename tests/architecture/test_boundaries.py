"""Who may import whom, where an import contract would need a module that is not there yet.

`lint-imports` (pyproject.toml) follows imports through the whole graph but refuses to name a module
that does not exist; these look at each file's own statements, in functions too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import tree

# What the connected side shares: everything up to the verdict, the words for it, nothing behind it.
SHARED = {
    "VERSION",
    "archive", "digest", "errors", "evidence", "graph", "inflate", "interrupts", "judge", "limits",
    "model", "policy", "renewal", "report_claims", "source", "supplement", "trust", "verify",
    "version", "witness",
}  # fmt: skip
# One module or folder each knows these, and answers for what they return.
ONE_DOOR = {
    "ctypes": "loader/confine.py",
    "oras": "bundler/registry/oras_client.py",
    "sqlite3": "loader/state/",
}
FOREIGN = (
    "bundler",
    "oras",
    "requests",
    "sigstore",
    "urllib3",
    "zstandard",
    "hypothesis",
    "pytest",
)


def _parts(path: Path, package: str) -> set[str]:
    names = tree.imported(path)
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize("path", tree.files("bundler"), ids=tree.relative)
def test_the_connected_side_shares_what_judges_and_nothing_that_loads(path: Path) -> None:
    assert _parts(path, "loader") - SHARED == set()


@pytest.mark.parametrize("path", tree.files("loader"), ids=tree.relative)
def test_the_loader_imports_nothing_of_the_connected_side(path: Path) -> None:
    tops = {name.partition(".")[0] for name in tree.imported(path)}
    assert tops & set(FOREIGN) == set()


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_one_danger_has_one_door(path: Path) -> None:
    tops = {name.partition(".")[0] for name in tree.imported(path)}
    for module, door in ONE_DOOR.items():
        if module in tops:
            assert tree.relative(path).startswith(door), f"{module} belongs to {door}"


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_no_import_is_relative_or_of_everything(path: Path) -> None:
    # Both hide from a reader, and from the tests above, what a file needs.
    assert [
        name for name in tree.imported(path) if name.startswith(".") or name.endswith(".*")
    ] == []
