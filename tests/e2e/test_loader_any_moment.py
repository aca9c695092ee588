"""Ctrl-C at any moment of a load: whatever call it meets, the old or the whole new state."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.fakes.images import Layer
from tests.presence import ROOT

pytestmark = pytest.mark.engine("strace")
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}
MOMENTS = 5
"""How many of each system call, spread evenly over the run."""


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for number in (1, 2):
        publisher.bundle(
            folder / f"{number}.tar.zst",
            sequence=number,
            version=f"1.{number}",
            days=number,
            extra=[Layer.noise(200_000, seed=number)],
        )
    return folder


def _traced(host: FarSide, bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    target = f"oci:{host.loaded}"
    return subprocess.run(
        [
            "strace", "-f", "-qq", *options,
            *host.command("load", bundle, "--into", target, isolated=False),
        ],
        check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.parametrize("call", ["openat", "read", "write", "fsync", "fdatasync", "pwrite64"])
def test_fi_10_ctrl_c_at_any_call(
    call: str, tmp_path: Path, publisher: Publisher, bundles: Path
) -> None:
    def fresh(name: str) -> FarSide:
        host = FarSide(publisher.write_host(tmp_path / name), tmp_path / f"{name}-loaded")
        assert host.load(bundles / "1.tar.zst").status == 0
        return host

    golden, log = fresh("golden"), tmp_path / "log"
    assert (
        _traced(golden, bundles / "2.tar.zst", "-o", str(log), "-e", f"trace={call}").returncode
        == 0
    )
    total = sum(f"{call}(" in line for line in log.read_text().splitlines())
    assert total
    ended = set()
    for nth in range(1, total + 1, max(1, total // MOMENTS)):
        host = fresh(f"{call}-{nth}")
        before = host.untouched()
        ran = _traced(
            host, bundles / "2.tar.zst", "-o", "/dev/null",
            "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGINT:when={nth}",
        )  # fmt: skip
        ended.add(ran.returncode)
        if ran.returncode == 0:
            assert host.target() == golden.target(), f"{call} {nth}: it came too late to matter"
        else:
            # Before the loader has set its handlers, Python ends as any program does.
            assert ran.returncode in {20, -signal.SIGINT}, f"{call} {nth}: {ran.stderr}"
            if ran.returncode == 20:
                assert "airlock: error[interrupted.signal]: " in ran.stderr
                assert "Traceback" not in ran.stderr
            assert _settled(host.untouched()) == _settled(before), f"{call} {nth}"
        assert host.load(bundles / "2.tar.zst").status == 0, f"{call} {nth}"
        assert host.target() == golden.target()
        assert host.quarantine() == []
    assert ended != {0}, "no signal was heard"


def _settled(untouched: tuple[object, ...]) -> tuple[object, ...]:
    """Without what was about to be done: it stays written down until it is done."""
    memory, *rest = untouched
    assert isinstance(memory, dict)
    return ({table: rows for table, rows in memory.items() if table != "intents"}, *rest)
