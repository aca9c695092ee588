"""The archive's bytes: the same everywhere, readable by strangers, and never of a wrong blob."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
import zstandard

from bundler.pack.writer import FRAME_SIZE, Format, size_max, write_archive
from loader.archive.format import RECORD_SIZE
from loader.archive.frames import FrameHeader
from loader.digest import Digest
from loader.errors import DigestError, LimitError
from loader.limits import DEFAULT_LIMITS
from tests.adversarial.golden import Builder, Bundle, golden
from tests.adversarial.reading import read_all

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OneByteAtATime(io.BytesIO):
    """A file that gives and takes as little as a file may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None else min(size, 1))

    def write(self, data: ReadableBuffer, /) -> int:
        return super().write(bytes(memoryview(data)[:1]))


def with_layers(*layers: bytes) -> Bundle:
    """Return the golden bundle with these layers instead; no manifest names them."""
    builder = Builder(blobs=dict(golden().blobs))
    for layer in layers:
        builder.layer(layer)
    return replace(golden(), layers=tuple(builder.layers), blobs=builder.blobs)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return each frame's window and content."""
    found = []
    while data:
        header = FrameHeader.parse(data[:18], where="", limits=DEFAULT_LIMITS)
        assert header is not None
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        found.append((header.window_size, decompressor.decompress(data)))
        data = decompressor.unused_data
    return found


def test_what_is_written_is_what_it_says_it_wrote() -> None:
    bundle = golden()
    out = io.BytesIO()
    seen: list[int] = []

    class Shown:
        def advance(self, size: int, /) -> None:
            seen.append(size)

    written = write_archive(
        bundle.statement, bundle.signatures, bundle.open_blob, out, progress=Shown()
    )
    data = out.getvalue()
    assert written.size == len(data) <= size_max(bundle.statement, bundle.signatures)
    assert written.digest == Digest.of(data)
    plain = bundle.archive(form="plain")
    assert len(plain) == size_max(bundle.statement, bundle.signatures, format="plain")
    assert sum(seen) == len(plain)
    assert (
        zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
        == plain
    )


def test_files_that_give_and_take_single_bytes_make_no_difference() -> None:
    bundle = golden()

    def slowly(digest: Digest) -> BinaryIO:
        return OneByteAtATime(bundle.blobs[digest])

    out = OneByteAtATime()
    write_archive(bundle.statement, bundle.signatures, slowly, out)
    assert out.getvalue() == bundle.archive(form="zstd")


