"""Who is said to have signed: a certificate's name, or a key. Nothing is verified.

A signature by a key does not say whose it is; the log was told the key, and cosign's bundles hint
at it. Either way it is shown by the SHA-256 of its DER, as policies and verdicts do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, assert_never

from loader.errors import JsonFieldError, shown
from loader.evidence import SignedEvidence
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import decode_base64
from loader.model.records import (
    BareEnvelopeRecord,
    EnvelopeRecord,
    OtherRecord,
    Record,
    SignatureRecord,
    Verifier,
)
from loader.model.sigstore_bundle import KeyMaterial, SigstoreBundle
from loader.verify.case import read_evidence
from loader.verify.certificate import Leaf
from loader.verify.identity import read_signer

_SHA256_SIZE: Final = 32


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
    recorded = next((key for entry in case.entries for key in _keys(entry.record)), None)
    if recorded is not None:
        return f"the key sha256:{hashlib.sha256(recorded).hexdigest()}"
    if isinstance(evidence, SigstoreBundle) and isinstance(evidence.material, KeyMaterial):
        return f"the key {_hinted(evidence.material.hint)}"
    return "a key that nothing names"


def _keys(record: Record) -> Iterator[bytes]:
    """Yield the keys, in DER, that a log was told a signature is by."""
    match record:
        case SignatureRecord(verifier=verifier) | BareEnvelopeRecord(verifier=verifier):
            verifiers: tuple[Verifier, ...] = (verifier,)
        case EnvelopeRecord(signatures=signatures):
            verifiers = tuple(verifier for _, verifier in signatures)
        case OtherRecord():
            verifiers = ()
        case _:
            assert_never(record)
    yield from (verifier.der for verifier in verifiers if verifier.kind == "key")


def _hinted(hint: str) -> str:
    """Return what a bundle's hint says: cosign writes the SHA-256 of the key, in base64."""
    try:
        raw = decode_base64(hint, where="hint")
    except JsonFieldError:
        raw = b""
    return f"sha256:{raw.hex()}" if len(raw) == _SHA256_SIZE else shown(hint)
