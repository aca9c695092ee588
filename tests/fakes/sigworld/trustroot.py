"""``trusted_root.json``: what a verifier is told about a world, as a plain dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.fakes.sigworld.ca import CertificateAuthority
from tests.fakes.sigworld.ct import CtLog
from tests.fakes.sigworld.encoding import Json, b64, der_of, rfc3339
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.rekor import Log
from tests.fakes.sigworld.tsa import TimestampAuthority

MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"


def validity(start: datetime | None, end: datetime | None = None) -> Json:
    """``validFor``; a missing start is a thing that verifiers have to refuse for logs."""
    bounds = {"start": start, "end": end}
    return {name: rfc3339(at) for name, at in bounds.items() if at is not None}


def log_instance(
    base_url: str,
    signer: Signer,
    log_id: bytes,
    *,
    start: datetime | None,
    end: datetime | None = None,
) -> Json:
    """One element of ``tlogs`` or ``ctlogs``."""
    return {
        "baseUrl": base_url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(signer.spki),
            "keyDetails": signer.key_details,
            "validFor": validity(start, end),
        },
        "logId": {"keyId": b64(log_id)},
    }


def rekor_log(log: Log, *, start: datetime | None, end: datetime | None = None) -> Json:
    """A transparency log of either version."""
    return log_instance(log.base_url, log.signer, log.log_id, start=start, end=end)


def ct_log(log: CtLog, *, start: datetime | None, end: datetime | None = None) -> Json:
    """A certificate transparency log."""
    return log_instance(log.base_url, log.signer, log.log_id, start=start, end=end)


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def authority(
    source: CertificateAuthority | TimestampAuthority,
    *,
    start: datetime,
    end: datetime | None = None,
    chain: Sequence[x509.Certificate] | None = None,
) -> Json:
    """One element of ``certificateAuthorities`` or ``timestampAuthorities``."""
    certificates = tuple(chain or source.chain)
    name = certificates[-1].subject
    return {
        "subject": {
            "organization": _attribute(name, NameOID.ORGANIZATION_NAME),
            "commonName": _attribute(name, NameOID.COMMON_NAME),
        },
        "uri": source.uri,
        "certChain": {"certificates": [{"rawBytes": b64(der_of(c))} for c in certificates]},
        "validFor": validity(start, end),
    }


def trusted_root(
    *,
    logs: Sequence[Json],
    ct_logs: Sequence[Json],
    authorities: Sequence[Json],
    timestamp_authorities: Sequence[Json],
) -> dict[str, Any]:
    """The whole document."""
    return {
        "mediaType": MEDIA_TYPE,
        "tlogs": list(logs),
        "certificateAuthorities": list(authorities),
        "ctlogs": list(ct_logs),
        "timestampAuthorities": list(timestamp_authorities),
    }
