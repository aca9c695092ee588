"""What lies in the frozen loader, read from the product that `make frozen` left in dist/."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import presence
from tests.architecture import tree

KEPT = tree.ROOT / "tests" / "architecture" / "frozen-modules.txt"
FOLDER = presence.FROZEN.parent
# Modules of the loader that its own command line does not reach, and why they are there.
NOT_REACHED: dict[str, str] = {}

pytestmark = pytest.mark.engine("frozen")


def _listed(text: str) -> tuple[str, set[str]]:
    head, _, rest = text.partition("\n")
    return head, set(rest.split())


@pytest.fixture(scope="module")
def inside() -> tuple[str, set[str]]:
    """The list that `make frozen` read from the product."""
    return _listed((tree.ROOT / "build" / "frozen-modules.txt").read_text(encoding="utf-8"))


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in tree.SHIPPED


def _is_pythons(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names or name.startswith("library:")


def test_it_is_of_this_tree(inside: tuple[str, set[str]]) -> None:
    ours = {name for name in inside[1] if _is_ours(name)}
    expected = {
        tree.relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in tree.files("loader")
    } - {"loader.__main__"}
    assert ours | set(NOT_REACHED) == expected, (
        "a module that nothing imports, or an old build: `make frozen`"
    )


def test_what_is_not_ours_is_what_the_list_keeps(inside: tuple[str, set[str]]) -> None:
    kept_python, kept = _listed(KEPT.read_text(encoding="utf-8"))
    python, found = inside
    found = {name for name in found if not _is_ours(name)}
    if python != kept_python:  # another Python has other modules of its own
        found = {name for name in found if not _is_pythons(name)}
        kept = {name for name in kept if not _is_pythons(name)}
    assert found - kept == set(), (
        "new: `.cache/frozen-venv/bin/python scripts/freeze.py --write-list`"
    )
    assert kept - found == set(), "gone: take it out of the list"


def test_no_network_code_is_there(inside: tuple[str, set[str]]) -> None:
    absent = tree.excluded_from_frozen("no_network", "no_second_door", "no_ballast")
    absent |= {"bundler", "tests", "sigstore", "oras", "zstandard"}
    # The module of that name is ours, and empty.
    absent.discard("socket")
    found = {n for n in inside[1] for a in absent if n == a or n.startswith(f"{a}.")}
    assert found == set()
    libraries = {name for name in inside[1] if name.startswith("library:")}
    assert [n for n in libraries if re.search("ssl|curl|resolv|nss|cares", n)] == []


def test_the_socket_module_is_empty() -> None:
    # Read from the program itself: nothing but its docstring may be in there.
    code = (
        "import sys; from PyInstaller.archive.readers import CArchiveReader as A;"
        "a = A(sys.argv[1]);"
        "z = [a.open_embedded_archive(n) for n, e in a.toc.items() if e[4] == 'z'];"
        "c = [m.extract('socket') for m in z if 'socket' in m.toc];"
        "print([(x.co_names, x.co_code.hex()) for x in c])"
    )
    ran = subprocess.run(
        [str(tree.ROOT / ".cache/frozen-venv/bin/python"), "-c", code, str(presence.FROZEN)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(r"\[\(\('__doc__',\), '[0-9a-f]{,24}'\)\]\n", ran.stdout), ran.stdout


def test_it_carries_its_anchors_and_says_what_it_needs() -> None:
    built = json.loads((FOLDER / "build.json").read_text(encoding="utf-8"))
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert built["version"] == project["project"]["version"]
    assert re.fullmatch(r"2\.\d+", built["glibc"])
    source = {p.relative_to(tree.ROOT) for p in (tree.ROOT / "trust-roots").rglob("*")}
    assert {p.relative_to(FOLDER) for p in (FOLDER / "trust-roots").rglob("*")} == source
    for path in source:
        if (FOLDER / path).is_file():
            assert (FOLDER / path).read_bytes() == (tree.ROOT / path).read_bytes()


def test_what_the_interpreter_has_compiled_in_is_said() -> None:
    # Of this Python it is known to be nothing; of Debian's own, that it is forbidden (build.json).
    built = json.loads((FOLDER / "build.json").read_text(encoding="utf-8"))
    head, found = _listed((tree.ROOT / "build" / "frozen-modules.txt").read_text(encoding="utf-8"))
    assert set(built["built-in"]) <= {"_socket"}
    assert all(name in head for name in built["built-in"])
    assert ("start-up:forbid" in found) == bool(built["built-in"])


def test_nobody_else_may_write_in_it() -> None:
    loose = [p for p in FOLDER.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022]
    assert loose == []


def test_the_same_sources_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("LICENSE", "build-frozen.spec", "pyproject.toml", "scripts/freeze.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tree.ROOT / name, tmp_path / name)
    for name in ("loader", "packaging", "trust-roots"):  # and nothing of the connected side
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(tree.ROOT / name, tmp_path / name, ignore=ignored)
    subprocess.run(
        [
            str(tree.ROOT / ".cache/frozen-venv/bin/python"),
            str(tmp_path / "scripts/freeze.py"),
            "airlock-loader",
        ],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    sums = (tree.ROOT / "dist" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    [ours] = (tmp_path / "dist" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert ours in sums


def test_it_starts_without_environment_and_says_its_version() -> None:
    ran = subprocess.run(
        [str(presence.FROZEN), "--version"],
        check=True,
        capture_output=True,
        text=True,
        env={},
        cwd=os.sep,
        timeout=20,
    )
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] in ran.stdout
    assert ran.stderr == ""
