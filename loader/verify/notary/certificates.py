"""Certificates that root keys are written in: whose name they hold, and who issued them.

Notary's rules (trustpinning/certs.go; FORMATS §5.4): a root key is a chain in PEM, its leaf first,
one leaf and no other; the leaf's common name is the repository's globally unique name, or begins it
before a `*`; no SHA-1; RSA of at least 2048 bits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from loader.errors import FormatError, NotaryRootError, UnsupportedKeyError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.pem import CERTIFICATE, decode_blocks
from loader.trust.keys import PublicKey
from loader.verify.certificate import PARSE_ERRORS, UNDERSTOOD, load_certificate, warnings_refuse

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.notary_roles import MetadataKey

_WILDCARD: Final = "*"
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})


def certificates_of(
    key: MetadataKey, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a key that is written as some, the leaf first.

    Raises:
        FormatError: it is not PEM, or of something else.
        UnsupportedKeyError: a certificate cannot be read.
    """
    where = key.key_id
    blocks = decode_blocks(key.public, where=where, count_max=limits.certificate_chain_count_max)
    if any(block.label != CERTIFICATE for block in blocks):
        raise FormatError("not a certificate", where=where)
    try:
        return tuple(load_certificate(block.der) for block in blocks)
    except PARSE_ERRORS as e:
        raise UnsupportedKeyError("not a certificate", where=where) from e


def root_chain(
    key: MetadataKey, *, gun: str, limits: Limits = DEFAULT_LIMITS
) -> tuple[x509.Certificate, ...]:
    """Return the chain of a root key that is written for this repository, the leaf first.

    Raises:
        NotaryRootError: it is not, or not as Notary wants it.
    """
    where = f"root key {key.key_id[:12]}"
    try:
        chain = certificates_of(key, limits=limits)
        with warnings_refuse():
            leaves = [one for one in chain if not _is_authority(one)]
            if len(leaves) != 1 or chain[0] is not leaves[0]:
                raise NotaryRootError(
                    "a root key is not one certificate with those above it",
                    where=where,
                    expected="exactly one that is no authority's, before all others",
                    found=f"{len(leaves)} of {len(chain)}",
                )
            _expect_strong(chain[0], where=where)
            _expect_name(chain[0], gun, where=where)
    except (FormatError, UnsupportedKeyError, *PARSE_ERRORS) as e:
        raise NotaryRootError("a root key is no certificate", where=where) from e
    return chain


def _expect_strong(leaf: x509.Certificate, *, where: str) -> None:
    algorithm = leaf.signature_hash_algorithm
    if algorithm is None or algorithm.name not in _HASHES:
        raise NotaryRootError(
            "a root certificate signed with a weak hash",
            where=where,
            expected=", ".join(sorted(_HASHES)),
            found="none" if algorithm is None else algorithm.name,
        )
    PublicKey.of(leaf.public_key(), name=where)


def _expect_name(leaf: x509.Certificate, gun: str, *, where: str) -> None:
    names = [
        name.value if isinstance(name.value, str) else ""
        for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if len(names) != 1 or not matches_gun(names[0], gun):
        raise NotaryRootError(
            "a root key is for another repository",
            where=where,
            expected=f"common name {gun}",
            found=shown(", ".join(names)),
        )


def matches_gun(pattern: str, gun: str) -> bool:
    """Tell whether a name is a repository's, or begins it before a `*` at its end.

    Of the pins and of common names alike (trustpinning, `MatchCNToGun`, `wildcardMatch`).
    """
    if pattern.endswith(_WILDCARD):
        return gun.startswith(pattern.rstrip(_WILDCARD))
    return pattern == gun


def is_issued(
    chain: tuple[x509.Certificate, ...], authorities: tuple[x509.Certificate, ...]
) -> bool:
    """Tell whether a chain's leaf leads to one of these authorities, along the chain's own order.

    No time is compared: what a certificate's end means is for whoever judges the metadata's expiry.
    """
    try:
        with warnings_refuse():
            linked = all(_issued(below, above) for below, above in pairwise(chain))
            if linked and all(_may_issue(one, depth) for depth, one in enumerate(chain[1:])):
                last, depth = chain[-1], len(chain) - 1
                return any(
                    one == last or (_may_issue(one, depth) and _issued(last, one))
                    for one in authorities
                )
    except PARSE_ERRORS:
        pass
    return False


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name not in _HASHES:
        return False
    try:
        PublicKey.of(issuer.public_key(), name="an authority")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedKeyError):
        return False
    return True


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """Tell whether a certificate may stand above so many others (RFC 5280 §6.1.4)."""
    if any(one.critical and one.oid not in UNDERSTOOD for one in certificate.extensions):
        return False
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    if not basic.ca or (basic.path_length is not None and basic.path_length < below):
        return False
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_cert_sign
