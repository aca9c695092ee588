"""podman for real: a store of our own, its client behind the launcher, a container that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from loader.digest import Digest
from loader.errors import DiffIdError, DigestError, RuntimeTagError
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest
from loader.runtime.launcher import Launcher
from loader.runtime.podman import Podman as PodmanRuntime
from loader.runtime.podman import podman_client
from tests.engines import Podman
from tests.runtime_images import Kept, Parts, TestImage, gzipped, layer, make_image

pytestmark = pytest.mark.engine("podman")
NAME = "registry.example/acme/app:1.0"


@pytest.fixture
def runtime(podman_engine: Podman) -> Iterator[PodmanRuntime]:
    with Launcher.start(podman_client(podman_engine.environment)) as launcher:
        yield PodmanRuntime(launcher)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker-types"])
def test_podman_runs_what_was_loaded(
    runtime: PodmanRuntime, podman_engine: Podman, *, docker: bool
) -> None:
    image = make_image("from podman", absent=("s390x",), docker=docker)
    assert runtime.probe().startswith("podman ")
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "loaded"
    assert receipt.digest == image.manifest
    assert podman_engine.list() == {NAME: str(image.manifest)}
    assert podman_engine.inspect(f"registry.example/acme/app@{image.manifest}") is not None
    assert podman_engine.run(NAME) == "from podman\n"


def test_podman_leaves_alone_what_is_there(runtime: PodmanRuntime, podman_engine: Podman) -> None:
    image = make_image("again")
    runtime.load(image.request(NAME))
    image.blobs.opened.clear()
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "already-there"
    assert image.blobs.opened == []
    runtime.undo(receipt)
    assert podman_engine.list() == {NAME: str(image.manifest)}


def test_podman_undo_leaves_nothing(runtime: PodmanRuntime, podman_engine: Podman) -> None:
    receipt = runtime.load(make_image("short").request(NAME))
    runtime.undo(receipt)
    assert podman_engine.list() == {}


def test_podman_undo_keeps_a_nameless_image_that_was_there(
    runtime: PodmanRuntime, podman_engine: Podman
) -> None:
    image = make_image("nameless")
    runtime.load(image.request(f"registry.example/acme/app@{image.top}"))
    before = podman_engine.list()
    assert list(before) == [f"<none>@{image.config.hex}"]
    runtime.undo(runtime.load(image.request(NAME)))
    assert podman_engine.list() == before


def test_podman_keeps_a_foreign_name(runtime: PodmanRuntime, podman_engine: Podman) -> None:
    mine, theirs = make_image("mine"), make_image("theirs")
    runtime.load(theirs.request("registry.example/acme/other:1"))
    podman_engine.client.call("tag", "registry.example/acme/other:1", NAME)
    before = podman_engine.list()
    with pytest.raises(RuntimeTagError):
        runtime.load(mine.request(NAME))
    assert podman_engine.list() == before
    receipt = runtime.load(mine.request(NAME, owned=theirs.manifest))
    assert podman_engine.list()[NAME] == str(mine.manifest)
    runtime.undo(receipt)
    assert podman_engine.list() == before


def test_podman_never_sees_a_blob_that_changed(
    runtime: PodmanRuntime, podman_engine: Podman
) -> None:
    image = make_image("good")
    last = image.kept[0].manifest.layers[-1].digest
    image.blobs.swap(last, gzipped(layer({"evil": b"x"})))
    with pytest.raises(DigestError):
        runtime.load(image.request(NAME))
    assert podman_engine.list() == {}


def test_podman_leaves_no_half_stream_behind(
    podman_engine: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Large enough that podman has files of its own open when it is killed.
    image = make_image(layers=[os.urandom(8 << 20), layer({"last": b"x"})])
    image.blobs.swap(image.kept[0].manifest.layers[-1].digest, b"evil")
    seen: list[str] = []
    read = image.blobs.open

    def watched(digest: Digest) -> BinaryIO:
        seen.extend(str(path) for path in tmp_path.rglob("podman*"))
        return read(digest)

    monkeypatch.setattr(type(image.blobs), "open", lambda _, digest: watched(digest))
    client = podman_client(podman_engine.environment | {"TMPDIR": str(tmp_path)})
    with Launcher.start(client) as launcher, pytest.raises(DigestError):
        PodmanRuntime(launcher).load(image.request(NAME))
    assert seen, "podman kept nothing here, so this proves nothing"
    assert list(tmp_path.iterdir()) == []
    assert podman_engine.list() == {}


def test_podman_is_spared_a_layer_that_is_not_the_configs(
    runtime: PodmanRuntime, podman_engine: Podman
) -> None:
    image = make_image("lie", diff_ids=["sha256:" + "0" * 64, "sha256:" + "1" * 64])
    with pytest.raises(DiffIdError):
        runtime.load(image.request(NAME))
    assert podman_engine.list() == {}


def test_podman_knows_one_image_by_two_manifests(
    runtime: PodmanRuntime, podman_engine: Podman
) -> None:
    first = make_image("same", index=False)
    runtime.load(first.request("registry.example/acme/first:1"))
    second = with_another_manifest(first)
    assert second.config == first.config
    assert second.manifest != first.manifest
    receipt = runtime.load(second.request(NAME))
    assert receipt.digest == second.manifest
    assert podman_engine.inspect(f"registry.example/acme/app@{second.manifest}") is not None
    runtime.undo(receipt)
    assert podman_engine.list() == {"registry.example/acme/first:1": str(first.manifest)}


def with_another_manifest(image: TestImage) -> TestImage:
    kept = image.kept[0]
    document = json.loads(kept.manifest.raw) | {"annotations": {"other": "manifest"}}
    raw = json.dumps(document).encode()
    image.blobs.add(raw)
    manifest = ImageManifest.parse(
        raw, Descriptor.make(kept.manifest.descriptor.media_type, raw), where="manifest"
    )
    return TestImage(
        parts=Parts(top=manifest, indexes=()),
        kept=(Kept(platform=kept.platform, manifest=manifest, config=kept.config),),
        blobs=image.blobs,
    )
