"""One fact: an authority of the trusted root let somebody sign, at the times in question.

The path is built from the trusted root's own certificates. What came with the evidence may serve
as an intermediate only under an authority that pins none of its own: where the trusted root names
the intermediates, no other one speaks for it.

RFC 5280 §6.1 without what Fulcio and private authorities of this kind do not use: policies, name
constraints and revocation. A critical extension that is not understood is refused, and name
constraints are, critical or not (Go's x509 enforces both), so leaving them out refuses and never
accepts.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from loader.errors import (
    CertificateChainError,
    CertificateError,
    CertificateTimeError,
    UnsupportedKeyError,
    shown,
)
from loader.trust.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from loader.trust.trusted_root import Authority

PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    NotImplementedError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises on a malformed certificate, some of it only when a field is read."""
UNDERSTOOD: Final = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
    }
)
"""Extensions that may be critical: those that are looked at."""
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_V3: Final = x509.Version.v3
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf:
    """A certificate that may sign artifacts, by what it says itself. Not yet who issued it."""

    certificate: x509.Certificate
    der: bytes
    key: PublicKey

    @classmethod
    def parse(cls, der: bytes, *, size_max: int) -> Leaf:
        """Return a signing certificate.

        Raises:
            CertificateError: it is none: malformed, an authority's, for another use, or with a
                critical extension that is not understood.
        """
        if len(der) > size_max:
            raise CertificateError("a certificate that is too large", found=f"{len(der)} bytes")
        return _leaf(der)


@lru_cache(maxsize=8)
def _leaf(der: bytes) -> Leaf:
    """Return a signing certificate; the last few are kept, as each anchor looks at it anew."""
    try:
        certificate = load_certificate(der)
        _expect_signing(certificate)
        key = PublicKey.of(certificate.public_key(), name="the signing certificate")
        if key.spki not in certificate.tbs_certificate_bytes:
            # The library also reads a curve whose parameters are written out; Go does not.
            raise CertificateError("a signing certificate that writes its key in another way")
    except PARSE_ERRORS as e:
        raise CertificateError("not a certificate", found=shown(str(e))) from e
    except UnsupportedKeyError as e:
        raise CertificateError(
            "a signing certificate with a key that is not accepted", expected=e.expected
        ) from e
    return Leaf(certificate=certificate, der=der, key=key)


@contextmanager
def warnings_refuse() -> Iterator[None]:
    """Let what `cryptography` only warns of be refused: a serial number that is not positive.

    Otherwise hostile certificates write lines of their own on standard error. What it thinks of
    the lengths of parts of names is of no matter here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        yield


def load_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate; one of `PARSE_ERRORS` where it is none."""
    with warnings_refuse():
        return x509.load_der_x509_certificate(der)


