"""`doctor` names what a load would stumble over, or what somebody else could change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.runtime.versions import standing, version_in
from tests.e2e.loading import FarSide, Publisher, Ran
from tests.e2e.test_loader_engines import Engine
from tests.e2e.test_loader_signs_records import PROGRAM, use_token
from tests.engines import Containerd, Docker, Podman

KEPT = {"config": "config.toml", "policy": "policy.toml", "anchors": "anchors"}


@pytest.mark.parametrize("what", KEPT)
def test_what_others_may_write_is_said(what: str, tmp_path: Path) -> None:
    host = FarSide(Publisher().write_host(tmp_path / "host"), tmp_path / "loaded")
    folder = host.root / "etc/airlock"
    (folder / "config.toml").write_text("schema = 1\n")
    (folder / "anchors").mkdir()
    (folder / "anchors/more.pub").write_text("")
    found = {one["what"]: one for one in host.run("doctor", "--json").verdict["findings"]}
    assert {found[name]["health"] for name in KEPT} == {"ok"}
    path = folder / KEPT[what]
    spoiled = path / "more.pub" if path.is_dir() else path
    spoiled.chmod(0o666)
    ran = host.run("doctor", "--json")
    found = {one["what"]: one for one in ran.verdict["findings"]}
    others = {found[name]["health"] for name in KEPT if name != what}
    assert others == {"ok"}
    assert found[what]["health"] == ("fault" if what == "config" else "warning")
    assert "others may write" in found[what]["words"]
    assert spoiled.name in found[what]["words"]
    if what == "config":
        assert ran.status == 20


def findings(ran: Ran) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in ran.verdict["findings"]}


@pytest.fixture
def loaded(tmp_path: Path) -> FarSide:
    """A host that loaded something."""
    publisher = Publisher()
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    publisher.bundle(tmp_path / "bundle.tar.zst")
    assert host.load(tmp_path / "bundle.tar.zst").status == 0
    return host


def test_a_host_that_works_has_no_fault(loaded: FarSide) -> None:
    ran = loaded.run("doctor", "--json")
    assert ran.status == 0, ran.out
    found = findings(ran)
    assert {found[what]["health"] for what in ("host key", "evidence", "quarantine")} == {"ok"}
    assert "sha256:" in found["host key"]["words"]


def _key_that_others_read(host: FarSide) -> None:
    (host.state / "host.key").chmod(0o644)


def _key_that_is_gone(host: FarSide) -> None:
    (host.state / "host.key").unlink()


def _key_of_another_host(host: FarSide) -> None:
    publisher = Publisher()
    other = FarSide(publisher.write_host(host.root / "other"), host.root / "x")
    publisher.bundle(host.root / "other.tar.zst")
    assert other.load(host.root / "other.tar.zst").status == 0
    shutil.copy(other.state / "host.key", host.state / "host.key")


def _evidence_that_others_write(host: FarSide) -> None:
    (host.state / "evidence").chmod(0o777)


def _quarantine_that_others_write(host: FarSide) -> None:
    (host.state / "quarantine").chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "what", "words"),
    [
        (_key_that_others_read, "host key", "others may read the host's key"),
        (_key_that_is_gone, "host key", "the host's key is gone"),
        (_key_of_another_host, "host key", "another key"),
        (_evidence_that_others_write, "evidence", "others may write"),
        (_quarantine_that_others_write, "quarantine", "others may write"),
    ],
)
def test_a163_what_a_load_would_refuse_is_a_fault(
    loaded: FarSide, spoil: Callable[[FarSide], None], what: str, words: str, tmp_path: Path
) -> None:
    spoil(loaded)
    ran = loaded.run("doctor", "--json")
    assert ran.status == 20
    found = findings(ran)
    assert found[what]["health"] == "fault"
    assert words in found[what]["words"]
    assert loaded.load(tmp_path / "bundle.tar.zst").status == 20, "and a load does refuse it"


def test_who_signs_for_this_host_is_looked_at(tmp_path: Path) -> None:
    host = FarSide(Publisher().write_host(tmp_path / "host"), tmp_path / "loaded")
    use_token(host, PROGRAM)
    found = findings(host.run("doctor", "--json"))
    assert found["host key"]["health"] == "ok"
    assert "sign signs records by the key sha256:" in found["host key"]["words"]
    (host.root / "etc/airlock/sign").chmod(0o777)
    ran = host.run("doctor", "--json")
    assert ran.status == 20
    assert findings(ran)["host key"]["health"] == "fault"


def _version(host: FarSide, engine: Engine, name: str) -> None:
    """T50."""
    ran = host.run("doctor", "--json", isolated=False, environment=engine.environment)
    found = findings(ran)[name]
    version = version_in(found["words"])
    assert version is not None
    mended = standing(name, version) == "mended"
    assert found["health"] == ("ok" if mended else "warning")
    assert ("CVE-" in found["words"]) is not mended


@pytest.mark.engine("docker")
def test_t50_the_version_of_docker(loaded: FarSide, docker_engine: Docker) -> None:
    _version(loaded, docker_engine, "docker")


@pytest.mark.engine("podman")
def test_t50_the_version_of_podman(loaded: FarSide, podman_engine: Podman) -> None:
    _version(loaded, podman_engine, "podman")


@pytest.mark.engine("containerd")
def test_t50_the_version_of_containerd(loaded: FarSide, containerd_engine: Containerd) -> None:
    _version(loaded, containerd_engine, "containerd")
