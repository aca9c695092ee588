"""Public keys that a library does not write: odd sizes and exponents, a curve written out."""

from __future__ import annotations

from tests.fakes.sigworld import der

_EC_KEY = "1.2.840.10045.2.1"
_PRIME_FIELD = "1.2.840.10045.1.1"
_RSA = "1.2.840.113549.1.1.1"
P256_GENERATOR = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA key of any numbers."""
    key = der.sequence(der.integer(modulus), der.integer(exponent))
    algorithm = der.sequence(der.oid(_RSA), der.null())
    return der.sequence(algorithm, der.tlv(3, b"\x00", key))


def explicit_p256(point: bytes, *, generator: bytes = P256_GENERATOR) -> bytes:
    """P-256 with its parameters written out; with another generator anybody has a private key."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    curve = der.sequence(der.octets((prime - 3).to_bytes(32)), der.octets(b))
    field = der.sequence(der.oid(_PRIME_FIELD), der.integer(prime))
    parameters = der.sequence(
        der.integer(1), field, curve, der.octets(generator), der.integer(order), der.integer(1)
    )
    algorithm = der.sequence(der.oid(_EC_KEY), parameters)
    return der.sequence(algorithm, der.tlv(3, b"\x00", point))
