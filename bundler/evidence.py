"""All evidence about one subject, from every store that tools keep it in (FORMATS §1.1).

    sha256-HEX.sig .att .sbom     cosign's tags
    referrers API                 paged, never filtered
    sha256-HEX                    its fallback tag, also where there is an API: pushers differ
    index entries                 BuildKit's attestation manifests

Only a plain 404 means that something is not there; whatever else goes wrong ends the pack. What is
there and cannot be evidence (a dangling entry, another subject) is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bundler.registry.client import Document, Repository
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import DigestError, FormatError, LimitError, shown
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import EvidenceEntry, Store
from loader.model.descriptor import Descriptor
from loader.model.image import ImageIndex, ImageManifest, parse_manifest

_TAGS: Final[Mapping[Store, str]] = {
    "signature-tag": ".sig",
    "attestation-tag": ".att",
    "sbom-tag": ".sbom",
}
_KINDS: Final = (
    "application/vnd.dev.cosign",
    "application/vnd.dev.sigstore.",
    "application/vnd.dsse.",
    "application/vnd.in-toto",
    "application/vnd.cncf.notary",
    "application/spdx",
    "text/spdx",
    "application/vnd.cyclonedx",
    "application/sarif",
)
"""How media types of evidence begin; a referrer of another kind may be anything, of any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One manifest of evidence, its bytes in the store."""

    entry: EvidenceEntry
    manifest: ImageManifest

    @property
    def size(self) -> int:
        """Bytes of what it says, without the manifest."""
        return sum(blob.size for blob in self.manifest.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found about a subject, and what was left out."""

    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()


