"""Processes that stop, die, lie or lose what they stand on (CASES FI-11, FI-33, FI-34, FI-44 to
FI-50): no lock is stuck, nothing is believed, and the next run goes on.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import INJECTED
from tests.e2e.injected import SOAK, floors
from tests.e2e.loading import FarSide, Publisher
from tests.e2e.own_process import Running, run
from tests.fakes.images import Layer
from tests.presence import FROZEN, ROOT

Record = Callable[[str, object], None]
STOPPED_SECONDS = 60.0 if SOAK else 2.0
CYCLES = 500 if SOAK else 40
LARGE = 200_000_000


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
    publisher.bundle(folder / "3.tar.zst", sequence=3, days=3, extra=[Layer.noise(LARGE, seed=3)])
    return folder


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher, bundles: Path) -> FarSide:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.load(bundles / "1.tar.zst").status == 0
    return host


@contextmanager
def in_the_middle(
    host: FarSide, bundle: Path, program: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Begin a load, and wait until it stages a layer."""
    there = FarSide(host.root, host.loaded, *([program] if program else []))
    command = there.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        while not any((host.state / "quarantine").glob("run-*/*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        try:
            yield process
        finally:
            process.kill()


def test_fi_11_fi_33_a_loader_that_was_stopped_holds_its_lock_and_goes_on(
    host: FarSide, bundles: Path
) -> None:
    with in_the_middle(host, bundles / "3.tar.zst") as process:
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        second = host.load(bundles / "2.tar.zst")
        assert (second.status, second.verdict["code"]) == (20, "busy.lock")
        assert f"pid {process.pid}, load, since " in second.err
        assert time.monotonic() - began < 15, "it says so, and does not wait"
        time.sleep(STOPPED_SECONDS)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert host.memory()["channels"][0][1] == 3
    assert host.load(bundles / "2.tar.zst").status == 16


def test_fi_34_the_note_of_who_holds_the_lock_is_not_the_lock(host: FarSide, bundles: Path) -> None:
    with in_the_middle(host, bundles / "3.tar.zst") as process:
        process.send_signal(signal.SIGSTOP)
        (host.root / "run/airlock.lock").unlink()
        second = host.load(bundles / "2.tar.zst")
        assert (second.status, second.verdict["code"]) == (20, "busy.lock")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err


@pytest.mark.parametrize("what", ["ledger.sqlite", "floors"])
def test_fi_44_a_memory_that_is_taken_away_in_the_middle_is_noticed(
    what: str, host: FarSide, bundles: Path
) -> None:
    """Never begun anew in silence: it fails closed, or goes on from what is left of it."""
    with in_the_middle(host, bundles / "3.tar.zst") as process:
        (host.state / what).unlink()
        out, err = process.communicate(timeout=120)
    assert process.returncode in {0, 20}, out + err
    assert "Traceback" not in err
    again = host.load(bundles / "3.tar.zst")
    if again.status:
        assert again.status == 20, again.err
        assert again.verdict["code"].startswith("state."), again.err
        assert "state recover" in again.err, "what to do is said"
        recovered = host.run("state", "recover", "--reason", "the folder was cleaned up")
        assert recovered.status == 0, recovered.err
        assert host.load(bundles / "3.tar.zst").status == 0
    assert host.memory()["channels"][0][1] == 3
    assert host.load(bundles / "2.tar.zst").status == 16
    assert host.run("audit", "verify").status == 0


@pytest.mark.engine("frozen")
@pytest.mark.parametrize("with_what", ["the same again", "nothing"])
def test_fi_46_a_loader_that_is_replaced_while_it_runs(
    with_what: str, host: FarSide, bundles: Path, tmp_path: Path
) -> None:
    """An upgrade swaps the folder by a rename; what runs ends well, or changed nothing."""
    installed, replaced = tmp_path / "opt/airlock-loader", tmp_path / "opt/old"
    shutil.copytree(FROZEN.parent, installed)
    program = (str(installed / "airlock-loader"),)
    with in_the_middle(host, bundles / "3.tar.zst", program) as process:
        installed.rename(replaced)
        if with_what == "the same again":
            shutil.copytree(FROZEN.parent, installed)
        shutil.rmtree(replaced)
        out, err = process.communicate(timeout=120)
    assert process.returncode in {0, 20, 70}, out + err
    sequence = host.memory()["channels"][0][1]
    assert sequence == (1 if process.returncode else 3), err
    assert host.load(bundles / "3.tar.zst").status == 0
    assert host.quarantine() == []


def test_fi_50_loads_that_are_killed_again_and_again_leave_nothing_behind(
    host: FarSide, bundles: Path, tmp_path: Path, record_property: Record
) -> None:
    """At a time drawn anew each time; then one that is let to its end."""
    drawn = random.Random(50)
    old = tmp_path / "old"
    for name in ("host", "loaded"):
        shutil.copytree(tmp_path / name, old / name)
    golden = host.run("load", bundles / "2.tar.zst", "--into", f"oci:{host.loaded}")
    assert golden.status == 0
    state, target, evidence = floors(host), host.target(), _files(host.state / "evidence")
    for name in ("host", "loaded"):
        shutil.rmtree(tmp_path / name)
        shutil.copytree(old / name, tmp_path / name)

    def load() -> Running:
        into = f"oci:{host.loaded}"
        return Running.begin(
            ["--root", host.root, "load", bundles / "2.tar.zst", "--into", into],
            before=lambda: os.environ.__setitem__("TMPDIR", str(tmp_path)),
        )

    beside = set(tmp_path.iterdir())
    whole = min(_took(load) for _ in range(3))
    shutil.rmtree(tmp_path / "host")
    shutil.rmtree(tmp_path / "loaded")
    for name in ("host", "loaded"):
        shutil.copytree(old / name, tmp_path / name)
    killed = 0
    for _ in range(CYCLES):
        ended = load().end(after=drawn.uniform(0, 1.1 * whole))
        killed += ended.status == -signal.SIGKILL
        assert ended.status in {0, -signal.SIGKILL}, ended.err
    assert killed > CYCLES // 4
    record_property(INJECTED, killed)
    assert load().end().status == 0
    assert (floors(host), host.target()) == (state, target)
    assert _files(host.state / "evidence") == evidence
    assert host.quarantine() == []
    assert set(tmp_path.iterdir()) == beside
    assert {path.name for path in host.state.iterdir()} == {
        path.name for path in (old / "host/var/lib/airlock").iterdir()
    }
    audited = run(["--root", host.root, "audit", "verify"])
    assert audited.status == 0, audited.err
    assert len(host.records()) <= CYCLES + 10


def _took(load: Callable[[], Running]) -> float:
    began = time.monotonic()
    assert load().end().status == 0
    return time.monotonic() - began


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
