r"""Signing a bundle statement with a key pair, as a Sigstore bundle v0.3 with a message signature.

Keys are PEM files: PKCS#8 (encrypted or not), or what `cosign generate-key-pair` writes. What comes
out is what `cosign sign-blob --key K --bundle F` writes without a log, so that cosign can check it:

    cosign verify-blob --key K.pub --insecure-ignore-tlog \
        --bundle airlock.sigstore.0.json airlock.json

ECDSA signatures are deterministic (RFC 6979): the same statement and key give the same archive.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import rfc8785
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from loader.errors import FormatError, LimitError, UsageError
from loader.limits import KIB
from loader.model import strictjson
from loader.model.fields import Fields, decode_base64

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_KEY_FILE_SIZE_MAX: Final = 64 * KIB
_COSIGN_LABELS: Final = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_SCRYPT_MEMORY_MAX: Final = 256 * 1024 * KIB
_RSA_BITS: Final = range(2048, 4097)
_HASH_OF_CURVE: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key that signs statements."""

    key: SigningKey
    fingerprint: str
    """SHA-256 of the public key's SubjectPublicKeyInfo (DER), hexadecimal."""

    @classmethod
    def open(cls, path: Path, *, passphrase: Callable[[], bytes]) -> Signer:
        """Return the signer whose private key a file holds.

        Args:
            path: a PEM file.
            passphrase: asked once, and only if the key is encrypted.

        Raises:
            UsageError: the file cannot be read, is no key we sign with, or the passphrase is wrong.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(_KEY_FILE_SIZE_MAX + 1)
        except OSError as e:
            raise UsageError(
                "the signing key cannot be read", where=str(path), found=e.strerror or ""
            ) from e
        if len(raw) > _KEY_FILE_SIZE_MAX:
            raise UsageError("the signing key is too large to be one", where=str(path))
        key = _load(raw, path=path, passphrase=passphrase)
        der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(key=key, fingerprint=hashlib.sha256(der).hexdigest())

    def sign(self, statement: bytes) -> bytes:
        """Return a Sigstore bundle v0.3 that signs exactly these bytes."""
        digest = hashlib.sha256(statement).digest()
        hint = bytes.fromhex(self.fingerprint)
        return rfc8785.dumps(
            {
                "mediaType": _MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": _base64(hint)}},
                "messageSignature": {
                    "messageDigest": {"algorithm": "SHA2_256", "digest": _base64(digest)},
                    "signature": _base64(_signature(self.key, statement)),
                },
            }
        )

    def sign_statement(self, payload: bytes) -> bytes:
        """Return a Sigstore bundle v0.3 that signs an in-toto statement, in a DSSE envelope."""
        kind = "application/vnd.in-toto+json"
        encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        hint = bytes.fromhex(self.fingerprint)
        return rfc8785.dumps(
            {
                "mediaType": _MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": _base64(hint)}},
                "dsseEnvelope": {
                    "payload": _base64(payload),
                    "payloadType": kind,
                    "signatures": [{"sig": _base64(_signature(self.key, encoded))}],
                },
            }
        )


def _signature(key: SigningKey, message: bytes) -> bytes:
    match key:
        case ec.EllipticCurvePrivateKey():
            algorithm = _HASH_OF_CURVE[key.curve.name]()
            return key.sign(message, ec.ECDSA(algorithm, deterministic_signing=True))
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)


def _load(raw: bytes, *, path: Path, passphrase: Callable[[], bytes]) -> SigningKey:
    try:
        if any(f"-----BEGIN {label}-----".encode() in raw for label in _COSIGN_LABELS):
            key = serialization.load_der_private_key(
                _open_cosign_key(raw, passphrase()), password=None
            )
        elif b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in raw:
            key = serialization.load_pem_private_key(raw, password=passphrase())
        else:
            key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, FormatError, LimitError) as e:
        raise UsageError(
            "the signing key cannot be opened",
            where=str(path),
            expected="a PEM private key, and its passphrase if it has one",
            found=str(e),
            hint="its passphrase is read from AIRLOCK_PASSPHRASE or COSIGN_PASSWORD, else asked",
        ) from e
    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _HASH_OF_CURVE:
            return key
        case rsa.RSAPrivateKey() if key.key_size in _RSA_BITS:
            return key
        case ed25519.Ed25519PrivateKey():
            return key
        case _:
            raise UsageError(
                "a signing key of a kind that no loader accepts",
                where=str(path),
                expected="ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 4096 bits",
            )


def _open_cosign_key(raw: bytes, passphrase: bytes) -> bytes:
    """Return the PKCS#8 DER inside a key file of cosign: scrypt, then NaCl's secretbox.

    Raises:
        ValueError: the passphrase is wrong.
        FormatError: the file is malformed.
    """
    from nacl.exceptions import CryptoError  # noqa: PLC0415  (half a megabyte that only this path needs)
    from nacl.secret import SecretBox  # noqa: PLC0415

    body = b"".join(line for line in raw.splitlines() if not line.startswith(b"-----")).decode(
        "ascii"
    )
    document = strictjson.parse_object(
        decode_base64(body, where="key"), what="cosign's key file", size_max=_KEY_FILE_SIZE_MAX
    )
    fields = Fields(document, "")
    kdf, cipher = fields.fields("kdf"), fields.fields("cipher")
    if (kdf.text("name"), cipher.text("name")) != ("scrypt", "nacl/secretbox"):
        raise FormatError(
            "a key file encrypted in another way", expected="scrypt and nacl/secretbox"
        )
    parameters = kdf.fields("params")
    secret = hashlib.scrypt(
        passphrase,
        salt=kdf.base64("salt", length_max=1024),
        n=parameters.integer("N", minimum=2, maximum=2**20),
        r=parameters.integer("r", minimum=1, maximum=64),
        p=parameters.integer("p", minimum=1, maximum=64),
        maxmem=_SCRYPT_MEMORY_MAX,
        dklen=SecretBox.KEY_SIZE,
    )
    try:
        return SecretBox(secret).decrypt(
            fields.base64("ciphertext", length_max=_KEY_FILE_SIZE_MAX),
            cipher.base64("nonce", length_max=1024),
        )
    except CryptoError as e:
        raise ValueError("wrong passphrase") from e


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
