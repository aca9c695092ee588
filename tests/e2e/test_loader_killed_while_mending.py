"""FI-08: killed at the calls that write state, recovery and pruning converge when run again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.presence import ROOT

pytestmark = pytest.mark.engine("strace")
CALLS = ("fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat")
MOMENTS = 2
"""How many of each system call, spread evenly over the run."""
ENVIRONMENT = {
    "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def prepared(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host that loaded 1, 2 and 3 under one name; the bundles beside it."""
    folder = tmp_path_factory.mktemp("prepared")
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    for number in (1, 2, 3):
        bundle = folder / f"{number}.tar.zst"
        publisher.bundle(bundle, sequence=number, version=f"1.{number}", days=number)
        assert host.load(bundle).status == 0
    return folder


def _strace(host: FarSide, *options: str, verb: tuple[str, ...]) -> int:
    command = host.command(*verb, isolated=False)
    return subprocess.run(
        ["strace", "-f", "-qq", *options, *command],
        check=False, capture_output=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
    ).returncode  # fmt: skip


def _copied(prepared: Path, folder: Path, spoil: Callable[[FarSide], None]) -> FarSide:
    # The same target: the ledger has its absolute path, and nothing of it is removed here.
    shutil.copytree(prepared / "host", folder)
    host = FarSide(folder, prepared / "loaded")
    spoil(host)
    return host


def _ledger(host: FarSide) -> None:
    (host.state / "ledger.sqlite").write_bytes(b"spilled coffee")


def _copy(host: FarSide) -> None:
    (host.state / "floors").unlink()


def _key(host: FarSide) -> None:
    (host.state / "host.key").unlink()


def _nothing(_: FarSide) -> None:
    pass


RECOVER = ("state", "recover", "--reason", "spilled coffee")


@pytest.mark.parametrize(
    ("spoil", "verb"),
    [(_ledger, RECOVER), (_copy, RECOVER), (_key, RECOVER), (_nothing, ("prune", "--yes"))],
    ids=["ledger", "copy", "key", "prune"],
)
def test_fi_08_killed_while_state_is_written(
    prepared: Path, tmp_path: Path, spoil: Callable[[FarSide], None], verb: tuple[str, ...]
) -> None:
    golden, log = _copied(prepared, tmp_path / "golden", spoil), tmp_path / "log"
    traced = ("-o", str(log), "-e", f"trace={','.join(CALLS)}")
    assert _strace(golden, *traced, verb=verb) == 0
    lines = log.read_text().splitlines()
    killed = 0
    for call in CALLS:
        total = sum(f" {call}(" in line for line in lines)
        for nth in range(1, total + 1, max(1, total // MOMENTS)):
            host = _copied(prepared, tmp_path / f"{call}-{nth}", spoil)
            inject = ("-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=SIGKILL:when={nth}")  # fmt: skip
            killed += _strace(host, *inject, verb=verb) != 0
            again = host.run(*verb)
            assert again.status == 0, f"{call} {nth}: {again.err}"
            assert host.memory()["channels"] == golden.memory()["channels"], f"{call} {nth}"
            assert host.memory()["times"] == golden.memory()["times"]
            assert host.run("audit", "verify").status == 0, f"{call} {nth}"
            assert host.load(prepared / "3.tar.zst").status == 0
            assert host.load(prepared / "2.tar.zst").status == 16, "and never lower"
    assert killed, "nothing was killed"
