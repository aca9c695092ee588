"""Every cut and every flipped bit of a small bundle is refused, or changes nothing that counts.

Which bits may be free, and why, is said in docs/format.md, "Free bits"; here the list is held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.pack.writer import Format
from loader.archive.frames import FrameHeader
from loader.errors import RefusedError
from loader.evidence import expect_closed
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement
from loader.model.descriptor import OCI_EMPTY
from tests.adversarial.golden import Builder, golden, tiny
from tests.adversarial.reading import Blobs, Read, read_all

FORMATS: tuple[Format, ...] = ("plain", "zstd")


def accepted(data: bytes) -> Read | None:
    try:
        return read_all(data)
    except RefusedError:
        return None


def flipped(data: bytes, at: int, bits: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def frame_spans(data: bytes) -> Iterator[tuple[int, FrameHeader, int]]:
    """Yield where each frame starts and ends, found by walking its blocks (RFC 8878 §3.1.1.2)."""
    at = 0
    while at < len(data):
        header = FrameHeader.parse(data[at : at + 18], where="", limits=DEFAULT_LIMITS)
        assert header is not None
        end = at + header.header_size
        last = 0
        while not last:
            block = int.from_bytes(data[end : end + 3], "little")
            last = block & 1
            end += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        yield at, header, end + 4
        at = end + 4


@pytest.mark.parametrize("form", FORMATS)
def test_every_cut_is_noticed(form: Format) -> None:
    for bundle, step in ((tiny(), 1), (golden(), 7 if form == "zstd" else 97)):
        data = bundle.archive(form=form)
        for at in range(0, len(data), step):
            with pytest.raises(RefusedError) as refused:
                read_all(data[:at])
            assert refused.value.code in {"container.truncated", "container.zstd"}


def test_every_flipped_bit_of_the_file_is_noticed_or_means_the_same() -> None:
    data = tiny().archive(form="zstd")
    expected = read_all(data)
    spans = list(frame_spans(data))
    assert spans[-1][2] == len(data)
    for at in range(len(data)):
        for bit in range(8):
            found = accepted(flipped(data, at, 1 << bit))
            if found is None:
                continue
            assert found == replace(expected, bytes_read=found.bytes_read)
            start, header, end = next(span for span in spans if span[0] <= at < span[2])
            in_window = at - start == 5 and not data[start + 4] & 0x20
            in_blocks = start + header.header_size <= at < end - 4
            assert in_window or in_blocks, f"bit {bit} of byte {at}"


@pytest.mark.parametrize("bits", [0x01, 0x80])
def test_every_byte_of_the_tar_counts(bits: int) -> None:
    data = tiny().archive(form="plain")
    statement = tiny().statement
    expected = read_all(data)
    free: set[int] = set()
    for at in range(len(data)):
        found = accepted(flipped(data, at, bits))
        if found is None:
            continue
        free.add(at)
        # Nobody vouches for an unsigned statement's own time; everything else is as it was.
        assert found.blobs == expected.blobs
        assert found.statement.created != statement.created
        assert replace(found.statement, raw=b"", created=statement.created) == replace(
            statement, raw=b""
        )
    created = data.index(b'"created":"') + len(b'"created":"')
    assert free <= set(range(created, created + 20))


def without_free_fields(statement: BundleStatement) -> BundleStatement:
    """Return the statement without what only its signature can vouch for (docs/format.md)."""
    images = tuple(
        replace(
            image,
            # The judge compares subjects: see loader.evidence.
            evidence=tuple(
                replace(item, store="referrer", subject=image.image.digest)
                for item in image.evidence
            ),
        )
        for image in statement.images
    )
    trust = tuple(
        replace(
            entry,
            anchor="x",
            kind="key",
            blobs=tuple(replace(blob, media_type=OCI_EMPTY) for blob in entry.blobs),
        )
        for entry in statement.trust
    )
    return replace(
        statement,
        raw=b"",
        created=golden().created,
        channel=None,
        sequence=None,
        expires=None,
        images=images,
        trust=trust,
    )


def test_only_what_a_signature_must_vouch_for_is_free_in_a_statement() -> None:
    data, statement = golden().archive(form="plain"), golden().statement
    free = 0
    for at in range(512, 512 + len(statement.raw)):
        found = accepted(flipped(data, at, 0x01))
        if found is None or refused_by_documents(found):
            continue
        free += 1
        assert found.statement.digest != statement.digest
        assert without_free_fields(found.statement) == without_free_fields(statement)
    assert free > 0


def refused_by_documents(read: Read) -> bool:
    blobs = Blobs(read)
    try:
        graphs = [read_graph(entry, blobs) for entry in read.statement.images]
        expect_closed(read.statement, graphs, blobs)
    except RefusedError:
        return True
    return False


def test_a_signature_in_the_archive_is_the_judges_to_verify() -> None:
    """The reader compares a signature's name and size; its bytes it hands on as they are."""
    data = golden().archive(form="plain")
    at = data.index(golden().signatures[0])
    found = accepted(flipped(data, at + 5, 1))
    assert found is not None
    assert found.signatures != golden().signatures
    assert found.statement == golden().statement


@given(st.binary(max_size=3000))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_or_a_bundle(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        read_all(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_refused_or_changes_nothing_that_counts(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    raw = tiny().archive(form=form)
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 600)))
    insert = data.draw(st.binary(max_size=600))
    found = accepted(raw[:start] + insert + raw[end:])
    if found is not None:
        assert found.blobs == read_all(raw).blobs


@given(
    st.lists(st.binary(max_size=2000), max_size=6, unique=True),
    st.lists(st.binary(min_size=1, max_size=300), max_size=4),
    st.sampled_from(FORMATS),
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),  # noqa: DTZ001
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(
    layers: list[bytes], signatures: list[bytes], form: Format, created: datetime
) -> None:
    builder = Builder(blobs=dict(tiny().blobs))
    for layer in layers:
        builder.layer(layer)
    bundle = replace(
        tiny(),
        layers=(*tiny().layers, *builder.layers),
        blobs=builder.blobs,
        created=created.astimezone(),
        signed=tuple(signatures),
    )
    read = read_all(bundle.archive(form=form), piece=613)
    assert read.statement == bundle.statement
    assert read.signatures == tuple(signatures)
    assert {raw for _, raw in read.blobs} == set(builder.blobs.values())
