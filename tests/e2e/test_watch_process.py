"""`watch` as a process: it goes on, it ends, several at once are one; a slow medium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader import pipeline
from loader.places import Places
from loader.policy.model import Policy
from loader.progress import Silence
from loader.run import Host, Trace
from loader.source import BundleFile
from loader.trust.store import TrustStore
from tests.e2e.loading import SIGNED_AT, Publisher
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.forked import Forker
from tests.presence import ROOT

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    with Forker.start() as forker:
        yield Watcher.make(forker, Publisher(), tmp_path)


def _started(watcher: Watcher, *options: str) -> subprocess.Popen[str]:
    into = f"oci:{watcher.host.loaded}"
    return subprocess.Popen(
        watcher.host.command("watch", watcher.spool, "--into", into, *options, isolated=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()
    return line


def test_without_a_timer_it_goes_on_and_ends_when_told_to(watcher: Watcher, tmp_path: Path) -> None:
    watcher.configure("interval-seconds = 1")
    for number in (1, 2):
        watcher.publisher.bundle(tmp_path / f"{number}.tar.zst", sequence=number, days=number)
    with _started(watcher) as process:
        for number in (1, 2):
            part = watcher.spool / "copy.part"
            shutil.copy(tmp_path / f"{number}.tar.zst", part)
            part.rename(watcher.spool / f"{number}.tar.zst")
            said = _line(process)
            assert said.startswith(f"{number}.tar.zst: loaded: "), said
            assert watcher.sequence() == number
            while not said.startswith("1 loaded"):  # what else there is, and the sum of it
                said = _line(process)
            if number == 1:
                # A stick that is taken out, and comes again: said once, and no end of it.
                away = watcher.spool.rename(tmp_path / "away")
                assert process.stderr is not None
                assert "error[io.spool]" in process.stderr.readline()
                away.rename(watcher.spool)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "io.spool" not in err
    assert watcher.host.quarantine() == []


def test_fi_49_a_stop_in_the_middle_of_a_load_puts_everything_back(watcher: Watcher) -> None:
    watcher.publisher.bundle(
        watcher.spool / "large.tar.zst", sequence=1, extra=[Layer.noise(200_000_000, seed=1)]
    )
    with _started(watcher, "--once") as process:
        while not any((watcher.host.state / "quarantine").glob("run-*/*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)  # to the parent alone, as KillMode=mixed does
        out, err = process.communicate(timeout=60)
    assert process.returncode == 20, out + err
    assert "error[interrupted.signal]" in err
    assert watcher.host.target() == {}
    assert watcher.host.quarantine() == []
    assert watcher.look().status == 0
    assert watcher.what() == {"large.tar.zst": "loaded"}


def test_a135_fi_32_udev_timer_and_a_person_at_once_are_one_import(watcher: Watcher) -> None:
    for number in (1, 2):
        watcher.publisher.bundle(
            watcher.spool / f"{number}.tar.zst",
            sequence=number,
            days=number,
            extra=[Layer.noise(2_000_000, seed=number)],
        )
    several = [_started(watcher, "--once") for _ in range(3)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in several]
    assert {status for _, status in ended} <= {0, 20}, ended
    assert watcher.look().status == 0
    assert watcher.sequence() == 2
    assert [one for one in watcher.outcomes() if one[0] == "loaded"] == [("loaded", 2)]
    assert watcher.host.quarantine() == []


class _ByteByByte(BundleFile):
    """A medium that gives one byte, or a few, whatever is asked for (FI-21)."""

    __slots__ = ()

    def read(self, size: int, /) -> bytes:
        return super().read(min(size, 1 if self.position < 5_000 else 777))


def test_fi_21_a_medium_that_gives_byte_by_byte_is_read_right(
    watcher: Watcher, tmp_path: Path
) -> None:
    path = tmp_path / "1.tar.zst"
    watcher.publisher.bundle(path, sequence=1, extra=[Layer.noise(100_000, seed=1)])
    folder = watcher.host.root / "etc/airlock"
    policy = Policy.parse((folder / "policy.toml").read_bytes(), where="policy.toml")
    places = Places.under(watcher.host.root)
    trust = TrustStore.open(policy, policy_directory=folder, anchors_directory=places.anchors)
    host = Host(places=places, policy=policy, trust=trust, now=SIGNED_AT, version="0")
    trace = Trace()
    pipeline.verify(
        lambda _: _ByteByByte.open(path), host, trace, allow_downgrade=None, progress=Silence()
    )
    assert trace.bytes_read == path.stat().st_size
    assert trace.judgement is not None