def test_nothing_of_the_machine_gets_in(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.umask(int(sys.argv[1]))\n"
        "from tests.adversarial.golden import golden\n"
        "sys.stdout.buffer.write(golden().archive(form='zstd'))\n"
    )
    expected = golden().archive(form="zstd")
    for umask, changes in (
        ("0", {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"}),
        ("127", {"LC_ALL": "tr_TR.UTF-8", "TZ": "", "PYTHONHASHSEED": "2", "USER": "x"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, umask],
            check=True,
            capture_output=True,
            env=os.environ | changes | {"PYTHONPATH": str(Path(__file__).parents[4])},
            cwd=tmp_path,
        )
        assert done.stdout == expected


def test_frames_are_cut_as_the_format_says() -> None:
    stored = b"\x1f\x8b" + os.urandom(5 * 2**20)
    loose = b"text " * 2**20
    bundle = with_layers(stored, loose, b"\x1f\x8b" + os.urandom(2**20))
    data = bundle.archive(form="zstd")
    found = frames(data)
    contents = [content for _, content in found]
    assert contents[0].startswith(b"airlock.json")
    assert contents[1].startswith(b"oci-layout")
    assert contents[2].startswith(b"blobs/sha256/")
    assert [len(content) for content in contents[2:-1]] == [FRAME_SIZE] * (len(contents) - 3)
    assert sum(map(len, contents)) % RECORD_SIZE == 0
    # What is compressed already is read behind a small window, the rest behind a larger one.
    assert [window for window, _ in found[2:]] == [2**17, 2**21, 2**21]
    assert len(data) < len(stored) + 2**20 + 100_000


def test_layers_that_are_compressed_already_grow_by_next_to_nothing() -> None:
    layer = b"\x28\xb5\x2f\xfd" + os.urandom(9 * 2**20)
    data = with_layers(layer).archive(form="zstd")
    assert len(data) < len(layer) * 1.0005 + 4000
    assert read_all(data).blobs[-1][1] == layer


def test_layers_of_no_bytes_and_of_whole_blocks() -> None:
    bundle = with_layers(b"", b"x" * 512, b"y" * 511, b"z" * 513)
    forms: tuple[Format, ...] = ("zstd", "plain")
    for form in forms:
        assert [raw for _, raw in read_all(bundle.archive(form=form)).blobs[-4:]] == [
            b"",
            b"x" * 512,
            b"y" * 511,
            b"z" * 513,
        ]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"x",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw[:0],
    ],
)
@pytest.mark.parametrize("which", ["small", "layer"])
def test_a_blob_that_is_not_the_announced_one_ends_the_run(
    spoil: Callable[[bytes], bytes], which: str
) -> None:
    bundle = golden()
    digest = (bundle.layers if which == "layer" else bundle.metadata)[-1].digest
    closed: list[io.BytesIO] = []

    def open_blob(wanted: Digest) -> BinaryIO:
        raw = bundle.blobs[wanted]
        file = io.BytesIO(spoil(raw) if wanted == digest else raw)
        closed.append(file)
        return file

    with pytest.raises(DigestError) as refused:
        write_archive(bundle.statement, (), open_blob, io.BytesIO())
    assert digest.hex in refused.value.where
    assert all(file.closed for file in closed)


def test_signatures_have_sixteen_names() -> None:
    bundle = golden().with_signatures([b"{}"] * 16)
    assert len(read_all(bundle.archive(form="zstd")).signatures) == 16
    with pytest.raises(LimitError):
        bundle.with_signatures([b"{}"] * 17).archive()


def test_tarfile_reads_it_as_we_mean_it() -> None:
    bundle = golden()
    with tarfile.open(fileobj=io.BytesIO(bundle.archive())) as archive:
        members = archive.getmembers()
        assert {(m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime, m.type) for m in members} == {
            (0o644, 0, 0, "", "", 0, tarfile.REGTYPE)
        }
        assert [m.name for m in members[2:]] == [m.name for m in bundle.statement.members]
        digests = {}
        for member in members[2:]:
            file = archive.extractfile(member)
            assert file is not None
            digests[member.name] = hashlib.sha256(file.read()).hexdigest()
    assert digests == {m.name: m.digest.hex for m in bundle.statement.members}


def unpacked(bundle: Bundle, folder: Path) -> Path:
    """Unpack it as a stranger would: `zstd -d | tar -x`."""
    layout = folder / "layout"
    layout.mkdir()
    packed = folder / "bundle.tar.zst"
    packed.write_bytes(bundle.archive(form="zstd"))
    command = f"zstd -dc {packed} | tar -x -C {layout}"
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, capture_output=True)
    return layout


@pytest.mark.engine("zstd")
def test_zstd_and_tar_list_it(tmp_path: Path) -> None:
    bundle = golden()
    packed = tmp_path / "bundle.tar.zst"
    packed.write_bytes(bundle.archive(form="zstd"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"zstd -dc {packed} | tar -t"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.split() == [
        "airlock.json",
        "airlock.sigstore.1.json",
        *(m.name for m in bundle.statement.members),
    ]
    layout = unpacked(bundle, tmp_path)
    assert (layout / "airlock.json").read_bytes() == bundle.statement.raw
    assert (layout / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'


@pytest.mark.engine("zstd", "skopeo")
def test_skopeo_reads_it_as_an_image_layout(tmp_path: Path) -> None:
    layout = unpacked(golden(), tmp_path)
    for reference, architecture in (
        ("registry.example/org/app:1.0", "amd64"),
        ("registry.example/org/tool:2", "amd64"),
    ):
        done = subprocess.run(
            [
                *("skopeo", "inspect", "--override-os=linux"),
                *(f"--override-arch={architecture}", f"oci:{layout}:{reference}"),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f'"Architecture": "{architecture}"' in done.stdout
    copied = tmp_path / "copied"
    source = f"oci:{layout}:registry.example/org/app:1.0"
    subprocess.run(
        [
            *("skopeo", "copy", "--insecure-policy", "--preserve-digests", "--all"),
            *(source, f"oci:{copied}:x"),
        ],
        check=True,
        capture_output=True,
    )
    index = golden().images[0].image.digest
    assert (copied / "blobs" / "sha256" / index.hex).is_file()


@pytest.mark.engine("zstd", "regctl")
def test_regctl_reads_it_as_an_image_layout(tmp_path: Path) -> None:
    layout = unpacked(golden(), tmp_path)
    done = subprocess.run(
        ["regctl", "tag", "ls", f"ocidir://{layout}"], check=True, capture_output=True, text=True
    )
    # regctl takes what stands behind the last colon for the tag.
    assert done.stdout.split() == ["1.0", "2"]
