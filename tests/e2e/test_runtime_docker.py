"""docker for real: a dockerd of our own, its client behind the launcher, a container that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from backports import zstd

from loader.errors import DiffIdError, DigestError, RuntimeTagError
from loader.runtime.docker import Docker as DockerRuntime
from loader.runtime.docker import docker_client
from loader.runtime.launcher import Launcher
from tests.engines import Docker
from tests.runtime_images import gzipped, layer, make_image

pytestmark = pytest.mark.engine("docker")
NAME = "registry.example/acme/app:1.0"


@pytest.fixture
def runtime(docker_engine: Docker) -> Iterator[DockerRuntime]:
    with Launcher.start(docker_client(docker_engine.environment)) as launcher:
        yield DockerRuntime(launcher)


def test_docker_runs_what_was_loaded(runtime: DockerRuntime, docker_engine: Docker) -> None:
    image = make_image("from docker", absent=("s390x",))
    assert "vfs" in runtime.probe()
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "loaded"
    assert receipt.digest == image.config
    assert docker_engine.list() == {NAME: str(image.config)}
    assert docker_engine.run(NAME) == "from docker\n"


def test_docker_leaves_alone_what_is_there(runtime: DockerRuntime, docker_engine: Docker) -> None:
    image = make_image("again")
    runtime.load(image.request(NAME))
    image.blobs.opened.clear()
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "already-there"
    assert image.blobs.opened == []
    runtime.undo(receipt)
    assert docker_engine.list() == {NAME: str(image.config)}


def test_docker_undo_leaves_nothing(runtime: DockerRuntime, docker_engine: Docker) -> None:
    receipt = runtime.load(make_image("short").request(NAME))
    runtime.undo(receipt)
    assert docker_engine.list() == {}


def test_docker_keeps_a_foreign_name(runtime: DockerRuntime, docker_engine: Docker) -> None:
    mine, theirs = make_image("mine"), make_image("theirs")
    runtime.load(theirs.request("registry.example/acme/other:1"))
    docker_engine.client.call("tag", "registry.example/acme/other:1", NAME)
    before = docker_engine.list()
    with pytest.raises(RuntimeTagError):
        runtime.load(mine.request(NAME))
    assert docker_engine.list() == before
    receipt = runtime.load(mine.request(NAME, owned=theirs.config))
    assert docker_engine.list()[NAME] == str(mine.config)
    runtime.undo(receipt)
    assert docker_engine.list() == before
    runtime.load(mine.request(NAME, replace="any"))
    assert docker_engine.list()[NAME] == str(mine.config)


def test_docker_never_sees_a_blob_that_changed(
    runtime: DockerRuntime, docker_engine: Docker
) -> None:
    image = make_image("good")
    last = image.kept[0].manifest.layers[-1].digest
    image.blobs.swap(last, gzipped(layer({"evil": b"x"})))
    with pytest.raises(DigestError):
        runtime.load(image.request(NAME))
    assert docker_engine.list() == {}


def test_docker_refuses_a_layer_that_is_not_the_configs(
    runtime: DockerRuntime, docker_engine: Docker
) -> None:
    image = make_image("lie", diff_ids=["sha256:" + "0" * 64, "sha256:" + "1" * 64])
    with pytest.raises(DiffIdError):
        runtime.load(image.request(NAME))
    assert docker_engine.list() == {}


@pytest.mark.parametrize("how", ["zstd", "tar", "gzip-members", "gzip-lies"])
def test_docker_takes_every_compression(
    runtime: DockerRuntime, docker_engine: Docker, how: str
) -> None:
    ways: dict[str, Callable[[bytes], bytes]] = {
        "zstd": zstd.compress,
        "tar": bytes,
        # The end of gzip tells the last member's size: too small, and larger than the layer.
        "gzip-members": lambda raw: gzipped(raw) + gzipped(b""),
        "gzip-lies": lambda raw: gzipped(b"") + gzipped(raw[:512]) + gzipped(raw[512:]),
    }
    image = make_image("every", compress=ways[how])
    runtime.load(image.request(NAME))
    assert docker_engine.list() == {NAME: str(image.config)}
    assert docker_engine.run(NAME) == "every\n"


def test_docker_takes_a_layer_that_is_listed_twice(
    runtime: DockerRuntime, docker_engine: Docker
) -> None:
    twice = layer({"twice": b"2"})
    image = make_image(layers=[twice, layer({"once": b"1"}), twice])
    runtime.load(image.request(NAME))
    assert docker_engine.list() == {NAME: str(image.config)}


def test_docker_takes_official_images_by_their_full_name(
    runtime: DockerRuntime, docker_engine: Docker
) -> None:
    image = make_image("official", docker=True)
    full = "docker.io/library/demo:1"
    runtime.load(image.request(full))
    assert docker_engine.list() == {"demo:1": str(image.config)}
    assert runtime.load(image.request(full)).what == "already-there"


def test_docker_names_nothing_by_digest(runtime: DockerRuntime, docker_engine: Docker) -> None:
    image = make_image("bare")
    receipt = runtime.load(image.request(f"registry.example/acme/app@{image.top}"))
    assert docker_engine.list() == {f"<none>@{image.config}": str(image.config)}
    assert any("no name" in note for note in receipt.notes)
