"""Who is said to have signed: a certificate's name, or a key's hint. Nothing is verified."""

from __future__ import annotations

from loader.errors import shown
from loader.evidence import SignedEvidence
from loader.limits import DEFAULT_LIMITS
from loader.model.sigstore_bundle import KeyMaterial, SigstoreBundle
from loader.verify.case import read_evidence
from loader.verify.certificate import Leaf
from loader.verify.identity import read_signer


def signer_of(evidence: SignedEvidence) -> str:
    """Return who is said to have signed.

    Raises:
        VerificationError: what says it cannot be read.
    """
    case = read_evidence(evidence, DEFAULT_LIMITS)
    if case.certificate is not None:
        signer = read_signer(
            Leaf.parse(case.certificate, size_max=DEFAULT_LIMITS.certificate_size_max)
        )
        return f"{signer.san} ({signer.issuer or 'no issuer'})"
    if isinstance(evidence, SigstoreBundle) and isinstance(evidence.material, KeyMaterial):
        return f"the key {shown(evidence.material.hint)}"
    return "a key"
