"""A FAT stick, real but for its driver: made by mtools, mounted by fusefat (T41, FI-23)."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.loading import Publisher
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.forked import Forker

pytestmark = pytest.mark.engine("fusefat")


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    with Forker.start() as forker:
        watcher = Watcher.make(forker, Publisher(), tmp_path)
        yield watcher


def made(image: Path, *files: Path, label: str = "AIRLOCK") -> Path:
    with image.open("wb") as file:
        file.truncate(128 << 20)
    disk = str(image)
    subprocess.run(
        ["mformat", "-i", disk, "-F", "-v", label, "::"], check=True, capture_output=True
    )
    subprocess.run(["mcopy", "-i", disk, *map(str, files), "::"], check=True, capture_output=True)
    return image


@contextmanager
def plugged_in(image: Path, at: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Mount it; the process that answers for it is given."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        ["fusefat", "-o", "ro", "-f", image, at], stdout=quiet, stderr=quiet
    ) as p:
        deadline = time.monotonic() + 10
        while not at.is_mount():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield p
        finally:
            subprocess.run(["fusermount", "-u", "-z", at], check=False, capture_output=True)
            p.kill()


def test_t41_a_fat_stick_is_read_and_never_written(watcher: Watcher, tmp_path: Path) -> None:
    """A128 too: a file system that a program makes up is watched only where config says so."""
    bundle = tmp_path / "scanner-2026.01.tar.zst"
    watcher.publisher.bundle(bundle, sequence=1, extra=[Layer.noise(300_000, seed=1)])
    other = tmp_path / "._scanner-2026.01.tar.zst"
    other.write_bytes(b"what macOS leaves")
    image = made(tmp_path / "stick.img", bundle, other)
    before = hashlib.sha256(image.read_bytes()).hexdigest()
    with plugged_in(image, watcher.spool):
        ended = watcher.look()
        assert (ended.status, ended.code) == (20, "io.spool"), "FUSE is trusted where config says"
        watcher.configure('file-systems = "any"')
        assert watcher.look().status == 0
        assert watcher.what() == {bundle.name: "loaded"}
    assert hashlib.sha256(image.read_bytes()).hexdigest() == before


def test_fi_23_a_stick_that_is_pulled_out_ends_the_look_and_changes_nothing(
    watcher: Watcher, tmp_path: Path
) -> None:
    watcher.configure('file-systems = "any"')
    bundle = tmp_path / "large.tar.zst"
    watcher.publisher.bundle(bundle, sequence=1, extra=[Layer.noise(80_000_000, seed=1)])
    image = made(tmp_path / "stick.img", bundle)
    with plugged_in(image, watcher.spool) as stick:
        command = watcher.host.command(
            "watch", watcher.spool, "--once", "--into", f"oci:{watcher.host.loaded}", isolated=False
        )
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while not any((watcher.host.state / "quarantine").glob("run-*/*")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            stick.kill()
            pulled = time.monotonic()
            out, err = process.communicate(timeout=60)
            took = time.monotonic() - pulled
        assert process.returncode == 20, out + err
        assert "io.input" in out
        assert took < 5
    assert watcher.host.target() == {}
    assert watcher.host.quarantine() == []
    with plugged_in(image, watcher.spool):
        assert watcher.look().status == 0
        assert watcher.what() == {bundle.name: "loaded"}


# --- sticks that were not taken out as one should (FI-43) -----------------------------------------


def _fats(raw: bytes | bytearray) -> list[tuple[int, int]]:
    """Where the copies of the file allocation table lie: offset and size (fatgen103, BPB)."""
    sector = int.from_bytes(raw[11:13], "little")
    begin = int.from_bytes(raw[14:16], "little") * sector
    size = int.from_bytes(raw[36:40], "little") * sector
    return [(begin + number * size, size) for number in range(raw[16])]


def _unclean(raw: bytearray) -> None:
    """As a stick that was pulled out while it was written: the volume's dirty bit (FAT[1])."""
    for begin, _ in _fats(raw):
        raw[begin + 7] &= ~0x08


def _lost_clusters(raw: bytearray) -> None:
    """Clusters that belong to no file."""
    for begin, size in _fats(raw):
        for at in range(begin + size - 4000, begin + size - 400, 4):
            raw[at : at + 4] = (0x0FFFFFFF).to_bytes(4, "little")


def _cut_chain(raw: bytearray) -> None:
    """The first file's chain ends in its middle; its size says more."""
    for begin, _ in _fats(raw):
        raw[begin + 4 * 40 : begin + 4 * 41] = (0x0FFFFFFF).to_bytes(4, "little")


def _loop(raw: bytearray) -> None:
    """The first file's chain comes back to where it was."""
    for begin, _ in _fats(raw):
        raw[begin + 4 * 40 : begin + 4 * 41] = (20).to_bytes(4, "little")


def _into_nothing(raw: bytearray) -> None:
    """The first file's chain leads out of the volume."""
    for begin, _ in _fats(raw):
        raw[begin + 4 * 40 : begin + 4 * 41] = (0x0ABCDEF0).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("damage", "whole"),
    [
        (_unclean, True), (_lost_clusters, True),
        (_cut_chain, False), (_loop, False), (_into_nothing, False),
    ],
)  # fmt: skip
def test_fi_43_a_damaged_fat_spoils_one_file_and_no_more(
    watcher: Watcher,
    tmp_path: Path,
    damage: Callable[[bytearray], None],
    whole: bool,  # noqa: FBT001 - a column of the table
) -> None:
    watcher.configure('file-systems = "any"')
    first, other = tmp_path / "first.tar.zst", tmp_path / "OTHER.TAR"
    watcher.publisher.bundle(first, sequence=2, extra=[Layer.noise(300_000, seed=1)])
    watcher.publisher.bundle(other, channel="other", sequence=1, tag="other", form="plain")
    image = made(tmp_path / "stick.img", first, other)
    with image.open("r+b") as file:
        raw = bytearray(file.read(8 << 20))
        damage(raw)
        file.seek(0)
        file.write(raw)
    with plugged_in(image, watcher.spool):
        watcher.look()
        seen = watcher.what()
        assert seen.get("OTHER.TAR") == "loaded", watcher.said
        if whole:
            assert seen["first.tar.zst"] == "loaded"
        else:
            assert seen["first.tar.zst"] in {"failed", "waiting", "refused"}, watcher.said
    assert watcher.host.quarantine() == []
    if not whole:
        with plugged_in(made(tmp_path / "again.img", first), watcher.spool):
            watcher.look()
            assert watcher.what() == {"first.tar.zst": "loaded"}
