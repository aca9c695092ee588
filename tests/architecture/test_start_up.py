"""What a command line costs before it knows what is asked: nothing that only some verbs need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture import tree

HEAVY = (
    "backports",
    "cryptography",
    "jsonschema",
    "oras",
    "re2",
    "requests",
    "rich",
    "sigstore",
    "sqlite3",
    "tuf",
    "yaml",
    "zstandard",
)


@pytest.mark.parametrize("module", ["loader.cli", "bundler.cli"])
def test_importing_the_command_line_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tree.ROOT
    )
    assert sorted(set(HEAVY) & set(done.stdout.split())) == []
