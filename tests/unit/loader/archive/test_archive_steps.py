"""The reader's steps: in order, once, and never again after an error."""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loader.archive.frames import Frames
from loader.archive.metadata import MetadataStore
from loader.archive.reader import FIRST_READ_SIZE, READ_SIZE, ArchiveReader
from loader.digest import Digest
from loader.errors import (
    DigestError,
    InputError,
    InternalError,
    LimitError,
    LocalError,
    MissingError,
    NoSpaceError,
    TruncatedError,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement
from tests.adversarial.golden import Builder, Bundle, golden, tiny
from tests.adversarial.pieces import frame, join, record, split
from tests.adversarial.reading import Medium, read_all


class Nowhere:
    """A sink that keeps nothing."""

    def add(self, member: object) -> Nowhere:
        del member
        return self

    def write(self, data: bytes | memoryview, /) -> None:
        del data

    def close(self) -> None:
        pass


def large() -> Bundle:
    """Return a bundle with a layer that takes many reads."""
    builder = Builder(blobs=dict(tiny().blobs))
    builder.layer(b"\x1f\x8b" + b"x" * (3 << 20))
    return replace(tiny(), layers=(*tiny().layers, *builder.layers), blobs=builder.blobs)


def opened(data: bytes) -> tuple[ArchiveReader, BundleStatement]:
    reader = ArchiveReader(Medium(data))
    return reader, BundleStatement.parse(reader.read_statement().raw)


def test_steps_are_taken_in_order_and_once() -> None:
    data = golden().archive()
    statement = golden().statement
    reader = ArchiveReader(Medium(data))
    for early in (
        lambda: reader.read_metadata(statement, Nowhere()),
        lambda: list(reader.layers(statement)),
        reader.finish,
    ):
        with pytest.raises(InternalError):
            early()
    reader.read_statement()
    with pytest.raises(InternalError):
        reader.read_statement()
    reader.read_metadata(statement, Nowhere())
    with pytest.raises(InternalError):
        reader.finish()
    for layer in reader.layers(statement):
        assert b"".join(layer)
    reader.finish()
    with pytest.raises(InternalError):
        reader.finish()


def test_another_statement_than_the_archives_own_is_not_taken() -> None:
    reader, _ = opened(golden().archive())
    with pytest.raises(InternalError):
        reader.read_metadata(tiny().statement, Nowhere())


def test_a_layer_is_taken_to_its_end() -> None:
    reader, statement = opened(golden().archive())
    reader.read_metadata(statement, Nowhere())
    layers = reader.layers(statement)
    next(iter(next(layers)))
    with pytest.raises(InternalError, match="not taken to its end"):
        next(layers)
    with pytest.raises(InternalError):
        reader.finish()


def test_after_an_error_every_step_says_the_same() -> None:
    reader, statement = opened(golden().archive()[:9000])
    with pytest.raises(TruncatedError) as first:
        reader.read_metadata(statement, Nowhere())
    for step in (
        reader.read_statement,
        lambda: reader.read_metadata(statement, Nowhere()),
        lambda: list(reader.layers(statement)),
        reader.finish,
    ):
        with pytest.raises(TruncatedError) as again:
            step()
        assert again.value is first.value


def test_a_wrong_layer_shows_at_its_end_and_for_good() -> None:
    records = split(golden().archive())
    last = records[-1]
    records[-1] = last.with_body(b"#" + last.body[1:])
    reader, statement = opened(join(records))
    reader.read_metadata(statement, Nowhere())
    taken = 0
    with pytest.raises(DigestError) as refused:  # noqa: PT012
        for layer in reader.layers(statement):
            for chunk in layer:
                taken += len(chunk)
    assert taken == sum(member.size for member in statement.layers)
    assert statement.layers[-1].digest.hex in refused.value.where
    with pytest.raises(DigestError):
        reader.finish()


@pytest.mark.parametrize("at", [0, 5000])
def test_a_medium_that_fails_is_no_fault_of_the_bundle(at: int) -> None:
    class Broken:
        def __init__(self) -> None:
            self._good = io.BytesIO(golden().archive()[:at])

        def read(self, size: int, /) -> bytes:
            data = self._good.read(min(size, 512))
            if not data:
                raise OSError(5, "Input/output error")
            return data

    reader = ArchiveReader(Broken())
    with pytest.raises(InputError, match="Input/output error") as refused:
        reader.read_metadata(BundleStatement.parse(reader.read_statement().raw), Nowhere())
    assert refused.value.exit_status == 20


def test_little_is_read_before_the_layers() -> None:
    reader = ArchiveReader(Medium(large().archive()))
    assert reader.bytes_read == 0
    assert not reader.format
    statement = BundleStatement.parse(reader.read_statement().raw)
    assert reader.bytes_read == FIRST_READ_SIZE
    assert str(reader.format) == "plain"
    reader.read_metadata(statement, Nowhere())
    assert reader.bytes_read == FIRST_READ_SIZE
    sizes = [len(chunk) for layer in reader.layers(statement) for chunk in layer]
    assert max(sizes) == READ_SIZE
    reader.finish()


def test_limits_are_those_that_were_given() -> None:
    data = golden().archive(form="zstd")
    for limits in (
        replace(DEFAULT_LIMITS, statement_size_max=1000),
        replace(DEFAULT_LIMITS, statement_signature_size_max=100),
        replace(DEFAULT_LIMITS, evidence_size_max=300),
        replace(DEFAULT_LIMITS, metadata_size_max=300),
        replace(DEFAULT_LIMITS, frame_size_max=10_000),
        replace(DEFAULT_LIMITS, short_frame_count_max=1),
    ):
        with pytest.raises(LimitError):
            read_all(data, limits=limits)


def test_a_layer_of_nine_gibibytes_has_a_header_in_base_256() -> None:
    bundle = tiny()
    layer = replace(bundle.layers[0], size=9 << 30, digest=Digest("0" * 64))
    statement = replace(bundle, layers=(layer,)).statement
    records = split(bundle.archive())
    records[0] = record(b"airlock.json", statement.raw)
    size = b"\x80" + (9 << 30).to_bytes(11, "big")
    records[-1] = (
        records[-1].with_name(f"blobs/sha256/{'0' * 64}".encode()).with_field("size", size)
    )
    with pytest.raises(TruncatedError):
        read_all(join(records))


def test_a_swap_far_down_is_looked_for_only_so_far() -> None:
    """The reader tells missing from misplaced by one more header, and not by reading gigabytes."""
    records = split(golden().archive())
    records[-1], records[-2] = records[-2], records[-1].with_field("size", b"77777777777\0")
    reader, statement = opened(join(records))
    reader.read_metadata(statement, Nowhere())
    with pytest.raises(MissingError):
        deque((b"".join(layer) for layer in reader.layers(statement)), maxlen=0)


# --- frames, sans I/O -----------------------------------------------------------------------------


def drained(frames: Frames, size_max: int) -> bytes:
    out = b""
    while piece := frames.take(size_max):
        out += piece
    return out


@pytest.mark.parametrize("size_max", [1, 100, 1 << 20])
@pytest.mark.parametrize("step", [1, 37, 1 << 20])
def test_bytes_may_be_handed_in_and_taken_out_as_one_likes(step: int, size_max: int) -> None:
    content = bytes(range(256)) * 60
    data = frame(content[:7_000]) + frame(content[7_000:], level=-50)
    frames = Frames()
    assert frames.take(10) is None
    out = b""
    for at in range(0, len(data), step):
        frames.receive(data[at : at + step])
        # Taken only now and then: what was not taken yet must not get lost.
        if at % 3 == 0:
            out += drained(frames, size_max)
    frames.receive(b"")
    out += drained(frames, size_max)
    assert out == content
    last = frames.take(1)
    assert last is not None
    assert not last
    assert frames.format == "zstd"


def test_what_lies_behind_a_frame_is_kept_though_more_was_handed_in_meanwhile() -> None:
    first, second = bytes(100_000), b"b" * 100_000
    data = frame(first) + frame(second)
    frames = Frames()
    cut = len(frame(first)) + 10
    frames.receive(data[:cut])
    out = bytes(frames.take(1000) or b"")
    frames.receive(data[cut:])
    frames.receive(b"")
    out += drained(frames, 1 << 20)
    assert out == first + second


def test_output_is_bounded_whatever_is_asked_of_a_bomb() -> None:
    frames = Frames()
    frames.receive(frame(bytes(60 << 20), level=1))
    piece = frames.take(4096)
    assert piece is not None
    assert 0 < len(piece) <= 4096


# --- the store of small members -------------------------------------------------------------------


def stored(tmp_path: Path, *, memory: int) -> tuple[MetadataStore, Bundle]:
    bundle = golden()
    store = MetadataStore(tmp_path, limits=replace(DEFAULT_LIMITS, metadata_memory_max=memory))
    reader, statement = opened(bundle.archive())
    with contextlib.ExitStack() as on_error:
        on_error.enter_context(store)
        reader.read_metadata(statement, store)
        on_error.pop_all()
    return store, bundle


@pytest.mark.parametrize("memory", [0, 1000, 1 << 20])
def test_small_members_come_back_from_memory_and_from_disk(tmp_path: Path, memory: int) -> None:
    store, bundle = stored(tmp_path, memory=memory)
    with store:
        for descriptor in bundle.metadata:
            assert descriptor.digest in store
            raw = store.read(descriptor, where="x", size_max=descriptor.size)
            assert raw == bundle.blobs[descriptor.digest]
        assert list(tmp_path.iterdir()) == []
        layer = bundle.layers[0]
        assert layer.digest not in store
        with pytest.raises(MissingError, match="at x"):
            store.read(layer, where="x", size_max=1 << 20)
        first = bundle.metadata[0]
        with pytest.raises(LimitError):
            store.read(first, where="x", size_max=first.size - 1)
        for size in (first.size - 1, first.size + 1):
            with pytest.raises(DigestError):
                store.read(replace(first, size=size), where="x", size_max=size)
    assert bundle.metadata[0].digest not in store


def failing(name: str) -> Callable[..., object]:
    def fails(*_: object) -> object:
        raise OSError(28, f"No space left on device ({name})")

    return fails


@pytest.mark.parametrize("call", ["pwrite", "pread"])
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def run() -> None:
        store, bundle = stored(tmp_path, memory=0)
        with store:
            store.read(bundle.metadata[0], where="x", size_max=1 << 20)

    run()
    monkeypatch.setattr(os, call, failing(call))
    with pytest.raises(NoSpaceError):
        run()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError):
        stored(tmp_path / "none", memory=0)
