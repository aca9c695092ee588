"""The procedure: one piece of Sigstore evidence, judged under one set of anchors.

The numbers are those of docs/verification.md. The order is: who could have signed, what logs and
timestamps say, whether all of it is about one signature, the signature itself, when it was made,
who the certificate names, and at last what was signed. Nothing of the payload is parsed before (7).

No step asks for a network, a clock or a setting. What policy may demand beyond (logs, SCTs,
timestamps, identities) it demands of the facts in `Signed`; what is here can be had from nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader._seal import SEAL
from loader.digest import Digest
from loader.errors import (
    FormatError,
    KeyTimeError,
    NoTimeError,
    PayloadError,
    SignatureMismatchError,
    SignerKindError,
    SubjectMismatchError,
    TimestampError,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.records import Verifier
from loader.trust.validity import ALWAYS
from loader.verify.binding import Presented, expect_bound
from loader.verify.case import SignedEvidence, read_bundle, read_evidence
from loader.verify.certificate import Leaf, verify_path
from loader.verify.facts import (
    CertificateSigner,
    KeySigner,
    LogProof,
    MessageDigest,
    Signed,
    SignedTime,
    Signer,
)
from loader.verify.identity import read_signer
from loader.verify.log import Recorded, expect_in_window, verify_entry
from loader.verify.sct import verify_scts
from loader.verify.signature import verify_signature
from loader.witness import Verified

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.sigstore_bundle import SigstoreBundle
    from loader.trust.keys import PublicKey
    from loader.trust.trusted_root import TrustedRoot
    from loader.trust.validity import Validity
    from loader.verify.case import Case
    from loader.verify.message import Message

__all__ = [
    "CertificateSigner",
    "KeySigner",
    "LogProof",
    "Material",
    "MessageDigest",
    "Signed",
    "SignedEvidence",
    "SignedTime",
    "verify_artifact",
    "verify_evidence",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The anchors that one rule of a policy names. With a key, a certificate counts for nothing."""

    trusted_root: TrustedRoot | None = None
    key: PublicKey | None = None

    def __post_init__(self) -> None:
        if self.trusted_root is None and self.key is None:
            raise TypeError("nothing to judge by")


def verify_evidence(
    evidence: SignedEvidence, material: Material, *, limits: Limits = DEFAULT_LIMITS
) -> Verified[Signed]:
    """Verify a piece of evidence about images.

    A bundle with a message signature is over the bytes of an image's manifest; that it is over the
    digest which it names is verified, what has that digest is not looked at.

    Raises:
        VerificationError: it does not hold under this material. The class says which check.
    """
    return Verified(_verify(read_evidence(evidence, limits), material, limits), SEAL)


