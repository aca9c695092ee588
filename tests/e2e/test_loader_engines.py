"""From a file to a running container, through the command line, with the engines themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher, Ran
from tests.engines import Client, Containerd, Docker, Podman
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image


class Engine(Protocol):
    @property
    def environment(self) -> dict[str, str]: ...
    def list(self) -> dict[str, str]: ...
    @property
    def client(self) -> Client: ...
    def run(self, reference: str) -> str: ...
    def clear(self) -> None: ...


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "unused")


def load(host: FarSide, bundle: Path, target: str, environment: Mapping[str, str]) -> Ran:
    return host.run(
        "load", bundle, "--json", "--into", target, isolated=False, environment=environment
    )


def line(host: FarSide, publisher: Publisher, tmp_path: Path, engine: Engine, target: str) -> None:
    """Load, run, load again, go forward, and be refused: what every runtime must do."""
    one, two = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    publisher.bundle(one, sequence=1, version="1.0.1", days=1, multi=True)
    publisher.bundle(two, sequence=2, version="1.0.2", days=2, multi=True)

    ran = load(host, one, target, engine.environment)
    assert ran.status == 0, ran.err
    [image] = ran.verdict["images"]
    assert image["loaded"]["what"] == "loaded"
    assert image["loaded"]["read_back"]
    assert engine.run(f"{REPOSITORY}:1") == "hello from version 1.0.1\n"
    first = engine.list()

    again = load(host, one, target, engine.environment)
    assert again.status == 0, again.err
    assert again.verdict["images"][0]["loaded"]["what"] == "already-there"
    assert engine.list() == first

    forward = load(host, two, target, engine.environment)
    assert forward.status == 0, forward.err
    assert engine.run(f"{REPOSITORY}:1") == "hello from version 1.0.2\n"
    second = engine.list()

    back = load(host, one, target, engine.environment)
    assert (back.status, back.verdict["code"]) == (16, "rollback.sequence")
    spoiled = tmp_path / "3.tar.zst"
    raw = bytearray(two.read_bytes())
    raw[-len(raw) // 8] ^= 1
    spoiled.write_bytes(raw)
    assert load(host, spoiled, target, engine.environment).status == 19
    assert engine.list() == second

    # Another host's memory knows nothing of these names: they are somebody else's to it.
    other = FarSide(publisher.write_host(tmp_path / "other"), tmp_path / "unused")
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, text=f"{tag}\n"), tag=tag, days=9) for tag in "91"
    ]
    publisher.pack(tmp_path / "4.tar.zst", store, entries)
    ran = load(other, tmp_path / "4.tar.zst", target, engine.environment)
    assert (ran.status, ran.verdict["code"]) == (21, "runtime.tag-taken")
    assert engine.list() == second, "the first of the two images is gone again"
    assert other.memory()["loaded"] == []
    assert host.quarantine() == other.quarantine() == []
    look_again(host, engine)


def look_again(host: FarSide, engine: Engine) -> None:
    """DZ-8: with no archive at hand, what is there is what was let in; or denied, moved, gone."""

    def verify_local() -> Ran:
        arguments = ("verify-local", "--all", "--json")
        return host.run(*arguments, isolated=False, environment=engine.environment)

    before = engine.list()
    ran = verify_local()
    assert ran.status == 0, ran.err
    [image] = ran.verdict["images"]
    assert (image["policy"], image["runtime"]) == ("accepted", "same")
    assert image["facts"]

    policy = host.root / "etc/airlock/policy.toml"
    kept = policy.read_text()
    policy.write_text(kept + f'\n[[deny]]\ndigest = "{image["image"]}"\nreason = "CVE-2026-1"\n')
    ran = verify_local()
    assert (ran.status, ran.verdict["class"]) == (17, "denied")
    assert ran.verdict["images"][0]["runtime"] == "same"
    policy.write_text(kept)
    assert engine.list() == before, "it says so, and changes nothing"

    _move(engine, f"{REPOSITORY}:1", before)
    ran = verify_local()
    assert (ran.status, ran.verdict["code"]) == (1, "drift.changed")
    assert ran.verdict["images"][0]["policy"] == "accepted"
    engine.clear()
    ran = verify_local()
    assert (ran.status, ran.verdict["code"]) == (1, "drift.gone")


def _move(engine: Engine, name: str, there: Mapping[str, str]) -> None:
    """Have somebody point the name to another image that the runtime has."""
    other = next(one for one, digest in there.items() if digest != there[name])
    source = other.removeprefix("<none>@")
    tag = ("images", "tag", "--force") if isinstance(engine, Containerd) else ("tag",)
    engine.client.call(*tag, source, name)
    assert engine.list()[name] == there[other]


@pytest.mark.engine("docker")
def test_docker(host: FarSide, publisher: Publisher, tmp_path: Path, docker_engine: Docker) -> None:
    line(host, publisher, tmp_path, docker_engine, "docker")


@pytest.mark.engine("podman")
def test_podman(host: FarSide, publisher: Publisher, tmp_path: Path, podman_engine: Podman) -> None:
    line(host, publisher, tmp_path, podman_engine, "podman")


@pytest.mark.engine("containerd")
def test_containerd(
    host: FarSide, publisher: Publisher, tmp_path: Path, containerd_engine: Containerd
) -> None:
    line(host, publisher, tmp_path, containerd_engine, "containerd")


def test_a_runtime_that_is_not_there_is_said_before_anything_is_read(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle)
    ran = load(host, bundle, "docker", {"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"})
    assert (ran.status, ran.verdict["code"]) == (21, "runtime.absent")
    assert ran.verdict["archive"]["bytes_read"] == 0
    assert not host.state.exists()
