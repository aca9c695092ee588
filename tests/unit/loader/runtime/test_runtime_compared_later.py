"""What a runtime has now is compared with what was loaded: same, gone, or something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import RuntimeGoneError, RuntimeLoadError, RuntimeMismatchError
from loader.runtime.base import LoadRequest
from loader.runtime.oci_layout import OciLayout
from tests.runtime_images import make_image
from tests.unit.loader.runtime.test_runtime_clients_that_lie import (
    NAME,
    World,
    make_world,
    world,
)

__all__ = ["make_world", "world"]


def loaded(world: World) -> LoadRequest:
    image = make_image("app").request(NAME)
    with world.open() as runtime:
        runtime.load(image)
    return image.value


def test_what_was_loaded_is_still_there(world: World) -> None:
    request = loaded(world)
    before = world.state()
    with world.open() as runtime:
        facts = dict(runtime.compare(request))
    assert f"name {NAME}" in facts
    assert len(facts) >= 3
    assert world.state() == before, "to compare changes nothing"


def test_a_name_that_is_gone(world: World) -> None:
    request = loaded(world)
    state = world.state()
    state["names"].pop(NAME)
    world.preset(**state)
    with world.open() as runtime, pytest.raises(RuntimeGoneError) as gone:
        runtime.compare(request)
    assert gone.value.where == NAME


def test_a_name_that_was_moved(world: World) -> None:
    request = loaded(world)
    other = make_image("other").request("registry.example/acme/other:1")
    with world.open() as runtime:
        runtime.load(other)
    state = world.state()
    state["names"][NAME] = state["names"]["registry.example/acme/other:1"]
    world.preset(**state)
    with world.open() as runtime, pytest.raises(RuntimeMismatchError) as changed:
        runtime.compare(request)
    assert changed.value.code == "runtime-mismatch.digest"


def test_a_client_that_fails_says_nothing(world: World) -> None:
    request = loaded(world)
    (world.folder / "state.json").write_text("nonsense")
    with pytest.raises(RuntimeLoadError), world.open() as runtime:
        runtime.compare(request)


# --- a layout, whose every blob is hashed ---------------------------------------------------------


def _other_blob(folder: Path, digest: Digest) -> None:
    path = folder / "blobs/sha256" / digest.hex
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def _no_blob(folder: Path, digest: Digest) -> None:
    (folder / "blobs/sha256" / digest.hex).unlink()


def _link(folder: Path, digest: Digest) -> None:
    path = folder / "blobs/sha256" / digest.hex
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("spoil", [_other_blob, _no_blob, _link])
@pytest.mark.parametrize("which", ["config", "top", "layer"])
def test_a_blob_of_a_layout(
    tmp_path: Path, spoil: Callable[[Path, Digest], None], which: str
) -> None:
    image = make_image("app")
    request, runtime = image.request(NAME), OciLayout(tmp_path / "layout")
    runtime.load(request)
    assert ("every blob", "as its name says") in runtime.compare(request.value)
    layer = request.value.selection[0].manifest.layers[0].digest
    spoil(tmp_path / "layout", {"config": image.config, "top": image.top, "layer": layer}[which])
    with pytest.raises(RuntimeMismatchError):
        runtime.compare(request.value)


def test_a_layout_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeGoneError):
        OciLayout(tmp_path / "layout").compare(make_image("app").request(NAME).value)
    assert list(tmp_path.iterdir()) == []


def test_a_layout_whose_index_names_something_else(tmp_path: Path) -> None:
    runtime, image = OciLayout(tmp_path / "layout"), make_image("app")
    runtime.load(image.request(NAME))
    with pytest.raises(RuntimeMismatchError):
        runtime.compare(make_image("other").request(NAME).value)
    with pytest.raises(RuntimeGoneError):
        runtime.compare(image.request("registry.example/acme/other:1").value)
