"""`watch` with the engines themselves: a health command that says no, and the name comes back.

The health command runs the container that was just loaded, as an operator's would.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher, Ran
from tests.engines import Client, Containerd, Docker, Podman

NAME = f"{REPOSITORY}:1"


class Engine(Protocol):
    @property
    def client(self) -> Client: ...
    @property
    def environment(self) -> dict[str, str]: ...
    def list(self) -> dict[str, str]: ...
    def run(self, reference: str) -> str: ...


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "unused")


def appliance(
    host: FarSide, publisher: Publisher, folder: Path, engine: Engine, target: str
) -> None:
    """Week one is well; week two is ill and goes back; week three is well again."""
    spool, told = folder / "spool", folder / "told"
    spool.mkdir()
    for number, version in ((1, "1.0.1"), (2, "ill"), (3, "1.0.3")):
        publisher.bundle(
            folder / f"{number}.tar.zst", sequence=number, version=version, days=number
        )
    health = _script(
        folder / "health",
        f"""
import json, subprocess, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.engines import {type(engine).__name__}, Client
from pathlib import PosixPath
images = json.load(sys.stdin)["images"]
engine = {engine!r}
said = [engine.run(image["name"]) for image in images]
print(sys.argv[1:], said, file=open({str(told)!r}, "a"))
sys.exit("ill" in "".join(said))
""",
    )
    hook = _script(
        folder / "hook",
        f"import sys; sys.stdin.read(); print(sys.argv[1:], file=open({str(told)!r}, 'a'))",
    )
    (host.root / "etc/airlock/config.toml").write_text(
        f'schema = 1\n[watch]\ninto = "{target}"\nhealth = ["{health}"]\nhook = ["{hook}"]\n'
    )

    def look(*options: str) -> Ran:
        return host.run(
            "watch", spool, "--once", *options, isolated=False, environment=engine.environment
        )

    shutil.copy(folder / "1.tar.zst", spool)
    assert "1.tar.zst: proposed: channel stable sequence 1 would be loaded" in look("--dry-run").out
    assert not engine.list(), "the update check asks no runtime for anything"
    ran = look()
    assert ran.status == 0, ran.out + ran.err
    assert engine.run(NAME) == "hello 1.0.1\n"
    before = engine.list()

    shutil.copy(folder / "2.tar.zst", spool)
    ran = look()
    assert ran.status == 21, ran.out + ran.err
    assert "2.tar.zst: refused [runtime.unhealthy]: " in ran.out
    assert engine.list() == before
    assert engine.run(NAME) == "hello 1.0.1\n"
    assert host.memory()["channels"][0][1] == 1
    failed = host.records()[-1]
    assert (failed["outcome"], failed["failure"]["code"]) == ("failed", "runtime.unhealthy")
    assert look().status == 0, "known, and left alone"

    shutil.copy(folder / "3.tar.zst", spool)
    ran = look()
    assert ran.status == 0, ran.out + ran.err
    assert engine.run(NAME) == "hello 1.0.3\n"
    assert host.memory()["channels"][0][1] == 3
    assert told.read_text().splitlines() == [
        r"['check'] ['hello 1.0.1\n']",
        "['loaded']",
        r"['check'] ['hello ill\n']",
        "['put-back']",
        r"['check'] ['hello 1.0.3\n']",
        "['loaded']",
    ]
    assert host.quarantine() == []


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


@pytest.mark.engine("docker")
def test_docker(host: FarSide, publisher: Publisher, tmp_path: Path, docker_engine: Docker) -> None:
    appliance(host, publisher, tmp_path, docker_engine, "docker")


@pytest.mark.engine("podman")
def test_podman(host: FarSide, publisher: Publisher, tmp_path: Path, podman_engine: Podman) -> None:
    appliance(host, publisher, tmp_path, podman_engine, "podman")


@pytest.mark.engine("containerd")
def test_containerd(
    host: FarSide, publisher: Publisher, tmp_path: Path, containerd_engine: Containerd
) -> None:
    appliance(host, publisher, tmp_path, containerd_engine, "containerd")
