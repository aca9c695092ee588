"""What importing the loader brings with it: no HTTP client, no TLS, no surprise.

Import contracts see our own import statements; this sees what really happens, in a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import pytest

from tests.architecture import tree

KEPT = tree.ROOT / "tests" / "architecture" / "third-party-modules.txt"
PROBE = tree.ROOT / "tests" / "architecture" / "closure_probe.py"


def _probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(PROBE), str(tree.ROOT), *arguments],
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@cache
def _closure(*absent: str) -> tuple[list[str], list[str]]:
    ran = _probe(*absent)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    return said["ours"], said["loaded"]


def test_the_refusal_works() -> None:
    ran = _probe("--control")
    assert ran.returncode != 0
    assert "PermissionError: while importing: socket." in ran.stderr


def test_all_of_the_loader_is_imported() -> None:
    expected = {
        tree.relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in tree.files("loader")
    } - {"loader.__main__"}
    assert set(_closure()[0]) == expected


def test_no_network_code_is_loaded() -> None:
    absent = tree.excluded_from_frozen("no_network", "no_second_door")
    # cryptography.x509 imports email.utils, which before Python 3.13 imports socket for message
    # ids. The frozen loader has an empty module of that name: the test below.
    tolerated = {"socket", "_socket"} if sys.version_info < (3, 13) else set()
    loaded = set(_closure()[1])
    assert (loaded & absent) - tolerated == set()


def test_it_imports_where_network_code_does_not_exist() -> None:
    absent = tree.excluded_from_frozen("no_network", "no_second_door", "no_ballast")
    _, loaded = _closure(*sorted(absent))
    assert set(loaded) & (absent - {"socket"}) == set()


def test_no_part_of_the_connected_side_is_loaded() -> None:
    assert [name for name in _closure()[1] if name.split(".")[0] == "bundler"] == []


def test_third_party_modules_are_the_listed_ones() -> None:
    # This list decides dependencies: a line more is a decision (docs/adr), not a detail.
    kept = set(KEPT.read_text(encoding="utf-8").split())
    found = tree.third_party(_closure()[1])
    assert found - kept == set(), "new: a decision; then `make lists`"
    assert kept - found == set(), "no longer imported: `make lists`"


@pytest.mark.parametrize("name", ["tests", "scripts", "_pytest", "pytest", "hypothesis"])
def test_nothing_of_the_tests_is_loaded(name: str) -> None:
    assert name not in {module.split(".")[0] for module in _closure()[1]}
