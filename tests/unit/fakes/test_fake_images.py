"""The images are what tools expect, run, and have the same digests in every run."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from tests.fakes import elf
from tests.fakes.content import DOCKER_INDEX, OCI_INDEX, ContentStore, read_layout
from tests.fakes.images import (
    Image,
    Layer,
    Member,
    Noise,
    artifact,
    attestation_manifest,
    hello_image,
    hello_index,
    index,
)

MEBIBYTE = 1 << 20


def closure(one: Image) -> set[str]:
    store, found, todo = one.store, set[str](), [one.digest]
    while todo:
        digest = todo.pop()
        found.add(digest)
        if digest in store.manifests:
            document = store.json(digest)
            todo += [d["digest"] for d in document.get("manifests", [])]
            todo += [d["digest"] for d in document.get("layers", [])]
            todo += [document["config"]["digest"]] if "config" in document else []
    return found


def test_digest_is_the_same_in_every_run() -> None:
    assert hello_index(ContentStore()).digest == (
        "sha256:b0c524a069b783e8c04e143d41f87df3868645e1439ebddb556fa1ddc68c4e3d"
    )


@pytest.mark.parametrize("docker", [False, True])
def test_every_descriptor_is_true(*, docker: bool) -> None:
    built = hello_index(ContentStore(), docker=docker)
    assert built.descriptor["mediaType"] == (DOCKER_INDEX if docker else OCI_INDEX)
    for digest in closure(built):
        raw = built.store.read(digest)
        assert digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert built.store.size(digest) == len(raw)
    for child in built.children:
        [layer] = child.manifest["layers"]
        plain = gzip.decompress(child.store.read(layer["digest"]))
        assert child.config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            assert archive.getnames() == ["hello"]
            assert archive.getmember("hello").mode == 0o755


@pytest.mark.may_skip("another processor cannot run it")
@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="the program is for amd64"
)
def test_program_prints_its_line_and_succeeds(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(elf.hello("good day\n"))
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"good day\n", b"")


def test_arm64_program_is_what_an_assembler_makes() -> None:
    # mov x8,#64; mov x0,#1; adr x1,.+24; mov x2,#3; svc #0; mov x8,#93; mov x0,#0; svc #0
    code = "080880d2200080d2c1000010620080d2010000d4a80b80d2000080d2010000d4"
    assert elf.hello("ab\n", "arm64")[120:] == bytes.fromhex(code) + b"ab\n"


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_huge_layer_needs_no_memory(compression: str) -> None:
    size = 64 * MEBIBYTE
    tracemalloc.start()
    try:
        layer = Layer.of({"big": Noise(size, zeros=True)}, compression)  # type: ignore[arg-type]
        store = ContentStore()
        digest = store.add_stream(layer.blob, "application/octet-stream")["digest"]
        read = sum(len(chunk) for chunk in store.chunks(digest))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == layer.blob.size
    assert (read > size) == (compression == "none")
    assert peak < 16 * MEBIBYTE


def test_noise_differs_by_seed_and_does_not_compress() -> None:
    one, two = Layer.noise(MEBIBYTE, seed=1), Layer.noise(MEBIBYTE, seed=2, compression="gzip")
    assert one.diff_id != two.diff_id
    assert two.blob.size > MEBIBYTE


def test_part_of_a_stream() -> None:
    store = ContentStore()
    layer = Layer.noise(3 * MEBIBYTE)
    digest = store.add_stream(layer.blob, "application/octet-stream")["digest"]
    whole = store.read(digest)
    for start, stop in (
        (0, 1),
        (511, 513),
        (MEBIBYTE - 1, 2 * MEBIBYTE + 5),
        (len(whole) - 1, None),
    ):
        assert b"".join(store.chunks(digest, start, stop)) == whole[start:stop]


def test_links_and_folders_are_written_as_such() -> None:
    layer = Layer.of(
        {
            "etc": Member(kind=tarfile.DIRTYPE, mode=0o755),
            "etc/link": Member(kind=tarfile.SYMTYPE, link="/etc/passwd"),
        },
        "none",
    )
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer.blob.make()))) as archive:
        assert archive.getmember("etc").isdir()
        assert archive.getmember("etc/link").linkname == "/etc/passwd"


def test_buildkit_attestation_points_at_its_platform() -> None:
    store = ContentStore()
    one = hello_image(store)
    attested = attestation_manifest(store, one, [(b"{}", "https://slsa.dev/provenance/v1")])
    entry = index(store, [one], attestations=[attested]).manifest["manifests"][1]
    assert entry["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert entry["annotations"]["vnd.docker.reference.digest"] == one.digest


def test_artifact_with_subject_is_a_referrer() -> None:
    store = ContentStore()
    one = hello_image(store)
    made = artifact(
        store,
        "text/example",
        [(b"x", "text/plain")],
        subject=one.descriptor,
        annotations={"a": "b"},
    )
    assert store.referrers(one.digest) == [
        {**made.descriptor, "artifactType": "text/example", "annotations": {"a": "b"}}
    ]


def test_layout_is_read_back_as_written(tmp_path: Path) -> None:
    built = hello_index(ContentStore())
    again = read_layout(built.store.write_layout(tmp_path))
    assert again.tags == built.store.tags
    assert again.manifests == built.store.manifests
    assert set(again.blobs) == closure(built)
