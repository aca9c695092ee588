"""The shipped sources, as files and syntax trees, for the tests of this folder."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("loader", "bundler")


def files(*tops: str) -> list[Path]:
    """Every Python file under these folders of the checkout."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> set[str]:
    """Full dotted names of all that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def excluded_from_frozen(*groups: str) -> set[str]:
    """The names that build-frozen.spec leaves out, read from it: one list, not two."""
    spec = ast.parse((ROOT / "build-frozen.spec").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for node in spec.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in groups:
                found[name] = set(ast.literal_eval(node.value))
    assert set(found) == set(groups), "build-frozen.spec no longer has these lists"
    return set().union(*found.values())


def third_party(loaded: list[str]) -> set[str]:
    """Names of what is neither ours nor the standard library's, down to a package's own modules."""
    return {
        ".".join(name.split(".")[:2])
        for name in loaded
        if name.split(".")[0] not in {*sys.stdlib_module_names, *SHIPPED, "__mp_main__"}
        and not name.startswith("__editable__")
    }
