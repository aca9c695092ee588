"""What a log's entry records: kind by kind (FORMATS §1.5; rekor pkg/types, rekor-tiles).

    hashedrekord 0.0.1   digest, signature, verifier                    Rekor v1
    hashedrekord 0.0.2   the same, with the kind of key                 Rekor v2
    rekord 0.0.1         as hashedrekord 0.0.1                          2021
    dsse 0.0.1           digests of envelope and payload, signatures with verifiers
    intoto 0.0.2         type and digest of the payload, signatures with verifiers
    intoto 0.0.1         digest of the envelope, one verifier, no signature

A body of another kind is `OtherRecord`: an entry of a log that we do not know may hold anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields, decode_base64, decode_hex
from loader.model.pem import CERTIFICATE, PUBLIC_KEY, decode_block

if TYPE_CHECKING:
    from loader.limits import Limits

RecordHash = Literal["sha256", "sha384", "sha512"]
_HASHES_V1: Final[dict[str, RecordHash]] = {
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
}
_HASHES_V2: Final[dict[str, RecordHash]] = {
    "SHA2_256": "sha256",
    "SHA2_384": "sha384",
    "SHA2_512": "sha512",
}
_DIGEST_SIZES: Final[dict[RecordHash, int]] = {"sha256": 32, "sha384": 48, "sha512": 64}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """The key or certificate that a log says a signature is by: its DER, to be compared."""

    kind: Literal["certificate", "key"]
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRecord:
    """hashedrekord 0.0.1 and 0.0.2, rekord 0.0.1: a signature over something with a digest."""

    kind: str
    version: str
    hash: RecordHash
    digest: bytes
    signature: bytes
    verifier: Verifier
    key_details: str
    """`keyDetails` of version 0.0.2; empty in the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRecord:
    """dsse 0.0.1 and intoto 0.0.2: an envelope's digests, its signatures and who made them."""

    kind: str
    version: str
    envelope_digest: bytes
    payload_digest: bytes
    payload_type: str
    """Of intoto; empty in dsse, whose pre-authentication encoding covers it by the signature."""
    signatures: tuple[tuple[bytes, Verifier], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BareEnvelopeRecord:
    """intoto 0.0.1: the digest of an envelope's very bytes, and one verifier."""

    kind: str
    version: str
    envelope_digest: bytes
    payload_digest: bytes | None
    verifier: Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRecord:
    """An entry of a kind that records no signature we can bind to."""

    kind: str
    version: str


Record: TypeAlias = SignatureRecord | EnvelopeRecord | BareEnvelopeRecord | OtherRecord


def parse_record(body: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Record:
    """Return what an entry's body records.

    Raises:
        JsonError, LimitError: it is malformed.
    """
    document = strictjson.parse_object(
        body, what="a log entry's body", size_max=limits.evidence_size_max, limits=limits
    )
    fields = Fields(document, where)
    kind, version = _name(fields, "kind"), _name(fields, "apiVersion")
    match (kind, version):
        case ("hashedrekord", "0.0.2"):
            spec = fields.fields("spec").fields("hashedRekordV002")
            return _signature_v2(kind, version, spec, limits=limits)
        case ("hashedrekord" | "rekord", "0.0.1") if kind == "hashedrekord" or _is_x509(fields):
            return _signature_v1(kind, version, fields.fields("spec"), limits=limits)
        case ("dsse", "0.0.1"):
            return _dsse(kind, version, fields.fields("spec"), limits=limits)
        case ("intoto", "0.0.2"):
            return _intoto_v2(kind, version, fields.fields("spec"), limits=limits)
        case ("intoto", "0.0.1"):
            return _intoto_v1(kind, version, fields.fields("spec"), limits=limits)
        case _:
            return OtherRecord(kind=kind, version=version)


def _is_x509(fields: Fields) -> bool:
    """Tell whether a rekord is no signature of PGP, SSH or minisign."""
    return fields.fields("spec").fields("signature").text("format") == "x509"


def _name(fields: Fields, name: str) -> str:
    text = fields.text(name, length_max=64)
    if _NAME.fullmatch(text) is None:
        raise JsonFieldError("not a name", where=fields.at(name), found=shown(text))
    return text


def _signature_v1(kind: str, version: str, spec: Fields, *, limits: Limits) -> SignatureRecord:
    hashed = spec.fields("data").fields("hash")
    name = hashed.text("algorithm", length_max=16)
    algorithm = _HASHES_V1.get(name)
    if algorithm is None:
        raise JsonFieldError("an unknown hash", where=hashed.at("algorithm"), found=shown(name))
    signature = spec.fields("signature")
    return SignatureRecord(
        kind=kind,
        version=version,
        hash=algorithm,
        digest=_sized(
            decode_hex(hashed.text("value", length_max=128), where=hashed.at("value")),
            algorithm,
            where=hashed.at("value"),
        ),
        signature=signature.base64("content", length_max=2 * limits.signature_size_max),
        verifier=_pem(signature.fields("publicKey"), "content", limits=limits),
        key_details="",
    )


def _signature_v2(kind: str, version: str, spec: Fields, *, limits: Limits) -> SignatureRecord:
    data = spec.fields("data")
    name = data.text("algorithm", length_max=16)
    algorithm = _HASHES_V2.get(name)
    if algorithm is None:
        raise JsonFieldError("an unknown hash", where=data.at("algorithm"), found=shown(name))
    signature = spec.fields("signature")
    verifier = signature.fields("verifier")
    certificate = verifier.optional_fields("x509Certificate")
    key = verifier.optional_fields("publicKey")
    holder = certificate or key
    if holder is None or (certificate is not None and key is not None):
        raise JsonFieldError("not one key or certificate", where=verifier.path)
    return SignatureRecord(
        kind=kind,
        version=version,
        hash=algorithm,
        digest=_sized(data.base64("digest", length_max=128), algorithm, where=data.at("digest")),
        signature=signature.base64("content", length_max=2 * limits.signature_size_max),
        verifier=Verifier(
            kind="key" if certificate is None else "certificate",
            der=holder.base64("rawBytes", length_max=2 * limits.certificate_size_max),
        ),
        key_details=verifier.text("keyDetails", length_max=64),
    )


def _dsse(kind: str, version: str, spec: Fields, *, limits: Limits) -> EnvelopeRecord:
    return EnvelopeRecord(
        kind=kind,
        version=version,
        envelope_digest=_sha256(spec.fields("envelopeHash")),
        payload_digest=_sha256(spec.fields("payloadHash")),
        payload_type="",
        signatures=tuple(
            (
                item.base64("signature", length_max=2 * limits.signature_size_max),
                _pem(item, "verifier", limits=limits),
            )
            for item in spec.each("signatures", count_max=limits.envelope_signature_count_max)
        ),
    )


def _intoto_v2(kind: str, version: str, spec: Fields, *, limits: Limits) -> EnvelopeRecord:
    content = spec.fields("content")
    envelope = content.fields("envelope")
    return EnvelopeRecord(
        kind=kind,
        version=version,
        envelope_digest=_sha256(content.fields("hash")),
        payload_digest=_sha256(content.fields("payloadHash")),
        payload_type=envelope.text("payloadType", length_max=255),
        signatures=tuple(
            (_twice(item, "sig", limits=limits), _pem(item, "publicKey", limits=limits))
            for item in envelope.each("signatures", count_max=limits.envelope_signature_count_max)
        ),
    )


def _intoto_v1(kind: str, version: str, spec: Fields, *, limits: Limits) -> BareEnvelopeRecord:
    content = spec.fields("content")
    payload = content.optional_fields("payloadHash")
    return BareEnvelopeRecord(
        kind=kind,
        version=version,
        envelope_digest=_sha256(content.fields("hash")),
        payload_digest=None if payload is None else _sha256(payload),
        verifier=_pem(spec, "publicKey", limits=limits),
    )


def _twice(fields: Fields, name: str, *, limits: Limits) -> bytes:
    """Rekor's intoto 0.0.2 writes base64 of the base64 that the envelope holds."""
    once = fields.base64(name, length_max=4 * limits.signature_size_max)
    return decode_base64(once.decode("ascii", "replace"), where=fields.at(name))


def _pem(fields: Fields, name: str, *, limits: Limits) -> Verifier:
    raw = fields.base64(name, length_max=4 * limits.certificate_size_max)
    block = decode_block(raw, CERTIFICATE, PUBLIC_KEY, where=fields.at(name))
    return Verifier(kind="certificate" if block.label == CERTIFICATE else "key", der=block.der)


def _sha256(fields: Fields) -> bytes:
    name = fields.text("algorithm", length_max=16)
    if name != "sha256":
        raise JsonFieldError("another hash", where=fields.at("algorithm"), found=shown(name))
    where = fields.at("value")
    return _sized(
        decode_hex(fields.text("value", length_max=64), where=where), "sha256", where=where
    )


def _sized(digest: bytes, algorithm: RecordHash, *, where: str) -> bytes:
    if len(digest) != _DIGEST_SIZES[algorithm]:
        raise JsonFieldError(f"not a {algorithm} digest", where=where, found=f"{len(digest)} bytes")
    return digest
