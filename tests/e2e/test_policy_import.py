"""`airlock policy import` as it is typed: what is written where, and what a script is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.cli import main
from loader.policy.model import Policy
from tests.e2e.checking import Ran
from tests.unit.bundler.policies.test_import_cluster_image_policy import (
    ALL,
    HEAD,
    INLINE_KEY,
    KEYLESS,
    PEM,
    SPDX,
)

Import = Callable[..., Ran]


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    def run(text: str, *arguments: str) -> Ran:
        file = tmp_path / "cip.yaml"
        file.write_text(text)
        status = main(["policy", "import", str(file), *arguments])
        said = capsys.readouterr()
        return Ran(status=status, out=said.out, err=said.err)

    return run


def test_x_8_what_translates_is_a_policy_and_says_nothing_else(imported: Import) -> None:
    ran = imported(f"{HEAD}{ALL}  authorities:\n{KEYLESS}{SPDX}")
    assert (ran.status, ran.err) == (0, "")
    assert Policy.parse(ran.out.encode(), where="").rules


def test_x_8_what_does_not_translate_is_said_and_fails(imported: Import) -> None:
    ran = imported(f"{HEAD}{ALL}  authorities:\n  - static:\n      action: pass\n")
    assert ran.status == 1
    assert "not translated: NAME: authority authority-0: static" in ran.err
    assert "# NOT TRANSLATED: " in ran.out
    assert Policy.parse(ran.out.encode(), where="").rules


def test_inline_keys_become_files_beside_the_policy(imported: Import, tmp_path: Path) -> None:
    text = f"{HEAD}{ALL}  authorities:\n{INLINE_KEY}"
    output = tmp_path / "out" / "policy.toml"
    assert imported(text, "-o", str(output)).status == 0
    assert (output.parent / "keys" / "own.pub").read_text() == PEM
    assert 'key = "keys/own.pub"' in output.read_text()
    assert "# -----BEGIN PUBLIC KEY-----" in imported(text).out
    again = imported(text, "-o", str(output))
    assert again.status == 2
    assert "there already" in again.err


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "a b\n[[image]]", "é"])
def test_names_of_authorities_are_no_paths(imported: Import, tmp_path: Path, name: str) -> None:
    key = INLINE_KEY.replace("name: own", f"name: {name!r}".replace("'", '"'))
    output = tmp_path / "out" / "policy.toml"
    assert imported(f"{HEAD}{ALL}  authorities:\n{key}", "-o", str(output)).status == 0
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) == 3
    assert all(path.parts[0] == "out" or path.name == "cip.yaml" for path in written)


def test_a_file_that_is_not_there(imported: Import, tmp_path: Path) -> None:
    assert main(["policy", "import", str(tmp_path / "none.yaml")]) == 2
    assert imported("a: [").status == 2
