"""Ids of Notary keys: what pins, `docker trust inspect` and the names of key files are made of.

Every key has the id of how it is written. One that is written as a certificate has a second,
canonical one: that of the bare key inside. Root and repository keys are shown by the first,
signers' keys by the second, and private keys are kept under the second (notary, tuf/utils/x509.go).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from loader.errors import UnsupportedKeyError
from loader.model.notary_roles import key_id_of

if TYPE_CHECKING:
    from loader.trust.keys import PublicKey


def bare_key_id(key: PublicKey) -> str:
    """Return the id of a key that is written as itself."""
    raw = key.raw
    if isinstance(raw, ed25519.Ed25519PublicKey):
        return _id("ed25519", raw.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return _id("rsa" if isinstance(raw, rsa.RSAPublicKey) else "ecdsa", key.spki)


def certificate_key_id(chain: tuple[x509.Certificate, ...]) -> str:
    """Return the id of a key that is written as these certificates, the leaf first.

    Raises:
        UnsupportedKeyError: the leaf's key is of a kind that Notary has no word for.
    """
    public = chain[0].public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        kind = "ecdsa-x509"
    elif isinstance(public, rsa.RSAPublicKey):
        kind = "rsa-x509"
    else:
        raise UnsupportedKeyError(
            "a certificate of a kind of key that Notary does not use", expected="ECDSA or RSA"
        )
    written = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    return _id(kind, written)


def _id(kind: str, written: bytes) -> str:
    return key_id_of(kind, base64.b64encode(written).decode("ascii"))
