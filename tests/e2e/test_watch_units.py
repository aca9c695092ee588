"""The units that are shipped: understood by systemd, hardened, and wired to commands there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from loader.cli import command_line
from tests.presence import ROOT

UNITS = ROOT / "packaging/systemd"
SERVICES = sorted(UNITS.glob("*.service"))
EXPOSURE_MAX = 1.5


def _lines(path: Path, key: str) -> list[str]:
    return [
        line.partition("=")[2]
        for line in path.read_text().splitlines()
        if line.startswith(f"{key}=")
    ]


@pytest.mark.engine("systemd-analyze")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_v2_a_service_is_hardened(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout
    assert _lines(unit, "PrivateNetwork") == ["yes"]
    assert _lines(unit, "RestrictAddressFamilies") == ["AF_UNIX"]
    assert _lines(unit, "IPAddressDeny") == ["any"]
    assert _lines(unit, "NoNewPrivileges") == ["yes"]


@pytest.mark.engine("systemd-analyze")
def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    program = tmp_path / "usr/bin/airlock-loader"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS.iterdir():
        if not unit.is_file():
            continue
        text = unit.read_text().replace("/usr/bin/airlock-loader", str(program))
        (tmp_path / unit.name).write_text(text)
    shutil.copy(tmp_path / "airlock-stick@.service", tmp_path / "airlock-stick@sdb1.service")
    for name in (
        "airlock-watch.service",
        "airlock-watch.path",
        "airlock-watch.timer",
        "airlock-stick@sdb1.service",
    ):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / name],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        ours = [line for line in done.stderr.splitlines() if "airlock" in line]
        assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_the_command_line_is_one_that_the_loader_has(unit: Path) -> None:
    [line] = _lines(unit, "ExecStart")
    program, *words = shlex.split(line)
    assert program == "/usr/bin/airlock-loader"
    arguments = command_line().parse_args(words)
    assert arguments.once
    assert not arguments.dry_run


def test_a133_nothing_that_is_written_on_a_stick_is_a_name_here() -> None:
    [rule] = [
        line
        for line in (ROOT / "packaging/udev/80-airlock-stick.rules").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert 'ENV{SYSTEMD_WANTS}+="airlock-stick@%k.service"' in rule
    assert set(re.findall(r"[%$][a-zA-Z{]+", rule)) == {"%k"}
    stick = UNITS / "airlock-stick@.service"
    [mount] = [line for line in _lines(stick, "ExecStartPre") if "mount" in line]
    assert mount == ("+/usr/bin/mount -o ro,nosuid,nodev,noexec -- /dev/%i /run/airlock-stick/%i")
    assert set(re.findall(r"%[a-zA-Z]", stick.read_text())) == {"%i"}


def test_both_services_are_hardened_alike() -> None:
    def hardening(path: Path) -> set[str]:
        own = ("ExecStart", "ExecStop", "RuntimeDirectory", "ReadOnlyPaths", "Description")
        text = path.read_text().partition("[Service]")[2].partition("[Install]")[0]
        return {line for line in text.splitlines() if line and not line.startswith(("#", *own))}

    watch, stick = (UNITS / name for name in ("airlock-watch.service", "airlock-stick@.service"))
    assert hardening(watch) == hardening(stick)
