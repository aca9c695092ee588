"""Signatures on TUF metadata by Sigstore identities, judged by our own procedure, offline.

What tuf-on-ci writes: each signature is a Sigstore bundle over the canonical JSON of `signed`. The
identity and its issuer must be exactly those of the key. As everywhere, a certificate counts at the
times that logs and timestamps say, so a root signed years ago needs no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.errors import (
    CertificateIdentityError,
    EntryUnprovenError,
    PayloadError,
    SctError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.sigstore_bundle import MessageSignature, SigstoreBundle
from loader.trust.tuf_keys import Identity, KeylessSignature
from loader.verify.facts import CertificateSigner
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact

if TYPE_CHECKING:
    from loader.trust.trusted_root import TrustedRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class SigstoreKeys:
    """A `KeyVerifier` under one trusted root."""

    trusted_root: TrustedRoot
    limits: Limits = DEFAULT_LIMITS

    def verify(self, identity: Identity, bundle: bytes, message: bytes) -> KeylessSignature:
        """Return what is known of a signature by this identity over these very bytes.

        Raises:
            VerificationError: it does not hold, no log has it, or somebody else made it.
            FormatError: it is no bundle.
        """
        parsed = SigstoreBundle.parse(bundle, where="bundle", limits=self.limits)
        if not isinstance(parsed.content, MessageSignature):
            raise PayloadError("a statement where a signature over metadata is asked for")
        signed = verify_artifact(
            parsed,
            Message.of(message),
            Material(trusted_root=self.trusted_root),
            limits=self.limits,
        ).value
        signer = signed.signer
        if (
            not isinstance(signer, CertificateSigner)
            or signer.san != identity.identity
            or signer.issuer != identity.issuer
        ):
            raise CertificateIdentityError(
                "signed by somebody else",
                expected=shown(str(identity)),
                found=shown(f"{signer.san} ({signer.issuer})")
                if isinstance(signer, CertificateSigner)
                else "a key",
            )
        if not signed.logs:
            raise EntryUnprovenError("no log has the signature")
        if not signed.sct_count:
            raise SctError("no certificate log has the certificate")
        return KeylessSignature(
            signature=parsed.content.signature, times=tuple(time.at for time in signed.times)
        )
