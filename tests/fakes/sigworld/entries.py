"""What transparency logs store: the canonical body of each kind of entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes.sigworld.encoding import Json, b64, hex_digest, jcs
from tests.fakes.sigworld.keys import Signer

_V2_HASH = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}


def _entry(kind: str, version: str, spec: Json) -> bytes:
    return jcs({"apiVersion": version, "kind": kind, "spec": spec})


def _hash(raw: bytes, algorithm: str = "sha256") -> Json:
    return {"algorithm": algorithm, "value": hex_digest(raw, algorithm)}


def hashedrekord_001(
    message: bytes, signature: bytes, verifier_pem: bytes, *, algorithm: str = "sha256"
) -> bytes:
    """Rekor v1's hashedrekord: a digest, a signature, a certificate or key."""
    return _entry(
        "hashedrekord",
        "0.0.1",
        {
            "data": {"hash": _hash(message, algorithm)},
            "signature": {
                "content": b64(signature),
                "publicKey": {"content": b64(verifier_pem)},
            },
        },
    )


def rekord_001(message: bytes, signature: bytes, verifier_pem: bytes) -> bytes:
    """Rekor v1's first kind (2021): as hashedrekord, and it names the signature's format."""
    return _entry(
        "rekord",
        "0.0.1",
        {
            "data": {"hash": _hash(message)},
            "signature": {
                "content": b64(signature),
                "format": "x509",
                "publicKey": {"content": b64(verifier_pem)},
            },
        },
    )


def dsse_001(envelope: bytes, payload: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Rekor v1's dsse: envelope and payload hashes, and (signature, verifier PEM) pairs."""
    listed = sorted(
        ({"signature": b64(sig), "verifier": b64(pem)} for sig, pem in signatures),
        key=lambda pair: pair["signature"],
    )
    return _entry(
        "dsse",
        "0.0.1",
        {
            "envelopeHash": _hash(envelope),
            "payloadHash": _hash(payload),
            "signatures": listed,
        },
    )


def intoto_001(
    envelope: bytes, payload: bytes, verifier_pem: bytes, *, payload_hash: bool = True
) -> bytes:
    """Rekor v1's oldest in-toto kind: no signature; ``payload_hash=False`` is the very oldest."""
    content: Json = {"hash": _hash(envelope)}
    if payload_hash:
        content["payloadHash"] = _hash(payload)
    return _entry("intoto", "0.0.1", {"content": content, "publicKey": b64(verifier_pem)})


def intoto_002(
    envelope: bytes,
    payload: bytes,
    payload_type: str,
    signatures: Sequence[tuple[bytes, bytes]],
) -> bytes:
    """Rekor v1's second in-toto kind, whose signature is base64 of base64."""
    listed: list[dict[str, Any]] = [
        {"publicKey": b64(pem), "sig": b64(b64(sig).encode())} for sig, pem in signatures
    ]
    return _entry(
        "intoto",
        "0.0.2",
        {
            "content": {
                "envelope": {"payloadType": payload_type, "signatures": listed},
                "hash": _hash(envelope),
                "payloadHash": _hash(payload),
            }
        },
    )


def hashedrekord_002(message: bytes, signature: bytes, signer: Signer) -> bytes:
    """Rekor v2's one kind; for DSSE the message is the pre-authentication encoding."""
    algorithm = signer.digest or "sha512"
    material = "publicKey" if signer.certificate is None else "x509Certificate"
    return _entry(
        "hashedrekord",
        "0.0.2",
        {
            "hashedRekordV002": {
                "data": {
                    "algorithm": _V2_HASH[algorithm],
                    "digest": b64(bytes.fromhex(hex_digest(message, algorithm))),
                },
                "signature": {
                    "content": b64(signature),
                    "verifier": {
                        "keyDetails": signer.key_details,
                        material: {"rawBytes": b64(signer.verifier_der)},
                    },
                },
            }
        },
    )
