"""Whom a signing certificate names (Fulcio, docs/oid-info.md; FORMATS §2.1).

Only what the certificate says; that an authority stands behind it is `certificate.py`'s fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from loader.errors import CertificateIdentityError, shown
from loader.verify.certificate import PARSE_ERRORS, warnings_refuse
from loader.verify.facts import CertificateSigner

if TYPE_CHECKING:
    from loader.verify.certificate import Leaf
    from loader.verify.facts import SanKind

FULCIO: Final = "1.3.6.1.4.1.57264.1."
OTHER_NAME: Final = x509.ObjectIdentifier(FULCIO + "7")
_RAW_MAX: Final = 6
"""Extensions .1 to .6 hold the text itself, those from .8 on a DER UTF8String."""
_UTF8_STRING: Final = 0x0C
_LONG_FORM: Final = 0x80


def read_signer(leaf: Leaf) -> CertificateSigner:
    """Return whom a certificate names.

    Raises:
        CertificateIdentityError: it has not exactly one subject alternative name, of a kind that
            Fulcio writes; the name is not critical though there is no subject; an extension is no
            text; or the old and the new extension name different issuers.
    """
    try:
        with warnings_refuse():
            extensions = _extensions(leaf.certificate)
            san, kind = _san(leaf.certificate)
    except PARSE_ERRORS as e:
        raise CertificateIdentityError(
            "a certificate whose names cannot be read", found=shown(str(e))
        ) from e
    old, new = extensions.get("1"), extensions.get("8")
    if old is not None and new is not None and old != new:
        raise CertificateIdentityError(
            "a certificate that names two issuers", expected=shown(new), found=shown(old)
        )
    return CertificateSigner(
        san=san,
        san_kind=kind,
        issuer=new or old or "",
        extensions=extensions,
        certificate=leaf.der,
    )


def _san(certificate: x509.Certificate) -> tuple[str, SanKind]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound as e:
        raise CertificateIdentityError("a certificate without an identity") from e
    names = list(extension.value)
    if len(names) != 1:
        raise CertificateIdentityError(
            "a certificate with not exactly one identity", found=f"{len(names)} names"
        )
    if not extension.critical and not list(certificate.subject):
        raise CertificateIdentityError("an identity that is not critical (RFC 5280 §4.1.2.6)")
    match names[0]:
        case x509.UniformResourceIdentifier(value=text):
            return _plain(text), "uri"
        case x509.RFC822Name(value=text):
            return _plain(text), "email"
        case x509.OtherName() as other if other.type_id == OTHER_NAME:
            return _plain(_utf8_string(other.value)), "other-name"
        case other_name:
            raise CertificateIdentityError(
                "an identity of a kind that is not accepted", found=type(other_name).__name__
            )


def _plain(text: str) -> str:
    if not text or not text.isprintable():
        raise CertificateIdentityError("an identity that cannot be shown", found=shown(text))
    return text


def _extensions(certificate: x509.Certificate) -> dict[str, str]:
    found: dict[str, str] = {}
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        number = oid.removeprefix(FULCIO)
        if number == oid or not isinstance(extension.value, x509.UnrecognizedExtension):
            continue
        if not number.isdecimal():
            continue
        raw = extension.value.value
        found[number] = _text(raw) if int(number) <= _RAW_MAX else _utf8_string(raw)
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise CertificateIdentityError("an extension that is no text") from e


def _utf8_string(raw: bytes) -> str:
    """Return the text of a DER UTF8String that is all of these bytes (X.690 §8.1.3)."""
    tag, length, start = raw[:1], raw[1:2], 2
    if tag != bytes([_UTF8_STRING]) or not length:
        raise CertificateIdentityError("an extension that is no UTF8String")
    size = length[0]
    if size >= _LONG_FORM:
        count = size - _LONG_FORM
        start += count
        size = int.from_bytes(raw[2:start])
        # DER: the shortest form only, so that one text has one encoding.
        if not 1 <= count <= 2 or size < _LONG_FORM or raw[2:3] == b"\x00":  # noqa: PLR2004
            raise CertificateIdentityError("an extension of a length that is not DER")
    if len(raw) != start + size:
        raise CertificateIdentityError("an extension of another length than it says")
    return _text(raw[start:])
