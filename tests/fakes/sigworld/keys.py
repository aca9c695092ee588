"""Key pairs that are the same in every run, and the signatures that each kind makes.

Elliptic and Edwards keys come from a hash of their name; RSA keys cannot be derived that way and
are made once per process. ECDSA signs deterministically (RFC 6979), so that digests of signed
things stay stable too. ``digest="..."`` departs from the hash that goes with the curve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Self, assert_never

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.fakes.sigworld.encoding import b64, der_of, pem_of, sha256

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

CURVES: Mapping[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]] = MappingProxyType(
    {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
)
HASHES: Mapping[str, type[hashes.HashAlgorithm]] = MappingProxyType(
    {
        "sha1": hashes.SHA1,
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
)
_OWN_HASH = MappingProxyType({"P-256": "sha256", "P-384": "sha384", "P-521": "sha512"})


def hash_named(name: str) -> hashes.HashAlgorithm:
    """The hash object for ``sha256`` and the like."""
    return HASHES[name]()


@lru_cache(maxsize=32)
def _rsa_key(bits: int, name: str) -> rsa.RSAPrivateKey:
    """One RSA key per size and name in a process: making one costs up to a second."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_key(kind: str, name: str) -> PrivateKey:
    """The key of that name: ``P-256``, ``P-384``, ``P-521``, ``Ed25519`` or ``RSA-<bits>``."""
    seed = hashlib.shake_256(f"{kind}/{name}".encode())
    if kind in CURVES:
        curve = CURVES[kind]()
        # Below every curve's order and never zero.
        return ec.derive_private_key(
            int.from_bytes(seed.digest(curve.key_size // 8 - 1), "big") + 1, curve
        )
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed.digest(32))
    if kind.startswith("RSA-"):
        return _rsa_key(int(kind.removeprefix("RSA-")), name)
    msg = f"no such kind of key: {kind}"
    raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A key that signs, with or without a certificate.

    ``digest`` is the hash of the signature algorithm (``None`` only for Ed25519);
    ``chain`` is what a certificate's issuer is, nearest first, root last.
    """

    name: str
    kind: str
    key: PrivateKey
    digest: str | None
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = field(default=())

    @classmethod
    def make(cls, name: str, kind: str = "P-256", *, digest: str | None = None) -> Self:
        """The signer of that name and kind, with the hash that goes with its key."""
        own = None if kind == "Ed25519" else _OWN_HASH.get(kind, "sha256")
        return cls(name=name, kind=kind, key=private_key(kind, name), digest=digest or own)

    def with_certificate(
        self, certificate: x509.Certificate | None, chain: tuple[x509.Certificate, ...] = ()
    ) -> Signer:
        """The same key under another certificate (or none)."""
        return replace(self, certificate=certificate, chain=chain)

    def with_digest(self, digest: str | None) -> Signer:
        """The same key, signing with another hash."""
        return replace(self, digest=digest)

    def sign(self, data: bytes) -> bytes:
        """ECDSA as DER, RSA PKCS#1 v1.5, or pure Ed25519."""
        match self.key:
            case ec.EllipticCurvePrivateKey():
                rule = ec.ECDSA(hash_named(self.digest or "sha256"), deterministic_signing=True)
                return self.key.sign(data, rule)
            case rsa.RSAPrivateKey():
                return self.key.sign(data, padding.PKCS1v15(), hash_named(self.digest or "sha256"))
            case ed25519.Ed25519PrivateKey():
                return self.key.sign(data)
            case _:
                assert_never(self.key)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self.key.public_key()

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo, PEM, as ``cosign.pub`` holds it."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def private_pem(self) -> bytes:
        """PKCS #8 without a password, for tools that need a file."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def verifier_pem(self) -> bytes:
        """What Rekor v1 stores as the verifier: the certificate, or else the public key."""
        return self.public_pem if self.certificate is None else pem_of(self.certificate)

    @property
    def verifier_der(self) -> bytes:
        """What Rekor v2 stores as the verifier: the certificate, or else the public key."""
        return self.spki if self.certificate is None else der_of(self.certificate)

    @property
    def hint(self) -> str:
        """cosign's ``publicKey.hint``."""
        return b64(sha256(self.spki))

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the SPKI: the log id of CT logs and of Rekor v1."""
        return sha256(self.spki)

    @property
    def key_details(self) -> str:
        """The name that Sigstore's protobuf specs give to key and hash together."""
        number = (self.digest or "").removeprefix("sha")
        match self.key:
            case ec.EllipticCurvePrivateKey():
                return f"PKIX_ECDSA_{self.kind.replace('-', '')}_SHA_{number}"
            case rsa.RSAPrivateKey():
                return f"PKIX_RSA_PKCS1V15_{self.key.key_size}_SHA{number}"
            case ed25519.Ed25519PrivateKey():
                return "PKIX_ED25519"
            case _:
                assert_never(self.key)
