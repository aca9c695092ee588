"""One act of signing, and the ways in which it is written down.

``SignedMessage`` and ``SignedStatement`` hold signature, log entries and timestamp authority;
``bundle()`` gives a Sigstore bundle and ``layer()`` a layer of cosign's tags. Results are plain
values: change what you like before you encode it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.fakes.sigworld.encoding import (
    Json,
    b64,
    compact,
    der_of,
    digest_of,
    hex_digest,
    pem_of,
)
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.rekor import Entry, RekorV1
from tests.fakes.sigworld.tsa import TimestampAuthority

BUNDLE_V03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_MEDIA_TYPES = {
    "0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "0.3": BUNDLE_V03,
    "0.3-old": "application/vnd.dev.sigstore.bundle+json;version=0.3",
}
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
CHAIN_ANNOTATION = "dev.sigstore.cosign/chain"
BUNDLE_ANNOTATION = "dev.sigstore.cosign/bundle"
TIMESTAMP_ANNOTATION = "dev.sigstore.cosign/rfc3161timestamp"
_V2_HASH = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}


@dataclass(slots=True, kw_only=True)
class Layer:
    """A blob and how a manifest describes it."""

    media_type: str
    blob: bytes
    annotations: dict[str, str] = field(default_factory=dict)

    def descriptor(self) -> Json:
        """An OCI descriptor with annotations, in cosign's field order."""
        described: Json = {
            "mediaType": self.media_type,
            "size": len(self.blob),
            "digest": digest_of(self.blob),
        }
        if self.annotations:
            described["annotations"] = dict(self.annotations)
        return described


@dataclass(slots=True, kw_only=True)
class _Signed:
    signer: Signer
    signature: bytes
    at: datetime
    entries: list[Entry] = field(default_factory=list)
    tsa: TimestampAuthority | None = None
    timestamps: list[bytes] | None = None
    """Timestamp responses to use instead of asking ``tsa``."""

    def stamps(self, over: bytes) -> list[bytes]:
        """The timestamp responses over these bytes."""
        if self.timestamps is not None:
            return self.timestamps
        return [] if self.tsa is None else [self.tsa.timestamp(over, at=self.at)]

    def _material(self, version: str, *, chain: bool | None, promise: bool, proof: bool) -> Json:
        material: Json = {}
        certificate = self.signer.certificate
        if certificate is None:
            material["publicKey"] = {"hint": self.signer.hint}
        elif version.startswith("0.3") and not chain:
            material["certificate"] = {"rawBytes": b64(der_of(certificate))}
        else:
            certificates = [certificate, *(self.signer.chain[:-1] if chain else ())]
            material["x509CertificateChain"] = {
                "certificates": [{"rawBytes": b64(der_of(c))} for c in certificates]
            }
        if self.entries:
            material["tlogEntries"] = [
                entry.as_bundle_entry(promise=promise, proof=proof) for entry in self.entries
            ]
        stamps = self.stamps(self.signature)
        if stamps:
            material["timestampVerificationData"] = {
                "rfc3161Timestamps": [{"signedTimestamp": b64(stamp)} for stamp in stamps]
            }
        return material

    def _bundle(
        self, version: str, content: Json, *, chain: bool | None, promise: bool, proof: bool
    ) -> Json:
        return {
            "mediaType": BUNDLE_MEDIA_TYPES[version],
            "verificationMaterial": self._material(
                version, chain=chain, promise=promise, proof=proof
            ),
            **content,
        }

    def _annotations(self, signature: str, stamped: bytes) -> dict[str, str]:
        found = {SIGNATURE_ANNOTATION: signature}
        for entry in self.entries:
            if isinstance(entry.log, RekorV1):
                found[BUNDLE_ANNOTATION] = compact(entry.as_annotation()).decode()
        if self.signer.certificate is not None:
            found[CERTIFICATE_ANNOTATION] = pem_of(self.signer.certificate).decode()
            pems = b"".join(pem_of(c) for c in self.signer.chain)
            found[CHAIN_ANNOTATION] = pems.decode().rstrip("\n")
        for stamp in self.stamps(stamped):
            found[TIMESTAMP_ANNOTATION] = compact({"SignedRFC3161Timestamp": b64(stamp)}).decode()
        return found


