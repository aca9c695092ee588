"""A small bundle with everything in it that a bundle can hold, and the ways to take it apart.

Two images: one for two platforms with a signature on its index, one for a single platform. Layers
are real gzip of real tars, configs name their diff_ids, and `KEY` really signed both images and the
statement. `POLICY`, with `KEY`'s public half beside it as `release.pub`, accepts it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import BinaryIO

from bundler.pack.writer import Format, write_archive
from loader.digest import Digest
from loader.model.bundle import (
    BundleStatement,
    EvidenceEntry,
    ImageEntry,
    PlatformManifest,
    TrustEntry,
)
from loader.model.descriptor import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from loader.model.reference import Reference
from tests.fakes.sigworld.signed import Layer
from tests.fakes.sigworld.world import World

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CREATED = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
WORLD = World()
KEY = WORLD.managed("release")
POLICY = """\
schema = 1

[[image]]
match = "registry.example/**"
name = "as-packed"

[[image.require]]
claim = "signature"
key = "release"

[anchor.release]
key = "release.pub"
"""
"""Accepts the golden bundle: both images are signed by the key, as cosign 2 signs. It asks for no
signature of the statement, so that what is wrong behind the statement is found for itself."""


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def gzip_tar(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Return a tar of these files, and its gzip."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            record = tarfile.TarInfo(name)
            record.size = len(content)
            archive.addfile(record, io.BytesIO(content))
    return raw.getvalue(), gzip.compress(raw.getvalue(), mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle is made of, before it is written. Change a part with `replace`."""

    images: tuple[ImageEntry, ...]
    trust: tuple[TrustEntry, ...]
    metadata: tuple[Descriptor, ...]
    layers: tuple[Descriptor, ...]
    blobs: Mapping[Digest, bytes]
    signed: tuple[bytes, ...] | None = None
    """The statement's signatures; None for one by `KEY`."""
    channel: str | None = "stable"
    sequence: int | None = 7
    expires: datetime | None = None
    created: datetime = CREATED

    @property
    def statement(self) -> BundleStatement:
        return BundleStatement.make(
            created=self.created,
            channel=self.channel,
            sequence=self.sequence,
            expires=self.expires,
            images=self.images,
            trust=self.trust,
            metadata=self.metadata,
            layers=self.layers,
        )

    @property
    def signatures(self) -> tuple[bytes, ...]:
        if self.signed is not None:
            return self.signed
        return (dumps(WORLD.sign(self.statement.raw, KEY, log="none").bundle()),)

    def open_blob(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.blobs[digest])

    def archive(self, *, form: Format = "plain") -> bytes:
        out = io.BytesIO()
        write_archive(self.statement, self.signatures, self.open_blob, out, format=form)
        return out.getvalue()

    def with_signatures(self, signatures: Sequence[bytes]) -> Bundle:
        return replace(self, signed=tuple(signatures))


