"""A blob that is read while it arrives: in order, bounded, and known to be right at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO

import pytest

from bundler.errors import RemoteDigestError
from bundler.following import HELD_MAX, Following
from tests.fakes.images import Noise

PIECE = 256 * 1024
BLOB = b"".join(Noise(24 * PIECE + 7).chunks())


class Download:
    """Gives a blob's pieces on a thread of its own, and keeps the blob once it is whole."""

    def __init__(self, blob: bytes = BLOB, *, patience: float = 5.0) -> None:
        self.blob = blob
        self.kept_count = 0
        self.arrived: Future[None] = Future()
        self.reader = Following(arrived=self.arrived.result, kept=self._kept, patience=patience)

    def _kept(self) -> BytesIO:
        assert self.arrived.done(), "it is not there yet"
        self.kept_count += 1
        return BytesIO(self.blob)

    def give(self, begin: int = 0, end: int | None = None) -> None:
        for at in range(begin, len(self.blob) if end is None else end, PIECE):
            self.reader.give(at, self.blob[at : at + PIECE])

    def end(self, failure: Exception | None = None) -> None:
        self.reader.end()
        if failure:
            self.arrived.set_exception(failure)
        else:
            self.arrived.set_result(None)

    def run(self) -> None:
        self.give()
        self.end()


def read_all(download: Download, size: int = 1 << 20) -> bytes:
    with download.reader as reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("size", [1000, PIECE, 1 << 20])
def test_what_arrives_is_read(size: int) -> None:
    download = Download()
    thread = beside(download.run)
    assert read_all(download, size) == BLOB
    thread.join()


def test_an_empty_blob() -> None:
    download = Download(b"")
    download.end()
    assert read_all(download) == b""


def test_a_piece_of_nothing_is_no_end() -> None:
    download = Download()
    download.give(0, 3 * PIECE)
    for _ in range(3):
        download.reader.give(3 * PIECE, b"")
    download.give(3 * PIECE)
    download.end()
    assert read_all(download) == BLOB


def test_a_large_read_goes_on_into_the_next_pieces() -> None:
    download = Download()
    beside(download.run)
    buffer = bytearray(10)
    with download.reader as reader:
        assert reader.readinto(buffer) == 10
        assert bytes(buffer) + reader.readall() == BLOB


def test_a_download_waits_for_its_reader_and_no_more_is_held() -> None:
    blob = bytes(HELD_MAX * 3)
    download = Download(blob)
    given = []

    def give() -> None:
        for at in range(0, len(blob), PIECE):
            download.reader.give(at, blob[at : at + PIECE])
            given.append(at)
        download.end()

    beside(give)
    time.sleep(0.3)
    assert len(given) == HELD_MAX // PIECE
    assert download.reader.waited_seconds() > 0
    assert read_all(download) == blob
    assert len(given) == 3 * HELD_MAX // PIECE


def test_a_reader_who_does_not_come_gets_it_from_the_store() -> None:
    blob = bytes(HELD_MAX * 2)
    download = Download(blob, patience=0.01)
    download.run()
    assert read_all(download) == blob
    assert download.kept_count == 1


def test_a_reader_who_stops_in_the_middle_goes_on_in_the_store() -> None:
    blob = b"".join(Noise(HELD_MAX * 2).chunks())
    download = Download(blob, patience=0.01)
    download.give(0, 3 * PIECE)
    begin = download.reader.read(PIECE)
    download.give(3 * PIECE)
    download.end()
    assert begin + read_all(download) == blob
    assert download.kept_count == 1


@pytest.mark.parametrize("at", [0, PIECE, 5 * PIECE])
def test_a_download_that_goes_on_elsewhere_is_not_followed(at: int) -> None:
    """What an earlier run left was not given; what is fetched anew was."""
    download = Download()
    download.give(0, 2 * PIECE)
    download.give(at)
    download.end()
    assert read_all(download) == BLOB


def test_the_last_piece_waits_until_the_blob_is_known_to_be_right() -> None:
    download = Download()
    download.give()
    download.reader.end()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: read_all(download))
        time.sleep(0.1)
        assert not read.done()
        download.arrived.set_result(None)
        assert read.result(10) == BLOB


def test_what_went_wrong_is_raised_before_the_last_piece() -> None:
    download = Download()
    download.give()
    download.end(RemoteDigestError("another digest"))
    with download.reader as reader, pytest.raises(RemoteDigestError):
        reader.read(1)


def test_what_goes_wrong_while_it_is_read_ends_it() -> None:
    download = Download()
    download.give(0, 5 * PIECE)
    with download.reader as reader:
        for _ in range(4):
            assert len(reader.read(PIECE)) == PIECE
        download.end(RemoteDigestError("it broke off"))
        with pytest.raises(RemoteDigestError):
            reader.read(PIECE)


def test_nobody_waits_for_a_reader_that_was_closed() -> None:
    download = Download(bytes(HELD_MAX * 4), patience=60)
    thread = beside(download.run)
    download.reader.read(1)
    download.reader.close()
    thread.join(10)
    assert not thread.is_alive()
