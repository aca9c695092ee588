"""Statement signatures: what we write, other people's tools and the loader accept."""

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from bundler.sign import Signer
from loader.errors import UsageError

STATEMENT = b'{"schema":1}'
PASSPHRASE = b"a long walk"


def never() -> bytes:
    raise AssertionError("asked for a passphrase that is not needed")


def pem(key: object, passphrase: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    raw: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return raw


def key_file(folder: Path, raw: bytes) -> Path:
    path = folder / "release.key"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [
        (ec.SECP256R1(), hashes.SHA256()),
        (ec.SECP384R1(), hashes.SHA384()),
        (ec.SECP521R1(), hashes.SHA512()),
    ],
    ids=["P-256", "P-384", "P-521"],
)
def test_ecdsa_signatures_hold_and_are_the_same_each_time(
    tmp_path: Path, curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm
) -> None:
    key = ec.generate_private_key(curve)
    signer = Signer.open(key_file(tmp_path, pem(key)), passphrase=never)
    raw = signer.sign(STATEMENT)
    bundle = json.loads(raw)
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    key.public_key().verify(signature, STATEMENT, ec.ECDSA(algorithm))
    assert signer.sign(STATEMENT) == raw
    assert signer.sign(STATEMENT + b" ") != raw


def test_rsa_and_ed25519_signatures_hold(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bundle = json.loads(
        Signer.open(key_file(tmp_path, pem(rsa_key)), passphrase=never).sign(STATEMENT)
    )
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    rsa_key.public_key().verify(signature, STATEMENT, padding.PKCS1v15(), hashes.SHA256())
    edwards = ed25519.Ed25519PrivateKey.generate()
    bundle = json.loads(
        Signer.open(key_file(tmp_path, pem(edwards)), passphrase=never).sign(STATEMENT)
    )
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    edwards.public_key().verify(signature, STATEMENT)


def test_the_bundle_says_what_it_signs_and_whose_key_it_is(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = json.loads(Signer.open(key_file(tmp_path, pem(key)), passphrase=never).sign(STATEMENT))
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    assert base64.b64decode(hint) == hashlib.sha256(der).digest()
    digest = bundle["messageSignature"]["messageDigest"]
    assert digest["algorithm"] == "SHA2_256"
    assert base64.b64decode(digest["digest"]) == hashlib.sha256(STATEMENT).digest()


def test_an_encrypted_key_wants_its_passphrase(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = key_file(tmp_path, pem(key, PASSPHRASE))
    plain = key_file(tmp_path / ".", pem(key, PASSPHRASE))
    assert Signer.open(path, passphrase=lambda: PASSPHRASE).fingerprint
    with pytest.raises(UsageError, match="cannot be opened"):
        Signer.open(plain, passphrase=lambda: b"wrong")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        (
            b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n"
            b"-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
        ),
        b"\0" * (1 << 20),
    ],
    ids=["empty", "not-der", "no-fields", "huge"],
)
def test_a_file_that_is_no_key_is_a_usage_error(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(UsageError):
        Signer.open(key_file(tmp_path, raw), passphrase=lambda: PASSPHRASE)


def test_kinds_of_keys_that_no_loader_accepts_are_refused(tmp_path: Path) -> None:
    for key in (
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
    ):
        with pytest.raises(UsageError, match="kind"):
            Signer.open(key_file(tmp_path, pem(key)), passphrase=never)


@pytest.mark.engine("cosign")
def test_cosign_makes_the_key_and_checks_the_signature(tmp_path: Path) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": PASSPHRASE.decode(), "HOME": str(tmp_path)}
    subprocess.run(
        ["cosign", "generate-key-pair"], check=True, cwd=tmp_path, env=environment, timeout=60
    )
    signer = Signer.open(tmp_path / "cosign.key", passphrase=lambda: PASSPHRASE)
    (tmp_path / "airlock.json").write_bytes(STATEMENT)
    (tmp_path / "signature.json").write_bytes(signer.sign(STATEMENT))
    check = [
        "cosign", "verify-blob", "--key", "cosign.pub", "--bundle", "signature.json",
        "--insecure-ignore-tlog", "airlock.json",
    ]  # fmt: skip
    subprocess.run(check, check=True, cwd=tmp_path, env=environment, timeout=60)
    (tmp_path / "airlock.json").write_bytes(STATEMENT + b"\n")
    refused = subprocess.run(check, check=False, cwd=tmp_path, env=environment, timeout=60)
    assert refused.returncode != 0
