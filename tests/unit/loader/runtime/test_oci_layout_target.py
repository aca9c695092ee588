"""`oci:DIR`: what is written, what is left alone, what a failure leaves behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from backports import zstd

from loader.digest import Digest
from loader.errors import (
    BusyError,
    DiffIdError,
    DigestError,
    NoSpaceError,
    OciError,
    RuntimeLoadError,
    RuntimeTagError,
)
from loader.runtime.oci_layout import OciLayout
from tests.runtime_images import MemoryBlobs, gzipped, layer, make_image

NAME = "registry.example:5000/acme/app:1.0"
WRONG = ["sha256:" + "0" * 64, "sha256:" + "1" * 64]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def index_of(folder: Path) -> list[Any]:
    manifests: list[Any] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return manifests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def runtime(folder: Path) -> OciLayout:
    return OciLayout(folder)


def test_layout_holds_the_index_as_it_was_signed_and_every_platform(
    runtime: OciLayout, folder: Path
) -> None:
    image = make_image(architectures=("amd64", "arm64"), absent=("s390x",))
    assert runtime.probe().startswith("new layout")
    assert not folder.exists()
    receipt = runtime.load(image.request(NAME, selection=image.kept))
    assert (receipt.what, receipt.digest) == ("loaded", image.top)
    found = contents(folder)
    assert found.pop("oci-layout") == b'{"imageLayoutVersion":"1.0.0"}'
    assert json.loads(found.pop("index.json")) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": str(image.top),
                "size": len(image.parts.top.raw),
                "annotations": {
                    "org.opencontainers.image.ref.name": NAME,
                    "io.containerd.image.name": NAME,
                },
            }
        ],
    }
    assert found == {f"blobs/sha256/{d.hex}": raw for d, raw in image.blobs.blobs.items()}
    assert runtime.probe().startswith("layout")


@pytest.mark.parametrize(
    "compress", [gzipped, zstd.compress, lambda raw: raw], ids=["gzip", "zstd", "tar"]
)
def test_layout_takes_every_compression_of_layers(
    runtime: OciLayout, folder: Path, compress: Callable[[bytes], bytes]
) -> None:
    image = make_image(compress=compress)
    runtime.load(image.request(NAME))
    assert len(contents(folder)) == 2 + len(image.blobs.blobs)


def test_layout_leaves_alone_what_is_there(runtime: OciLayout, folder: Path) -> None:
    image = make_image()
    runtime.load(image.request(NAME))
    before = contents(folder)
    stamps = {name: (folder / name).stat().st_mtime_ns for name in before}
    image.blobs.opened.clear()
    receipt = runtime.load(image.request(NAME))
    assert receipt.what == "already-there"
    assert image.blobs.opened == []
    runtime.undo(receipt)
    assert contents(folder) == before
    assert stamps == {name: (folder / name).stat().st_mtime_ns for name in before}


def test_layout_of_somebody_else_keeps_what_it_had(runtime: OciLayout, folder: Path) -> None:
    foreign = {"mediaType": "application/x.unknown", "digest": "sha512:abc", "size": 3, "x": [1]}
    (folder / "blobs/sha512").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [foreign], "annotations": {"a": "b"}})
    )
    receipt = runtime.load(make_image().request(NAME))
    document = json.loads((folder / "index.json").read_bytes())
    assert document["annotations"] == {"a": "b"}
    assert document["manifests"][0] == foreign
    runtime.undo(receipt)
    assert index_of(folder) == [foreign]


def test_layout_undo_removes_only_what_nothing_else_needs(runtime: OciLayout, folder: Path) -> None:
    shared = layer({"shared": b"s" * 1000})
    first = make_image(layers=[shared, layer({"a": b"1"})])
    second = make_image(layers=[shared, layer({"b": b"2"})])
    third = make_image(layers=[shared, layer({"c": b"3"})])
    kept = runtime.load(first.request(NAME))
    before = contents(folder)
    middle = runtime.load(second.request("registry.example/acme/other:1"))
    last = runtime.load(third.request("registry.example/acme/third:1"))
    runtime.undo(last)
    runtime.undo(middle)
    assert contents(folder) == before
    runtime.undo(kept)
    assert not folder.exists()


def test_layout_undo_keeps_a_folder_that_was_there(runtime: OciLayout, folder: Path) -> None:
    folder.mkdir()
    runtime.undo(runtime.load(make_image().request(NAME)))
    assert index_of(folder) == []


def test_layout_keeps_a_foreign_name(runtime: OciLayout, folder: Path) -> None:
    theirs, mine = make_image("theirs"), make_image("mine")
    runtime.load(theirs.request(NAME))
    before = contents(folder)
    with pytest.raises(RuntimeTagError):
        runtime.load(mine.request(NAME))
    with pytest.raises(RuntimeTagError):
        runtime.load(mine.request(NAME, owned=mine.manifest))
    assert contents(folder) == before
    receipt = runtime.load(mine.request(NAME, owned=theirs.top))
    assert [entry["digest"] for entry in index_of(folder)] == [str(mine.top)]
    runtime.undo(receipt)
    assert contents(folder) == before
    runtime.load(mine.request(NAME, replace="any"))
    assert [entry["digest"] for entry in index_of(folder)] == [str(mine.top)]


@pytest.mark.parametrize("again", [False, True], ids=["new-layout", "beside-another-image"])
def test_layout_refuses_what_changed_in_quarantine(
    runtime: OciLayout, folder: Path, *, again: bool
) -> None:
    before: dict[str, bytes] = {}
    if again:
        runtime.load(make_image("other").request("registry.example/acme/other:1"))
        before = contents(folder)
    image = make_image()
    last = image.kept[0].manifest.layers[-1]
    image.blobs.swap(last.digest, gzipped(layer({"evil": b"x"})))
    with pytest.raises(DigestError):
        runtime.load(image.request(NAME))
    assert contents(folder) == before
    assert folder.exists() == again


@pytest.mark.parametrize("how", ["shorter", "longer", "one-bit"])
def test_layout_refuses_every_kind_of_change(runtime: OciLayout, folder: Path, how: str) -> None:
    image = make_image()
    first = image.kept[0].manifest.layers[0].digest
    raw = image.blobs.blobs[first]
    changed = {"shorter": raw[:-1], "longer": raw + b"\0", "one-bit": bytes([raw[0] ^ 1]) + raw[1:]}
    image.blobs.swap(first, changed[how])
    with pytest.raises(DigestError):
        runtime.load(image.request(NAME))
    assert not folder.exists()


def test_layout_refuses_a_layer_that_is_not_the_configs(runtime: OciLayout, folder: Path) -> None:
    with pytest.raises(DiffIdError):
        runtime.load(make_image(diff_ids=WRONG).request(NAME))
    assert not folder.exists()


def test_layout_refuses_a_wrong_diff_id_of_a_layer_that_is_there_already(
    runtime: OciLayout, folder: Path
) -> None:
    layers = [layer({"a": b"1"}), layer({"b": b"2"})]
    runtime.load(make_image(layers=layers).request(NAME))
    before = contents(folder)
    with pytest.raises(DiffIdError):
        runtime.load(make_image(layers=layers, diff_ids=WRONG).request("r.example/other:1"))
    assert contents(folder) == before


def test_layout_refuses_one_layer_with_two_diff_ids(runtime: OciLayout) -> None:
    twice = layer({"a": b"1"})
    good = Digest.of(twice)
    image = make_image(layers=[twice, twice], diff_ids=[str(good), WRONG[1]])
    with pytest.raises(DiffIdError, match="two things"):
        runtime.load(image.request(NAME))


def test_layout_refuses_another_count_of_diff_ids(runtime: OciLayout) -> None:
    with pytest.raises(OciError, match="number of layers"):
        runtime.load(make_image(diff_ids=WRONG[:1]).request(NAME))


def test_layout_mends_a_blob_that_is_not_what_its_name_says(
    runtime: OciLayout, folder: Path
) -> None:
    image = make_image()
    runtime.load(image.request(NAME))
    before = contents(folder)
    blob = folder / "blobs/sha256" / image.kept[0].manifest.layers[0].digest.hex
    blob.write_bytes(bytes(blob.stat().st_size))
    assert runtime.load(image.request(NAME)).what == "loaded"
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "a blob"])
def test_layout_does_not_wait_for_a_fifo(runtime: OciLayout, folder: Path, name: str) -> None:
    image = make_image()
    runtime.load(image.request(NAME))
    before = contents(folder)
    path = folder / name
    if name == "a blob":
        path = folder / "blobs/sha256" / image.kept[0].manifest.layers[0].digest.hex
    path.unlink()
    os.mkfifo(path)
    guard = threading.Timer(10, lambda: os.close(os.open(path, os.O_WRONLY)))
    guard.start()
    try:
        if name == "a blob":
            runtime.load(image.request(NAME))
            assert contents(folder) == before
        else:
            with pytest.raises(RuntimeLoadError, match="cannot be understood"):
                runtime.load(image.request(NAME))
        assert guard.is_alive(), "somebody had to open its other end"
    finally:
        guard.cancel()
        guard.join()


def test_layout_removes_what_a_dead_run_left(runtime: OciLayout, folder: Path) -> None:
    image = make_image()
    runtime.load(image.request(NAME))
    (folder / "blobs/sha256" / ("a" * 64 + ".airlock-part")).write_bytes(b"half")
    (folder / "index.json.airlock-part").write_bytes(b"half")
    runtime.load(image.request("registry.example/acme/app:2"))
    assert not list(folder.rglob("*.airlock-part"))


@pytest.mark.parametrize("what", ["file", "other-files", "link", "no-parent", "version", "index"])
def test_layout_is_written_nowhere_else(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "loaded"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    match what:
        case "file":
            folder.write_text("a file")
        case "other-files":
            folder.mkdir()
            (folder / "precious").write_text("data")
        case "link":
            folder.mkdir()
            (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            (folder / "blobs").symlink_to(elsewhere)
        case "no-parent":
            folder = tmp_path / "not" / "there"
        case "version":
            folder.mkdir()
            (folder / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
        case _:
            folder.mkdir()
            (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            (folder / "index.json").write_text('{"manifests":[],"manifests":[]}')
    with pytest.raises(RuntimeLoadError):
        OciLayout(folder).load(make_image().request(NAME))
    assert list(elsewhere.iterdir()) == []
    if what == "other-files":
        assert [path.name for path in folder.iterdir()] == ["precious"]


def test_layout_is_written_by_one_at_a_time(runtime: OciLayout, folder: Path) -> None:
    runtime.load(make_image().request(NAME))
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            runtime.load(make_image("two").request("registry.example/acme/app:2"))
    finally:
        os.close(held)


class _FullDisk(MemoryBlobs):
    """A stand-in for the moment at which the disk is full: the write after this read fails."""

    def open(self, digest: Digest) -> BinaryIO:
        del digest
        raise OSError(errno.ENOSPC, "No space left on device")


def test_layout_says_that_the_disk_is_full_and_leaves_nothing(
    runtime: OciLayout, folder: Path
) -> None:
    image = make_image()
    with pytest.raises(NoSpaceError):
        runtime.load(image.request(NAME, blobs=_FullDisk()))
    assert not folder.exists()


class _Interrupted(MemoryBlobs):
    """Ctrl-C while the last layer is read."""

    def open(self, digest: Digest) -> BinaryIO:
        if len(self.opened) == 1:
            raise KeyboardInterrupt
        return super().open(digest)


def test_layout_interrupted_leaves_nothing(runtime: OciLayout, folder: Path) -> None:
    image = make_image()
    with pytest.raises(KeyboardInterrupt):
        runtime.load(image.request(NAME, blobs=_Interrupted(blobs=image.blobs.blobs)))
    assert not folder.exists()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before
