"""Bytes that go past the page cache arrive whole and in order, or somebody hears of it."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.straight import BUFFER_SIZE, StraightFile, StraightReader
from tests.fakes.images import Noise


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def noise(size: int) -> bytes:
    return b"".join(Noise(size).chunks())


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [4096],
        [4095, 2, 1],
        [BUFFER_SIZE],
        [BUFFER_SIZE - 1, 1, 1],
        [BUFFER_SIZE + 4097],
        [3 * BUFFER_SIZE + 5, 7, BUFFER_SIZE],
    ],
    ids=str,
)
def test_all_bytes_arrive_in_order(sizes: list[int], descriptor: int, tmp_path: Path) -> None:
    data = noise(sum(sizes))
    file, at = StraightFile(descriptor), 0
    for size in sizes:
        file.write(data[at : at + size])
        at += size
    file.finish()
    file.close()
    assert (tmp_path / "file").read_bytes() == data


def test_what_is_given_may_change_once_it_was_taken(descriptor: int, tmp_path: Path) -> None:
    file, piece = StraightFile(descriptor), bytearray(BUFFER_SIZE)
    for number in range(4):
        piece[:] = bytes([number]) * BUFFER_SIZE
        file.write(memoryview(piece))
    file.finish()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([n]) * BUFFER_SIZE for n in range(4))


def test_a_file_system_that_wants_no_direct_writes_gets_others(
    descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def refuse(opened: int, data: memoryview) -> int:
        if fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(opened, data)

    monkeypatch.setattr(os, "write", refuse)
    data = noise(BUFFER_SIZE + 10)
    file = StraightFile(descriptor)
    file.write(data)
    file.finish()
    file.close()
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_system_that_never_heard_of_them_is_written_too(
    descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = fcntl.fcntl

    def refuse(opened: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return int(control(opened, command, argument))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    file = StraightFile(descriptor)
    file.write(b"some bytes")
    file.finish()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"some bytes"


@pytest.mark.parametrize("most", [1, 4095, 4096, 5000])
def test_a_disk_that_takes_little_at_a_time_gets_all(
    most: int, descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda opened, data: write(opened, data[:most]))
    data = noise(20_000)
    file = StraightFile(descriptor)
    file.write(data)
    file.finish()
    file.close()
    assert (tmp_path / "file").read_bytes() == data


def test_a_full_disk_is_heard_of(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    file = StraightFile(descriptor)
    file.write(bytes(BUFFER_SIZE))
    with pytest.raises(OSError, match="No space"):
        file.finish()
    file.close()


def test_an_invalid_write_of_another_kind_is_no_loop(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invalid(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "write", invalid)
    file = StraightFile(descriptor)
    file.write(b"x")
    with pytest.raises(OSError, match="Invalid"):
        file.finish()
    file.close()


def test_close_waits_for_what_is_being_written(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, ended = os.write, threading.Event(), threading.Event()

    def slow(opened: int, data: memoryview) -> int:
        begun.set()
        threading.Event().wait(0.2)
        count = write(opened, data)
        ended.set()
        return count

    monkeypatch.setattr(os, "write", slow)
    file = StraightFile(descriptor)
    file.write(bytes(BUFFER_SIZE))
    assert begun.wait(5)
    file.close()
    assert ended.is_set()


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, 4095, 4096, 4097, BUFFER_SIZE, BUFFER_SIZE + 1, 2 * BUFFER_SIZE + 4097]
)
def test_all_bytes_are_read_in_order(size: int, tmp_path: Path) -> None:
    data = noise(size)
    (tmp_path / "file").write_bytes(data)
    with StraightReader(os.open(tmp_path / "file", os.O_RDONLY)) as reader:
        pieces = iter(lambda: reader.read(1_000_000), b"")
        assert b"".join(pieces) == data
        assert reader.read(1) == b""
    with StraightReader(os.open(tmp_path / "file", os.O_RDONLY)) as reader:
        assert reader.read() == data
    buffer = bytearray(size + 1)
    with StraightReader(os.open(tmp_path / "file", os.O_RDONLY)) as reader:
        assert reader.readinto(buffer) <= size


def test_what_was_read_does_not_change_with_what_is_read_next(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * BUFFER_SIZE + b"b" * BUFFER_SIZE)
    with StraightReader(os.open(tmp_path / "file", os.O_RDONLY)) as reader:
        first = reader.read(BUFFER_SIZE)
        reader.read(BUFFER_SIZE)
    assert first == b"a" * BUFFER_SIZE


def test_a_file_system_that_wants_no_direct_reads_gets_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readv = os.readv

    def refuse(opened: int, buffers: list[memoryview]) -> int:
        if fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return readv(opened, buffers)

    monkeypatch.setattr(os, "readv", refuse)
    (tmp_path / "file").write_bytes(b"some bytes")
    with StraightReader(os.open(tmp_path / "file", os.O_RDONLY)) as reader:
        assert reader.read() == b"some bytes"


def test_the_descriptor_is_closed_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    opened = os.open(tmp_path / "file", os.O_RDONLY)
    reader = StraightReader(opened)
    reader.close()
    reader.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened)


def test_afterwards_the_descriptor_is_as_others_know_it(descriptor: int) -> None:
    file = StraightFile(descriptor)
    file.write(bytes(BUFFER_SIZE))
    file.finish()
    file.close()
    assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT
    os.lseek(descriptor, 0, os.SEEK_SET)
    assert os.read(descriptor, 10) == bytes(10)
