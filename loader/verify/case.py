"""Evidence of every format, brought to the one form that the procedure judges (step 1).

    bundle v0.1 to v0.3     an envelope or a message signature, with material of its own
    cosign `.sig` layer     a payload; signature, certificate and log entry as annotations
    cosign `.att` layer     an envelope; certificate and log entry as annotations

What the formats differ in is decided here and nowhere else: which bytes are signed, which are
stamped, and what a log's entry must come with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from loader.digest import Digest
from loader.errors import ArtifactDigestError, PayloadError, shown
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.envelope import IN_TOTO_TYPE, Envelope
from loader.model.sigstore_bundle import (
    CertificateMaterial,
    KeyMaterial,
    MessageSignature,
    SigstoreBundle,
)
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.verify.facts import MessageDigest, Payload
from loader.verify.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.limits import Limits
    from loader.model.entry import LogEntry
    from loader.verify.log import Need
    from loader.verify.message import HashName

SignedEvidence: TypeAlias = CosignSignature | CosignAttestation | SigstoreBundle

_DIGEST_NAMES: Final[dict[str, HashName]] = {
    "SHA2_256": "sha256",
    "SHA2_384": "sha384",
    "SHA2_512": "sha512",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Evidence of any format, brought to one form."""

    format: str
    evidence_digest: Digest
    message: Message
    signatures: tuple[bytes, ...]
    certificate: bytes | None
    intermediates: tuple[bytes, ...]
    entries: tuple[LogEntry, ...]
    need: Need
    timestamps: tuple[bytes, ...]
    stamped: bytes | None
    """What the timestamps are over; None for the signature."""
    envelope: Envelope | None
    envelope_raw: bytes | None
    payload: Callable[[], Payload]
    """Reads what was signed; called last."""


def read_evidence(evidence: SignedEvidence, limits: Limits) -> Case:
    """Return evidence about an image in the one form.

    Raises:
        ArtifactDigestError: a message signature over a digest of another kind than images have.
    """
    match evidence:
        case CosignSignature(raw=raw, attached=attached):
            return Case(
                format="cosign signature",
                evidence_digest=evidence.digest,
                message=Message.of(raw),
                signatures=(evidence.signature,),
                certificate=attached.certificate,
                intermediates=attached.chain,
                entries=() if attached.entry is None else (attached.entry,),
                need="promise",
                timestamps=() if attached.timestamp is None else (attached.timestamp,),
                stamped=None,
                envelope=None,
                envelope_raw=None,
                payload=lambda: SimpleSigning.parse(raw, where="payload", limits=limits),
            )
        case CosignAttestation(raw=raw, attached=attached, envelope=envelope):
            return Case(
                format="cosign attestation",
                evidence_digest=evidence.digest,
                message=Message.of(*envelope.pae_parts),
                signatures=envelope.signatures,
                certificate=attached.certificate,
                intermediates=attached.chain,
                entries=() if attached.entry is None else (attached.entry,),
                need="promise",
                timestamps=() if attached.timestamp is None else (attached.timestamp,),
                stamped=raw,
                envelope=envelope,
                envelope_raw=raw,
                payload=lambda: _statement(envelope, limits),
            )
        case SigstoreBundle():
            return read_bundle(evidence, None, limits)
        case _:
            assert_never(evidence)


def read_bundle(bundle: SigstoreBundle, artifact: Message | None, limits: Limits) -> Case:
    """Return a bundle in the one form; with the file that it is about, where that is at hand.

    Raises:
        ArtifactDigestError: the bundle names another digest than the file has.
    """
    content = bundle.content
    match content:
        case Envelope():
            message = Message.of(*content.pae_parts)
            signatures: tuple[bytes, ...] = content.signatures
            envelope: Envelope | None = content
            payload: Callable[[], Payload] = lambda: _statement(content, limits)  # noqa: E731
        case MessageSignature():
            message = _message(content, artifact)
            signatures, envelope = (content.signature,), None
            payload = lambda: _digested(message)  # noqa: E731
        case _:
            assert_never(content)
    match bundle.material:
        case CertificateMaterial(leaf=leaf, intermediates=intermediates):
            certificate: bytes | None = leaf
        case KeyMaterial():
            certificate, intermediates = None, ()
        case _:
            assert_never(bundle.material)
    return Case(
        format=f"bundle v{bundle.version}",
        evidence_digest=bundle.digest,
        message=message,
        signatures=signatures,
        certificate=certificate,
        intermediates=intermediates,
        entries=bundle.entries,
        need="promise" if bundle.version == "0.1" else "proof",
        timestamps=bundle.timestamps,
        stamped=None,
        envelope=envelope,
        envelope_raw=None,
        payload=payload,
    )


def _message(content: MessageSignature, artifact: Message | None) -> Message:
    """Return what a message signature is over; the bundle's own word must agree with it."""
    name = _DIGEST_NAMES.get(content.algorithm)
    if name is None:
        raise ArtifactDigestError(
            "a bundle with a digest of an unknown kind", found=shown(content.algorithm)
        )
    if artifact is None:
        if name != "sha256" or len(content.digest) != 32:  # noqa: PLR2004 (SHA-256)
            raise ArtifactDigestError("not a SHA-256 digest", found=shown(content.algorithm))
        return Message.of_digest(Digest(content.digest.hex()))
    digest = artifact.digest(name)
    if digest is not None and digest != content.digest:
        raise ArtifactDigestError(
            "a bundle that names another digest than this file has",
            expected=f"{name}:{digest.hex()}",
            found=f"{name}:{content.digest.hex()}",
        )
    return artifact


def _statement(envelope: Envelope, limits: Limits) -> Statement:
    if IN_TOTO_TYPE.fullmatch(envelope.payload_type) is None:
        raise PayloadError(
            "an envelope of something else than an in-toto statement",
            found=shown(envelope.payload_type),
        )
    return Statement.parse(envelope.payload, where="statement", limits=limits)


def _digested(message: Message) -> MessageDigest:
    digest = message.digest("sha256")
    if digest is None:
        raise PayloadError("an artifact without a SHA-256 digest")
    return MessageDigest(digest=Digest(digest.hex()))
