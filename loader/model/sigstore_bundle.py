"""Sigstore bundles v0.1 to v0.3: one signature and everything that is needed to judge it offline.

The JSON form of dev.sigstore.bundle.v1.Bundle (protobuf-specs, sigstore_bundle.proto), read as
strictly as Go's protojson reads it: unknown fields are refused. What each version demands of a
bundle stands in that file's comments and in FORMATS §1.7:

    v0.1   certificate chain or key; entries with a promise
    v0.2   as v0.1; entries with inclusion proof and checkpoint
    v0.3   one certificate or key; otherwise as v0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.digest import Digest
from loader.errors import JsonFieldError, UnsupportedVersionError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.entry import LogEntry
from loader.model.envelope import Envelope
from loader.model.fields import Fields

if TYPE_CHECKING:
    from loader.limits import Limits

BundleVersion = Literal["0.1", "0.2", "0.3"]
MEDIA_TYPES: Final[dict[str, BundleVersion]] = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateMaterial:
    """A signing certificate (DER), and intermediates that nobody vouches for."""

    leaf: bytes
    intermediates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMaterial:
    """A key that the verifier has to know. The hint says which; it is neither signed nor used."""

    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSignature:
    """A signature over an artifact that lies elsewhere, and the digest it is said to have."""

    algorithm: str
    digest: bytes
    signature: bytes


Material: TypeAlias = CertificateMaterial | KeyMaterial


@dataclass(frozen=True, slots=True, kw_only=True)
class SigstoreBundle:
    """One signature with its material."""

    raw: bytes
    version: BundleVersion
    material: Material
    entries: tuple[LogEntry, ...]
    timestamps: tuple[bytes, ...]
    """RFC 3161 responses (DER)."""
    content: Envelope | MessageSignature

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> SigstoreBundle:
        """Return the bundle that these bytes write.

        Raises:
            JsonError, LimitError: it is malformed, says something twice, or nothing at all.
            UnsupportedVersionError: it is of a version that we do not know.
        """
        document = strictjson.parse_object(
            raw, what="a Sigstore bundle", size_max=limits.evidence_size_max, limits=limits
        )
        fields = Fields(document, where)
        fields.only("mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature")
        media_type = fields.text("mediaType", length_max=255)
        version = MEDIA_TYPES.get(media_type)
        if version is None:
            raise UnsupportedVersionError(
                "a Sigstore bundle of another version",
                where=fields.at("mediaType"),
                expected="0.1, 0.2 or 0.3",
                found=shown(media_type),
            )
        material = fields.fields("verificationMaterial")
        material.only(
            "certificate",
            "x509CertificateChain",
            "publicKey",
            "tlogEntries",
            "timestampVerificationData",
        )
        return cls(
            raw=raw,
            version=version,
            material=_material(material, version, limits=limits),
            entries=_entries(material, limits=limits),
            timestamps=_timestamps(material, limits=limits),
            content=_content(fields, limits=limits),
        )

    @property
    def digest(self) -> Digest:
        """Of the bundle's own bytes."""
        return Digest.of(self.raw)


def _material(fields: Fields, version: BundleVersion, *, limits: Limits) -> Material:
    named = [
        name for name in ("certificate", "x509CertificateChain", "publicKey") if fields.has(name)
    ]
    match (named, version):
        case (["publicKey"], _):
            key = fields.fields("publicKey")
            key.only("hint")
            return KeyMaterial(hint=key.text_or_empty("hint"))
        case (["certificate"], "0.3"):
            return CertificateMaterial(leaf=_certificate(fields.fields("certificate"), limits))
        case (["x509CertificateChain"], "0.1" | "0.2"):
            chain = fields.fields("x509CertificateChain")
            chain.only("certificates")
            found = tuple(
                _certificate(item, limits)
                for item in chain.each("certificates", count_max=limits.certificate_chain_count_max)
            )
            if not found:
                raise JsonFieldError("an empty certificate chain", where=chain.path)
            return CertificateMaterial(leaf=found[0], intermediates=found[1:])
        case _:
            raise JsonFieldError(
                f"not the one key or certificate that a bundle v{version} has",
                where=fields.path,
                found=", ".join(named) or "none",
            )


def _certificate(fields: Fields, limits: Limits) -> bytes:
    fields.only("rawBytes")
    return fields.base64("rawBytes", length_max=2 * limits.certificate_size_max)


def _entries(fields: Fields, *, limits: Limits) -> tuple[LogEntry, ...]:
    if not fields.has("tlogEntries"):
        return ()
    found = tuple(
        LogEntry.from_bundle(item, limits=limits)
        for item in fields.each("tlogEntries", count_max=limits.log_entry_count_max)
    )
    # A threshold must not be reached by saying the same thing twice (sigstore-go CVE-2026-49834).
    if len({(entry.log_id, entry.log_index) for entry in found}) != len(found):
        raise JsonFieldError("the same log entry twice", where=fields.at("tlogEntries"))
    return found


def _timestamps(fields: Fields, *, limits: Limits) -> tuple[bytes, ...]:
    data = fields.optional_fields("timestampVerificationData")
    if data is None:
        return ()
    data.only("rfc3161Timestamps")
    if not data.has("rfc3161Timestamps"):
        return ()
    found: list[bytes] = []
    for item in data.each("rfc3161Timestamps", count_max=limits.timestamp_count_max):
        item.only("signedTimestamp")
        found.append(item.base64("signedTimestamp", length_max=2 * limits.timestamp_size_max))
    if len(set(found)) != len(found):
        raise JsonFieldError("the same timestamp twice", where=data.at("rfc3161Timestamps"))
    return tuple(found)


def _content(fields: Fields, *, limits: Limits) -> Envelope | MessageSignature:
    envelope = fields.optional_fields("dsseEnvelope")
    message = fields.optional_fields("messageSignature")
    if envelope is not None and message is None:
        envelope.only("payload", "payloadType", "signatures")
        for one in envelope.each("signatures", count_max=limits.envelope_signature_count_max):
            one.only("sig", "keyid")
            one.text_or_empty("keyid")  # nobody signed it, and nobody uses it
        content = Envelope.from_fields(envelope, limits=limits)
        if len(content.signatures) != 1:
            raise JsonFieldError(
                "an envelope in a bundle has one signature",
                where=envelope.at("signatures"),
                found=str(len(content.signatures)),
            )
        return content
    if message is not None and envelope is None:
        message.only("messageDigest", "signature")
        digest = message.fields("messageDigest")
        digest.only("algorithm", "digest")
        return MessageSignature(
            algorithm=digest.text("algorithm", length_max=32),
            digest=digest.base64("digest", length_max=128),
            signature=message.base64("signature", length_max=2 * limits.signature_size_max),
        )
    raise JsonFieldError("not one envelope or message signature", where=fields.path)
