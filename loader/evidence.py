"""The evidence that speaks of one image, piece by piece, from every store united (decision 5).

Nothing is believed here. A piece that cannot be read is yielded as such: it hides no other piece,
and it never counts. Annotations, artifact types and the statement's own words about a manifest are
hints; what decides is inside what was signed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from loader.errors import (
    FormatError,
    LimitError,
    MissingError,
    OciError,
    TrailingDataError,
    shown,
)
from loader.graph import ImageGraph, KeptManifest, read_graph
from loader.limits import DEFAULT_LIMITS, KIB
from loader.model.bundle import BundleStatement, blob_name
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.envelope import Envelope
from loader.model.image import ImageManifest, parse_manifest
from loader.model.predicate_types import SIGN
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loader.digest import Digest
    from loader.limits import Limits
    from loader.model.bundle import BlobSource, EvidenceEntry, ImageEntry
    from loader.model.descriptor import Descriptor

__all__ = [
    "BoundedBlobs",
    "Broken",
    "Found",
    "ImageGraph",
    "KeptManifest",
    "Kind",
    "SignedEvidence",
    "Unsigned",
    "evidence_of",
    "expect_closed",
    "kind_of",
    "read_graph",
]

SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
BUNDLE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"

_READ_COUNT_MAX: Final = 8
"""How often each small member may be read on average; a bundle of single names needs three."""
_READ_SIZE_MIN: Final = 32 * KIB
"""Bytes that reading a member counts for at least: judging the smallest takes as long as that."""

SignedEvidence: TypeAlias = CosignSignature | CosignAttestation | SigstoreBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Evidence that could not be read."""

    error: FormatError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """Something about the image that nobody signed: an SBOM file, BuildKit's statements."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One piece of evidence and where it lay."""

    entry: EvidenceEntry
    blob: Digest | None
    """None where its manifest could not be read."""
    evidence: SignedEvidence | Unsigned | Broken


