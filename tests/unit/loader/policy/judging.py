"""Bundles in memory for tests of the judge: a collector and a blob source over a fake store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from loader.digest import Digest
from loader.errors import LimitError, MissingError
from loader.model.bundle import (
    BundleStatement,
    EvidenceEntry,
    ImageEntry,
    PlatformManifest,
    Store,
    TrustEntry,
)
from loader.model.descriptor import INDEX_MEDIA_TYPES, Descriptor, MediaType, Platform
from loader.model.reference import Reference
from tests.fakes.content import ContentStore, Json
from tests.fakes.images import Image

CREATED = datetime(2026, 1, 15, 13, tzinfo=UTC)
NAME = "registry.acme.example/acme/app"


class Blobs:
    """A blob source over a fake store; reading is counted."""

    def __init__(self, *stores: ContentStore) -> None:
        self.stores = stores
        self.reads: list[Digest] = []

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        self.reads.append(descriptor.digest)
        for store in self.stores:
            if str(descriptor.digest) in store:
                if descriptor.size > size_max:
                    raise LimitError("too large", where=where)
                return descriptor.check(store.read(str(descriptor.digest)), what=where)
        raise MissingError("not in the store", where=where)


def described(value: Json) -> Descriptor:
    return Descriptor(
        media_type=MediaType(value["mediaType"]),
        digest=Digest.parse(value["digest"]),
        size=value["size"],
    )


def _platform(value: Json) -> Platform:
    return Platform(
        os=value["os"], architecture=value["architecture"], variant=value.get("variant", "")
    )


def _platforms(image: Image) -> Iterable[PlatformManifest]:
    store = image.store
    if image.descriptor["mediaType"] not in INDEX_MEDIA_TYPES:
        if "artifactType" not in image.manifest:
            platform = _platform(image.config)
            yield PlatformManifest(platform=platform, manifest=described(image.descriptor))
        return
    for item in image.manifest["manifests"]:
        kind = item.get("annotations", {}).get("vnd.docker.reference.type")
        if kind != "attestation-manifest":
            yield from _platforms(Image(store=store, descriptor=item))


def _evidence(image: Image, subjects: Sequence[str]) -> Iterable[EvidenceEntry]:
    store = image.store

    def found(subject: str, where: Store, descriptor: Json) -> EvidenceEntry:
        return EvidenceEntry(
            subject=Digest.parse(subject), store=where, manifest=described(descriptor)
        )

    tags: dict[str, Store] = {
        "sig": "signature-tag",
        "att": "attestation-tag",
        "sbom": "sbom-tag",
    }
    for subject in subjects:
        for suffix, where in tags.items():
            tag = f"{subject.replace(':', '-')}.{suffix}"
            if tag in store.tags:
                yield found(subject, where, store.describe(tag))
        for descriptor in store.referrers(subject):
            yield found(subject, "referrer", descriptor)
    for item in image.manifest.get("manifests", []):
        annotations = item.get("annotations", {})
        if annotations.get("vnd.docker.reference.type") == "attestation-manifest":
            yield found(annotations["vnd.docker.reference.digest"], "buildkit", item)


def entry_of(
    image: Image,
    reference: str = f"{NAME}:1.0.0",
    *,
    platforms: Sequence[str] | None = None,
    evidence: Sequence[EvidenceEntry] | None = None,
) -> ImageEntry:
    """What a packer would say of this image and of all that its store has about it."""
    kept = tuple(
        one for one in _platforms(image) if platforms is None or str(one.platform) in platforms
    )
    subjects = dict.fromkeys([image.digest, *(str(one.manifest.digest) for one in kept)])
    return ImageEntry(
        reference=Reference.parse(reference),
        image=described(image.descriptor),
        platforms=kept,
        evidence=tuple(_evidence(image, list(subjects)) if evidence is None else evidence),
    )


def statement_of(
    *entries: ImageEntry,
    blobs: Blobs,
    trust: Sequence[TrustEntry] = (),
    expires: datetime | None = None,
    drop: Iterable[Digest] = (),
    extra: Sequence[Descriptor] = (),
) -> BundleStatement:
    """A statement with all members that these images need; ``drop`` and ``extra`` spoil that."""
    metadata: dict[Digest, Descriptor] = {}
    layers: dict[Digest, Descriptor] = {}
    for entry in entries:
        _gather(blobs, entry, metadata, layers)
    for item in trust:
        metadata |= {blob.digest: blob for blob in item.blobs}
    metadata |= {blob.digest: blob for blob in extra}
    dropped = set(drop)
    return BundleStatement.make(
        created=CREATED,
        channel=None,
        sequence=None,
        expires=expires,
        images=entries,
        trust=trust,
        metadata=[d for k, d in sorted(metadata.items()) if k not in dropped],
        layers=[d for k, d in layers.items() if k not in metadata and k not in dropped],
    )


def _gather(
    blobs: Blobs,
    entry: ImageEntry,
    metadata: dict[Digest, Descriptor],
    layers: dict[Digest, Descriptor],
) -> None:
    kept = {one.manifest.digest for one in entry.platforms}
    pending = [entry.image]
    while pending:
        descriptor = pending.pop()
        metadata[descriptor.digest] = descriptor
        document = _json(blobs, descriptor)
        for item in document.get("manifests", []):
            child = described(item)
            if child.digest in kept or not kept or child.media_type in INDEX_MEDIA_TYPES:
                pending.append(child)
        if "config" in document:
            config = described(document["config"])
            metadata[config.digest] = config
            layers |= {d.digest: d for d in map(described, document["layers"])}
    for evidence in entry.evidence:
        metadata[evidence.manifest.digest] = evidence.manifest
        document = _json(blobs, evidence.manifest)
        for item in [document.get("config"), *document.get("layers", [])]:
            if item is not None and any(item["digest"] in store for store in blobs.stores):
                blob = described(item)
                metadata[blob.digest] = blob


def _json(blobs: Blobs, descriptor: Descriptor) -> Json:
    try:
        value = json.loads(blobs.read(descriptor, where="test", size_max=1 << 30))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write these files into a folder, whose parents are made."""
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder
