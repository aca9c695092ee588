"""Cases in the compression: controls that must pass, frames outside the profile, bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import zstandard

from loader.model.bundle import EvidenceEntry, ImageEntry
from loader.model.descriptor import OCI_EMPTY, OCI_MANIFEST
from loader.model.reference import Reference
from tests.adversarial.case import ACCEPT, Case, of_bytes
from tests.adversarial.golden import Builder, Bundle, dumps, golden
from tests.adversarial.pieces import frame, frames, raw_frame, skippable

RAW, RUN, COMPRESSED, RESERVED = range(4)
SINGLE, CHECKSUM, FOUR_BYTES = 0x20, 0x04, 0x80


def plain() -> bytes:
    return golden().archive(form="plain")


def first_frame_is(changed: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """Return the golden archive in one frame, which is then changed."""
    return lambda: changed(frame(plain()))


def put(at: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + value + data[at + len(value) :]


def with_layer(size: int, byte: bytes = b"\0") -> Bundle:
    """Return the golden bundle with one more artifact, signed too, of one byte over and over."""
    builder = Builder(blobs=dict(golden().blobs))
    layer = builder.layer(byte * size, "application/octet-stream")
    config = builder.small(OCI_EMPTY, b"{}")
    manifest = builder.small(
        OCI_MANIFEST,
        dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.plain(),
                "layers": [layer.plain()],
            }
        ),
    )
    signature = builder.signature(manifest, "registry.example/org/large")
    entry = ImageEntry(
        reference=Reference.parse("registry.example/org/large:1"),
        image=manifest,
        platforms=(),
        evidence=(
            EvidenceEntry(subject=manifest.digest, store="signature-tag", manifest=signature),
        ),
    )
    bundle = golden()
    return replace(
        bundle,
        images=(*bundle.images, entry),
        metadata=(*bundle.metadata, *builder.metadata),
        layers=(*bundle.layers, layer),
        blobs=builder.blobs,
    )


def with_stowaway() -> Bundle:
    """Return the golden bundle with a layer that belongs to no image."""
    builder = Builder(blobs=dict(golden().blobs))
    layer = builder.layer(b"carried along")
    return replace(golden(), layers=(*golden().layers, layer), blobs=builder.blobs)


def _raw_blocks(content: bytes, size: int) -> list[tuple[int, bytes, int]]:
    return [
        (RAW, content[at : at + size], len(content[at : at + size]))
        for at in range(0, len(content), size)
    ]


def _xxh(content: bytes) -> bytes:
    """Return the checksum that ends a frame of this content."""
    return frame(content, level=1)[-4:]


def _by_hand(
    blocks: list[tuple[int, bytes, int]],
    content: bytes,
    *,
    window: int | None = None,
    size: bytes | None = None,
    flags: int | None = None,
    checksum: bytes | None = None,
) -> bytes:
    """Return a frame with these blocks, whose header says what is said here or else the truth."""
    size = _size(len(content)) if size is None else size
    if flags is None:
        flags = CHECKSUM | _SIZE_FLAGS[len(size)] | (SINGLE if window is None else 0)
    return raw_frame(
        blocks,
        flags=flags,
        fields=(b"" if window is None else bytes([window])) + size,
        checksum=_xxh(content) if checksum is None else checksum,
    )


_SIZE_FLAGS = {1: 0x00, 2: 0x40, 4: 0x80, 8: 0xC0}


def _size(size: int) -> bytes:
    """Write a content size in the fewest bytes."""
    if size < 256:
        return bytes([size])
    return struct.pack("<H", size - 256) if size < 65536 + 256 else struct.pack("<I", size)


def cases() -> Iterator[Case]:
    yield from _controls()
    yield from _headers()
    yield from _damage()
    yield from _strangers()
    yield from _bombs()


def _controls() -> Iterator[Case]:
    controls: list[tuple[str, Callable[[], bytes]]] = [
        ("plain", plain),
        ("zstd", lambda: golden().archive(form="zstd")),
        ("one-frame", lambda: frame(plain())),
        ("one-frame-level-1", lambda: frame(plain(), level=1)),
        ("one-frame-level-19", lambda: frame(plain(), level=19)),
        ("window-8-mib", lambda: frames(with_layer(9 << 20).archive(), 16 << 20, window_log=23)),
        ("window-1-kib", lambda: frame(plain(), window_log=10)),
        ("cut-within-a-header", lambda: frame(plain()[:700]) + frame(plain()[700:])),
        ("cut-into-three", lambda: b"".join(map(frame, _parts(plain(), 1, 512, 10**6)))),
        ("frames-of-64-kib", lambda: frames(with_layer(1 << 20).archive(), 65536)),
        ("frames-of-64-mib", lambda: frames(with_layer(65 << 20).archive(), 64 << 20, level=1)),
        ("stored-blocks", lambda: _by_hand(_raw_blocks(plain(), 1000), plain())),
        (
            "empty-blocks",
            lambda: _by_hand(
                [b for pair in _raw_blocks(plain(), 1000) for b in ((RAW, b"", 0), pair)], plain()
            ),
        ),
        (
            "empty-last-block",
            lambda: _by_hand([*_raw_blocks(plain(), 1000), (RAW, b"", 0)], plain()),
        ),
        (
            "window-with-mantissa",
            lambda: _by_hand(_raw_blocks(plain(), 1000), plain(), window=(5 << 3) | 7),
        ),
        ("no-signature", lambda: golden().with_signatures([]).archive(form="zstd")),
        ("sixteen-signatures", lambda: golden().with_signatures([b"{}"] * 16).archive()),
        ("no-channel", lambda: replace(golden(), channel=None, sequence=None).archive()),
        (
            "expires",
            lambda: replace(golden(), expires=datetime(2999, 1, 1, tzinfo=UTC)).archive(),
        ),
        (
            "created-in-1970",
            lambda: replace(golden(), created=datetime(1970, 1, 1, tzinfo=UTC)).archive(),
        ),
        (
            "another-order-of-images",
            lambda: replace(golden(), images=golden().images[::-1]).archive(form="zstd"),
        ),
        (
            "another-order-of-small-members",
            lambda: replace(golden(), metadata=golden().metadata[::-1]).archive(form="zstd"),
        ),
    ]
    for name, make in controls:
        yield of_bytes(f"control-{name}", make, ACCEPT, "within the profile")
    yield of_bytes(
        "layer-nobody-needs",
        lambda: with_stowaway().archive(form="zstd"),
        "container",
        "a member that no image needs",
        level="graph",
    )


def _parts(data: bytes, *ends: int) -> list[bytes]:
    starts = (0, *ends)
    return [part for a, b in zip(starts, ends, strict=False) if (part := data[a:b])]


def _headers() -> Iterator[Case]:
    size = len(plain())
    blocks = _raw_blocks(plain(), 1000)
    wrong: list[tuple[str, Callable[[], bytes], str]] = [
        ("no-checksum", lambda: frame(plain(), checksum=False), "container"),
        ("no-content-size", lambda: frame(plain(), content_size=False), "container"),
        ("reserved-bit", first_frame_is(lambda d: put(4, bytes([d[4] | 8]))(d)), "container"),
        ("unused-bit", first_frame_is(lambda d: put(4, bytes([d[4] | 16]))(d)), "container"),
        *(
            (
                f"dictionary-{flag}",
                first_frame_is(lambda d, flag=flag: put(4, bytes([d[4] | flag]))(d)),  # type: ignore[misc]
                "container",
            )
            for flag in (1, 2, 3)
        ),
        (
            "dictionary-zero",
            lambda: _by_hand(
                blocks,
                plain(),
                flags=0x40 | CHECKSUM | SINGLE | 1,
                size=b"\0" + _size(size),
            ),
            "container",
        ),
        ("window-9-mib", lambda: _by_hand(blocks, plain(), window=(13 << 3) | 1), "limit"),
        ("window-16-mib", lambda: _by_hand(blocks, plain(), window=14 << 3), "limit"),
        ("window-2-gib", lambda: _by_hand(blocks, plain(), window=21 << 3), "limit"),
        ("window-largest", lambda: _by_hand(blocks, plain(), window=255), "limit"),
        ("size-one-more", lambda: _by_hand(blocks, plain(), size=_size(size + 1)), "container"),
        ("size-one-less", lambda: _by_hand(blocks, plain(), size=_size(size - 1)), "container"),
        (
            "size-one-more-empty-last-block",
            lambda: _by_hand(
                [*blocks, (RAW, b"", 0)], plain(), size=_size(size + 1), window=10 << 3
            ),
            "container",
        ),
        (
            "size-over-64-mib",
            lambda: _by_hand(blocks, plain(), size=struct.pack("<I", (64 << 20) + 1), window=80),
            "limit",
        ),
        (
            "size-in-eight-bytes",
            lambda: _by_hand(blocks, plain(), size=struct.pack("<Q", size)),
            "container",
        ),
        (
            "size-2-to-62",
            lambda: _by_hand(blocks, plain(), window=80, size=struct.pack("<Q", 1 << 62)),
            "limit",
        ),
        (
            "size-in-more-bytes-than-needed",
            lambda: (
                _by_hand(
                    _raw_blocks(plain()[:300], 300), plain()[:300], size=struct.pack("<I", 300)
                )
                + frame(plain()[300:])
            ),
            "container",
        ),
        (
            "size-zero",
            lambda: (
                raw_frame(
                    [(RAW, b"", 0)], flags=SINGLE | CHECKSUM, fields=b"\0", checksum=_xxh(b"")
                )
                + frame(plain())
            ),
            "container",
        ),
        ("checksum-wrong", lambda: _by_hand(blocks, plain(), checksum=b"abcd"), "container"),
        ("checksum-zero", lambda: _by_hand(blocks, plain(), checksum=bytes(4)), "container"),
        (
            "checksum-cut",
            lambda: _by_hand(blocks, plain(), checksum=_xxh(plain())[:3]),
            "container",
        ),
        (
            "reserved-block",
            lambda: _by_hand([(RESERVED, b"x", 1), *blocks], plain()),
            "container",
        ),
        (
            "block-too-large",
            lambda: _by_hand([(RAW, plain()[:2000], (1 << 21) - 1), *blocks], plain()),
            "container",
        ),
        (
            "block-beyond-the-end",
            lambda: _by_hand([*blocks[:-1], (RAW, blocks[-1][1], 9000)], plain()),
            "container",
        ),
        (
            "block-compressed-junk",
            lambda: _by_hand([(COMPRESSED, b"junk", 4)], plain()),
            "container",
        ),
        ("block-compressed-empty", lambda: _by_hand([(COMPRESSED, b"", 0)], plain()), "container"),
        ("skippable-first", lambda: skippable() + frame(plain()), "container"),
        ("skippable-empty", lambda: skippable(b"") + frame(plain()), "container"),
        (
            "skippable-huge",
            lambda: struct.pack("<II", 0x184D2A5F, 2**32 - 1) + frame(plain()),
            "container",
        ),
        (
            "skippable-between",
            lambda: frame(plain()[:9000]) + skippable() + frame(plain()[9000:]),
            "container",
        ),
        ("skippable-last", lambda: frame(plain()) + skippable(), "container"),
        (
            "junk-between",
            lambda: frame(plain()[:9000]) + b"junk!" + frame(plain()[9000:]),
            "container",
        ),
        ("junk-last", lambda: frame(plain()) + b"junk", "container"),
        ("nul-last", lambda: frame(plain()) + b"\0", "container"),
        ("frame-of-zeros-last", lambda: frame(plain()) + frame(bytes(10_240)), "container"),
        ("magic-last", lambda: frame(plain()) + b"\x28\xb5\x2f\xfd", "container"),
        ("many-short-frames", lambda: frames(plain(), 512), "limit"),
        ("four-short-frames", lambda: frames(plain(), 8000), "limit"),
        ("first-frame-twice", lambda: frame(plain()[:9000]) * 2 + frame(plain()[9000:]), "digest"),
    ]
    for name, make, expected in wrong:
        yield of_bytes(f"frame-{name}", make, expected, "outside the profile of frames")


def _damage() -> Iterator[Case]:
    whole = golden().archive(form="zstd")
    for at in range(0, len(whole), 97):
        yield of_bytes(
            f"zstd-cut-at-{at:05}",
            lambda at=at: golden().archive(form="zstd")[:at],  # type: ignore[misc]
            "container",
            "cut anywhere",
        )
    ends = len(frame(plain()[:9000]))
    for back in (1, 2, 4, 5):
        yield of_bytes(
            f"zstd-cut-{back}-before-a-frame",
            lambda back=back: (frame(plain()[:9000]) + frame(plain()[9000:]))[: ends + back],  # type: ignore[misc]
            "container",
            "cut within a frame's header",
        )
    yield of_bytes(
        "zstd-cut-between-frames", lambda: frame(plain()[:9000]), "container", "one frame of two"
    )


def _strangers() -> Iterator[Case]:
    wrong: list[tuple[str, Callable[[], bytes]]] = [
        ("nothing", bytes),
        ("one-byte", lambda: b"\x28"),
        ("magic-only", lambda: b"\x28\xb5\x2f\xfd"),
        ("four-letters", lambda: b"airl"),
        ("zeros", lambda: bytes(1 << 20)),
        ("text", lambda: b"not a bundle at all\n" * 100),
        ("gzip", lambda: gzip.compress(plain(), mtime=0)),
        ("xz", lambda: lzma.compress(plain())),
        ("bzip2", lambda: bz2.compress(plain())),
        ("zip", lambda: b"PK\x03\x04" + plain()),
        ("lz4", lambda: b"\x04\x22\x4d\x18" + plain()),
        ("zstd-0.7", lambda: b"\x27" + frame(plain())[1:]),
        ("zstd-without-magic", lambda: frame(plain())[4:]),
        ("zstd-twice", lambda: frame(frame(plain()))),
        ("gzip-in-zstd", lambda: frame(gzip.compress(plain(), mtime=0))),
        ("mark-before", lambda: b"\xef\xbb\xbf" + frame(plain())),
        ("newline-before", lambda: b"\n" + plain()),
        ("base64-like-text", lambda: b"KLUv/QRg" * 50),
        ("a-dictionary", lambda: b"\x37\xa4\x30\xec" + bytes(100)),
    ]
    for name, make in wrong:
        expected = "tar" if name in {"zstd-twice", "gzip-in-zstd"} else "container"
        yield of_bytes(f"stranger-{name}", make, expected, "no bundle")


def _bombs() -> Iterator[Case]:
    """Cases whose frames hold far more than the file has."""
    run = 128 << 10

    def zeros(count: int, start: bytes = b"") -> bytes:
        """Return frames of 64 MiB of zeros, each of 2 KiB."""
        length = 64 << 20
        one = _by_hand(
            [(RUN, b"\0", run)] * (length // run),
            b"",
            window=7 << 3,
            size=struct.pack("<I", length),
            checksum=_ZEROS_CHECKSUM,
        )
        return start + one * count

    head = plain()[:124]
    tail = plain()[136:512]

    def header_of(size: int) -> bytes:
        block = bytearray(head + b"%011o\0" % size + tail)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    yield of_bytes(
        "bomb-statement-of-32-mib-of-zeros",
        lambda: zeros(1, frame(header_of(32 << 20))),
        "missing",
        "as long as a statement may be, and nothing behind it",
    )
    yield of_bytes(
        "bomb-statement-over-the-limit",
        lambda: zeros(600, frame(header_of((32 << 20) + 1))),
        "limit",
        "40 GiB in a megabyte",
    )
    yield of_bytes("bomb-zeros", lambda: zeros(600), "missing", "40 GiB of zeros and no record")
    yield of_bytes(
        "bomb-zeros-behind-the-end",
        lambda: frame(plain()) + zeros(600),
        "container",
        "40 GiB behind the end",
    )
    yield of_bytes(
        "bomb-empty-blocks",
        lambda: raw_frame(
            [(RAW, b"", 0)] * 2_000_000,
            flags=FOUR_BYTES | CHECKSUM,
            fields=bytes([7 << 3]) + struct.pack("<I", 65_536),
            checksum=bytes(4),
        ),
        "container",
        "six megabytes of blocks that hold nothing",
    )
    yield of_bytes(
        "bomb-tiny-frames",
        lambda: frame(b"a") * 300_000,
        "limit",
        "a frame for each byte",
    )


_ZEROS_CHECKSUM = zstandard.ZstdCompressor(
    level=1, write_checksum=True, write_content_size=True
).compress(bytes(64 << 20))[-4:]