def _expect_signing(certificate: x509.Certificate) -> None:
    _expect_plain(certificate)
    extensions = certificate.extensions
    basic = _find(extensions, x509.BasicConstraints)
    if basic is not None and basic.ca:
        raise CertificateError("an authority's certificate, where a signer's is wanted")
    usage = _find(extensions, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise CertificateError("a certificate whose key may not sign", expected="digitalSignature")
    purposes = _find(extensions, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise CertificateError("a certificate for another purpose", expected="codeSigning")


def _expect_plain(certificate: x509.Certificate) -> None:
    if certificate.version is not _V3:
        raise CertificateError("a certificate of an old version")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in UNDERSTOOD:
            raise CertificateError(
                "a critical extension that is not understood", found=extension.oid.dotted_string
            )


def _expect_unconstrained(certificate: x509.Certificate) -> None:
    if _find(certificate.extensions, x509.NameConstraints) is not None:
        raise CertificateError("an authority with name constraints, which nobody here reads")


def _find(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def verify_path(
    leaf: Leaf,
    authorities: Iterable[Authority],
    *,
    untrusted: tuple[bytes, ...],
    times: tuple[datetime, ...],
) -> x509.Certificate:
    """Check that a trusted authority issued the certificate, and return the issuing certificate.

    Leaf, every certificate above it and the trusted root's own window must hold at every time:
    a certificate that was good at one of two verified times was used outside its life once.

    Args:
        leaf: what signed.
        authorities: of the trusted root.
        untrusted: intermediates that came with the evidence (DER).
        times: at least one, each verified.

    Raises:
        CertificateChainError: no authority's path leads to it.
        CertificateTimeError: a path does, and some part of it was not valid at some time.
    """
    _expect_valid(leaf.certificate, times, what="the signing certificate")
    late: CertificateTimeError | None = None
    for authority in authorities:
        for path in _paths(leaf.certificate, authority, untrusted):
            try:
                _expect_path_valid(path, authority, times)
            except CertificateTimeError as e:
                late = e
                continue
            return path[0]
    if late is not None:
        raise late
    raise CertificateChainError(
        "no authority of the trusted root issued the signing certificate",
        found=f"issuer {shown(_issuer(leaf.certificate))}",
    )


def _issuer(certificate: x509.Certificate) -> str:
    try:
        with warnings_refuse():
            return certificate.issuer.rfc4514_string()
    except PARSE_ERRORS:
        return ""


def _paths(
    leaf: x509.Certificate, authority: Authority, untrusted: tuple[bytes, ...]
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Yield the certificates above the leaf, the issuer first, the anchor last."""
    for path in _pinned(authority):
        if _issued(leaf, path[0]):
            yield path
    if len(authority.chain) > 1 or not untrusted:
        return
    pool = tuple(_read(untrusted))
    walked = [leaf]
    for _ in pool:
        issuer = next((c for c in pool if c not in walked and _issued(walked[-1], c)), None)
        if issuer is None:
            return
        walked.append(issuer)
        above = (*walked[1:], authority.anchor)
        if _may_issue(above) and _issued(issuer, authority.anchor):
            yield above


@lru_cache(maxsize=256)
def _pinned(authority: Authority) -> tuple[tuple[x509.Certificate, ...], ...]:
    """Return the path that the trusted root itself gives, if it holds; once for every authority."""
    path = authority.chain
    linked = all(_issued(below, above) for below, above in pairwise(path))
    return (path,) if linked and _may_issue(path) else ()


def _read(untrusted: tuple[bytes, ...]) -> Iterator[x509.Certificate]:
    for der in untrusted:
        try:
            yield load_certificate(der)
        except PARSE_ERRORS:
            continue  # a hint that cannot be read is no hint


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether the issuer's name and key stand behind the certificate's."""
    try:
        algorithm = certificate.signature_hash_algorithm
        if algorithm is not None and algorithm.name not in _HASHES:
            return False
        PublicKey.of(issuer.public_key(), name="an authority")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedKeyError, *PARSE_ERRORS):
        return False
    return True


def _may_issue(path: tuple[x509.Certificate, ...]) -> bool:
    """Tell whether each certificate of a path may stand where it does (RFC 5280 §6.1.4)."""
    try:
        for below, certificate in enumerate(path):
            _expect_plain(certificate)
            _expect_unconstrained(certificate)
            extensions = certificate.extensions
            basic = _find(extensions, x509.BasicConstraints)
            if basic is None or not basic.ca:
                return False
            if basic.path_length is not None and basic.path_length < below:
                return False
            usage = _find(extensions, x509.KeyUsage)
            if usage is not None and not usage.key_cert_sign:
                return False
            purposes = _find(extensions, x509.ExtendedKeyUsage)
            if purposes is not None and not (
                {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
                & set(purposes)
            ):
                return False
    except (CertificateError, *PARSE_ERRORS):
        return False
    return True


def _expect_path_valid(
    path: tuple[x509.Certificate, ...], authority: Authority, times: tuple[datetime, ...]
) -> None:
    for at in times:
        if not authority.valid_for.holds_at(at):
            raise CertificateTimeError(
                "the authority was not trusted at a verified time of the signature",
                where=authority.name,
                expected=str(authority.valid_for),
                found=at.isoformat(),
            )
    for certificate in path:
        _expect_valid(certificate, times, what="an authority's certificate")


def _expect_valid(certificate: x509.Certificate, times: tuple[datetime, ...], *, what: str) -> None:
    try:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except PARSE_ERRORS as e:
        raise CertificateTimeError(f"{what} says no time", found=shown(str(e))) from e
    for at in times:
        if not start <= at <= end:
            raise CertificateTimeError(
                f"{what} was not valid at a verified time of the signature",
                expected=f"{start.isoformat()} to {end.isoformat()}",
                found=at.isoformat(),
            )
