"""containerd for real: a daemon of our own, `ctr` behind the launcher, a container that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loader.errors import DigestError, RuntimeLoadError, RuntimeTagError, UsageError
from loader.runtime.containerd import Containerd as ContainerdRuntime
from loader.runtime.containerd import containerd_client
from loader.runtime.launcher import Launcher
from tests.engines import Containerd
from tests.runtime_images import gzipped, layer, make_image

pytestmark = pytest.mark.engine("containerd")
REPOSITORY = "registry.example/acme/app"
NAME = f"{REPOSITORY}:1.0"


@pytest.fixture
def runtime(containerd_engine: Containerd) -> Iterator[ContainerdRuntime]:
    with Launcher.start(containerd_client(containerd_engine.environment)) as launcher:
        yield ContainerdRuntime(launcher)


@pytest.mark.parametrize("index", [True, False], ids=["index", "manifest"])
def test_containerd_runs_what_was_loaded(
    runtime: ContainerdRuntime, containerd_engine: Containerd, *, index: bool
) -> None:
    image = make_image("from containerd", absent=("s390x",) if index else (), index=index)
    assert runtime.probe().startswith("containerd 1.")
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "loaded"
    assert receipt.digest == image.top
    assert containerd_engine.list() == {
        NAME: str(image.top),
        f"{REPOSITORY}@{image.top}": str(image.top),
    }
    assert containerd_engine.inspect(str(image.top)) == image.parts.top.raw
    assert containerd_engine.run(NAME) == "from containerd\n"


def test_a143_containerd_gets_no_name_that_an_image_says_by_itself(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    """A143: names are what evidence vouches for; these annotations are signed, and only that."""
    names = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
    image = make_image("annotated", annotations=dict.fromkeys(names, "docker.io/library/evil:1"))
    runtime.load(image.request(NAME))
    assert set(containerd_engine.list()) == {NAME, f"{REPOSITORY}@{image.top}"}
    assert containerd_engine.run(NAME) == "annotated\n"


def test_containerd_uses_the_namespace_of_kubernetes(containerd_engine: Containerd) -> None:
    client = containerd_client(containerd_engine.environment, namespace="k8s.io")
    image = make_image("k8s")
    kubernetes = containerd_engine.within("k8s.io")
    with Launcher.start(client) as launcher:
        runtime = ContainerdRuntime(launcher)
        receipt = runtime.load(image.request(NAME))
        assert NAME in kubernetes.list()
        assert containerd_engine.list() == {}
        runtime.undo(receipt)
    assert kubernetes.list() == {}


def test_containerd_leaves_alone_what_is_there(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    image = make_image("again")
    runtime.load(image.request(NAME))
    before = containerd_engine.list()
    image.blobs.opened.clear()
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "already-there"
    assert image.blobs.opened == []
    runtime.undo(receipt)
    assert containerd_engine.list() == before


def test_containerd_undo_leaves_nothing(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    receipt = runtime.load(make_image("short").request(NAME))
    runtime.undo(receipt)
    assert containerd_engine.list() == {}
    assert containerd_engine.content() == set()


def test_containerd_keeps_a_foreign_name(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    mine, theirs = make_image("mine"), make_image("theirs")
    other = "registry.example/acme/other:1"
    runtime.load(theirs.request(other))
    containerd_engine.client.call("images", "tag", other, NAME)
    # From here on the foreign image lives under the contested name alone.
    for name in (other, f"registry.example/acme/other@{theirs.top}"):
        containerd_engine.client.call("images", "rm", "--sync", name)
    before, content = containerd_engine.list(), containerd_engine.content()
    with pytest.raises(RuntimeTagError):
        runtime.load(mine.request(NAME))
    assert containerd_engine.list() == before
    receipt = runtime.load(mine.request(NAME, owned=theirs.top))
    assert containerd_engine.list() == {
        NAME: str(mine.top),
        f"{REPOSITORY}@{mine.top}": str(mine.top),
        f"{REPOSITORY}@{theirs.top}": str(theirs.top),
    }
    runtime.undo(receipt)
    assert containerd_engine.list() == before
    assert containerd_engine.content() == content
    assert containerd_engine.run(NAME) == "theirs\n"


def test_containerd_never_sees_a_blob_that_changed(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    image = make_image("good")
    last = image.kept[0].manifest.layers[-1].digest
    image.blobs.swap(last, gzipped(layer({"evil": b"x"})))
    with pytest.raises(DigestError):
        runtime.load(image.request(NAME))
    assert containerd_engine.list() == {}


def test_containerd_refuses_a_layer_that_is_not_the_configs(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    # containerd has made the name by the time it finds out: it must not stay.
    image = make_image("lie", diff_ids=["sha256:" + "0" * 64, "sha256:" + "1" * 64])
    with pytest.raises(RuntimeLoadError, match="diff id"):
        runtime.load(image.request(NAME))
    assert containerd_engine.list() == {}


def test_containerd_brings_what_another_import_left_out(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    image = make_image("whole")
    runtime.load(image.request(NAME))
    layer_digest = image.kept[0].manifest.layers[-1].digest
    containerd_engine.client.call("content", "rm", str(layer_digest))
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "loaded"
    assert str(layer_digest) in containerd_engine.content()


def test_containerd_takes_one_platform(
    runtime: ContainerdRuntime, containerd_engine: Containerd
) -> None:
    image = make_image("two", architectures=("amd64", "arm64"))
    with pytest.raises(UsageError, match="one platform"):
        runtime.load(image.request(NAME, selection=image.kept))
    foreign = next(kept for kept in image.kept if "arm64" in str(kept.platform))
    runtime.load(image.request(NAME, selection=(foreign,)))
    assert str(foreign.manifest.descriptor.digest) in containerd_engine.content()
