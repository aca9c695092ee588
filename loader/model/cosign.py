"""Cosign's legacy evidence: layers of `.sig` and `.att` manifests, and `cosign download signature`.

The layer's bytes are what was signed (a payload, or a DSSE envelope); everything else stands in its
annotations, which nobody signed (cosign specs/SIGNATURE_SPEC.md; FORMATS §1.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import JsonFieldError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.entry import LogEntry
from loader.model.envelope import Envelope, decode_loose_base64
from loader.model.fields import Fields, decode_base64
from loader.model.pem import CERTIFICATE, decode_block, decode_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.limits import Limits
    from loader.model.descriptor import Descriptor

SIGNATURE: Final = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION: Final = "dev.sigstore.cosign/certificate"
CHAIN: Final = "dev.sigstore.cosign/chain"
BUNDLE: Final = "dev.sigstore.cosign/bundle"
TIMESTAMP: Final = "dev.sigstore.cosign/rfc3161timestamp"
DOWNLOADED_COUNT_MAX: Final = 1024
_GO_DIGITS_MAX: Final = 1300


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What stands beside a legacy payload: hints, until each is verified against it."""

    certificate: bytes | None
    chain: tuple[bytes, ...]
    """Certificates that may lead to a trusted one; nobody vouches for them."""
    entry: LogEntry | None
    timestamp: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignSignature:
    """A signature over an image's simple-signing payload."""

    raw: bytes
    """The payload, as signed."""
    signature: bytes
    attached: Attached

    @classmethod
    def parse(
        cls, raw: bytes, layer: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> CosignSignature:
        """Return the signature in a layer of a `.sig` manifest; the bytes have its digest.

        Raises:
            JsonError, LimitError: the annotations are malformed.
        """
        text = layer.annotations.get(SIGNATURE, "")
        return cls(
            raw=raw,
            signature=_signature(text, where=f"{where}, {SIGNATURE}", limits=limits),
            attached=_attached(layer.annotations, where=where, limits=limits),
        )

    @classmethod
    def parse_downloaded(
        cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> tuple[CosignSignature, ...]:
        """Return the signatures that `cosign download signature` wrote: objects, one a line.

        Dangerzone keeps the same objects as a list; that is read as well.

        Raises:
            JsonError, LimitError: it is malformed.
        """
        return tuple(_downloaded(item, limits=limits) for item in _documents(raw, where, limits))

    @property
    def digest(self) -> Digest:
        """Of the payload."""
        return Digest.of(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignAttestation:
    """A DSSE envelope as a layer of an `.att` manifest."""

    raw: bytes
    """The envelope's JSON: some log entries and all timestamps are over these very bytes."""
    envelope: Envelope
    attached: Attached

    @classmethod
    def parse(
        cls, raw: bytes, layer: Descriptor, *, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> CosignAttestation:
        """Return the attestation in a layer; the bytes have its digest.

        Raises:
            JsonError, LimitError: envelope or annotations are malformed.
        """
        return cls(
            raw=raw,
            envelope=Envelope.parse(raw, where=where, limits=limits),
            attached=_attached(layer.annotations, where=where, limits=limits),
        )

    @property
    def digest(self) -> Digest:
        """Of the envelope's bytes."""
        return Digest.of(self.raw)


def _signature(text: str, *, where: str, limits: Limits) -> bytes:
    if not text or len(text) > 2 * limits.signature_size_max:
        raise JsonFieldError("not a signature", where=where, found=f"{len(text)} characters")
    return decode_base64(text, where=where)


def _attached(annotations: Mapping[str, str], *, where: str, limits: Limits) -> Attached:
    bundle = annotations.get(BUNDLE)
    timestamp = annotations.get(TIMESTAMP)
    return Attached(
        certificate=_leaf(
            annotations.get(CERTIFICATE_ANNOTATION), where=f"{where}, {CERTIFICATE_ANNOTATION}"
        ),
        chain=_chain(annotations.get(CHAIN), where=f"{where}, {CHAIN}", limits=limits),
        entry=None
        if not bundle
        else LogEntry.from_annotation(
            Fields(_object(bundle, BUNDLE, limits), f"{where}, {BUNDLE}"), limits=limits
        ),
        timestamp=None
        if not timestamp
        else _timestamp(
            Fields(_object(timestamp, TIMESTAMP, limits), f"{where}, {TIMESTAMP}"), limits
        ),
    )


def _object(text: str, what: str, limits: Limits) -> strictjson.JsonObject:
    return strictjson.parse_object(
        text.encode("utf-8", "replace"), what=what, size_max=limits.evidence_size_max, limits=limits
    )


def _leaf(text: str | None, *, where: str) -> bytes | None:
    return None if not text else decode_block(text.encode(), CERTIFICATE, where=where).der


def _chain(text: str | None, *, where: str, limits: Limits) -> tuple[bytes, ...]:
    if not text:
        return ()
    blocks = decode_blocks(text.encode(), where=where, count_max=limits.certificate_chain_count_max)
    return tuple(block.der for block in blocks if block.label == CERTIFICATE)


def _timestamp(fields: Fields, limits: Limits) -> bytes:
    fields.only("SignedRFC3161Timestamp")
    return fields.base64("SignedRFC3161Timestamp", length_max=2 * limits.timestamp_size_max)


def _downloaded_leaf(fields: Fields, limits: Limits) -> bytes | None:
    """Return the certificate: cosign writes Go's form, other tools with this format PEM."""
    if isinstance(fields.object.get("Cert"), str):
        return _leaf(str(fields.object["Cert"]), where=fields.at("Cert"))
    return _go_certificate(fields.fields("Cert"), limits) if fields.has("Cert") else None


def _downloaded_chain(fields: Fields, limits: Limits) -> tuple[bytes, ...]:
    if isinstance(fields.object.get("Chain"), str):
        return _chain(str(fields.object["Chain"]), where=fields.at("Chain"), limits=limits)
    if not fields.has("Chain"):
        return ()
    count_max = limits.certificate_chain_count_max
    return tuple(
        _go_certificate(item, limits) for item in fields.each("Chain", count_max=count_max)
    )


def _go_certificate(fields: Fields, limits: Limits) -> bytes:
    """Return the DER in a certificate that Go's encoding/json wrote field by field."""
    return fields.base64("Raw", length_max=2 * limits.certificate_size_max)


def _documents(raw: bytes, where: str, limits: Limits) -> Iterator[Fields]:
    # Go writes a certificate's serial number and key as integers of hundreds of digits.
    limits = replace(limits, json_integer_digits_max=_GO_DIGITS_MAX)
    if raw.lstrip()[:1] == b"[":
        value = strictjson.parse(
            raw, what="signatures", size_max=limits.evidence_size_max, limits=limits
        )
        yield from Fields({"": value}, where).each("", count_max=DOWNLOADED_COUNT_MAX)
        return
    lines = [line for line in raw.splitlines() if line.strip()]
    if not 0 < len(lines) <= DOWNLOADED_COUNT_MAX:
        raise JsonFieldError("not downloaded signatures", where=where, found=f"{len(lines)} lines")
    for position, line in enumerate(lines):
        document = strictjson.parse_object(
            line, what="a signature", size_max=limits.evidence_size_max, limits=limits
        )
        yield Fields(document, f"{where}, line {position + 1}")


def _downloaded(fields: Fields, *, limits: Limits) -> CosignSignature:
    fields.only("Base64Signature", "Payload", "Cert", "Chain", "Bundle", "RFC3161Timestamp")
    entry = fields.optional_fields("Bundle")
    timestamp = fields.optional_fields("RFC3161Timestamp")
    return CosignSignature(
        raw=decode_loose_base64(
            fields.text("Payload", length_max=limits.document_size_max), where=fields.at("Payload")
        ),
        signature=fields.base64("Base64Signature", length_max=2 * limits.signature_size_max),
        attached=Attached(
            certificate=_downloaded_leaf(fields, limits),
            chain=_downloaded_chain(fields, limits),
            entry=None if entry is None else LogEntry.from_annotation(entry, limits=limits),
            timestamp=None if timestamp is None else _timestamp(timestamp, limits),
        ),
    )
