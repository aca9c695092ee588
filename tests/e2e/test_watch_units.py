"""The units that are shipped: understood by systemd, hardened, and wired to commands there are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.cli import command_line
from tests.conftest import FIGURE
from tests.e2e.loading import FarSide, Publisher
from tests.fakes.images import Layer
from tests.fakes.sigworld.world import World
from tests.presence import FROZEN, ROOT

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
def test_v2_a_service_is_hardened(
    unit: Path, record_property: Callable[[str, object], None]
) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None
    record_property(FIGURE, f"{unit.name}: exposure {found[1]} of 10, at most {EXPOSURE_MAX}")
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout
    assert f"gives it {found[1]} (" in (ROOT / "docs/watch.md").read_text()
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
        "airlock-verify-local.service",
        "airlock-verify-local.timer",
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
    if words[0] == "verify-local":
        assert arguments.all
        assert arguments.image is None
    else:
        assert words[0] == "watch"
        assert arguments.once
        assert not arguments.dry_run


# --- the filter of system calls -------------------------------------------------------------------


def _sets() -> dict[str, set[str]]:
    """Return systemd's own sets of system calls, each with what the sets in it have."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    direct: dict[str, set[str]] = {}
    name = ""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            direct[name] = set()
        elif line.startswith("    ") and not word.startswith("#"):
            direct[name].add(word)

    def whole(name: str) -> set[str]:
        return {
            call for one in direct[name] for call in (whole(one) if one.startswith("@") else {one})
        }

    return {name: whole(name) for name in direct}


def _admitted(unit: Path) -> set[str]:
    sets = _sets()
    admitted = set(sets["@default"])
    for line in _lines(unit, "SystemCallFilter"):
        words = line.removeprefix("~").split()
        calls = {call for word in words for call in (sets[word] if word[0] == "@" else {word})}
        admitted = admitted - calls if line.startswith("~") else admitted | calls
    return admitted


DONE_WITHOUT = frozenset({"fchown", "setrlimit", "unshare"})
"""What is tried and can be done without: SQLite gives its journal to the ledger's owner, who is the
same; the loader asks for a network of its own, which the unit has given it already."""


@pytest.mark.engine("systemd-analyze", "strace")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param((sys.executable, "-m", "loader"), id="installed"),
        pytest.param((str(FROZEN),), id="frozen", marks=pytest.mark.engine("frozen")),
    ],
)
def test_a_whole_look_needs_no_system_call_that_the_unit_denies(
    program: tuple[str, ...], tmp_path: Path
) -> None:
    """With all that the unit denies denied: a load, a refusal, a health command and a hook."""
    publisher = Publisher()
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded", program)
    script = tmp_path / "command"
    script.write_text(f"#!/bin/sh\ncat >/dev/null; echo $1 >> {tmp_path}/told\n")
    script.chmod(0o755)
    (host.root / "etc/airlock/config.toml").write_text(
        f'schema = 1\n[watch]\nhealth = ["{script}"]\nhook = ["{script}"]\n'
    )
    spool = tmp_path / "spool"
    spool.mkdir()
    publisher.bundle(spool / "1.tar.zst", sequence=1, extra=[Layer.noise(300_000, seed=1)])
    Publisher(World(name="stranger")).bundle(spool / "9.tar.zst", sequence=9)
    admitted = _admitted(UNITS / "airlock-watch.service")
    log = tmp_path / "log"
    every = {call for calls in _sets().values() for call in calls}
    denied = ",".join(f"?{call}" for call in sorted(every - admitted))
    done = subprocess.run(
        [
            "strace", "-f", "-qq", "-o", log, "-e", f"inject={denied}:error=EPERM",
            *host.command("watch", spool, "--once", "--into", f"oci:{host.loaded}", isolated=False),
        ],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 11, done.stderr + done.stdout
    assert "1.tar.zst: loaded" in done.stdout
    assert (tmp_path / "told").read_text().split() == ["check", "loaded"]
    refused = set(re.findall(r"^\d+ +(\w+)\(.*\(INJECTED\)", log.read_text(), re.MULTILINE))
    assert refused <= DONE_WITHOUT


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


def test_services_are_hardened_alike() -> None:
    def hardening(path: Path) -> set[str]:
        own = ("ExecStart", "ExecStop", "RuntimeDirectory", "ReadOnlyPaths", "Description")
        text = path.read_text().partition("[Service]")[2].partition("[Install]")[0]
        return {line for line in text.splitlines() if line and not line.startswith(("#", *own))}

    watch, stick = (UNITS / name for name in ("airlock-watch.service", "airlock-stick@.service"))
    assert hardening(watch) == hardening(stick)
    compare = hardening(UNITS / "airlock-verify-local.service")
    # It opens nothing of others, so it needs no lease; and it puts nothing back.
    assert compare - hardening(watch) == {"CapabilityBoundingSet=CAP_DAC_READ_SEARCH"}
    assert hardening(watch) - compare == {
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_LEASE",
        "KillMode=mixed",
        "TimeoutStopSec=120",
    }
