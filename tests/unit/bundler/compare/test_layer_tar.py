"""A layer's tar as a runtime reads it: what Go's archive/tar makes of it, or an error."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from bundler.compare.layer_tar import TarEntry, read_entries
from loader.errors import FormatError, LimitError, PathError, TarError, TruncatedError

END = bytes(1024)


def header(name: str = "x", **fields: Any) -> bytes:  # noqa: ANN401
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records:
        size = len(key) + len(value) + 3
        while len(b"%d" % (size + len(b"%d" % size))) != len(b"%d" % size):
            size += 1
        size += len(b"%d" % size)
        body += b"%d %s=%s\n" % (size, key, value)
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def long_name(name: bytes, kind: bytes = tarfile.GNUTYPE_LONGNAME) -> bytes:
    raw = name + b"\0"
    return header("././@LongLink", type=kind, size=len(raw)) + raw + bytes(-len(raw) % 512)


def patched(block: bytes, at: int, raw: bytes) -> bytes:
    """A header with other bytes at one place, and the checksum that goes with them."""
    block = block[:at] + raw + block[at + len(raw) :]
    counted = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return block[:148] + b"%06o\0 " % counted + block[156:]


def read(*parts: bytes, size: int = 1 << 20) -> tuple[TarEntry, ...]:
    raw = b"".join(parts) + END
    return read_entries((raw[at : at + size] for at in range(0, len(raw), size)), where="layer")


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
def test_chunks_of_any_size_give_the_same(size: int) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (("a" * 300, b"x" * 700), ("b", b""), ("c/d", b"y")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    whole = raw.getvalue()
    found = read_entries((whole[at : at + size] for at in range(0, len(whole), size)), where="l")
    assert [(one.name, one.size) for one in found] == [("a" * 300, 700), ("b", 0), ("c/d", 1)]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("./a", "a"), ("a/", "a"), ("/a", "a"), ("a//b", "a/b"), ("a/./b", "a/b"), ("./", "."),
        ("a...b", "a...b"), ("..a", "..a"),
    ],
)  # fmt: skip
def test_names_are_those_that_runtimes_make_of_them(written: str, read_as: str) -> None:
    assert [one.name for one in read(header(written))] == [read_as]


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "a/..", "./../a"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(PathError, match="leads elsewhere"):
        read(header(name))


def test_names_that_are_no_text_stay_apart() -> None:
    found = read(header("\udcff"), header("\\xff"))
    assert len({one.name for one in found}) == 2


DEVICE = header("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
ATTACKS: dict[str, tuple[list[bytes], type[FormatError]]] = {
    "content behind a folder's header": (
        [header("a/", type=tarfile.DIRTYPE, size=512), header("hidden")],
        TarError,
    ),
    "content behind a link's header": (
        [header("a", type=tarfile.SYMTYPE, linkname="b", size=512), header("hidden")],
        TarError,
    ),
    "a pax size for a folder": (
        [pax((b"size", b"512")), header("a/", type=tarfile.DIRTYPE), header("hidden")],
        TarError,
    ),
    "two pax headers": ([pax((b"path", b"a")), pax((b"path", b"b")), header()], TarError),
    "a long name of either kind": ([pax((b"path", b"a")), long_name(b"b"), header()], TarError),
    "a long link of either kind": (
        [
            pax((b"linkpath", b"a")),
            long_name(b"b", tarfile.GNUTYPE_LONGLINK),
            header(type=tarfile.SYMTYPE),
        ],
        TarError,
    ),
    "a path for all entries": ([pax((b"path", b"evil"), kind=b"g"), header()], TarError),
    "a size for all entries": ([pax((b"size", b"512"), kind=b"g"), header()], TarError),
    "an attribute for all entries": (
        [pax((b"SCHILY.xattr.security.capability", b"x"), kind=b"g"), header()],
        TarError,
    ),
    "a path, and a header for all entries before its entry": (
        [pax((b"path", b"seen")), pax((b"comment", b"x"), kind=b"g"), header("unpacked")],
        TarError,
    ),
    "a long name, and a header for all entries before its entry": (
        [long_name(b"seen"), pax((b"comment", b"x"), kind=b"g"), header("unpacked")],
        TarError,
    ),
    "a folder where GNU has times": ([patched(header("passwd"), 345, b"etc\0")], TarError),
    "a device in a header of 1979": ([patched(DEVICE, 257, bytes(8))], TarError),
    "a device in a header of no kind": ([patched(DEVICE, 257, b"ustarXXX")], TarError),
    "a NUL in a pax path": ([pax((b"path", b"a\0b")), header()], PathError),
    "sparse, as GNU": ([header(type=tarfile.GNUTYPE_SPARSE)], TarError),
    "sparse, as pax": ([pax((b"GNU.sparse.major", b"1")), header()], TarError),
    "a volume's label": ([header(type=b"V")], TarError),
    "a path without end": ([pax((b"path", b"a" * 5000)), header()], LimitError),
    "folders without end": ([pax((b"path", b"a/" * 300 + b"b")), header()], LimitError),
    "a link without end": (
        [long_name(b"a/" * 5000, tarfile.GNUTYPE_LONGLINK), header(type=tarfile.SYMTYPE)],
        LimitError,
    ),
    "a record that is too large": ([header(type=b"x", size=1 << 40)], LimitError),
    "a negative size": ([header()[:124] + b"\xff" * 12 + header()[136:]], TarError),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_where_readers_part_ways_is_an_error(case: str) -> None:
    parts, error = ATTACKS[case]
    with pytest.raises(error) as caught:
        read(*parts)
    assert caught.value.where.startswith("layer, byte ") or case == "a negative size"


def test_a_comment_for_all_entries_changes_nothing() -> None:
    """`git archive` writes the commit so."""
    assert read(pax((b"comment", b"0" * 40), kind=b"g"), header()) == read(header())


def test_an_empty_record_leaves_the_header_alone() -> None:
    assert [one.name for one in read(pax((b"path", b""), (b"mtime", b"")), header("kept"))] == [
        "kept"
    ]


def test_only_the_oldest_kind_of_file_becomes_a_folder_by_its_name() -> None:
    old, new = header("a/", type=b"\0"), header("a/", type=b"0")
    assert [one.kind for one in (*read(old), *read(new))] == ["folder", "file"]


def test_star_keeps_times_behind_a_prefix() -> None:
    raw = bytearray(tarfile.TarInfo("name").tobuf(tarfile.USTAR_FORMAT))
    raw[345:476] = b"p" * 131
    raw[476:488] = b"00000000001 "
    raw[508:512] = b"tar\0"
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 0x20 + sum(raw[156:512]))
    assert [one.name for one in read(bytes(raw))] == ["p" * 131 + "/name"]


# --- bombs ----------------------------------------------------------------------------------------


def repeated(block: bytes, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield block


BOMBS = {
    "attributes": pax((b"SCHILY.xattr.user.a", b"v" * 500_000)) + header(),
    "records": pax(*((b"%d" % n, b"v" * 90) for n in range(5000))) + header(),
    "long links": long_name(b"a/" * 2000, tarfile.GNUTYPE_LONGLINK) + header(type=tarfile.SYMTYPE),
    "headers before one entry": b"".join(long_name(b"n") for _ in range(500)),
    "shadow files": header("etc/shadow", size=60_000) + bytes(60_000) + bytes(-60_000 % 512),
    "comments for all": pax((b"comment", b"v" * 500_000), kind=b"g"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_is_bounded_whatever_a_layer_says(bomb: str) -> None:
    """Each would be gigabytes, and next to nothing compressed."""
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match="names, attributes or records"):
            read_entries(repeated(BOMBS[bomb], 100_000), where="layer", names_size_max=8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_entries_are_counted() -> None:
    with pytest.raises(LimitError, match="too many entries"):
        read_entries(repeated(header(), 11), where="layer", count_max=10)


def test_every_truncation_is_said() -> None:
    raw = b"".join((pax((b"path", b"a")), header(size=600), b"x" * 600, bytes(424)))
    for size in range(1, len(raw)):
        with pytest.raises((TruncatedError, TarError)):
            read_entries([raw[:size]], where="layer")
