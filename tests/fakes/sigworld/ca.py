"""A Fulcio-like certificate authority: root, intermediate, short-lived signing certificates.

What a certificate says is given by keyword and honest by default; every default can be spoilt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.fakes.sigworld import der
from tests.fakes.sigworld.ct import SCT_LIST_OID, Promise, sct_list
from tests.fakes.sigworld.encoding import sha256
from tests.fakes.sigworld.keys import PublicKey, Signer, hash_named

FULCIO_ARC = "1.3.6.1.4.1.57264.1"
OTHER_NAME_OID = f"{FULCIO_ARC}.7"
_RAW_BYTES_UP_TO = 6
"""Extensions .1 to .6 hold bare text; later ones a DER UTF8String."""


def uri(value: str) -> x509.GeneralName:
    """A SAN that names a workflow."""
    return x509.UniformResourceIdentifier(value)


def email(value: str) -> x509.GeneralName:
    """A SAN that names a person."""
    return x509.RFC822Name(value)


def other_name(value: str) -> x509.GeneralName:
    """Fulcio's SAN for a user name."""
    return x509.OtherName(x509.ObjectIdentifier(OTHER_NAME_OID), der.utf8(value))


def name_of(organization: str, common_name: str) -> x509.Name:
    """A distinguished name as Sigstore's services use them."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def key_usage(*, signature: bool, authority: bool) -> x509.KeyUsage:
    """``digitalSignature``, or what a CA needs, or both, or neither."""
    return x509.KeyUsage(
        digital_signature=signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def fulcio_extension(number: int, text: str) -> x509.UnrecognizedExtension:
    """Extension 1.3.6.1.4.1.57264.1.<number> in the encoding that Fulcio gives it."""
    raw = text.encode() if number <= _RAW_BYTES_UP_TO else der.utf8(text)
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{FULCIO_ARC}.{number}"), raw)


def serial_of(*parts: object) -> int:
    """A positive serial number of 19 octets that depends on its arguments alone."""
    raw = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(raw[:19], "big") | 1


def sign_certificate(builder: x509.CertificateBuilder, signer: Signer) -> x509.Certificate:
    """Sign with the signer's key and hash, without randomness where the key allows it."""
    algorithm = None if signer.digest is None else hash_named(signer.digest)
    if isinstance(signer.key, ec.EllipticCurvePrivateKey):
        return builder.sign(signer.key, algorithm, ecdsa_deterministic=True)  # type: ignore[arg-type]
    return builder.sign(signer.key, algorithm)  # type: ignore[arg-type]


def authority_certificate(
    signer: Signer,
    subject: x509.Name,
    *,
    start: datetime,
    end: datetime,
    path_length: int | None,
    issuer: Signer | None = None,
    eku: Sequence[x509.ObjectIdentifier] = (),
) -> x509.Certificate:
    """A CA certificate: self-signed, or signed by an issuer that has a certificate."""
    parent = signer if issuer is None else issuer
    parent_name = subject if parent.certificate is None else parent.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent_name)
        .public_key(signer.public)
        .serial_number(serial_of(subject.rfc4514_string(), start, end))
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer.public), critical=False)
        .add_extension(key_usage(signature=False, authority=True), critical=True)
    )
    if issuer is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public), critical=False
        )
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    return sign_certificate(builder, parent)


class CertificateAuthority:
    """Root and intermediate (or a root alone), and leaves issued by the lower of the two."""

    def __init__(
        self,
        organization: str,
        *,
        start: datetime,
        years: int = 10,
        intermediate: bool = True,
        kind: str = "P-384",
        promises: Sequence[Promise] = (),
    ) -> None:
        self.organization = organization
        self.uri = f"https://fulcio.{organization}.example"
        self.promises = tuple(promises)
        self._serial = 0
        end = start + timedelta(days=365 * years)
        root = Signer.make(f"{organization} fulcio root", kind)
        certificate = authority_certificate(
            root,
            name_of(organization, root.name),
            start=start,
            end=end,
            path_length=1 if intermediate else 0,
        )
        self.root = root.with_certificate(certificate)
        self.issuer = self.root
        if intermediate:
            lower = Signer.make(f"{organization} fulcio intermediate", kind)
            self.issuer = lower.with_certificate(
                authority_certificate(
                    lower,
                    name_of(organization, lower.name),
                    start=start,
                    end=end,
                    path_length=0,
                    issuer=self.root,
                    eku=[ExtendedKeyUsageOID.CODE_SIGNING],
                )
            )

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Nearest first, root last, as trusted roots and ``chain`` annotations order them."""
        signers = [self.root] if self.issuer is self.root else [self.issuer, self.root]
        return tuple(s.certificate for s in signers if s.certificate is not None)

    def issue(
        self,
        public_key: PublicKey,
        sans: Sequence[x509.GeneralName],
        *,
        at: datetime,
        lifetime: timedelta = timedelta(minutes=10),
        extensions: Mapping[int, str] | None = None,
        raw_extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        promises: Sequence[Promise] | None = None,
        san_critical: bool = True,
        eku: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
        digital_signature: bool = True,
        authority: bool = False,
        basic_constraints: bool = False,
        key_identifier: bool = True,
        subject: x509.Name | None = None,
        serial: int | None = None,
    ) -> x509.Certificate:
        """A leaf certificate valid from ``at`` for ``lifetime``.

        ``extensions`` maps the last arc under 1.3.6.1.4.1.57264.1 to text. ``promises`` are the
        SCTs to embed: ``None`` for the authority's own log, ``()`` for none.
        """
        issuer = self.issuer.certificate
        if issuer is None:
            raise ValueError("the issuer has no certificate")
        self._serial += 1
        at = at.astimezone(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or x509.Name([]))
            .issuer_name(issuer.subject)
            .public_key(public_key)
            .serial_number(serial or serial_of(self.organization, self._serial))
            .not_valid_before(at)
            .not_valid_after(at + lifetime)
            .add_extension(
                key_usage(signature=digital_signature, authority=authority), critical=True
            )
        )
        if eku:
            builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
        if authority or basic_constraints:
            builder = builder.add_extension(
                x509.BasicConstraints(ca=authority, path_length=None), critical=True
            )
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False
        )
        if key_identifier:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer.public),
                critical=False,
            )
        if sans:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(sans), critical=san_critical
            )
        for number, text in sorted((extensions or {}).items()):
            builder = builder.add_extension(fulcio_extension(number, text), critical=False)
        for extension, critical in raw_extensions:
            builder = builder.add_extension(extension, critical=critical)
        wanted = self.promises if promises is None else tuple(promises)
        if wanted:
            builder = builder.add_extension(self._scts(builder, wanted, at), critical=False)
        return sign_certificate(builder, self.issuer)

    def _scts(
        self, builder: x509.CertificateBuilder, promises: Sequence[Promise], at: datetime
    ) -> x509.UnrecognizedExtension:
        # Without poison and without SCTs, what is to be signed is what the log covers.
        tbs = sign_certificate(builder, self.issuer).tbs_certificate_bytes
        scts = [
            promise.make(issuer_key_hash=sha256(self.issuer.spki), tbs=tbs, at=at)
            for promise in promises
        ]
        return x509.UnrecognizedExtension(x509.ObjectIdentifier(SCT_LIST_OID), sct_list(scts))
