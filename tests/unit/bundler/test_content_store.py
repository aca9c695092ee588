"""The content store: nothing gets in under a digest that it does not have."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from bundler.errors import (
    CancelledError,
    RemoteDigestError,
    RemoteProtocolError,
    RemoteTruncatedError,
    RemoteUnavailableError,
)
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import (
    DigestError,
    LimitError,
    LocalError,
    MissingError,
    NoSpaceError,
    ReadOnlyError,
)
from loader.model.descriptor import Descriptor


@pytest.fixture(params=[16 << 20, 0], ids=["small", "large"], autouse=True)
def _past_the_page_cache_or_not(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundler.store.STRAIGHT_SIZE_MIN", request.param)


RAW = bytes(range(256)) * 64
BLOB = Descriptor.make("application/octet-stream", RAW)


class Source:
    """Gives bytes from an offset on, a few at a time; may break off."""

    def __init__(self, raw: bytes = RAW, *, stop: int | None = None) -> None:
        self.raw = raw
        self.stop = stop
        self.offsets: list[int] = []

    def __call__(self, offset: int) -> Generator[bytes]:
        self.offsets.append(offset)
        for at in range(offset, len(self.raw), 1000):
            if self.stop is not None and at >= self.stop:
                raise RemoteUnavailableError("gone")
            yield self.raw[at : at + 1000]


def parts(root: Path) -> list[int]:
    return [path.stat().st_size for path in (root / "partial").iterdir()]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.fill(BLOB, Source(), where="x")
    assert store.holds(BLOB)
    assert store.read(BLOB, where="x", size_max=len(RAW)) == RAW
    with store.open(BLOB.digest) as file:
        assert file.read() == RAW
    assert parts(tmp_path) == []
    assert store.path(BLOB.digest).stat().st_mode & 0o077 == 0


def test_what_was_filled_is_read_piece_by_piece(tmp_path: Path) -> None:
    raw = bytes(range(251)) * 40_000
    blob = Descriptor.make("application/octet-stream", raw)
    store = ContentStore(tmp_path)
    store.fill(blob, Source(raw), where="x")
    with store.open(blob.digest) as file:
        assert b"".join(iter(lambda: file.read(1_000_000), b"")) == raw
    assert store.read(blob, where="x", size_max=len(raw)) == raw
    # Behind an odd offset no write is direct.
    again = ContentStore(tmp_path / "again")
    with pytest.raises(RemoteUnavailableError):
        again.fill(blob, Source(raw, stop=5_000_001), where="x")
    assert parts(tmp_path / "again") == [5_001_000]
    again.fill(blob, Source(raw), where="x")
    assert again.read(blob, where="x", size_max=len(raw)) == raw


def test_bytes_in_memory_go_in_too(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    for _ in range(2):
        assert store.put(RAW) == BLOB.digest
    assert ContentStore(tmp_path).holds(BLOB)


def test_an_empty_blob(tmp_path: Path) -> None:
    empty = Descriptor.make("a/b", b"")
    store, source = ContentStore(tmp_path), Source(b"")
    store.fill(empty, source, where="x")
    assert store.read(empty, where="x", size_max=0) == b""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (RAW[:-1] + b"x", RemoteDigestError),
        (RAW[:-1], RemoteTruncatedError),
        (b"", RemoteTruncatedError),
        (RAW + b"x", RemoteProtocolError),
        (RAW * 100, RemoteProtocolError),
    ],
    ids=["other", "shorter", "empty", "longer", "much longer"],
)
def test_other_bytes_do_not_go_in(tmp_path: Path, raw: bytes, expected: type[Exception]) -> None:
    store = ContentStore(tmp_path)
    told: list[int] = []
    with pytest.raises(expected):
        store.fill(BLOB, Source(raw), where="x", advance=told.append)
    assert not store.holds(BLOB)
    assert sum(told) == 0
    assert max(parts(tmp_path), default=0) <= len(RAW)


def test_a_fill_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    with pytest.raises(RemoteUnavailableError):
        store.fill(BLOB, Source(stop=5000), where="x")
    source, told = Source(), list[int]()
    ContentStore(tmp_path).fill(BLOB, source, where="x", advance=told.append)
    assert source.offsets == [5000]
    assert sum(told) == len(RAW)


def test_a_part_with_other_bytes_is_tried_once_more_from_the_start(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    (tmp_path / "partial" / f"{BLOB.digest.hex}.part").write_bytes(b"x" * 700)
    source = Source()
    store.fill(BLOB, source, where="x")
    assert source.offsets == [700, 0]
    assert store.holds(BLOB)


@pytest.mark.parametrize("left", [RAW, RAW + b"more"], ids=["whole", "longer"])
def test_a_part_of_another_length(tmp_path: Path, left: bytes) -> None:
    store = ContentStore(tmp_path)
    (tmp_path / "partial" / f"{BLOB.digest.hex}.part").write_bytes(left)
    source = Source()
    store.fill(BLOB, source, where="x")
    assert source.offsets == ([] if left == RAW else [0])
    assert store.holds(BLOB)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(RAW[:-1] + b"x"),
        lambda path: path.write_bytes(RAW[:-1]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["changed", "shorter", "empty"],
)
def test_what_was_damaged_is_not_held(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = ContentStore(tmp_path)
    store.fill(BLOB, Source(), where="x")
    damage(store.path(BLOB.digest))
    assert not ContentStore(tmp_path).holds(BLOB)
    source = Source()
    store.fill(BLOB, source, where="x")
    assert source.offsets == [0]
    assert store.path(BLOB.digest).read_bytes() == RAW


def test_reading_checks_again(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.fill(BLOB, Source(), where="x")
    with pytest.raises(LimitError):
        store.read(BLOB, where="x", size_max=len(RAW) - 1)
    store.path(BLOB.digest).write_bytes(RAW[:-1] + b"x")
    with pytest.raises(DigestError):
        store.read(BLOB, where="x", size_max=len(RAW))
    store.path(BLOB.digest).write_bytes(RAW * 2)
    with pytest.raises(DigestError):
        store.read(BLOB, where="x", size_max=len(RAW))
    with pytest.raises(MissingError):
        store.read(Descriptor.make("a/b", b"other"), where="x", size_max=100)
    with pytest.raises(MissingError):
        store.open(Digest("0" * 64))


def test_a_link_in_the_store_is_not_followed(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "store")
    (tmp_path / "outside").write_bytes(RAW)
    store.path(BLOB.digest).symlink_to(tmp_path / "outside")
    with pytest.raises(LocalError):
        store.holds(BLOB)
    store.path(BLOB.digest).unlink()
    part = tmp_path / "store" / "partial" / f"{BLOB.digest.hex}.part"
    part.symlink_to(tmp_path / "outside")
    with pytest.raises(LocalError):
        store.fill(BLOB, Source(), where="x")
    assert (tmp_path / "outside").read_bytes() == RAW


def test_many_at_once_fetch_once(tmp_path: Path) -> None:
    sources = [Source() for _ in range(8)]
    barrier = threading.Barrier(len(sources))

    def fill(source: Source) -> None:
        barrier.wait()
        ContentStore(tmp_path).fill(BLOB, source, where="x")

    threads = [threading.Thread(target=fill, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(source.offsets) for source in sources) == 1
    assert ContentStore(tmp_path).holds(BLOB)
    assert parts(tmp_path) == []


def test_waiting_for_another_ends_when_the_run_is_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()
    waiting = ContentStore(tmp_path, cancelled=cancelled)
    failed: list[BaseException] = []
    begun = threading.Event()

    def hold(offset: int) -> Generator[bytes]:
        del offset
        begun.set()
        cancelled.wait(5)
        raise RemoteUnavailableError("gone")
        yield b""

    def run(store: ContentStore, fetch: Callable[[int], Generator[bytes]]) -> None:
        try:
            store.fill(BLOB, fetch, where="x")
        except BaseException as e:  # noqa: BLE001  # what ended the thread is the result
            failed.append(e)

    first = threading.Thread(target=run, args=(ContentStore(tmp_path), hold))
    second = threading.Thread(target=run, args=(waiting, Source()))
    first.start()
    begun.wait(5)
    second.start()
    cancelled.set()
    first.join(5)
    second.join(5)
    assert {type(error) for error in failed} == {CancelledError, RemoteUnavailableError}


def test_a_cancelled_fill_keeps_what_it_has(tmp_path: Path) -> None:
    cancelled = threading.Event()
    store = ContentStore(tmp_path, cancelled=cancelled)

    def fetch(offset: int) -> Generator[bytes]:
        yield RAW[offset : offset + 3000]
        cancelled.set()
        yield RAW[offset + 3000 :]

    with pytest.raises(CancelledError):
        store.fill(BLOB, fetch, where="x")
    assert parts(tmp_path) == [3000]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EROFS, ReadOnlyError),
        (errno.EIO, LocalError),
    ],
)
def test_what_the_disk_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[LocalError]
) -> None:
    store = ContentStore(tmp_path)

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("bundler.store._write_all", fail)
    monkeypatch.setattr(os, "write", fail)  # what goes past the page cache
    with pytest.raises(expected) as caught:
        store.fill(BLOB, Source(), where="x")
    assert type(caught.value) is expected
    assert str(tmp_path) in caught.value.where
