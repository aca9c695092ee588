"""Encodings that every part of the signing world shares: base64, hex digests, PEM, DSSE's PAE."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Json = dict[str, Any]
"""A decoded JSON object: left plain so that a test may change it before it is encoded."""


def b64(raw: bytes) -> str:
    """Standard base64 with padding, as text."""
    return base64.b64encode(raw).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of strict standard base64."""
    return base64.b64decode(text, validate=True)


def sha256(raw: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(raw).digest()


def hex_digest(raw: bytes, algorithm: str = "sha256") -> str:
    """Bare hex, without a prefix."""
    return hashlib.new(algorithm, raw).hexdigest()


def digest_of(raw: bytes) -> str:
    """An OCI digest: ``sha256:<hex>``."""
    return f"sha256:{hex_digest(raw)}"


def jcs(value: Json) -> bytes:
    """Canonical JSON (RFC 8785): what Rekor stores and signs."""
    return rfc8785.dumps(value)


def compact(value: object) -> bytes:
    """JSON in insertion order without spaces, as Go's ``encoding/json`` writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def der_of(certificate: x509.Certificate) -> bytes:
    """A certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def rfc3339(at: datetime) -> str:
    """An instant as Sigstore's JSON writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
