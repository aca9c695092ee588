"""A150, V3: what was verified is what the runtime has, for every variant of the corpus that loads.

Whatever the loader accepts, however strangely it is packed, it is loaded into real runtimes, and
what they have then is compared with the bytes of the archive as Python's own tar reader and zstd
see them, not with what the loader says.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.adversarial.case import ACCEPT, Case
from tests.adversarial.corpus import corpus, write_policy
from tests.adversarial.test_corpus_loaded import EXPECTED
from tests.e2e.loading import FarSide
from tests.engines import Containerd, Docker, Podman

ACCEPTED = [case for case in corpus() if EXPECTED.get(case.id, case.expect_class) == ACCEPT]
ARCHITECTURE = "amd64"
WITH_AN_ARTIFACT = {
    "control-window-8-mib",
    "control-frames-of-64-kib",
    "control-frames-of-64-mib",
}
"""They hold something that is no container image: no runtime is asked to take it."""
BY_MEDIA_TYPE = {"layer-gzip-called-plain"}
"""containerd goes by the layer's media type, not by its bytes: it says no."""
every_accepted_variant = pytest.mark.parametrize(
    "case", ACCEPTED, ids=[case.id for case in ACCEPTED]
)


@dataclass(frozen=True, slots=True)
class Packed:
    """One image as the archive's bytes have it: its digests, by another reader than ours."""

    top: str
    manifest: str
    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]
    depth: int
    """How many indexes lead to the manifest."""


def blobs_of(bundle: Path) -> dict[str, bytes]:
    """Return an archive's blobs by the digest that they really have."""
    raw = bundle.read_bytes()
    if raw.startswith(b"\x28\xb5\x2f\xfd"):
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        raw = reader.stream_reader(io.BytesIO(raw), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = [archive.extractfile(member) for member in archive if member.isfile()]
        contents = [member.read() for member in members if member]
    return {f"sha256:{hashlib.sha256(content).hexdigest()}": content for content in contents}


def packed(blobs: Mapping[str, bytes], top: str) -> Packed:
    """Follow an image's digest down to its layers, for this platform."""
    digest, document, depth = top, json.loads(blobs[top]), 0
    while "manifests" in document:
        digest = next(
            one["digest"]
            for one in document["manifests"]
            if one.get("platform", {}).get("architecture", ARCHITECTURE) == ARCHITECTURE
        )
        document, depth = json.loads(blobs[digest]), depth + 1
    config = document["config"]["digest"]
    return Packed(
        top=top,
        manifest=digest,
        config=config,
        layers=tuple(layer["digest"] for layer in document["layers"]),
        diff_ids=tuple(json.loads(blobs[config]).get("rootfs", {}).get("diff_ids", ())),
        depth=depth,
    )


def _refused(case: Case, target: str) -> str | None:
    """Return how a variant ends that this target does not take."""
    if target.startswith("oci:"):
        return None
    if case.id in WITH_AN_ARTIFACT:
        return "oci.format"
    return (
        "runtime.client" if target.startswith("containerd:") and case.id in BY_MEDIA_TYPE else None
    )


def loaded(
    case: Case, tmp_path: Path, target: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Packed]]:
    """Load a variant, and yield each image's name with what the archive has under it."""
    anchors = tmp_path / "host/etc/airlock"
    anchors.mkdir(parents=True)
    write_policy(anchors)
    bundle = tmp_path / "bundle"
    case.build(bundle)
    host = FarSide(tmp_path / "host", tmp_path / "unused")
    ran = host.run(
        "load", bundle, "--json", "--into", target, isolated=False, environment=environment
    )
    refused = _refused(case, target)
    if refused is not None:
        assert ran.error.startswith(f"airlock: error[{refused}]: "), ran.err
        return
    assert ran.status == 0, ran.err
    images: list[dict[str, Any]] = ran.verdict["images"]
    assert images
    blobs = blobs_of(bundle)
    for image in images:
        yield image["name"]["name"], packed(blobs, image["image"])


@pytest.mark.engine("docker")
@every_accepted_variant
def test_a150_docker_has_what_the_archive_has(
    case: Case, docker_engine: Docker, tmp_path: Path
) -> None:
    for name, image in loaded(case, tmp_path, "docker", docker_engine.environment):
        found = docker_engine.inspect(name)
        assert found is not None
        assert found["Id"] == image.config
        assert tuple(found["RootFS"]["Layers"]) == image.diff_ids


@pytest.mark.engine("podman")
@every_accepted_variant
def test_a150_podman_has_what_the_archive_has(
    case: Case, podman_engine: Podman, tmp_path: Path
) -> None:
    for name, image in loaded(case, tmp_path, "podman", podman_engine.environment):
        found = podman_engine.inspect(name)
        assert found is not None
        assert f"sha256:{found['Id']}" == image.config
        assert found["Digest"] == image.manifest
        assert tuple(found["RootFS"]["Layers"]) == image.diff_ids


@pytest.mark.engine("containerd")
@every_accepted_variant
def test_a150_containerd_has_what_the_archive_has(
    case: Case, containerd_engine: Containerd, tmp_path: Path
) -> None:
    target = f"containerd:{containerd_engine.namespace}"
    for name, image in loaded(case, tmp_path, target, containerd_engine.environment):
        assert containerd_engine.list()[name] == image.top
        assert {
            image.top,
            image.manifest,
            image.config,
            *image.layers,
        } <= containerd_engine.content()


@pytest.mark.engine("skopeo")
@every_accepted_variant
def test_a150_skopeo_reads_what_the_archive_has(case: Case, tmp_path: Path) -> None:
    layout, out = tmp_path / "layout", tmp_path / "out"
    for name, image in loaded(case, tmp_path, f"oci:{layout}"):
        source = f"oci:{layout}:{name}"
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", source], check=True, capture_output=True
        ).stdout
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == image.top
        if image.depth > 1:
            continue  # skopeo reads an index of an index, and copies no image out of it
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--override-arch", ARCHITECTURE, source, f"dir:{out}"],
            check=True,
        )
        manifest = (out / "manifest.json").read_bytes()
        assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == image.manifest
        for digest in (image.config, *image.layers):
            held = (out / digest.removeprefix("sha256:")).read_bytes()
            assert f"sha256:{hashlib.sha256(held).hexdigest()}" == digest
