"""Public keys that signatures are judged by: an operator's, a certificate's, a log's.

Accepted are ECDSA over P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits: what Sigstore
clients ever signed with. Anything smaller is weak, anything larger costs a verifier seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from loader.errors import FormatError, UnsupportedKeyError, shown
from loader.limits import KIB
from loader.model.pem import PUBLIC_KEY, decode_block
from loader.trust.validity import ALWAYS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from loader.trust.validity import Validity

Algorithm = Literal["ECDSA P-256", "ECDSA P-384", "ECDSA P-521", "Ed25519", "RSA"]
RawKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 4096
RSA_EXPONENT_BITS_MAX: Final = 32
"""Every generator writes 65537; a long exponent makes each verification as slow as signing."""
_SIZE_MAX: Final = 16 * KIB
_CURVES: Final[dict[str, Algorithm]] = {
    "secp256r1": "ECDSA P-256",
    "secp384r1": "ECDSA P-384",
    "secp521r1": "ECDSA P-521",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key of an accepted kind."""

    name: str
    """What people call it; says nothing about it."""
    spki: bytes
    """DER of its SubjectPublicKeyInfo in the one canonical writing: what makes two keys equal."""
    algorithm: Algorithm
    valid_for: Validity = ALWAYS
    raw: RawKey = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes, *, name: str, valid_for: Validity = ALWAYS) -> PublicKey:
        """Return the key of a file: a PEM `PUBLIC KEY` block, or the DER inside of one.

        Raises:
            UnsupportedKeyError: it is neither, or not of a kind that we accept.
        """
        if len(raw) > _SIZE_MAX:
            raise UnsupportedKeyError("a file too large to be a public key", where=name)
        if not raw.lstrip().startswith(b"-----BEGIN"):
            return cls.from_der(raw, name=name, valid_for=valid_for)
        try:
            block = decode_block(raw, PUBLIC_KEY, where=name)
        except FormatError as e:
            raise UnsupportedKeyError(
                "not a public key in PEM", where=name, expected=e.expected, found=e.found
            ) from e
        return cls.from_der(block.der, name=name, valid_for=valid_for)

    @classmethod
    def from_der(cls, der: bytes, *, name: str, valid_for: Validity = ALWAYS) -> PublicKey:
        """Return the key that a SubjectPublicKeyInfo writes (RFC 5280 §4.1.2.7).

        Raises:
            UnsupportedKeyError: it is none, not of a kind that we accept, or written otherwise.
        """
        try:
            key = load_der_public_key(der)
        except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as e:
            raise UnsupportedKeyError("not a public key", where=name, found=shown(str(e))) from e
        found = cls.of(key, name=name, valid_for=valid_for)
        if found.spki != der:
            # A curve with its parameters written out, a compressed point, PKCS #1: one key must not
            # have two writings, and Go reads none of these.
            raise UnsupportedKeyError(
                "a public key in another writing than the usual one",
                where=name,
                expected="a SubjectPublicKeyInfo in DER: the curve by name, the whole point",
            )
        return found

    @classmethod
    def of(cls, key: PublicKeyTypes, *, name: str, valid_for: Validity = ALWAYS) -> PublicKey:
        """Return a key that a library has read.

        Raises:
            UnsupportedKeyError: it is not of a kind that we accept.
        """
        match key:
            case ec.EllipticCurvePublicKey():
                algorithm = _CURVES.get(key.curve.name)
            case ed25519.Ed25519PublicKey():
                algorithm = "Ed25519"
            case rsa.RSAPublicKey():
                algorithm = _rsa(key)
            case _:
                algorithm = None
        if algorithm is None or not isinstance(
            key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)
        ):
            raise UnsupportedKeyError(
                "a kind of key that is not accepted",
                where=name,
                expected="P-256, P-384, P-521, Ed25519, or RSA of 2048 to 4096 bits",
            )
        return cls(
            name=name,
            spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            algorithm=algorithm,
            valid_for=valid_for,
            raw=key,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its SubjectPublicKeyInfo, hexadecimal: what two people compare."""
        return hashlib.sha256(self.spki).hexdigest()


def _rsa(key: rsa.RSAPublicKey) -> Algorithm | None:
    sized = RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX
    return "RSA" if sized and key.public_numbers().e.bit_length() <= RSA_EXPONENT_BITS_MAX else None
