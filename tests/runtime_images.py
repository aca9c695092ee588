"""Small images for runtime tests, and a quarantine to load them from.

The first layer holds one static program of a few hundred bytes that writes a line and exits, so a
container of the image proves that what was loaded runs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from loader._seal import SEAL
from loader.digest import Digest
from loader.model.descriptor import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from loader.model.image import ImageConfig, ImageIndex, ImageManifest
from loader.model.reference import Reference
from loader.runtime.base import LoadRequest
from loader.witness import Staged
from tests.fakes import elf

HOST_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")


def layer(files: Mapping[str, bytes]) -> bytes:
    """Return an uncompressed layer with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def gzipped(raw: bytes) -> bytes:
    """Compress as builders do."""
    return gzip.compress(raw, mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One platform; the shape of `loader.graph.KeptManifest`."""

    platform: Platform | None
    manifest: ImageManifest
    config: ImageConfig | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The documents; the shape of `loader.graph.ImageGraph`."""

    top: ImageIndex | ImageManifest
    indexes: tuple[ImageIndex, ...]


@dataclass(slots=True)
class MemoryBlobs:
    """A quarantine in memory. `swap` makes it a disk that somebody tampered with."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    opened: list[Digest] = field(default_factory=list)

    def open(self, digest: Digest) -> BinaryIO:
        self.opened.append(digest)
        return io.BytesIO(self.blobs[digest])

    def add(self, raw: bytes) -> Digest:
        digest = Digest.of(raw)
        self.blobs[digest] = raw
        return digest

    def swap(self, digest: Digest, raw: bytes) -> None:
        self.blobs[digest] = raw


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImage:
    """An image of one or more platforms, all of its blobs in `blobs`."""

    __test__ = False

    parts: Parts
    kept: tuple[Kept, ...]
    blobs: MemoryBlobs

    @property
    def top(self) -> Digest:
        return self.parts.top.descriptor.digest

    @property
    def manifest(self) -> Digest:
        return self.kept[0].manifest.descriptor.digest

    @property
    def config(self) -> Digest:
        config = self.kept[0].config
        assert config is not None
        return config.descriptor.digest

    def request(self, name: str, **changes: object) -> Staged[LoadRequest]:
        """Return what the pipeline would hand to a runtime."""
        facts: dict[str, Any] = {
            "reference": Reference.parse(name),
            "graph": self.parts,
            "selection": self.kept[:1],
            "blobs": self.blobs,
        }
        return Staged(LoadRequest(**(facts | changes)), SEAL)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _parse_manifest(
    layers: Sequence[bytes],
    *,
    architecture: str,
    blobs: MemoryBlobs,
    docker: bool,
    compress: Callable[[bytes], bytes],
    diff_ids: Sequence[str] | None,
) -> Kept:
    suffix = "+gzip" if compress is gzipped else "+zstd" if compress(b"") else ""
    layer_type = "application/vnd.oci.image.layer.v1.tar" + suffix
    if docker:
        layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    descriptors = []
    for raw in layers:
        packed = compress(raw)
        descriptors.append(
            {"mediaType": layer_type, "digest": str(blobs.add(packed)), "size": len(packed)}
        )
    told = diff_ids or [f"sha256:{hashlib.sha256(raw).hexdigest()}" for raw in layers]
    config_raw = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": list(told)},
            "history": [{"created_by": "test"} for _ in layers],
        }
    )
    blobs.add(config_raw)
    config_type = DOCKER_CONFIG if docker else OCI_CONFIG
    manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    config = Descriptor.make(config_type, config_raw)
    manifest_raw = _json(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config.plain(),
            "layers": descriptors,
        }
    )
    blobs.add(manifest_raw)
    descriptor = Descriptor.make(manifest_type, manifest_raw)
    return Kept(
        platform=Platform(os="linux", architecture=architecture),
        manifest=ImageManifest.parse(manifest_raw, descriptor, where="manifest"),
        config=ImageConfig.parse(config_raw, config, where="config"),
    )


def make_image(
    line: str = "hello",
    *,
    layers: Sequence[bytes] | None = None,
    architectures: Sequence[str] = (HOST_ARCHITECTURE,),
    index: bool = True,
    absent: Sequence[str] = (),
    docker: bool = False,
    compress: Callable[[bytes], bytes] = gzipped,
    diff_ids: Sequence[str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> TestImage:
    """Return an image whose container writes `line`.

    `absent` names architectures that the index lists and whose blobs are not here. `annotations`
    stand at the index, and at each platform that it lists.
    """
    said = {"annotations": dict(annotations)} if annotations else {}
    blobs = MemoryBlobs()
    kept: list[Kept] = []
    entries = []
    for architecture in (*architectures, *absent):
        own = layers or [
            layer(
                {
                    "hello": elf.hello(f"{line}\n", architecture)
                    if architecture in {"amd64", "arm64"}
                    else b"x"
                }
            ),
            layer({f"about-{architecture}": line.encode() * 100}),
        ]
        where = blobs if architecture in architectures else MemoryBlobs()
        one = _parse_manifest(
            own,
            architecture=architecture,
            blobs=where,
            docker=docker,
            compress=compress,
            diff_ids=diff_ids,
        )
        if architecture in architectures:
            kept.append(one)
        entries.append(
            one.manifest.descriptor.plain()
            | {"platform": {"architecture": architecture, "os": "linux"}}
            | said
        )
    if not index:
        return TestImage(
            parts=Parts(top=kept[0].manifest, indexes=()), kept=tuple(kept), blobs=blobs
        )
    raw = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **said})
    blobs.add(raw)
    parsed = ImageIndex.parse(raw, Descriptor.make(OCI_INDEX, raw), where="index")
    return TestImage(parts=Parts(top=parsed, indexes=(parsed,)), kept=tuple(kept), blobs=blobs)


def tar_members(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a stream's members, as Python's own reader sees them."""
    with tarfile.open(fileobj=io.BytesIO(stream), mode="r:") as tar:
        for info in tar:
            assert info.isreg(), info.name
            file = tar.extractfile(info)
            assert file is not None
            yield info.name, file.read()