class BoundedBlobs:
    """Blobs, as often as an honest bundle needs them: few bytes may be referred to many times."""

    __slots__ = ("_blobs", "_size_left")

    def __init__(
        self, blobs: BlobSource, statement: BundleStatement, *, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._blobs = blobs
        there = sum(max(member.size, _READ_SIZE_MIN) for member in statement.metadata[2:])
        self._size_left = _READ_COUNT_MAX * there + limits.judged_size_spare

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """See `BlobSource`.

        Raises:
            LimitError: too much was read before.
        """
        self._size_left -= max(descriptor.size, _READ_SIZE_MIN)
        if self._size_left < 0:
            raise LimitError(
                "the bundle's images share too much evidence",
                where=where,
                hint="pack fewer names of one image into one bundle",
            )
        return self._blobs.read(descriptor, where=where, size_max=size_max)


def evidence_of(
    entry: ImageEntry, graph: ImageGraph, blobs: BlobSource, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Found]:
    """Yield every piece of evidence about an image; hold one of them at a time.

    Raises:
        MissingError, DigestError: the bundle promises a blob and does not hold it. That is no fault
            of one piece of evidence but of the bundle.
        LimitError: more evidence than the published limits allow for one image.
    """
    _expect_few(entry, limits=limits)
    size = count = 0
    seen: set[Digest] = set()
    for item in entry.evidence:
        if item.store == "supplement" or item.manifest.digest in seen:
            continue  # no evidence itself; the same manifest found in two stores
        seen.add(item.manifest.digest)
        raw = _read(blobs, item.manifest, where=_where(item), size_max=limits.document_size_max)
        if isinstance(raw, Broken):
            yield Found(entry=item, blob=None, evidence=raw)
            continue
        try:
            manifest = _manifest(item, graph, raw, limits=limits)
        except FormatError as e:
            yield Found(entry=item, blob=None, evidence=Broken(error=e))
            continue
        for layer in manifest.layers:
            size += layer.size
            if size > limits.image_evidence_size_max:
                raise LimitError(
                    "an image has too much evidence",
                    where=str(entry.reference),
                    expected=f"at most {limits.image_evidence_size_max} bytes",
                    hint="the limit is `image_evidence_size_max`",
                )
            count += 1
            if count > limits.image_evidence_count_max:
                raise LimitError(
                    "an image has too many pieces of evidence",
                    where=str(entry.reference),
                    expected=f"at most {limits.image_evidence_count_max}",
                    hint="the limit is `image_evidence_count_max`",
                )
            yield Found(
                entry=item,
                blob=layer.digest,
                evidence=_layer(item, manifest, layer, blobs, limits=limits),
            )


def _expect_few(entry: ImageEntry, *, limits: Limits) -> None:
    count: dict[Digest, int] = {}
    for item in entry.evidence:
        if item.store == "referrer":
            count[item.subject] = count.get(item.subject, 0) + 1
    if any(many > limits.referrer_count_max for many in count.values()):
        raise LimitError(
            "too many referrers of one subject",
            where=str(entry.reference),
            expected=f"at most {limits.referrer_count_max}",
            found=str(max(count.values())),
            hint="the limit is `referrer_count_max`",
        )


def _where(item: EvidenceEntry) -> str:
    return f"evidence {item.manifest.digest.short}"


def _read(
    blobs: BlobSource, descriptor: Descriptor, *, where: str, size_max: int
) -> bytes | Broken:
    """Return a blob. One that is too large hides no other; what all of them cost ends the bundle.

    Raises:
        MissingError, DigestError: it is not there, or another.
        LimitError: too much was read before.
    """
    if descriptor.size > size_max:
        error = LimitError(
            "a blob is too large for what it is used as",
            where=where,
            expected=f"at most {size_max} bytes",
            found=f"{descriptor.size} bytes",
        )
        return Broken(error=error)
    return blobs.read(descriptor, where=where, size_max=size_max)


def _manifest(
    item: EvidenceEntry, graph: ImageGraph, raw: bytes, *, limits: Limits
) -> ImageManifest:
    where = _where(item)
    manifest = parse_manifest(raw, item.manifest, where=where, limits=limits)
    if not isinstance(manifest, ImageManifest):
        raise OciError("evidence is an index, not a manifest", where=where)
    if item.subject not in graph.digests:
        raise OciError(
            "evidence about something that this image does not hold",
            where=where,
            found=str(item.subject),
        )
    # cosign's tags have no subject; there the signed payload alone decides.
    if manifest.subject is not None and manifest.subject.digest != item.subject:
        raise OciError(
            "evidence names another subject than the statement says",
            where=where,
            expected=str(item.subject),
            found=str(manifest.subject.digest),
        )
    if item.store == "referrer" and manifest.subject is None:
        raise OciError("a referrer without a subject", where=where)
    return manifest


def _layer(
    item: EvidenceEntry,
    manifest: ImageManifest,
    layer: Descriptor,
    blobs: BlobSource,
    *,
    limits: Limits,
) -> SignedEvidence | Unsigned | Broken:
    where = f"evidence {item.manifest.digest.short}/{layer.digest.short}"
    kind = layer.media_type
    if kind not in {SIMPLE_SIGNING, DSSE_ENVELOPE} and not kind.startswith(BUNDLE_PREFIX):
        what = layer.annotations.get("in-toto.io/predicate-type") or manifest.artifact_type or kind
        return Unsigned(what=shown(what))
    raw = _read(blobs, layer, where=where, size_max=limits.evidence_size_max)
    if isinstance(raw, Broken):
        return raw
    try:
        if kind == SIMPLE_SIGNING:
            return CosignSignature.parse(raw, layer, where=where, limits=limits)
        if kind == DSSE_ENVELOPE:
            return CosignAttestation.parse(raw, layer, where=where, limits=limits)
        return SigstoreBundle.parse(raw, where=where, limits=limits)
    except FormatError as e:
        return Broken(error=e)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a piece of evidence is, by the very bytes that its signature covers."""

    words: str
    is_signature: bool = False
    predicate_type: str = ""
    """Of a statement; empty for what is none."""
    is_unclear: bool = False
    """Whether it cannot be told, and so will not verify: it may have been anything."""


def kind_of(evidence: SignedEvidence, *, limits: Limits = DEFAULT_LIMITS) -> Kind:
    """Return what a piece of evidence claims to be; that it is genuine is still to be shown."""
    match evidence:
        case CosignSignature():
            return Kind(words="signature (simple signing)", is_signature=True)
        case CosignAttestation(envelope=envelope) | SigstoreBundle(content=Envelope() as envelope):
            return _kind_of_payload(envelope.payload, limits=limits)
        case SigstoreBundle():
            return Kind(words="signature over a file")
        case _:
            assert_never(evidence)


def _kind_of_payload(payload: bytes, *, limits: Limits) -> Kind:
    try:
        kind = Statement.parse(payload, where="statement", limits=limits).predicate_type
    except FormatError:
        return Kind(words="signed payload that is no statement", is_signature=True, is_unclear=True)
    if kind == SIGN:
        return Kind(words="signature (bundle)", is_signature=True, predicate_type=kind)
    return Kind(words=f"attestation of {shown(kind)[1:-1]}", predicate_type=kind)


def expect_closed(
    statement: BundleStatement,
    graphs: Sequence[ImageGraph],
    blobs: BlobSource,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Check that the bundle holds what its images, evidence and trust need, and nothing else.

    A blob that nothing refers to has no business in a bundle: it would be carried into the host's
    store without a verdict (THREATS T18). One that is missing would only be noticed by a runtime.

    Raises:
        MissingError: something that is needed is not a member.
        OciError: a member has another size than is said of it.
        TrailingDataError: a member that nothing needs.
    """
    small: dict[Digest, Descriptor] = {}
    layers: dict[Digest, Descriptor] = {}
    for graph in graphs:
        small |= {blob.digest: blob for blob in graph.metadata}
        layers |= {blob.digest: blob for blob in graph.layers}
        for item in graph.entry.evidence:
            small[item.manifest.digest] = item.manifest
            for blob in _blobs_of(item, blobs, limits=limits):
                # Without its annotations: cosign's hold certificates, and nobody asks for them.
                small[blob.digest] = replace(blob, annotations={})
    for entry in statement.trust:
        small |= {blob.digest: blob for blob in entry.blobs}
    metadata = {member.digest: member for member in statement.metadata[2:]}
    streamed = {member.digest: member for member in statement.layers}
    for needed, sections in ((small, (metadata,)), (layers, (streamed, metadata))):
        for digest, descriptor in needed.items():
            member = next((section[digest] for section in sections if digest in section), None)
            if member is None:
                raise MissingError(
                    "the bundle does not hold all that its images need",
                    expected=f"{blob_name(digest)}, a {descriptor.media_type}",
                )
            if member.size != descriptor.size:
                raise OciError(
                    "a member has another size than its descriptor says",
                    where=member.name,
                    expected=f"{descriptor.size} bytes",
                    found=f"{member.size} bytes",
                )
    extra = sorted((metadata.keys() - small.keys() - layers.keys()) | (streamed.keys() - layers))
    if extra:
        raise TrailingDataError(
            "the bundle holds something that none of its images needs", found=blob_name(extra[0])
        )


def _blobs_of(item: EvidenceEntry, blobs: BlobSource, *, limits: Limits) -> tuple[Descriptor, ...]:
    if item.store == "supplement":
        return ()  # a document, not a manifest that leads to some
    where = f"evidence {item.manifest.digest.short}"
    raw = blobs.read(item.manifest, where=where, size_max=limits.document_size_max)
    try:
        manifest = parse_manifest(raw, item.manifest, where=where, limits=limits)
    except FormatError:
        return ()  # `evidence_of` says so; what it cannot name, nothing needs
    return manifest.blobs if isinstance(manifest, ImageManifest) else ()
