"""A record header has one form; `tarfile` writes the same one."""

from __future__ import annotations

import contextlib
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.archive.format import (
    SIZE_MAX,
    Header,
    archive_size,
    decode,
    encode,
    padded,
    signature_name,
)
from loader.errors import LimitError, PathError, RefusedError, TarError

names = st.one_of(
    st.sampled_from(["airlock.json", "oci-layout", "index.json"]),
    st.integers(1, 16).map(signature_name),
    st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda h: f"blobs/sha256/{h}"),
)
headers = st.builds(Header, name=names, size=st.integers(0, SIZE_MAX))


@given(headers)
def test_decode_is_the_inverse_of_encode(header: Header) -> None:
    assert decode(encode(header), where="") == header


@given(headers)
def test_tarfile_writes_the_same_header(header: Header) -> None:
    record = tarfile.TarInfo(header.name)
    record.size = header.size
    assert encode(header) == record.tobuf(tarfile.GNU_FORMAT)


@given(headers, st.integers(0, 511), st.integers(1, 255))
def test_any_other_byte_is_refused(header: Header, at: int, bits: int) -> None:
    block = bytearray(encode(header))
    block[at] ^= bits
    with pytest.raises(RefusedError):
        decode(bytes(block), where="")


@given(headers, st.integers(0, 511), st.integers(1, 255))
def test_any_other_byte_with_its_checksum_is_refused_or_means_something_else(
    header: Header, at: int, bits: int
) -> None:
    block = bytearray(encode(header))
    block[at] ^= bits
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    try:
        found = decode(bytes(block), where="")
    except RefusedError:
        return
    assert encode(found) == bytes(block)


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_a_header_or_refused(block: bytes) -> None:
    with contextlib.suppress(RefusedError):
        decode(block, where="")


@pytest.mark.parametrize(
    ("size", "field"),
    [
        (0, b"00000000000\0"),
        (8**11 - 1, b"77777777777\0"),
        (8**11, b"\x80" + (8**11).to_bytes(11, "big")),
        (SIZE_MAX, b"\x80" + SIZE_MAX.to_bytes(11, "big")),
    ],
)
def test_sizes_change_their_form_at_eight_gibibytes(size: int, field: bytes) -> None:
    block = encode(Header(name="oci-layout", size=size))
    assert block[124:136] == field
    assert decode(block, where="").size == size


def test_errors_say_what_and_where() -> None:
    block = encode(Header(name="oci-layout", size=5))
    with pytest.raises(TarError, match="checksum is wrong; at byte 7; expected") as refused:
        decode(block[:-1] + b"x", where="byte 7")
    assert refused.value.code == "tar.header"

    def bent(at: int, value: bytes) -> bytes:
        changed = bytearray(block)
        changed[at : at + len(value)] = value
        changed[148:156] = b" " * 8
        changed[148:156] = b"%06o\0 " % sum(changed)
        return bytes(changed)

    with pytest.raises(TarError, match="a symbolic link"):
        decode(bent(156, b"2"), where="")
    with pytest.raises(TarError, match="unknown type b'Z'"):
        decode(bent(156, b"Z"), where="")
    with pytest.raises(PathError, match="none that the format has"):
        decode(bent(0, b"\x1b[2J"), where="")
    with pytest.raises(LimitError):
        decode(bent(124, b"\x80" + (SIZE_MAX + 1).to_bytes(11, "big")), where="")
    with pytest.raises(TarError, match="byte 265 of the header"):
        decode(bent(265, b"root"), where="x")


@given(st.lists(st.integers(0, 100_000), max_size=5))
def test_an_archive_is_as_long_as_tarfile_makes_it(sizes: list[int]) -> None:
    blocks = sum(512 + padded(size) for size in sizes) + 1024
    assert archive_size(sizes) % tarfile.RECORDSIZE == 0
    assert 0 <= archive_size(sizes) - blocks < tarfile.RECORDSIZE
