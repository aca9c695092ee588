"""Every place that turns a checked fact into a witness, by name.

A witness is as good as the fewest checks before any of the calls that mint it. So they are listed:
a new one is a line here, and a question to whoever reviews it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import tree

# Which part of the line may establish which fact.
JUDGES = {
    "Verified": ("loader/verify/",),
    "Authorized": ("loader/policy/decide.py",),
    "Admitted": ("loader/state/ledger.py",),
    "Staged": ("loader/stage/area.py",),
}
# file:function -> witness
MINTS: set[tuple[str, str]] = {
    ("loader/policy/decide.py:decide", "Authorized"),
    ("loader/stage/area.py:Area.stage", "Staged"),
    ("loader/stage/area.py:derive", "Staged"),
    ("loader/state/ledger.py:admit", "Admitted"),
    ("loader/verify/growth.py:verify_growth", "Verified"),
    ("loader/verify/notary/repository.py:verify_repository", "Verified"),
    ("loader/verify/sigstore.py:verify_artifact", "Verified"),
    ("loader/verify/sigstore.py:verify_evidence", "Verified"),
}


class _Calls(ast.NodeVisitor):
    def __init__(self) -> None:
        self.where: list[str] = []
        self.minting: list[tuple[str, str]] = []
        self.passed: set[ast.expr] = set()

    def _inside(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.where.append(node.name)
        self.generic_visit(node)
        self.where.pop()

    visit_FunctionDef = _inside  # noqa: N815 (ast's own names)
    visit_AsyncFunctionDef = _inside  # noqa: N815
    visit_ClassDef = _inside  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if isinstance(value, ast.Name) and value.id == "SEAL":
                self.passed.add(value)
                self.minting.append((".".join(self.where), ast.unparse(node.func)))
        self.generic_visit(node)


def _calls(path: Path) -> _Calls:
    calls = _Calls()
    calls.visit(tree.parsed(path))
    return calls


def _minting() -> Iterator[tuple[str, str]]:
    for path in tree.files(*tree.SHIPPED):
        for function, witness in _calls(path).minting:
            yield f"{tree.relative(path)}:{function}", witness.partition("[")[0]


def test_every_call_that_mints_is_listed() -> None:
    assert set(_minting()) == MINTS


def test_each_witness_is_minted_by_its_judge_alone() -> None:
    for place, witness in _minting():
        assert witness in JUDGES, f"{place}: {witness} is no witness"
        assert place.startswith(JUDGES[witness]), f"{place} may not mint {witness}"


def test_the_list_of_witnesses_is_whole() -> None:
    classes = {
        node.name
        for node in tree.parsed(tree.ROOT / "loader/witness.py").body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert classes == set(JUDGES)


@pytest.mark.parametrize("path", tree.files(*tree.SHIPPED), ids=tree.relative)
def test_the_seal_is_only_ever_passed(path: Path) -> None:
    # Under another name, in a variable or a default, it would escape the list above.
    name = tree.relative(path)
    if name in {"loader/_seal.py", "loader/witness.py"}:
        return
    judges = tuple(prefix for prefixes in JUDGES.values() for prefix in prefixes)
    if any(imported.startswith("loader._seal") for imported in tree.imported(path)):
        assert name.startswith(judges), "imports the seal and is no judge"
    passed = _calls(path).passed
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "loader._seal":
            assert [(a.name, a.asname) for a in node.names] == [("SEAL", None)]
        elif isinstance(node, ast.Import):
            assert all("_seal" not in alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and node.id == "SEAL":
            assert node in passed, f"line {node.lineno}: the seal is used other than to mint"
        elif isinstance(node, ast.Attribute):
            assert node.attr not in {"SEAL", "_seal"}, f"line {node.lineno}: the seal by attribute"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in {"loader._seal", "_seal", "SEAL"}, f"line {node.lineno}"
