"""One fact: a log's entry records this signature, over these bytes, by this signer (FORMATS §1.5).

A genuine entry of another signature proves nothing about ours. Nearly every advisory about cosign
and its kin (CVE-2022-23649, CVE-2022-36056, CVE-2026-22703) is a comparison that was left out here,
so all of them are made, each with an error of its own, and the kinds of record share one order:
kind, digest, signature, key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from cryptography.hazmat.primitives.asymmetric import rsa

from loader.errors import (
    EntryDigestError,
    EntryKeyError,
    EntryKindError,
    EntrySignatureError,
    shown,
)
from loader.model.records import (
    BareEnvelopeRecord,
    EnvelopeRecord,
    OtherRecord,
    SignatureRecord,
    Verifier,
)

if TYPE_CHECKING:
    from loader.model.entry import LogEntry
    from loader.model.envelope import Envelope
    from loader.trust.keys import PublicKey
    from loader.verify.message import Message

_KEY_DETAILS: Final = {
    "ECDSA P-256": frozenset({"PKIX_ECDSA_P256_SHA_256"}),
    "ECDSA P-384": frozenset({"PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P384_SHA_256"}),
    "ECDSA P-521": frozenset({"PKIX_ECDSA_P521_SHA_512", "PKIX_ECDSA_P521_SHA_256"}),
    "Ed25519": frozenset({"PKIX_ED25519"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """The signature that an entry must be about."""

    message: Message
    """What the signature is over: an artifact, a payload, or an envelope's PAE."""
    signature: bytes
    key: PublicKey
    verifiers: tuple[Verifier, ...]
    """What the log may name as signer: our certificate, in full, or our key."""
    envelope: Envelope | None
    envelope_raw: bytes | None
    """The envelope's JSON as it was uploaded; a bundle does not keep it."""


def expect_bound(entry: LogEntry, presented: Presented) -> None:
    """Check every value that an entry records against the signature that is presented with it.

    Raises:
        EntryKindError: a record of this kind cannot be of a signature of this kind, or kind and
            version beside the body are others than in it.
        EntryDigestError: it is over something else.
        EntrySignatureError: it is another signature.
        EntryKeyError: it is somebody else's.
    """
    # (4.1) What kind of record it is, said once or twice alike.
    record = entry.record
    kind_version = (record.kind, record.version)
    if entry.kind_version is not None and entry.kind_version != kind_version:
        raise EntryKindError(
            "an entry whose kind is another than its body's",
            expected=" ".join(kind_version),
            found=shown(" ".join(entry.kind_version)),
        )
    match record:
        case SignatureRecord():
            _signature(record, presented)
        case EnvelopeRecord():
            _envelope(record, presented)
        case BareEnvelopeRecord():
            _bare_envelope(record, presented)
        case OtherRecord():
            raise EntryKindError("an entry of an unknown kind", found=" ".join(kind_version))
        case _:
            assert_never(record)


def _signature(record: SignatureRecord, presented: Presented) -> None:
    # Rekor v1 logs envelopes as `dsse` or `intoto`. Its hashedrekord over a PAE is taken by some
    # clients only; v2 has no other kind (docs/verification.md, "Decisions").
    if presented.envelope is not None and record.version != "0.0.2":
        raise EntryKindError(
            "an entry for plain signatures, where an envelope was signed",
            found=f"{record.kind} {record.version}",
        )
    # (4.2) Over what.
    digest = presented.message.digest(record.hash)
    if digest is None or digest != record.digest:
        raise EntryDigestError(
            "an entry of a signature over something else",
            expected="unknown" if digest is None else f"{record.hash}:{digest.hex()}",
            found=f"{record.hash}:{record.digest.hex()}",
        )
    # (4.3) Which signature.
    if record.signature != presented.signature:
        raise EntrySignatureError("an entry of another signature over the same bytes")
    # (4.4) Whose.
    _expect_verifier(record.verifier, presented)
    if record.key_details and record.key_details not in _details(presented.key):
        raise EntryKeyError(
            "an entry that names another kind of key",
            expected=" or ".join(sorted(_details(presented.key))),
            found=shown(record.key_details),
        )


def _envelope(record: EnvelopeRecord, presented: Presented) -> None:
    envelope = _expect_envelope(record, presented)
    _expect_digest(record.payload_digest, envelope.payload, what="payload")
    if record.payload_type and record.payload_type != envelope.payload_type:
        raise EntryDigestError(
            "an entry of a payload of another type",
            expected=shown(envelope.payload_type),
            found=shown(record.payload_type),
        )
    recorded = [signature for signature, _ in record.signatures]
    if sorted(recorded) != sorted(envelope.signatures):
        raise EntrySignatureError("an entry of an envelope with other signatures")
    for signature, verifier in record.signatures:
        if signature == presented.signature:
            _expect_verifier(verifier, presented)
    if record.kind == "dsse" and presented.envelope_raw is not None:
        # intoto 0.0.2 hashes an envelope that Rekor itself put together: nothing to compare with.
        _expect_digest(record.envelope_digest, presented.envelope_raw, what="envelope")


def _bare_envelope(record: BareEnvelopeRecord, presented: Presented) -> None:
    envelope = _expect_envelope(record, presented)
    if presented.envelope_raw is None:
        # It records no signature; only the digest of the uploaded JSON binds it to one.
        raise EntryKindError(
            "an entry that binds to no signature without the envelope's own bytes",
            found=f"{record.kind} {record.version}",
        )
    _expect_digest(record.envelope_digest, presented.envelope_raw, what="envelope")
    if record.payload_digest is not None:
        _expect_digest(record.payload_digest, envelope.payload, what="payload")
    _expect_verifier(record.verifier, presented)


def _expect_envelope(record: EnvelopeRecord | BareEnvelopeRecord, presented: Presented) -> Envelope:
    if presented.envelope is None:
        raise EntryKindError(
            "an entry for envelopes, where a plain signature was made",
            found=f"{record.kind} {record.version}",
        )
    return presented.envelope


def _expect_digest(recorded: bytes, raw: bytes, *, what: str) -> None:
    found = hashlib.sha256(raw).digest()
    if recorded != found:
        raise EntryDigestError(
            f"an entry of another {what}",
            expected=f"sha256:{found.hex()}",
            found=f"sha256:{recorded.hex()}",
        )


def _expect_verifier(verifier: Verifier, presented: Presented) -> None:
    """Compare the whole certificate: one key may have several, of different identities."""
    if verifier not in presented.verifiers:
        raise EntryKeyError(
            "an entry of a signature by somebody else",
            expected=" or ".join(
                f"{v.kind} sha256:{hashlib.sha256(v.der).hexdigest()}" for v in presented.verifiers
            ),
            found=f"{verifier.kind} sha256:{hashlib.sha256(verifier.der).hexdigest()}",
        )


def _details(key: PublicKey) -> frozenset[str]:
    if isinstance(key.raw, rsa.RSAPublicKey):
        return frozenset({f"PKIX_RSA_PKCS1V15_{key.raw.key_size}_SHA256"})
    return _KEY_DETAILS[key.algorithm]
