"""A certificate transparency log that promises to include precertificates (RFC 6962 §3.2)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.fakes.sigworld import der
from tests.fakes.sigworld.keys import Signer

SCT_LIST_OID = "1.3.6.1.4.1.11129.2.4.2"
_PRECERT_ENTRY = 1
_SHA256_ECDSA = b"\x04\x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How one SCT is to be made; the certificate authority fills in what it covers.

    ``log`` gives the log id; ``signed_by`` the key, which is the log's own unless a test lies.
    """

    log: CtLog
    signed_by: CtLog
    at: datetime | None = None
    extensions: bytes = b""
    version: int = 0

    def make(self, *, issuer_key_hash: bytes, tbs: bytes, at: datetime) -> bytes:
        """A SignedCertificateTimestamp over a precertificate's TBS."""
        stamp = int((self.at or at).timestamp() * 1000)
        extensions = struct.pack(">H", len(self.extensions)) + self.extensions
        covered = (
            struct.pack(">BBQH", self.version, 0, stamp, _PRECERT_ENTRY)
            + issuer_key_hash
            + len(tbs).to_bytes(3, "big")
            + tbs
            + extensions
        )
        signature = self.signed_by.signer.sign(covered)
        return (
            struct.pack(">B", self.version)
            + self.log.log_id
            + struct.pack(">Q", stamp)
            + extensions
            + _SHA256_ECDSA
            + struct.pack(">H", len(signature))
            + signature
        )


class CtLog:
    """A CT log with a P-256 key; its id is the hash of that key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.base_url = f"https://{name}"
        self.signer = Signer.make(name)

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the SPKI."""
        return self.signer.key_id

    def promise(
        self,
        *,
        signed_by: CtLog | None = None,
        at: datetime | None = None,
        extensions: bytes = b"",
        version: int = 0,
    ) -> Promise:
        """An SCT to be: honest unless an argument says otherwise."""
        return Promise(
            log=self,
            signed_by=signed_by or self,
            at=at,
            extensions=extensions,
            version=version,
        )


def sct_list(scts: Sequence[bytes]) -> bytes:
    """The value of the SCT list extension: an OCTET STRING around the TLS structure."""
    inner = b"".join(struct.pack(">H", len(sct)) + sct for sct in scts)
    tls = struct.pack(">H", len(inner)) + inner
    return der.octets(tls)
