"""What cosign prints of what it verified, for scripts that read it (cosign v3.1.3).

`cosign verify` prints one array, `cosign verify-attestation` an envelope on each line.

    [{"critical": {"identity": {"docker-reference": ...},
                   "image": {"docker-manifest-digest": "sha256:..."}, "type": ...},
      "optional": {annotations, "Subject", "Issuer", extensions of the certificate, "Bundle"}}]

`critical` is what was signed, and `optional` what was signed along or stands in the certificate. A
bundle's statement names a digest and no reference; cosign fills in the one that it was asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from bundler.checking.verdict import Counted
from loader.digest import Digest
from loader.model import strictjson
from loader.model.cosign import CosignSignature
from loader.model.entry import LogEntry
from loader.model.envelope import Envelope
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.model.strictjson import JsonObject, JsonValue
from loader.verify.facts import CertificateSigner, MessageDigest

_OID: Final = "1.3.6.1.4.1.57264.1."
_EXTENSIONS: Final = {
    "2": "githubWorkflowTrigger",
    "3": "githubWorkflowSha",
    "4": "githubWorkflowName",
    "5": "githubWorkflowRepository",
    "6": "githubWorkflowRef",
}


def signatures(counted: Iterable[Counted]) -> list[JsonValue]:
    """Return the array that `cosign verify` prints; what is about the image itself comes first."""
    items = list({one.signed.evidence_digest: one for one in counted}.values())
    items.sort(key=lambda one: one.image.entry.image.digest not in one.subjects)
    return [_signature(one) for one in items]


def envelopes(counted: Iterable[Counted]) -> Iterator[JsonObject]:
    """Yield what `cosign verify-attestation` prints of each attestation: its envelope."""
    seen: set[Digest] = set()
    for one in counted:
        content = getattr(one.evidence, "content", None) or getattr(one.evidence, "envelope", None)
        if isinstance(content, Envelope) and one.signed.evidence_digest not in seen:
            seen.add(one.signed.evidence_digest)
            yield {
                "payloadType": content.payload_type,
                "payload": base64.b64encode(content.payload).decode(),
                "signatures": [
                    {"keyid": "", "sig": base64.b64encode(raw).decode()}
                    for raw in content.signatures
                ],
            }


def _signature(one: Counted) -> JsonObject:
    critical, optional = _said(one)
    signer = one.signed.signer
    if isinstance(signer, CertificateSigner):
        optional["Subject"] = signer.san
        if signer.issuer:
            optional["Issuer"] = optional[f"{_OID}1"] = signer.issuer
        for number, name in _EXTENSIONS.items():
            if number in signer.extensions:
                optional[name] = optional[_OID + number] = signer.extensions[number]
    entry = one.evidence.attached.entry if isinstance(one.evidence, CosignSignature) else None
    if entry is not None and entry.promise is not None:
        optional["Bundle"] = _log_bundle(entry, entry.promise)
    return {"critical": critical, "optional": optional}


def _said(one: Counted) -> tuple[JsonValue, JsonObject]:
    digest = one.image.entry.image.digest
    subject = digest if digest in one.subjects else min(one.subjects)
    payload = one.signed.payload
    match payload:
        case SimpleSigning(raw=raw, optional=optional):
            document = strictjson.parse_object(
                raw, what="an image signature's payload", size_max=len(raw), numbers="any"
            )
            return document["critical"], dict(optional)
        case Statement(predicate_type=kind, subjects=subjects):
            annotations: JsonObject = {}
            for listed in subjects:
                if listed.digest == subject:
                    annotations |= listed.annotations
            return _critical(one, str(subject), kind), annotations
        case MessageDigest():
            return _critical(one, str(subject), "messageSignature"), {}
        case _:
            assert_never(payload)


def _critical(one: Counted, digest: str, kind: str) -> JsonObject:
    return {
        "identity": {"docker-reference": str(one.image.entry.reference)},
        "image": {"docker-manifest-digest": digest},
        "type": kind,
    }


def _log_bundle(entry: LogEntry, promise: bytes) -> JsonObject:
    return {
        "SignedEntryTimestamp": base64.b64encode(promise).decode(),
        "Payload": {
            "body": base64.b64encode(entry.body).decode(),
            "integratedTime": None
            if entry.integrated_time is None
            else int(entry.integrated_time.timestamp()),
            "logIndex": entry.log_index,
            "logID": entry.log_id.hex(),
        },
    }
