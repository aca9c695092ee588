"""Error codes are promises: unique, documented, and never gone."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import Counter

from loader.errors import STATUS_BY_CLASS, AirlockError
from tests.architecture import tree

KEPT = tree.ROOT / "tests" / "architecture" / "error-codes.txt"


def _classes() -> list[type[AirlockError]]:
    if (tree.ROOT / "bundler" / "errors.py").exists():
        importlib.import_module("bundler.errors")

    found: list[type[AirlockError]] = [AirlockError]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub not in found]
    return [cls for cls in found if cls.__module__.split(".")[0] in tree.SHIPPED]


def test_every_class_has_a_code_of_its_own() -> None:
    assert [cls.__name__ for cls in _classes() if "code" not in cls.__dict__] == []


def test_no_code_is_used_twice() -> None:
    assert [code for code, n in Counter(cls.code for cls in _classes()).items() if n > 1] == []


def test_every_code_has_an_exit_status() -> None:
    for cls in _classes():
        first, dot, rest = cls.code.partition(".")
        assert first in STATUS_BY_CLASS, cls.code
        assert dot, f"{cls.code}: a dotted word"
        assert rest, f"{cls.code}: a dotted word"


def test_every_class_says_in_one_line_what_it_means() -> None:
    for cls in _classes():
        line = (cls.__doc__ or "").strip().partition("\n")[0]
        assert line.endswith("."), cls.__name__


def test_errors_are_defined_where_the_page_finds_them() -> None:
    elsewhere = []
    known = {cls.__name__ for cls in _classes()}
    for path in tree.files(*tree.SHIPPED):
        if tree.relative(path) in {"loader/errors.py", "bundler/errors.py"}:
            continue
        elsewhere += [
            f"{tree.relative(path)}: {node.name}"
            for node in ast.walk(tree.parsed(path))
            if isinstance(node, ast.ClassDef)
            and any(ast.unparse(base).split(".")[-1] in known for base in node.bases)
        ]
    assert elsewhere == []


def test_no_code_disappears() -> None:
    kept = set(KEPT.read_text(encoding="utf-8").split())
    assert kept - {cls.code for cls in _classes()} == set(), "a script out there matches on it"


def test_the_page_is_what_the_classes_say() -> None:
    ran = subprocess.run(
        [sys.executable, "scripts/errors.py", "--check"],
        cwd=tree.ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}run `make errors`"
