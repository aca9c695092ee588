"""Evidence with the proofs that a packer added to it (docs/verification.md, "Supplements").

A supplement only adds: the proof is put into an entry that has a promise and no proof, and the
whole is verified like evidence that came with both. So the promise is verified as ever, and the
proof as any other. What does not hold is said; the evidence is then judged as it was without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loader.errors import (
    DigestError,
    FormatError,
    LimitError,
    MissingError,
    OciError,
    SupplementError,
    VerificationError,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.supplement import MEDIA_TYPE, Supplement
from loader.verify.sigstore import verify_evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.digest import Digest
    from loader.errors import AirlockError
    from loader.limits import Limits
    from loader.model.bundle import BlobSource, EvidenceEntry, ImageEntry
    from loader.model.entry import LogEntry
    from loader.verify.case import SignedEvidence
    from loader.verify.facts import Signed
    from loader.verify.sigstore import Material
    from loader.witness import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A piece of evidence with the proofs that belong to its promises."""

    evidence: SignedEvidence
    added: tuple[EvidenceEntry, ...]


class Supplements:
    """The supplements of one image; keeps track of what became of each."""

    def __init__(
        self, entry: ImageEntry, blobs: BlobSource, *, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """Sort an image's supplements by what they are about; none is read before that is.

        Raises:
            LimitError: there are more for one blob than published.
        """
        self._blobs = blobs
        self._limits = limits
        self._by_subject: dict[Digest, list[EvidenceEntry]] = {}
        self._failed: dict[Digest, AirlockError] = {}
        self._added: set[Digest] = set()
        for item in entry.evidence:
            if item.store == "supplement":
                self._by_subject.setdefault(item.subject, []).append(item)
        most = max(map(len, self._by_subject.values()), default=0)
        if most > limits.supplement_count_max:
            raise LimitError(
                "too many supplements of one piece of evidence",
                where=str(entry.reference),
                expected=f"at most {limits.supplement_count_max}",
                found=str(most),
                hint="the limit is `supplement_count_max`",
            )

    def complete(self, evidence: SignedEvidence, blob: Digest) -> Completed | None:
        """Return the evidence with its proofs added; None where there is none to add.

        Raises:
            MissingError, DigestError: the bundle promises a supplement and does not hold it.
        """
        added: dict[tuple[bytes, int], tuple[EvidenceEntry, Supplement]] = {}
        bare = {(one.log_id, one.log_index) for one in bare_promises(evidence)}
        for item in self._by_subject.get(blob, ()):
            try:
                supplement = self._read(item)
            except (MissingError, DigestError):
                raise
            except FormatError as e:
                self._failed[item.manifest.digest] = e
                continue
            place = supplement.log_id, supplement.log_index
            if place in bare and place not in added:
                added[place] = item, supplement
                self._added.add(item.manifest.digest)
        if not added:
            return None
        proofs = {place: supplement for place, (_, supplement) in added.items()}
        return Completed(
            evidence=_with(evidence, proofs), added=tuple(item for item, _ in added.values())
        )

    def verifier(
        self, evidence: SignedEvidence, blob: Digest | None
    ) -> Callable[[Material], Verified[Signed]]:
        """Return what verifies this evidence, with the proofs that were added to it.

        Raises:
            MissingError, DigestError: as `complete`; what it returns raises as `verify_evidence`.
        """
        completed = None if blob is None else self.complete(evidence, blob)

        def verify(material: Material) -> Verified[Signed]:
            if completed is None:
                return verify_evidence(evidence, material, limits=self._limits)
            try:
                # By the same procedure as if the added proofs had come with it.
                return verify_evidence(completed.evidence, material, limits=self._limits)
            except VerificationError as e:
                # Judged as if nothing had been added; if it holds then, what was added does not.
                bare = verify_evidence(evidence, material, limits=self._limits)
                for item in completed.added:
                    self._failed[item.manifest.digest] = e
                return bare

        return verify

    def failures(self) -> tuple[tuple[EvidenceEntry, AirlockError], ...]:
        """Return what does not hold, and what belongs to nothing that was looked at."""
        stray = SupplementError(
            "a proof for a promise that this evidence does not make, or that is proven already"
        )
        return tuple(
            (item, self._failed.get(item.manifest.digest, stray))
            for items in self._by_subject.values()
            for item in items
            if item.manifest.digest in self._failed or item.manifest.digest not in self._added
        )

    def _read(self, item: EvidenceEntry) -> Supplement:
        where = f"supplement {item.manifest.digest.short}"
        if item.manifest.media_type != MEDIA_TYPE:
            raise OciError(
                "a supplement of another kind",
                where=where,
                expected=MEDIA_TYPE,
                found=item.manifest.media_type,
            )
        raw = self._blobs.read(
            item.manifest, where=where, size_max=self._limits.supplement_size_max
        )
        supplement = Supplement.parse(raw, where=where, limits=self._limits)
        if supplement.subject != item.subject:
            raise OciError(
                "a supplement names another subject than the statement says",
                where=where,
                expected=str(item.subject),
                found=str(supplement.subject),
            )
        return supplement


def bare_promises(evidence: SignedEvidence) -> tuple[LogEntry, ...]:
    """Return the entries that carry only a promise, where the format is content with that.

    A bundle of v0.2 or later must bring its proof: one that does not is refused, and not mended.
    """
    if isinstance(evidence, SigstoreBundle) and evidence.version != "0.1":
        return ()
    return tuple(
        entry for entry in _entries(evidence) if entry.promise is not None and entry.proof is None
    )


def _entries(evidence: SignedEvidence) -> tuple[LogEntry, ...]:
    if isinstance(evidence, SigstoreBundle):
        return evidence.entries
    return () if evidence.attached.entry is None else (evidence.attached.entry,)


def _with(evidence: SignedEvidence, proofs: dict[tuple[bytes, int], Supplement]) -> SignedEvidence:
    entries = tuple(
        replace(entry, proof=proofs[place].proof)
        if (place := (entry.log_id, entry.log_index)) in proofs
        else entry
        for entry in _entries(evidence)
    )
    match evidence:
        case SigstoreBundle():
            return replace(evidence, entries=entries)
        case CosignSignature() | CosignAttestation():
            return replace(evidence, attached=replace(evidence.attached, entry=entries[0]))
