"""Tiny OCI and Docker images, made on the fly, the same bytes in every run.

Layers are tar archives of files whose contents are bytes or ``Noise`` of any size; everything
goes into a ``ContentStore`` and comes back as a descriptor.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.fakes import elf
from tests.fakes.content import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    ContentStore,
    Json,
    Stream,
)

CREATED = "2026-01-01T00:00:00Z"
Compression = Literal["gzip", "none"]
_PIECE = 1 << 20
_LAYER_TYPES = {
    (False, "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    (False, "none"): "application/vnd.oci.image.layer.v1.tar",
    (True, "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    (True, "none"): "application/vnd.docker.image.rootfs.diff.tar",
}


@dataclass(frozen=True, slots=True)
class Noise:
    """So many bytes that do not compress, or zeros that do; the same for the same seed."""

    size: int
    seed: int = 0
    zeros: bool = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes, at most a mebibyte at a time."""
        key = self.seed.to_bytes(16, "big")
        stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        blank = bytes(_PIECE)
        for at in range(0, self.size, _PIECE):
            piece = blank[: min(_PIECE, self.size - at)]
            yield piece if self.zeros else stream.update(piece)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a layer, with what tar says about it."""

    content: bytes | Noise = b""
    mode: int = 0o644
    mtime: int = 0
    kind: bytes = tarfile.REGTYPE
    link: str = ""


Files = Mapping[str, bytes | Noise | Member]


def _tar(files: Files) -> Iterator[bytes]:
    total = 0
    for name, value in files.items():
        member = value if isinstance(value, Member) else Member(value)
        content = member.content
        info = tarfile.TarInfo(name)
        info.size = len(content) if isinstance(content, bytes) else content.size
        info.mode, info.mtime, info.type = member.mode, member.mtime, member.kind
        info.linkname = member.link
        header = info.tobuf(tarfile.GNU_FORMAT)
        yield header
        yield from [content] if isinstance(content, bytes) else content.chunks()
        padding = -info.size % tarfile.BLOCKSIZE
        yield bytes(padding)
        total += len(header) + info.size + padding
    total += 2 * tarfile.BLOCKSIZE
    yield bytes(2 * tarfile.BLOCKSIZE + -total % tarfile.RECORDSIZE)


def _gzip(chunks: Iterable[bytes], level: int) -> Iterator[bytes]:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's blob and the digest of what it unpacks to."""

    blob: Stream
    diff_id: str
    compression: Compression

    @classmethod
    def of(cls, files: Files, compression: Compression = "gzip", *, level: int = 6) -> Layer:
        """A layer with these files; nothing is kept in memory beyond the files given."""
        plain = Stream.measured(lambda: _tar(files))
        if compression == "none":
            return cls(plain, plain.digest, compression)
        packed = Stream.measured(lambda: _gzip(_tar(files), level))
        return cls(packed, plain.digest, compression)

    @classmethod
    def noise(cls, size: int, *, seed: int = 0, compression: Compression = "none") -> Layer:
        """A layer that is about this big."""
        return cls.of({f"noise-{seed}": Noise(size, seed)}, compression, level=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A manifest or index in a store."""

    store: ContentStore
    descriptor: Json
    children: tuple[Image, ...] = field(default=())

    @property
    def digest(self) -> str:
        """``sha256:<hex>``."""
        return str(self.descriptor["digest"])

    @property
    def raw(self) -> bytes:
        """The manifest's bytes."""
        return self.store.read(self.digest)

    @property
    def manifest(self) -> Json:
        """The manifest, decoded."""
        return self.store.json(self.digest)

    @property
    def config(self) -> Json:
        """The configuration of an image manifest, decoded."""
        return self.store.json(self.manifest["config"]["digest"])


def _platform(text: str) -> Json:
    system, architecture, *variant = text.split("/")
    found: Json = {"architecture": architecture, "os": system}
    if variant:
        found["variant"] = variant[0]
    return found


def image(
    store: ContentStore,
    layers: Sequence[Layer],
    *,
    platform: str = "linux/amd64",
    entrypoint: Sequence[str] = ("/hello",),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created: str = CREATED,
    docker: bool = False,
    lines: Sequence[str] = (),
    tag: str | None = None,
) -> Image:
    """An image of these layers; ``lines`` are what the history says made each."""
    config: Json = {
        "created": created,
        **_platform(platform),
        "config": {"Entrypoint": list(entrypoint), "Labels": dict(labels or {})},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [
            {"created": created, "created_by": line} for line in (lines or ["fake"] * len(layers))
        ],
    }
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": store.add_json(config, DOCKER_CONFIG if docker else OCI_CONFIG),
        "layers": [
            store.add_stream(layer.blob, _LAYER_TYPES[docker, layer.compression])
            for layer in layers
        ],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    described = store.add_json(manifest, manifest["mediaType"], platform=_platform(platform))
    if tag is not None:
        store.tag(tag, described)
    return Image(store=store, descriptor=described)


def hello_image(
    store: ContentStore,
    *,
    platform: str = "linux/amd64",
    text: str = "hello from a fake image\n",
    version: str = "1.0.0",
    extra: Sequence[Layer] = (),
    docker: bool = False,
    tag: str | None = None,
) -> Image:
    """An image that runs: it prints the text. ``extra`` layers give it weight."""
    program = elf.hello(text, platform.split("/")[1])
    first = Layer.of({"hello": Member(program, mode=0o755)})
    labels = {"org.opencontainers.image.version": version}
    return image(store, [first, *extra], platform=platform, labels=labels, docker=docker, tag=tag)


def index(
    store: ContentStore,
    images: Sequence[Image],
    *,
    attestations: Sequence[Image] = (),
    annotations: Mapping[str, str] | None = None,
    docker: bool = False,
    tag: str | None = None,
) -> Image:
    """A multi-platform index; ``attestations`` are BuildKit's, see ``attestation_manifest``."""
    document: Json = {
        "schemaVersion": 2,
        "mediaType": DOCKER_INDEX if docker else OCI_INDEX,
        "manifests": [one.descriptor for one in (*images, *attestations)],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    described = store.add_json(document, document["mediaType"])
    if tag is not None:
        store.tag(tag, described)
    return Image(store=store, descriptor=described, children=(*images, *attestations))


def hello_index(
    store: ContentStore,
    *,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64/v8"),
    version: str = "1.0.0",
    docker: bool = False,
    tag: str | None = "1.0.0",
) -> Image:
    """The usual subject of a test: two platforms that run, under a tag."""
    text = f"hello from version {version}\n"
    images = [
        hello_image(store, platform=one, text=text, version=version, docker=docker)
        for one in platforms
    ]
    return index(store, images, docker=docker, tag=tag)


def artifact(
    store: ContentStore,
    artifact_type: str,
    blobs: Sequence[tuple[bytes, str]],
    *,
    subject: Json | None = None,
    annotations: Mapping[str, str] | None = None,
    tag: str | None = None,
) -> Image:
    """An OCI artifact: an artifact type, an empty configuration, (bytes, media type) blobs."""
    document: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": store.add(EMPTY_CONFIG, OCI_EMPTY),
        "layers": [store.add(raw, media_type) for raw, media_type in blobs],
    }
    if subject is not None:
        document["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
    if annotations:
        document["annotations"] = dict(annotations)
    described = store.add_json(document, OCI_MANIFEST)
    if tag is not None:
        store.tag(tag, described)
    return Image(store=store, descriptor=described)


def attestation_manifest(
    store: ContentStore, subject: Image, statements: Sequence[tuple[bytes, str]]
) -> Image:
    """BuildKit's attestation of a platform: unsigned (statement, predicate type) layers.

    The descriptor is ready for ``index(attestations=...)``.
    """
    layers = [
        store.add(
            raw,
            "application/vnd.in-toto+json",
            annotations={"in-toto.io/predicate-type": predicate_type},
        )
        for raw, predicate_type in statements
    ]
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.add_json(config, OCI_CONFIG),
        "layers": layers,
    }
    described = store.add_json(
        document,
        OCI_MANIFEST,
        annotations={
            "vnd.docker.reference.digest": subject.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        platform={"architecture": "unknown", "os": "unknown"},
    )
    return Image(store=store, descriptor=described)
