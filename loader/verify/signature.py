"""One fact: a key signed a message.

Which hash goes with a key is not in the signature, so it is tried: first the one that belongs to
the curve, then SHA-256, with which clients used P-384 and P-521 for years (SIGSTORE §3: 346 real
bundles). Both are over the same message; a second try proves no less than the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from loader.errors import SignatureMismatchError

if TYPE_CHECKING:
    from loader.trust.keys import Algorithm, PublicKey
    from loader.verify.message import HashName, Message

_HASHES: Final[dict[HashName, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
HASHES_OF_KEY: Final[dict[Algorithm, tuple[HashName, ...]]] = {
    "ECDSA P-256": ("sha256",),
    "ECDSA P-384": ("sha384", "sha256"),
    "ECDSA P-521": ("sha512", "sha256"),
    "RSA": ("sha256",),
    "Ed25519": (),
}
"""Hashes of signatures by a key, in the order in which they are tried; Ed25519 has its own."""


def verify_signature(key: PublicKey, signature: bytes, message: Message, *, what: str) -> None:
    """Check that a key signed a message: ECDSA (DER), RSA PKCS#1 v1.5, or pure Ed25519.

    Raises:
        SignatureMismatchError: it did not, or what is left of the message is not enough to tell.
    """
    if isinstance(key.raw, ed25519.Ed25519PublicKey):
        raw = message.raw
        if raw is None:
            raise SignatureMismatchError(
                f"{what}: an Ed25519 key signs the bytes themselves, and only a digest is here"
            )
        try:
            _verify_bytes(key.raw, signature, raw)
        except InvalidSignature as e:
            raise _mismatch(what, key) from e
        return
    tried = [
        (name, digest)
        for name in HASHES_OF_KEY[key.algorithm]
        if (digest := message.digest(name)) is not None
    ]
    if not tried:
        raise SignatureMismatchError(
            f"{what}: the digest at hand is not one that this key signs",
            expected=" or ".join(HASHES_OF_KEY[key.algorithm]),
        )
    for name, digest in tried:
        try:
            _verify_digest(key.raw, signature, digest, Prehashed(_HASHES[name]))
        except InvalidSignature:
            continue
        return
    raise _mismatch(what, key)


def verify_with_hash(
    key: PublicKey, signature: bytes, message: Message, *, hash_name: HashName, what: str
) -> None:
    """Check that a key signed a message, where a format fixes the hash (RFC 6962, Rekor's SET).

    Raises:
        SignatureMismatchError: it did not.
    """
    if isinstance(key.raw, ed25519.Ed25519PublicKey):
        verify_signature(key, signature, message, what=what)
        return
    digest = message.digest(hash_name)
    if digest is None:
        raise _mismatch(what, key)
    try:
        _verify_digest(key.raw, signature, digest, Prehashed(_HASHES[hash_name]))
    except InvalidSignature as e:
        raise _mismatch(what, key) from e


def _mismatch(what: str, key: PublicKey) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"{what}: not a signature by this key over these bytes",
        expected=f"{key.name} ({key.algorithm}, sha256 {key.fingerprint[:16]})",
    )


def _verify_bytes(key: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    try:
        key.verify(signature, message)
    except (ValueError, TypeError, OverflowError) as e:
        raise InvalidSignature from e


def _verify_digest(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    signature: bytes,
    digest: bytes,
    algorithm: Prehashed,
) -> None:
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, digest, ec.ECDSA(algorithm))
            case rsa.RSAPublicKey():
                key.verify(signature, digest, padding.PKCS1v15(), algorithm)
            case _:
                assert_never(key)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as e:
        raise InvalidSignature from e
