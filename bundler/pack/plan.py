"""What goes into an archive, and in which order: from what was collected to the statement.

Deterministic: small members stand by digest, layers by image and then as the image has them, each
blob once. A blob that is both somebody's document and somebody's layer is a small member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from loader.digest import Digest
from loader.errors import FormatError, LimitError
from loader.graph import ImageGraph, read_graph
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import (
    BlobSource,
    BundleStatement,
    EvidenceEntry,
    ImageEntry,
    TrustEntry,
    blob_name,
)
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest, parse_manifest


def plan(
    images: Sequence[ImageEntry],
    trust: Sequence[TrustEntry],
    blobs: BlobSource,
    *,
    created: datetime,
    channel: str | None = None,
    sequence: int | None = None,
    expires: datetime | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> BundleStatement:
    """Return the statement of a bundle that holds these images whole, and nothing else.

    Raises:
        FormatError: an image, or the whole, is not what a loader accepts.
        MissingError, DigestError: a document that must be read is not in `blobs`.
    """
    graphs = [read_graph(entry, blobs, limits=limits) for entry in images]
    metadata = {d.digest: d for d in _small(graphs, trust, blobs, limits=limits)}
    layers = {
        layer.digest: layer
        for graph in graphs
        for layer in graph.layers
        if layer.digest not in metadata
    }
    _expect_small(metadata.values(), limits=limits)
    return BundleStatement.make(
        created=created,
        channel=channel,
        sequence=sequence,
        expires=expires,
        images=images,
        trust=trust,
        metadata=[metadata[digest] for digest in sorted(metadata)],
        layers=list(layers.values()),
    )


def _small(
    graphs: Sequence[ImageGraph],
    trust: Sequence[TrustEntry],
    blobs: BlobSource,
    *,
    limits: Limits,
) -> Iterator[Descriptor]:
    for entry in trust:
        yield from entry.blobs
    seen: set[Digest] = set()
    for graph in graphs:
        yield from graph.metadata
        for item in graph.entry.evidence:
            if item.manifest.digest not in seen:
                seen.add(item.manifest.digest)
                yield from evidence_blobs(item, blobs, limits=limits)


def evidence_blobs(
    item: EvidenceEntry, blobs: BlobSource, *, limits: Limits
) -> Iterator[Descriptor]:
    """Yield a piece of evidence and what it consists of; its manifest is read to know that."""
    yield item.manifest
    if item.store == "supplement":
        return  # a document, not a manifest that leads to some
    where = f"evidence {item.manifest.digest.short}"
    raw = blobs.read(item.manifest, where=where, size_max=limits.document_size_max)
    try:
        manifest = parse_manifest(raw, item.manifest, where=where, limits=limits)
    except FormatError:
        # It travels as it is: the judge says of it what there is to say, here and on the far side.
        return
    if isinstance(manifest, ImageManifest):
        yield from manifest.blobs


def _expect_small(metadata: Iterable[Descriptor], *, limits: Limits) -> None:
    """Refuse what the reader would refuse before anything is written."""
    total = 0
    for descriptor in metadata:
        total += descriptor.size
        if descriptor.size > limits.evidence_size_max:
            raise LimitError(
                "a document or a piece of evidence is too large for a bundle",
                where=f"{blob_name(descriptor.digest)}, a {descriptor.media_type}",
                expected=f"at most {limits.evidence_size_max} bytes",
                found=f"{descriptor.size} bytes",
            )
    if total > limits.metadata_size_max:
        raise LimitError(
            "documents and evidence together are too large for a bundle",
            expected=f"at most {limits.metadata_size_max} bytes",
            found=f"{total} bytes",
        )
