"""One fact: enough of a role's keys signed a document.

How Notary signs differs from everything else here (tuf/signed/verifiers.go): ECDSA is r and s side
by side, each as long as the curve's order, always over SHA-256; RSA says by `method` which padding;
a key may be written as a certificate, of which the first one's key counts.

Keys are counted, not ids: a key that stands under two ids, as itself and in a certificate, is one
voice (CASES A087).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from loader.errors import FormatError, NotaryError, UnsupportedKeyError
from loader.limits import DEFAULT_LIMITS
from loader.trust.keys import PublicKey
from loader.verify.certificate import PARSE_ERRORS
from loader.verify.notary.certificates import certificates_of

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.notary import Content, Signature, Signed
    from loader.model.notary_roles import MetadataKey, RoleKeys

_SHA256: Final = hashes.SHA256()
_SALT_SIZE: Final = 32
_PSS: Final = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=_SALT_SIZE)
_PSS_METHODS: Final = frozenset({"rsapss", "pycrypto-pkcs#1 pss"})
_X509: Final = {"ecdsa-x509": "ecdsa", "rsa-x509": "rsa"}


def public_key(key: MetadataKey, *, limits: Limits = DEFAULT_LIMITS) -> PublicKey:
    """Return the key that metadata writes.

    Raises:
        UnsupportedKeyError: its kind, size or form is not one that is accepted; it signs nothing.
    """
    family = _X509.get(key.kind, key.kind)
    try:
        if key.kind in _X509:
            leaf = certificates_of(key, limits=limits)[0]
            found = PublicKey.of(leaf.public_key(), name=key.key_id)
        elif key.kind == "ed25519":
            raw = ed25519.Ed25519PublicKey.from_public_bytes(key.public)
            found = PublicKey.of(raw, name=key.key_id)
        elif key.kind in {"ecdsa", "rsa"}:
            found = PublicKey.parse(key.public, name=key.key_id)
        else:
            raise UnsupportedKeyError("an unknown type of key", where=key.key_id)
    except (FormatError, *PARSE_ERRORS) as e:
        raise UnsupportedKeyError("not a public key", where=key.key_id) from e
    if not found.algorithm.lower().startswith(family):
        raise UnsupportedKeyError(
            "a key of another type than is said of it", where=key.key_id, found=found.algorithm
        )
    return found


def signers(
    document: Signed[Content], role: RoleKeys, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[MetadataKey, ...]:
    """Return the role's keys that signed a document, each key once under whichever ids."""
    keys = {key.key_id: key for key in role.keys}
    found: dict[bytes, MetadataKey] = {}
    for signature in document.signatures:
        key = keys.get(signature.key_id)
        if key is None:
            continue  # of a key that was, or will be: roots carry those of their predecessors
        try:
            public = public_key(key, limits=limits)
        except UnsupportedKeyError:
            continue
        if public.spki not in found and _signed(public, signature, document.message):
            found[public.spki] = key
    return tuple(found.values())


def expect_signed(
    document: Signed[Content], role: RoleKeys, *, what: str, limits: Limits = DEFAULT_LIMITS
) -> tuple[MetadataKey, ...]:
    """Check that as many keys of a role signed a document as must, and return those that did.

    Raises:
        NotaryError: too few.
    """
    found = signers(document, role, limits=limits)
    if len(found) < role.threshold:
        raise NotaryError(
            f"too few keys of the role {role.name} signed {what}",
            where=what,
            expected=str(role.threshold),
            found=str(len(found)),
        )
    return found


def _signed(key: PublicKey, signature: Signature, message: bytes) -> bool:
    try:
        match key.raw:
            case ec.EllipticCurvePublicKey() as raw if signature.method == "ecdsa":
                value = _dss(signature.value, raw)
                raw.verify(value, message, ec.ECDSA(_SHA256))
            case ed25519.Ed25519PublicKey() as raw if signature.method == "eddsa":
                raw.verify(signature.value, message)
            case rsa.RSAPublicKey() as raw if signature.method in _PSS_METHODS:
                raw.verify(signature.value, message, _PSS, _SHA256)
            case rsa.RSAPublicKey() as raw if signature.method == "rsapkcs1v15":
                raw.verify(signature.value, message, padding.PKCS1v15(), _SHA256)
            case _:
                return False  # a method that does not belong to this key
    except (InvalidSignature, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        return False
    return True


def _dss(value: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """Return in DER what r and s side by side write, each exactly as long as the curve's field.

    Raises:
        InvalidSignature: of another length; nothing is padded and nothing is cut.
    """
    size = (key.curve.key_size + 7) // 8
    if len(value) != 2 * size:
        raise InvalidSignature
    r, s = (int.from_bytes(part, "big") for part in (value[:size], value[size:]))
    return encode_dss_signature(r, s)
