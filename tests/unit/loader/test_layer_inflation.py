"""Layers decompressed: for comparison with diff_ids, and on their way to docker."""

from __future__ import annotations

import collections
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Iterator

import pytest
from backports import zstd

from loader import inflate
from loader.digest import Digest
from loader.errors import DiffIdError, DigestError, LimitError
from loader.inflate import DiffIdCheck, Inflater, compression
from loader.limits import Limits
from loader.model.descriptor import Descriptor
from loader.runtime.archive import TarStream
from loader.runtime.expand import SizeGuessError, expand, expanded_size
from tests.runtime_images import MemoryBlobs, tar_members

RAW = os.urandom(300_000) + bytes(3_000_000) + os.urandom(10)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
WHOLE = {
    "tar": RAW,
    "gzip": gzip.compress(RAW),
    "gzip-members": b"".join(
        gzip.compress(RAW[i : i + 99_999]) for i in range(0, len(RAW), 99_999)
    ),
    "zstd": zstd.compress(RAW),
    "zstd-frames": zstd.compress(RAW[:9]) + SKIPPABLE + zstd.compress(RAW[9:]),
    "zstd-skippable-first": SKIPPABLE + zstd.compress(RAW),
}


def _with_window(log: int) -> bytes:
    # Bytes and length are right; what it takes to read them is more memory than is promised.
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    return compressor.compress(RAW) + compressor.flush()


BROKEN = {
    "gzip-cut": WHOLE["gzip"][:-1],
    "gzip-cut-early": WHOLE["gzip"][:100],
    "gzip-checksum": WHOLE["gzip"][:-8] + b"12345678",
    "gzip-tail": WHOLE["gzip"] + b"x",
    "gzip-zeros": WHOLE["gzip"] + bytes(512),
    "gzip-flip": WHOLE["gzip"][:5000] + bytes([WHOLE["gzip"][5000] ^ 1]) + WHOLE["gzip"][5001:],
    "zstd-cut": WHOLE["zstd"][:-1],
    "zstd-tail": WHOLE["zstd"] + b"zzzz",
    "zstd-window": _with_window(27),
    "other": gzip.compress(b"other"),
    "nothing": b"",
}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def run(packed: bytes, raw: bytes = RAW, *, step: int = 65_536, size_max: int = 1 << 30) -> None:
    limits = Limits(layer_expanded_size_max=size_max)
    check = DiffIdCheck(Digest.of(packed), Digest.of(raw), limits=limits)
    try:
        for start in range(0, len(packed), step):
            check.feed(packed[start : start + step])
        check.finish()
    finally:
        check.close()


@pytest.mark.parametrize("step", [1 << 20, 4097])
@pytest.mark.parametrize("how", WHOLE)
def test_layer_inflates_to_its_diff_id(how: str, step: int) -> None:
    run(WHOLE[how], step=step)


@pytest.mark.parametrize("raw", [b"", b"a", b"abc", b"\x1f\x8b"])
def test_tiny_layer_is_taken_as_it_is(raw: bytes) -> None:
    run(raw, raw, step=1)


@pytest.mark.parametrize("how", BROKEN)
def test_other_layer_is_refused(how: str) -> None:
    with pytest.raises(DiffIdError):
        run(BROKEN[how])


def test_largest_window_that_is_read() -> None:
    run(_with_window(25))


@pytest.mark.parametrize("packed", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_bomb_is_stopped_at_its_limit(packed: object) -> None:
    bomb = packed(bytes(200 << 20))  # type: ignore[operator]
    with pytest.raises(LimitError):
        run(bomb, size_max=1 << 20, step=1024)


EMPTY = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b""), "skippable": SKIPPABLE}


