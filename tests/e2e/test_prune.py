"""`prune` plans first, removes what we brought and nothing needs, and touches nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher
from tests.e2e.test_loader_engines import Engine
from tests.engines import Containerd, Docker, Podman

NAME = f"{REPOSITORY}:1"


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for number in (1, 2, 3):
        publisher.bundle(
            folder / f"{number}.tar.zst", sequence=number, version=f"1.{number}", days=number
        )
    return folder


@pytest.fixture
def host(publisher: Publisher, bundles: Path, tmp_path: Path) -> FarSide:
    """A host that loaded three versions under one name."""
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    for number in (1, 2, 3):
        assert host.load(bundles / f"{number}.tar.zst").status == 0
    return host


def _blobs(host: FarSide) -> set[str]:
    return {path.name for path in (host.loaded / "blobs/sha256").iterdir()}


def _evidence(host: FarSide) -> set[str]:
    return {path.name for path in (host.state / "evidence").iterdir()}


def test_by_default_it_only_plans(host: FarSide) -> None:
    before = host.untouched(), _evidence(host), (host.state / "ledger.sqlite").read_bytes()
    for arguments in (("prune",), ("prune", "--dry-run"), ("prune", "--json")):
        ran = host.run(*arguments)
        assert ran.status == 0, ran.err
    assert "A PLAN: nothing was removed" in host.run("prune").out
    after = host.untouched(), _evidence(host), (host.state / "ledger.sqlite").read_bytes()
    assert after == before
    assert host.run("prune", "--yes", "--dry-run").status == 2


def test_what_nothing_needs_goes_and_the_rest_works_on(host: FarSide, bundles: Path) -> None:
    planned = host.run("prune", "--json").verdict
    blobs, evidence = _blobs(host), _evidence(host)
    ran = host.run("prune", "--yes", "--json")
    assert ran.status == 0, ran.err
    [target] = ran.verdict["targets"]
    removed = {i["item"].removeprefix("sha256:") for i in target["items"] if i["what"] == "removed"}
    wanted = {
        i["item"].removeprefix("sha256:")
        for i in planned["targets"][0]["items"]
        if i["what"] == "to-remove"
    }
    assert removed == wanted == blobs - _blobs(host)
    assert len(removed) >= 4
    assert len(evidence - _evidence(host)) == len(planned["evidence"]["digests"]) > 0
    assert host.run("verify-local", "--all").status == 0
    assert "NOTHING TO PRUNE" in host.run("prune").out
    assert host.run("audit", "verify").status == 0
    history = host.run("history").out
    assert history.index("prune: done") < history.index("prune: begun"), "the newest first"
    begun, done = host.records()[-2:]
    assert all(any(item in note for note in begun["notes"]) for item in removed)
    assert all(any(item in note for note in done["notes"]) for item in removed)
    assert host.load(bundles / "3.tar.zst").status == 0
    assert host.load(bundles / "2.tar.zst").status == 16, "floors stay where they are"


def test_what_somebody_else_brought_or_named_is_not_touched(host: FarSide) -> None:
    foreign = host.loaded / "blobs/sha256" / ("f" * 64)
    foreign.write_bytes(b"somebody else's")
    [second] = [r["images"][0] for r in host.records() if r["sequence"] == 2]
    index = json.loads((host.loaded / "index.json").read_text())
    [one] = index["manifests"]
    manifest = host.loaded / "blobs/sha256" / second["image"].removeprefix("sha256:")
    index["manifests"].append(
        {
            "mediaType": one["mediaType"],
            "digest": second["image"],
            "size": manifest.stat().st_size,
            "annotations": {"org.opencontainers.image.ref.name": "kept:by-hand"},
        }
    )
    (host.loaded / "index.json").write_text(json.dumps(index))
    before = _blobs(host)
    assert host.run("prune", "--yes").status == 0
    gone = before - _blobs(host)
    assert gone, "what the first load brought goes"
    assert foreign.exists()
    assert manifest.exists()


def test_an_index_that_cannot_be_read_keeps_everything(host: FarSide) -> None:
    index = json.loads((host.loaded / "index.json").read_text())
    index["manifests"][0]["digest"] = "md5:0"
    (host.loaded / "index.json").write_text(json.dumps(index))
    before = _blobs(host)
    host.run("prune", "--yes")
    assert _blobs(host) == before


def test_a_target_that_is_gone_is_no_fault(host: FarSide) -> None:
    shutil.rmtree(host.loaded)
    assert host.run("prune").status == 0
    assert not host.loaded.exists()


def test_evidence_that_cannot_be_told_stays(host: FarSide) -> None:
    last = host.records()[-1]["statement"].removeprefix("sha256:")
    (host.state / "evidence" / last).write_bytes(b"another")
    before = _evidence(host)
    ran = host.run("prune", "--yes")
    assert ran.status != 0
    assert _evidence(host) == before


def test_a_damaged_memory_prunes_nothing(host: FarSide) -> None:
    (host.state / "floors").unlink()
    before = host.target(), _evidence(host)
    assert host.run("prune", "--yes").status == 20
    assert (host.target(), _evidence(host)) == before


def test_a_new_host_has_nothing_to_prune(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.run("prune", "--yes").status == 0
    assert not host.state.exists()


# --- with the engines themselves ------------------------------------------------------------------


def _engine(
    publisher: Publisher, bundles: Path, tmp_path: Path, engine: Engine, target: str
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "unused")

    def run(*arguments: str | Path) -> None:
        ran = host.run(*arguments, isolated=False, environment=engine.environment)
        assert ran.status == 0, ran.err

    for number in (1, 2):
        run("load", bundles / f"{number}.tar.zst", "--into", target)
    both = engine.list()
    run("prune")
    assert engine.list() == both, "a plan removes nothing"
    run("prune", "--yes")
    assert engine.run(NAME) == "hello 1.2\n"
    run("verify-local", "--all")
    ran = host.run("prune", "--json", isolated=False, environment=engine.environment)
    items = [i for one in ran.verdict["targets"] for i in one["items"]]
    assert items
    assert {i["what"] for i in items} == {"gone"}


@pytest.mark.engine("docker")
def test_docker(publisher: Publisher, bundles: Path, tmp_path: Path, docker_engine: Docker) -> None:
    _engine(publisher, bundles, tmp_path, docker_engine, "docker")


@pytest.mark.engine("podman")
def test_podman(publisher: Publisher, bundles: Path, tmp_path: Path, podman_engine: Podman) -> None:
    _engine(publisher, bundles, tmp_path, podman_engine, "podman")


@pytest.mark.engine("containerd")
def test_containerd(
    publisher: Publisher, bundles: Path, tmp_path: Path, containerd_engine: Containerd
) -> None:
    _engine(publisher, bundles, tmp_path, containerd_engine, "containerd")