@dataclass(slots=True, kw_only=True)
class SignedMessage(_Signed):
    """A signature over bytes: a simple-signing payload, or any artifact."""

    message: bytes

    def bundle(
        self,
        version: str = "0.3",
        *,
        chain: bool | None = None,
        promise: bool = True,
        proof: bool = True,
    ) -> Json:
        """A Sigstore bundle with a ``messageSignature``."""
        algorithm = self.signer.digest or "sha512"
        return self._bundle(
            version,
            {
                "messageSignature": {
                    "messageDigest": {
                        "algorithm": _V2_HASH[algorithm],
                        "digest": b64(bytes.fromhex(hex_digest(self.message, algorithm))),
                    },
                    "signature": b64(self.signature),
                }
            },
            chain=chain,
            promise=promise,
            proof=proof,
        )

    def layer(self) -> Layer:
        """One layer of a ``.sig`` manifest."""
        return Layer(
            media_type=SIMPLE_SIGNING,
            blob=self.message,
            annotations=self._annotations(b64(self.signature), self.signature),
        )

    def download_line(self) -> Json:
        """What ``cosign download signature`` prints, and Dangerzone stores."""
        layer = self.layer()
        bundle = next((e.as_annotation() for e in self.entries if isinstance(e.log, RekorV1)), None)
        certificate = layer.annotations.get(CERTIFICATE_ANNOTATION)
        chain = layer.annotations.get(CHAIN_ANNOTATION)
        return {
            "Base64Signature": b64(self.signature),
            "Payload": b64(self.message),
            "Cert": certificate,
            "Chain": chain,
            "Bundle": bundle,
            "RFC3161Timestamp": None,
        }


@dataclass(slots=True, kw_only=True)
class SignedStatement(_Signed):
    """A DSSE envelope; ``signatures`` holds more than one where several sign the same payload."""

    payload: bytes
    payload_type: str
    predicate_type: str
    signatures: list[tuple[bytes, Signer]] = field(default_factory=list)

    def envelope(self) -> bytes:
        """The envelope as cosign writes it into a layer; Rekor hashes exactly these bytes."""
        return envelope_bytes(
            self.payload, self.payload_type, [signature for signature, _ in self.signatures]
        )

    def bundle(
        self,
        version: str = "0.3",
        *,
        chain: bool | None = None,
        promise: bool = True,
        proof: bool = True,
    ) -> Json:
        """A Sigstore bundle with a ``dsseEnvelope``."""
        listed: list[dict[str, Any]] = [{"sig": b64(signature)} for signature, _ in self.signatures]
        return self._bundle(
            version,
            {
                "dsseEnvelope": {
                    "payload": b64(self.payload),
                    "payloadType": self.payload_type,
                    "signatures": listed,
                }
            },
            chain=chain,
            promise=promise,
            proof=proof,
        )

    def layer(self) -> Layer:
        """One layer of an ``.att`` manifest; a timestamp there covers the whole envelope."""
        envelope = self.envelope()
        annotations = self._annotations("", envelope)
        annotations["predicateType"] = self.predicate_type
        return Layer(media_type=DSSE_ENVELOPE, blob=envelope, annotations=annotations)


def envelope_bytes(payload: bytes, payload_type: str, signatures: Sequence[bytes]) -> bytes:
    """A DSSE envelope in cosign's field order."""
    return compact(
        {
            "payloadType": payload_type,
            "payload": b64(payload),
            "signatures": [{"keyid": "", "sig": b64(signature)} for signature in signatures],
        }
    )