def verify_artifact(
    bundle: SigstoreBundle,
    artifact: Message,
    material: Material,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Verified[Signed]:
    """Verify a bundle about a file: a signature over it, or a statement that speaks of it.

    Args:
        bundle: one signature.
        artifact: the file; its digest alone is enough where the key's hash is SHA-256.
        material: anchors.
        limits: sizes.

    Raises:
        VerificationError: the bundle does not hold, or is about another file.
    """
    signed = _verify(read_bundle(bundle, artifact, limits), material, limits)
    digest = artifact.digest("sha256")
    if digest is None or Digest(digest.hex()) not in signed.subjects:
        raise SubjectMismatchError(
            "a signed statement that does not speak of this file",
            expected="" if digest is None else f"sha256:{digest.hex()}",
            found=", ".join(str(subject) for subject in sorted(signed.subjects)[:3]),
        )
    return Verified(signed, SEAL)


def _verify(case: Case, material: Material, limits: Limits) -> Signed:
    # (2) Who could have signed: the key that is named, or the certificate that came along.
    leaf, key = _signer_key(case, material, limits)
    signature = _signature(case, key)
    presented = Presented(
        message=case.message,
        signature=signature,
        key=key,
        verifiers=_verifiers(leaf, key, managed=material.key is not None),
        envelope=case.envelope,
        envelope_raw=case.envelope_raw,
    )
    root = material.trusted_root
    # (3) Entries of known logs: promise, proof, checkpoint.
    recorded = () if root is None else _recorded(case, root)
    # (4) Each of them is about this signature.
    for one in recorded:
        expect_bound(one.entry, presented)
    # (5) The signature itself.
    verify_signature(key, signature, case.message, what="the signature")
    # (6) When: the promises' times, (6.1) timestamps, (6.2) logs without times of their own.
    stamped = case.stamped if case.stamped is not None else signature
    times = (
        *(one.time for one in recorded if one.time is not None),
        *(() if root is None else _timestamps(case.timestamps, stamped, root)),
    )
    for one in recorded:
        if one.time is None:
            # A log without times of its own: what others saw must lie in its window, whose start
            # is always there. Without an end there is nothing to be too late for.
            if one.log.valid_for.end is not None:
                _expect_dated(one.log.valid_for, times, what="a log", name=one.log.name)
            for time in times:
                expect_in_window(one.log, time)
    # (7) Whose key that was, at every one of these times.
    signer, sct_count = (
        _managed(material.key, times)
        if material.key is not None
        else _certified(leaf, case, root, times)
    )
    # (8) What was signed.
    try:
        payload = case.payload()
    except FormatError as e:
        raise PayloadError(
            f"what was signed cannot be understood: {e.message}",
            where=e.where,
            expected=e.expected,
            found=e.found,
        ) from e
    return Signed(
        evidence_digest=case.evidence_digest,
        format=case.format,
        payload=payload,
        signer=signer,
        times=times,
        logs=tuple(one.proof for one in recorded),
        sct_count=sct_count,
    )


def _signer_key(case: Case, material: Material, limits: Limits) -> tuple[Leaf | None, PublicKey]:
    leaf = (
        None
        if case.certificate is None
        else Leaf.parse(case.certificate, size_max=limits.certificate_size_max)
    )
    if material.key is not None:
        if leaf is not None and leaf.key.spki != material.key.spki:
            raise SignerKindError(
                "signed by a certificate, where a key is asked for", expected=material.key.name
            )
        return leaf, material.key
    if leaf is None:
        raise SignerKindError("signed by a key, where a certificate is asked for")
    return leaf, leaf.key


def _signature(case: Case, key: PublicKey) -> bytes:
    """Return the signature that is judged: of several in one envelope, the one by this key."""
    for signature in case.signatures[:-1]:
        try:
            verify_signature(key, signature, case.message, what="a signature")
        except SignatureMismatchError:
            continue
        return signature
    return case.signatures[-1]


def _verifiers(leaf: Leaf | None, key: PublicKey, *, managed: bool) -> tuple[Verifier, ...]:
    certificate = () if leaf is None else (Verifier(kind="certificate", der=leaf.der),)
    return (*certificate, Verifier(kind="key", der=key.spki)) if managed else certificate


def _recorded(case: Case, root: TrustedRoot) -> tuple[Recorded, ...]:
    found = (verify_entry(entry, root.logs, need=case.need) for entry in case.entries)
    return tuple(one for one in found if one is not None)


def _timestamps(
    responses: tuple[bytes, ...], message: bytes, root: TrustedRoot
) -> tuple[SignedTime, ...]:
    if not responses or not root.timestamp_authorities:
        return ()
    # Reading timestamps costs an import that evidence without any need not pay.
    from loader.verify.timestamp import verify_timestamp  # noqa: PLC0415

    found = [verify_timestamp(one, message, root.timestamp_authorities) for one in responses]
    known = tuple(time for time in found if time is not None)
    if not known:
        raise TimestampError(
            "no timestamp by an authority of the trusted root", found=f"{len(found)} by others"
        )
    return known


def _expect_dated(window: Validity, times: tuple[SignedTime, ...], *, what: str, name: str) -> None:
    """Refuse what nobody dates.

    Otherwise leaving the times away would be all that a retired key needs.
    """
    if not times:
        raise NoTimeError(
            f"no verified time, and {what} is trusted for a time only",
            where=name,
            expected=f"a time in {window}",
        )


def _managed(key: PublicKey, times: tuple[SignedTime, ...]) -> tuple[Signer, int]:
    # (7.6) A pinned key may have a window too.
    if key.valid_for != ALWAYS:
        _expect_dated(key.valid_for, times, what="the key", name=key.name)
    for time in times:
        if not key.valid_for.holds_at(time.at):
            raise KeyTimeError(
                "a key that was used outside its window",
                where=key.name,
                expected=str(key.valid_for),
                found=time.at.isoformat(),
            )
    return KeySigner(name=key.name, fingerprint=key.fingerprint), 0


def _certified(
    leaf: Leaf | None, case: Case, root: TrustedRoot | None, times: tuple[SignedTime, ...]
) -> tuple[Signer, int]:
    if leaf is None or root is None:
        raise SignerKindError("nobody to vouch for a certificate")
    if not times:
        # (7.1) "Now" is no time: certificates live ten minutes, clocks behind the gap are wrong.
        raise NoTimeError("no verified time, and the certificate lived but minutes")
    # (7.2) A path to an authority, (7.3) valid at every time.
    issuer = verify_path(
        leaf,
        root.certificate_authorities,
        untrusted=case.intermediates,
        times=tuple(time.at for time in times),
    )
    # (7.4) Whom it names. (7.5) Who promised to publish it.
    return read_signer(leaf), verify_scts(leaf, issuer, root.ct_logs)
