"""`load --into images:DIR`: archives that k3s, RKE2 and k0s import by themselves."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher
from tests.engines import Containerd
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    (tmp_path / "images").mkdir()
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


def load(host: FarSide, bundle: Path) -> tuple[int, list[Path]]:
    folder = host.loaded.parent / "images"
    ran = host.run("load", bundle, "--into", f"images:{folder}", "--json")
    assert "Traceback" not in ran.err
    return ran.status, sorted(folder.iterdir())


def test_an_archive_of_the_image_under_its_name(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle, multi=True)
    status, [path] = load(host, bundle)
    assert status == 0
    assert path.name.startswith("airlock-app-")
    with tarfile.open(path) as archive:
        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
    [entry] = index["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": f"{REPOSITORY}:1"}
    inode = path.stat().st_ino
    assert load(host, bundle) == (0, [path])
    assert path.stat().st_ino == inode  # nothing was written again


def test_verify_local_hashes_what_is_there(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle, extra=[Layer.noise(100_000)])
    _, [path] = load(host, bundle)
    assert host.run("verify-local", f"{REPOSITORY}:1").status == 0
    raw = bytearray(path.read_bytes())
    raw[50_000] ^= 1
    path.write_bytes(raw)
    assert host.run("verify-local", f"{REPOSITORY}:1").status != 0
    assert load(host, bundle)[0] == 0  # written anew
    assert host.run("verify-local", f"{REPOSITORY}:1").status == 0
    path.unlink()
    assert host.run("verify-local", f"{REPOSITORY}:1").status == 1


def test_a_newer_one_takes_the_place_of_ours_and_of_nobody_elses(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    one, two = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    publisher.bundle(one, sequence=1, days=1, version="1")
    publisher.bundle(two, sequence=2, days=2, version="2")
    _, [path] = load(host, one)
    first = path.read_bytes()
    status, found = load(host, two)
    assert status == 0
    assert [p for p in found if p.suffix == ".tar"] == [path]
    assert path.read_bytes() != first
    path.write_bytes(b"somebody else's")
    three = tmp_path / "3.tar.zst"
    publisher.bundle(three, sequence=3, days=3, version="3")
    assert load(host, three)[0] == 21
    assert path.read_bytes() == b"somebody else's"


def test_a_second_image_that_fails_puts_the_first_back(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    one = tmp_path / "1.tar.zst"
    publisher.bundle(one, sequence=1, tag="a", version="1")
    _, [path] = load(host, one)
    before = path.read_bytes()
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, version=f"2{tag}"), tag=tag, days=2)
        for tag in ("a", "b")
    ]
    two = tmp_path / "2.tar.zst"
    publisher.pack(two, store, entries, sequence=2)
    # A folder where the second archive has to go.
    probe = tmp_path / "3.tar.zst"
    publisher.pack(probe, store, [entries[1]], sequence=None, channel=None)
    _, found = load(host, probe)
    [other] = [p for p in found if p != path and p.suffix == ".tar"]
    other.unlink()
    other.mkdir()
    assert load(host, two)[0] != 0
    assert path.read_bytes() == before


def test_there_is_no_such_folder(host: FarSide, publisher: Publisher, tmp_path: Path) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle)
    ran = host.run("load", bundle, "--into", f"images:{tmp_path / 'nothing'}")
    assert ran.status == 21
    assert "no such folder" in ran.err


@pytest.mark.engine("containerd")
def test_a_real_containerd_imports_it(
    host: FarSide,
    publisher: Publisher,
    containerd_engine: Containerd,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle, multi=True)
    _, [path] = load(host, bundle)
    # As k3s does it: all platforms that the archive lists.
    containerd_engine.client.call("images", "import", "--all-platforms", str(path))
    assert f"{REPOSITORY}:1" in containerd_engine.list()
    assert containerd_engine.run(f"{REPOSITORY}:1").startswith("hello")