class Finder:
    """Looks for evidence in one repository."""

    def __init__(
        self, repository: Repository, store: ContentStore, *, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._repository = repository
        self._store = store
        self._limits = limits

    def about(self, subject: Digest) -> Evidence:
        """Return all evidence that is kept for a subject.

        Raises:
            LimitError: more, or larger, than the far side accepts.
            RemoteError: a store cannot be asked.
        """
        notes: list[str] = []
        pieces = [*self._tagged(subject, notes), *self._referring(subject, notes)]
        return Evidence(pieces=tuple(pieces), notes=tuple(notes))

    def attestation(self, descriptor: Descriptor, subject: Digest) -> Evidence:
        """Return BuildKit's manifest about a subject; the image's index lists it."""
        document = self._repository.document(descriptor.digest)
        if document is None:
            return Evidence(pieces=(), notes=(_dangling("BuildKit's attestation", descriptor),))
        notes: list[str] = []
        piece = self._piece(document, _bare(descriptor), subject, "buildkit", notes)
        return Evidence(pieces=() if piece is None else (piece,), notes=tuple(notes))

    def _tagged(self, subject: Digest, notes: list[str]) -> Iterator[Piece]:
        """Yield what cosign's tags hold.

        Nothing but the tag leads to these bytes: where they are garbage, evidence may be missing.
        """
        for store, suffix in _TAGS.items():
            found = [self._repository.tagged(f"sha256-{subject.hex}{suffix}")]
            for beside in self._repository.kept_beside(subject, store):
                found.append(self._repository.document(beside.digest))
                if found[-1] is None:
                    notes.append(_dangling(f"evidence ({suffix})", beside))
            for document in found:
                if document is not None:
                    piece = self._read(document, document.descriptor, subject, store, notes)
                    if piece is not None:
                        yield piece

    def _referring(self, subject: Digest, notes: list[str]) -> Iterator[Piece]:
        listed = {d.digest: d for d in self._fallback(subject, notes)}
        listed |= {d.digest: d for d in self._repository.referrers(subject).descriptors}
        if len(listed) > self._limits.referrer_count_max:
            raise LimitError(
                "too many referrers of one subject",
                where=f"{self._repository.name}@{subject}",
                expected=f"at most {self._limits.referrer_count_max}",
                found=str(len(listed)),
                hint="the limit is `referrer_count_max`, here and in the loader",
            )
        for _, descriptor in sorted(listed.items()):  # registries list them as they like
            document = self._repository.document(descriptor.digest)
            if document is None:
                notes.append(_dangling("a referrer", descriptor))
                continue
            piece = self._piece(document, document.descriptor, subject, "referrer", notes)
            if piece is not None and self._carries(piece, notes):
                yield piece

    def _fallback(self, subject: Digest, notes: list[str]) -> Iterator[Descriptor]:
        """Yield what the fallback tag lists, if it is an index and not the subject itself.

        `cosign copy` leaves the image under this tag, and GitLab resolves it to the subject.
        """
        document = self._repository.tagged(f"sha256-{subject.hex}")
        if document is None:
            return
        index = parse_manifest(
            document.raw,
            document.descriptor,
            where=f"{self._repository.name}:sha256-{subject.hex}",
            limits=self._limits,
        )
        if document.descriptor.digest == subject or not isinstance(index, ImageIndex):
            notes.append(
                f"the tag sha256-{subject.short}... holds an image instead of referrers: ignored"
            )
            return
        yield from index.manifests

    def _piece(
        self,
        document: Document,
        descriptor: Descriptor,
        subject: Digest,
        store: Store,
        notes: list[str],
    ) -> Piece | None:
        """Read what a digest led to; if it makes no sense, that is how it was pushed."""
        try:
            return self._read(document, descriptor, subject, store, notes)
        except DigestError:
            raise
        except FormatError as e:
            notes.append(f"{store} {descriptor.digest.short} cannot be read: {e}")
            return None

    def _read(
        self,
        document: Document,
        descriptor: Descriptor,
        subject: Digest,
        store: Store,
        notes: list[str],
    ) -> Piece | None:
        place = f"{store} {descriptor.digest.short}"
        descriptor.check(document.raw, what=place)
        manifest = parse_manifest(document.raw, descriptor, where=place, limits=self._limits)
        if not isinstance(manifest, ImageManifest):
            notes.append(f"{place} is an index, not evidence: left out")
            return None
        if store == "referrer" or manifest.subject is not None:
            said = None if manifest.subject is None else manifest.subject.digest
            if said != subject:
                notes.append(f"{place} speaks of {said or 'nothing'}, not of {subject}: left out")
                return None
        self._store.put(document.raw)
        return Piece(
            entry=EvidenceEntry(subject=subject, store=store, manifest=descriptor),
            manifest=manifest,
        )

    def _carries(self, piece: Piece, notes: list[str]) -> bool:
        """Tell whether a referrer goes along: evidence must, what is something else may be huge."""
        manifest, limit = piece.manifest, self._limits.evidence_size_max
        kinds = {manifest.artifact_type, *(blob.media_type for blob in manifest.blobs)}
        if any(kind.startswith(_KINDS) for kind in kinds) or piece.size <= limit:
            return True
        what = manifest.artifact_type or manifest.config.media_type
        notes.append(f"a referrer of another kind, {shown(what)}, has {piece.size} bytes: left out")
        return False


def expect_within(pieces: tuple[Piece, ...], *, where: str, limits: Limits) -> None:
    """Check that the far side will read all of an image's evidence.

    Raises:
        LimitError: a blob, or all of them together, are larger than it accepts, or there are more.
    """
    total = 0
    count = sum(len(piece.manifest.layers) for piece in pieces)
    if count > limits.image_evidence_count_max:
        raise LimitError(
            "an image has too many pieces of evidence",
            where=where,
            expected=f"at most {limits.image_evidence_count_max}",
            found=str(count),
            hint="the limit is `image_evidence_count_max`, here and in the loader",
        )
    for piece in pieces:
        for blob in piece.manifest.blobs:
            total += blob.size
            if blob.size > limits.evidence_size_max:
                raise LimitError(
                    "a piece of evidence is too large",
                    where=f"{where} {piece.entry.manifest.digest.short}",
                    expected=f"at most {limits.evidence_size_max} bytes",
                    found=f"{blob.size} bytes",
                    hint="the limit is `evidence_size_max`, here and in the loader",
                )
    if total > limits.image_evidence_size_max:
        raise LimitError(
            "an image has too much evidence",
            where=where,
            expected=f"at most {limits.image_evidence_size_max} bytes",
            found=f"{total} bytes",
            hint="the limit is `image_evidence_size_max`, here and in the loader",
        )


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )


def _dangling(what: str, descriptor: Descriptor) -> str:
    kind = f", {shown(descriptor.artifact_type)}," if descriptor.artifact_type else ""
    return f"{what} {descriptor.digest.short}{kind} is listed and not there (pruned?)"