@dataclass(slots=True)
class Builder:
    """Collects blobs in the order in which a bundle holds them."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    metadata: list[Descriptor] = field(default_factory=list)
    layers: list[Descriptor] = field(default_factory=list)

    def small(self, media_type: str, raw: bytes) -> Descriptor:
        descriptor = Descriptor.make(media_type, raw)
        if descriptor.digest not in self.blobs:
            self.metadata.append(descriptor)
        self.blobs[descriptor.digest] = raw
        return descriptor

    def layer(self, raw: bytes, media_type: str = LAYER_TYPE) -> Descriptor:
        descriptor = Descriptor.make(media_type, raw)
        if descriptor.digest not in self.blobs:
            self.layers.append(descriptor)
        self.blobs[descriptor.digest] = raw
        return descriptor

    def image(self, platform: str, files: Mapping[str, bytes]) -> Descriptor:
        """Add a container image of one layer, and return its manifest."""
        raw, packed = gzip_tar(files)
        layer = self.layer(packed)
        system, architecture = platform.split("/")
        config = self.small(
            OCI_CONFIG,
            dumps(
                {
                    "architecture": architecture,
                    "os": system,
                    "config": {"Cmd": ["/bin/true"]},
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [f"sha256:{hashlib.sha256(raw).hexdigest()}"],
                    },
                }
            ),
        )
        return self.small(
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

    def index(self, manifests: Mapping[str, Descriptor]) -> Descriptor:
        """Add an index of one manifest for each platform, and return it."""
        entries = []
        for platform, manifest in manifests.items():
            system, architecture = platform.split("/")
            entries.append(
                manifest.plain() | {"platform": {"os": system, "architecture": architecture}}
            )
        return self.small(
            OCI_INDEX, dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        )

    def signature(self, subject: Descriptor, reference: str) -> Descriptor:
        """Add what cosign 2 stores under a `.sig` tag, signed by `KEY`, and return its manifest."""
        signed = WORLD.sign_image_legacy(str(subject.digest), KEY, reference=reference, log="none")
        return self.evidence(signed.layer())

    def evidence(self, *layers: Layer) -> Descriptor:
        """Add a manifest with these layers, which are small members as all evidence is."""
        for layer in layers:
            self.small(layer.media_type, layer.blob)
        config = self.small(OCI_CONFIG, dumps({"architecture": "", "os": "", "rootfs": {}}))
        return self.small(
            OCI_MANIFEST,
            dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": config.plain(),
                    "layers": [layer.descriptor() for layer in layers],
                }
            ),
        )


@cache
def golden() -> Bundle:
    """Return the bundle that every case of the corpus starts from."""
    builder = Builder()
    amd64 = builder.image("linux/amd64", {"etc/app": b"for amd64\n" * 40, "bin/app": b"\x7fELF"})
    arm64 = builder.image("linux/arm64", {"etc/app": b"for arm64\n" * 40, "bin/app": b"\x7fELF"})
    index = builder.index({"linux/amd64": amd64, "linux/arm64": arm64})
    tool = builder.image("linux/amd64", {"tool": b"#!/bin/true\n"})
    signature = builder.signature(index, "registry.example/org/app")
    tool_signature = builder.signature(tool, "registry.example/org/tool")
    key = builder.small("application/x-pem-file", KEY.public_pem)
    images = (
        ImageEntry(
            reference=Reference.parse("registry.example/org/app:1.0"),
            image=index,
            platforms=(
                PlatformManifest(platform=Platform.parse("linux/amd64"), manifest=amd64),
                PlatformManifest(platform=Platform.parse("linux/arm64"), manifest=arm64),
            ),
            evidence=(
                EvidenceEntry(subject=index.digest, store="signature-tag", manifest=signature),
            ),
        ),
        ImageEntry(
            reference=Reference.parse("registry.example/org/tool:2"),
            image=tool,
            platforms=(PlatformManifest(platform=Platform.parse("linux/amd64"), manifest=tool),),
            evidence=(
                EvidenceEntry(subject=tool.digest, store="signature-tag", manifest=tool_signature),
            ),
        ),
    )
    return Bundle(
        images=images,
        trust=(TrustEntry(anchor="release", kind="key", blobs=(key,)),),
        metadata=tuple(sorted(builder.metadata, key=lambda d: d.digest)),
        layers=tuple(builder.layers),
        blobs=builder.blobs,
    )


@cache
def tiny() -> Bundle:
    """Return the smallest bundle worth damaging everywhere: one artifact, unsigned, no channel."""
    builder = Builder()
    config = builder.small("application/vnd.oci.empty.v1+json", b"{}")
    layer = builder.layer(b"\x1f\x8b a layer", "application/octet-stream")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.plain(),
        "layers": [layer.plain()],
    }
    manifest = builder.small(OCI_MANIFEST, dumps(document))
    entry = ImageEntry(
        reference=Reference.parse("a.example/b:1"), image=manifest, platforms=(), evidence=()
    )
    return Bundle(
        images=(entry,),
        trust=(),
        metadata=tuple(sorted(builder.metadata, key=lambda d: d.digest)),
        layers=tuple(builder.layers),
        blobs=builder.blobs,
        signed=(),
        channel=None,
        sequence=None,
    )
