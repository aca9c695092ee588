"""A runtime's client that dies at any byte, lies or refuses (CASES FI-05, FI-26 to FI-29).

The client is a stand-in that keeps its images in a file. Whatever it does, names lead to the old
image or to the new one, the floors follow what is true, and running again brings the new one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loader import confine, pipeline
from loader.errors import AirlockError
from loader.interrupts import Interrupts
from loader.model.descriptor import Platform
from loader.progress import Silence
from loader.run import Trace, Wish
from loader.runtime.targets import open_target, parse_target
from loader.source import BundleFile
from loader.verbs.call import Call
from loader.verbs.judged import open_host
from tests.conftest import INJECTED
from tests.e2e.injected import SOAK
from tests.e2e.loading import FarSide, Publisher
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image
from tests.presence import ROOT

Record = Callable[[str, object], None]
FAKE = ROOT / "tests/unit/loader/runtime/fake_client.py"
PROGRAMS = {"docker": "docker", "podman": "podman", "containerd": "ctr"}
NAME = "registry.acme.example/acme/app:1"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Rig:
    """A host, and a runtime that does as it is told."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        publisher = Publisher()
        self.host = FarSide(publisher.write_host(folder / "host"), folder / "unused")
        for number in (1, 2):
            publisher.bundle(
                folder / f"{number}.tar.zst",
                sequence=number,
                version=f"1.{number}",
                days=number,
                extra=[Layer.noise(100_000, seed=number)],
            )
        store = ContentStore()
        two = [
            publisher.entry(
                hello_image(
                    store, text=f"{tag}\n", version="1.3", extra=[Layer.noise(9, seed=tag)]
                ),
                tag=str(tag),
                days=3,
            )
            for tag in (1, 2)
        ]
        publisher.pack(folder / "3.tar.zst", store, two, sequence=3)
        self.runtime = folder / kind
        self.runtime.mkdir()
        self.client = self.runtime / PROGRAMS[kind]
        self.client.write_text(f"#!{sys.executable} -IS\n{FAKE.read_text()}")
        self.client.chmod(0o755)
        self.daemon = socket.socket(socket.AF_UNIX)
        self.daemon.bind(str(self.runtime / "daemon.sock"))

    def behave(self, **scenario: object) -> None:
        (self.runtime / "scenario.json").write_text(json.dumps(scenario))

    def held(self) -> dict[str, Any]:
        path = self.runtime / "state.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def keep(self, held: dict[str, Any]) -> None:
        (self.runtime / "state.json").write_text(json.dumps(held, sort_keys=True))

    def load(self, number: int) -> int:
        """Run the line in a process of its own; return its exit status."""
        pid = os.fork()
        if not pid:
            status = 70
            try:
                status = self._line(number)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _line(self, number: int) -> int:
        socket_path = self.runtime / "daemon.sock"
        environment = {
            "DOCKER_HOST": f"unix://{socket_path}",
            "CONTAINERD_ADDRESS": str(socket_path),
            "HOME": str(self.folder),
        }
        call = Call(
            arguments=argparse.Namespace(policy=None, root=self.host.root),
            environment=environment,
            clock=lambda: NOW,
        )
        target = parse_target(self.kind)
        try:
            with open_target(target, environment, client=self.client) as runtime:
                confine.cut_off(sockets="none")
                host, _ = open_host(call)
                pipeline.load(
                    BundleFile.opening(self.folder / f"{number}.tar.zst"),
                    host,
                    runtime,
                    Wish(target=self.kind, platform=Platform.parse("linux/amd64")),
                    Trace(),
                    progress=Silence(),
                    interrupts=Interrupts.watch(),
                )
        except AirlockError as e:
            return e.exit_status
        return 0

    def sequence(self) -> int:
        channels = self.host.memory().get("channels", [])
        return int(str(channels[0][1])) if channels else 0


@pytest.fixture(scope="module", params=PROGRAMS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(request.param, tmp_path_factory.mktemp(request.param))
    rig.behave()
    assert rig.load(1) == 0
    yield rig
    rig.daemon.close()


def _met(rig: Rig, **scenario: object) -> int:
    """Let the client misbehave once; check what is left, and that running again makes it good."""
    state, kept = rig.host.state, rig.folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(state, kept)
    before = rig.held()
    rig.behave(**scenario)
    status = rig.load(2)
    if status:
        assert status in {20, 21}, f"{scenario}: {status}"
        assert rig.sequence() == 1, str(scenario)
        assert rig.held()["names"] == before["names"], f"{scenario}: a name was moved"
        assert rig.host.quarantine() == []
    else:
        assert rig.sequence() == 2, str(scenario)
        assert rig.held()["names"][NAME] != before["names"][NAME]
    rig.behave()
    assert rig.load(2) == 0, f"{scenario}: not mended"
    assert rig.sequence() == 2
    assert rig.held()["names"][NAME] != before["names"][NAME]
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    rig.keep(before)
    return status


def test_fi_26_it_dies_at_any_byte(rig: Rig, record_property: Record) -> None:
    step = 2_048 if SOAK else 16_384
    places = [0, 1, 511, 512, 513, *range(step, 110_000, step)]
    statuses = [_met(rig, stream="die", bytes=at) for at in places]
    record_property(INJECTED, len(places))
    assert set(statuses) == {21}


# Not a client that names something else and goes on doing so when it is to name the old one again:
# that is "runtime.not-put-back", in tests/unit/loader/runtime.
LIES: tuple[dict[str, object], ...] = (
    {"load": "lie"},
    {"load": "other-layers"},
    {"load": "other-digest"},
    {"load": "lose-a-blob"},
    {"load": "nothing"},
    {"load": "fail-after"},
    {"tag": "refuse"},
    {"inspect": "nonsense"},
    {"inspect": "refuse"},
    {"status": 1},
    {"babble": 2_000_000},
    {"flood": 2_000_000},
)


@pytest.mark.parametrize("at", [1, 2])
def test_fi_28_it_restarts_before_an_image(rig: Rig, at: int, record_property: Record) -> None:
    """A bundle of two: none is left behind alone, and the same load again brings both."""
    state, kept = rig.host.state, rig.folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(state, kept)
    before = rig.held()
    (rig.runtime / "loads").unlink(missing_ok=True)
    rig.behave(**{"restarts-at": at})
    assert rig.load(3) == 21
    assert rig.sequence() == 1
    assert rig.held()["names"] == before["names"]
    assert rig.load(3) == 0, "it is there again"
    assert rig.sequence() == 3
    assert {NAME, f"{NAME[:-1]}2"} <= rig.held()["names"].keys()
    record_property(INJECTED, 1)
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    rig.keep(before)


def test_fi_27_it_lies_refuses_or_babbles(rig: Rig, record_property: Record) -> None:
    """FI-29 is among them: a disk that was full behind the import (`fail-after`)."""
    statuses = [_met(rig, **lie) for lie in LIES]
    record_property(INJECTED, len(LIES))
    assert statuses.count(21) >= 6