@pytest.mark.parametrize("how", EMPTY)
def test_pieces_without_data_cost_what_they_are(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands behind a member's end is copied for each: a gigabyte of them took an hour."""
    copied: list[int] = []
    behind = inflate._behind

    def watched(unused: bytes, chunk: bytes, rest: memoryview) -> memoryview:
        copied.append(len(unused))
        return behind(unused, chunk, rest)

    monkeypatch.setattr(inflate, "_behind", watched)
    raw = EMPTY[how] * 10_000
    parts = Inflater(Digest("0" * 64), size_max=0).inflate([raw])
    assert sum(map(len, parts)) == 0
    assert len(copied) == 10_000
    assert max(copied) < 1024


def test_pieces_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loader.inflate.MEMBER_COUNT_MAX", 1000)
    for piece in EMPTY.values():
        inflater = Inflater(Digest("0" * 64), size_max=0)
        collections.deque(inflater.inflate([piece * 1000]), maxlen=0)
        with pytest.raises(LimitError, match="too many pieces"):
            collections.deque(inflater.inflate([piece]), maxlen=0)


def test_check_without_a_verdict_holds_nothing() -> None:
    check = DiffIdCheck(Digest.of(b"x"), Digest.of(b"x"))
    check.close()
    with pytest.raises(DiffIdError):
        check.finish()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x5f\x2a\x4d\x18", "zstd"),
        (b"\x60\x2a\x4d\x18", "tar"),
        (b"BZh9", "tar"),
        (bytes(4), "tar"),
    ],
)
def test_compression_is_told_from_the_first_bytes(head: bytes, kind: str) -> None:
    assert compression(head) == kind


def staged(packed: bytes) -> tuple[MemoryBlobs, Descriptor]:
    blobs = MemoryBlobs()
    blobs.add(packed)
    return blobs, Descriptor.make("application/x", packed)


def expanded(packed: bytes, *, raw: bytes = RAW, size: int | None = None) -> bytes:
    blobs, layer = staged(packed)
    wanted = len(raw) if size is None else size
    return b"".join(expand(blobs, layer, Digest.of(raw), size=wanted))


@pytest.mark.parametrize("how", WHOLE)
def test_layer_is_expanded(how: str) -> None:
    assert expanded(WHOLE[how]) == RAW


@pytest.mark.parametrize("difference", [-1, 1, -len(RAW), 1 << 30])
def test_wrong_size_is_found_out(difference: int) -> None:
    blobs, layer = staged(WHOLE["gzip"])
    size = len(RAW) + difference
    taken = bytearray()
    with pytest.raises(SizeGuessError):
        collections.deque(map(taken.extend, expand(blobs, layer, Digest.of(RAW), size=size)), 0)
    assert len(taken) <= size


def test_expanding_says_what_is_wrong_with_a_layer() -> None:
    with pytest.raises(DiffIdError):
        expanded(WHOLE["gzip"], raw=bytes(len(RAW)))
    with pytest.raises(DiffIdError):
        expanded(BROKEN["gzip-cut"])
    blobs, layer = staged(WHOLE["gzip"])
    blobs.swap(layer.digest, gzip.compress(RAW, 1))
    with pytest.raises(DigestError):
        list(expand(blobs, layer, Digest.of(RAW), size=len(RAW)))


def test_expanding_may_be_given_up() -> None:
    blobs, layer = staged(gzip.compress(bytes(64 << 20)))
    stream = expand(blobs, layer, Digest.of(b""), size=64 << 20)
    assert next(stream)
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("how", "gzip_is", "size"),
    [
        ("tar", "expand", None),
        ("gzip", "expand", len(RAW)),
        ("gzip", "keep", None),
        ("gzip-members", "expand", None),
        ("zstd", "keep", len(RAW)),
        ("zstd-frames", "expand", len(RAW)),
    ],
)
def test_size_is_known_before_the_first_byte(how: str, gzip_is: str, size: int | None) -> None:
    blobs, layer = staged(WHOLE[how])
    assert expanded_size(blobs, layer, gzip=gzip_is) == size  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_240])
def test_stream_is_a_tar_as_others_read_it(size: int) -> None:
    tar = TarStream()
    content = os.urandom(size)
    stream = b"".join((*tar.member("a/b", content), *tar.member("c", b"x"), *tar.end()))
    assert len(stream) % 10_240 == 0
    assert list(tar_members(stream)) == [("a/b", content), ("c", b"x")]


def test_stream_writes_sizes_beyond_octal() -> None:
    size = 9 << 30
    head = next(TarStream().stream("big", size, iter(())))
    assert tarfile.TarInfo.frombuf(head, "ascii", "strict").size == size
    assert io.BytesIO(head).read(265)[257:] == b"ustar  \0"
