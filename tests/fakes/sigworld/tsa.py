"""A timestamp authority that answers as RFC 3161 says, in the shape of Sigstore's own server.

The response is written by hand (``der``), the certificate and the signature are real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.fakes.sigworld import der
from tests.fakes.sigworld.ca import (
    authority_certificate,
    key_usage,
    name_of,
    serial_of,
    sign_certificate,
)
from tests.fakes.sigworld.encoding import der_of
from tests.fakes.sigworld.keys import Signer

POLICY_OID = "1.3.6.1.4.1.57264.2"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_TIME = "1.2.840.113549.1.9.5"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_HASH_OIDS = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_ECDSA_OIDS = {
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_RSA_OIDS = {
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.set_of(value))


class TimestampAuthority:
    """A root and a signing certificate; ``timestamp`` answers for one message."""

    def __init__(
        self,
        organization: str,
        *,
        start: datetime,
        years: int = 10,
        leaf_end: datetime | None = None,
        kind: str = "P-384",
        digest: str = "sha256",
        eku: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,),
        eku_critical: bool = True,
    ) -> None:
        self.organization = organization
        self.uri = f"https://tsa.{organization}.example/api/v1/timestamp"
        self._serial = 0
        end = start + timedelta(days=365 * years)
        root = Signer.make(f"{organization} tsa root", "P-384")
        self.root = root.with_certificate(
            authority_certificate(
                root, name_of(organization, root.name), start=start, end=end, path_length=1
            )
        )
        signer = Signer.make(f"{organization} tsa", kind, digest=digest)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of(organization, signer.name))
            .issuer_name(name_of(organization, root.name))
            .public_key(signer.public)
            .serial_number(serial_of(organization, "tsa", leaf_end))
            .not_valid_before(start)
            .not_valid_after(leaf_end or end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer.public), critical=False)
            .add_extension(key_usage(signature=True, authority=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public), critical=False
            )
        )
        if eku:
            builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=eku_critical)
        self.signer = signer.with_certificate(sign_certificate(builder, self.root))

    @property
    def leaf(self) -> x509.Certificate:
        """The signing certificate."""
        if self.signer.certificate is None:
            raise ValueError("the authority has no certificate")
        return self.signer.certificate

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Leaf first, root last, as a trusted root orders them."""
        if self.root.certificate is None:
            raise ValueError("the authority has no root")
        return (self.leaf, self.root.certificate)

    def timestamp(
        self,
        message: bytes,
        *,
        at: datetime,
        digest: str = "sha256",
        imprint: bytes | None = None,
        embed: bool = True,
        embedded: Sequence[x509.Certificate] | None = None,
        nonce: int | None = None,
        status: int = 0,
        spoil_signature: bool = False,
    ) -> bytes:
        """A DER TimeStampResp for a message.

        ``imprint`` replaces the message's hash; ``embed`` puts the signing certificate in (or
        the certificates that ``embedded`` names); ``spoil_signature`` breaks the CMS signature.
        """
        at = at.astimezone(UTC).replace(microsecond=0)
        if status > 1:
            return der.sequence(der.sequence(der.integer(status)))
        info = self._tst_info(
            digest, imprint or hashlib.new(digest, message).digest(), at=at, nonce=nonce
        )
        certificates = list(embedded if embedded is not None else [self.leaf] if embed else [])
        token = der.sequence(
            der.oid(_SIGNED_DATA),
            der.context(0, self._signed_data(info, certificates, at, spoil=spoil_signature)),
        )
        return der.sequence(der.sequence(der.integer(status)), token)

    def _tst_info(self, digest: str, imprint: bytes, *, at: datetime, nonce: int | None) -> bytes:
        self._serial += 1
        parts = [
            der.integer(1),
            der.oid(POLICY_OID),
            der.sequence(
                der.sequence(der.oid(_HASH_OIDS[digest]), der.null()), der.octets(imprint)
            ),
            der.integer(serial_of(self.organization, "stamp", self._serial)),
            der.generalized_time(at),
            der.sequence(der.integer(1)),
        ]
        if nonce is not None:
            parts.append(der.integer(nonce))
        parts.append(der.context(0, der.context(4, self.leaf.subject.public_bytes())))
        return der.sequence(*parts)

    def _signed_data(
        self, info: bytes, certificates: Sequence[x509.Certificate], at: datetime, *, spoil: bool
    ) -> bytes:
        digest = self.signer.digest or "sha256"
        algorithm = der.sequence(der.oid(_HASH_OIDS[digest]))
        issuer = self.leaf.issuer.public_bytes()
        serial = der.integer(self.leaf.serial_number)
        attributes = (
            _attribute(_CONTENT_TYPE, der.oid(_TST_INFO)),
            _attribute(_SIGNING_TIME, der.utc_time(at)),
            _attribute(_MESSAGE_DIGEST, der.octets(hashlib.new(digest, info).digest())),
            _attribute(
                _SIGNING_CERTIFICATE_V2,
                der.sequence(
                    der.sequence(
                        der.sequence(
                            der.octets(hashlib.sha256(der_of(self.leaf)).digest()),
                            der.sequence(der.sequence(der.context(4, issuer)), serial),
                        )
                    )
                ),
            ),
        )
        # The signature is over a SET, which stands in the message under an implicit tag.
        signature = bytearray(self.signer.sign(der.set_of(*attributes)))
        if spoil:
            signature[-1] ^= 1
        oids = _RSA_OIDS if self.signer.kind.startswith("RSA-") else _ECDSA_OIDS
        signer_info = der.sequence(
            der.integer(1),
            der.sequence(issuer, serial),
            algorithm,
            der.context(0, *sorted(attributes)),
            der.sequence(der.oid(oids[digest])),
            der.octets(bytes(signature)),
        )
        embedded = [c.public_bytes(Encoding.DER) for c in certificates]
        return der.sequence(
            der.integer(3),
            der.set_of(algorithm),
            der.sequence(der.oid(_TST_INFO), der.context(0, der.octets(info))),
            *([der.context(0, *embedded)] if embedded else []),
            der.set_of(signer_info),
        )
