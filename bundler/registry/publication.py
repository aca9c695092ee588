"""What one image is in a repository: blobs, manifests in the order to put them, its evidence.

Made from verified or collected documents alone. The same value is what is pushed, what is looked
for, and what is compared with afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bundler.registry.client import Document
from loader.digest import Digest
from loader.graph import ImageGraph
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import BlobSource, EvidenceEntry, Store
from loader.model.descriptor import INDEX_MEDIA_TYPES, Descriptor
from loader.model.image import ImageIndex, ImageManifest, parse_manifest

TAG_SUFFIXES: Final[Mapping[Store, str]] = {
    "signature-tag": ".sig",
    "attestation-tag": ".att",
    "sbom-tag": ".sbom",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One manifest of evidence, and how it is found: by cosign's tag, or as a referrer."""

    document: Document
    manifest: ImageManifest
    subject: Digest
    tag: str
    """Empty for a referrer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One image as a repository holds it."""

    top: Document
    """What tags point to: the index, or the one manifest that was kept of it."""
    is_whole: bool
    """Whether everything that the image's indexes list is here; else the indexes are not pushed."""
    manifests: tuple[Document, ...]
    """What is listed stands before what lists it."""
    blobs: tuple[Descriptor, ...]
    """Configs, layers, and what evidence consists of; each once."""
    attachments: tuple[Attachment, ...]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


def publication(
    graph: ImageGraph,
    blobs: BlobSource,
    *,
    further: Sequence[EvidenceEntry] = (),
    beside: Sequence[ImageManifest] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Publication:
    """Return an image with its evidence as a repository holds it.

    Of an image of which only some platforms are here, these are published, and no index: a registry
    refuses an index whose manifests it has not, and another index would have another digest, which
    nobody signed.

    Args:
        graph: the image; its entry names the evidence.
        blobs: its small members.
        further: evidence about evidence: it is carried, and no verdict depends on it.
        beside: what the indexes list beside images and their attestations.
        limits: sizes.

    Raises:
        FormatError: a piece of evidence is no manifest.
        MissingError, DigestError: a document is not there.
    """
    kept = [
        Document(descriptor=_bare(k.manifest.descriptor), raw=k.manifest.raw) for k in graph.kept
    ]
    others = [Document(descriptor=_bare(one.descriptor), raw=one.raw) for one in beside]
    here = {document.descriptor.digest for document in (*kept, *others)}
    whole = all(
        listed.digest in here or listed.media_type in INDEX_MEDIA_TYPES
        for index in graph.indexes
        for listed in index.platform_manifests
    )
    indexes = [_document(index) for index in reversed(graph.indexes) if whole]
    listed, attachments = [], []
    for item in (*graph.entry.evidence, *further):
        if item.store == "supplement":
            continue  # a document of ours: no registry has it
        attachment = _attachment(item, blobs, limits=limits)
        if item.store == "buildkit":
            listed.append(attachment)
        else:
            attachments.append(attachment)
    manifests = {
        document.descriptor.digest: document
        for document in (*kept, *others, *(one.document for one in listed if whole), *indexes)
    }
    found = {blob.digest: blob for k in graph.kept for blob in k.manifest.blobs}
    found |= {blob.digest: blob for one in beside for blob in one.blobs}
    for one in (*(listed if whole else ()), *attachments):
        found |= {blob.digest: blob for blob in one.manifest.blobs}
    return Publication(
        top=(indexes or kept)[-1],
        is_whole=whole,
        manifests=tuple(manifests.values()),
        blobs=tuple(found.values()),
        attachments=tuple(attachments),
    )


def by_subject(
    attachments: Sequence[Attachment],
) -> Iterator[tuple[Digest, tuple[Attachment, ...]]]:
    """Yield the referrers among them, by what they speak of."""
    subjects = dict.fromkeys(one.subject for one in attachments if not one.tag)
    for subject in subjects:
        yield subject, tuple(o for o in attachments if not o.tag and o.subject == subject)


def _attachment(item: EvidenceEntry, blobs: BlobSource, *, limits: Limits) -> Attachment:
    where = f"evidence {item.manifest.digest.short}"
    raw = blobs.read(item.manifest, where=where, size_max=limits.document_size_max)
    suffix = TAG_SUFFIXES.get(item.store)
    return Attachment(
        document=Document(descriptor=_bare(item.manifest), raw=raw),
        manifest=_image_manifest(raw, item.manifest, where=where, limits=limits),
        subject=item.subject,
        tag="" if suffix is None else f"sha256-{item.subject.hex}{suffix}",
    )


def _document(read: ImageIndex | ImageManifest) -> Document:
    return Document(descriptor=_bare(read.descriptor), raw=read.raw)


def _image_manifest(
    raw: bytes, descriptor: Descriptor, *, where: str, limits: Limits
) -> ImageManifest:
    manifest = parse_manifest(raw, descriptor, where=where, limits=limits)
    if isinstance(manifest, ImageManifest):
        return manifest
    return ImageManifest.parse(raw, descriptor, where=where, limits=limits)  # says why it is none


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )
