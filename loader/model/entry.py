"""Entries of transparency logs, and what came with them: promise, inclusion proof.

An entry's body is what the log hashed and signed, and stays as it is; `records.py` says what it
records. Two writings lead here: a Sigstore bundle's `tlogEntries` (protobuf JSON), and cosign's
`dev.sigstore.cosign/bundle` annotation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from loader.errors import JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.checkpoint import Checkpoint
from loader.model.envelope import decode_loose_base64
from loader.model.fields import INTEGER_MAX, Fields, decode_base64, decode_hex
from loader.model.records import Record, parse_record

if TYPE_CHECKING:
    from loader.limits import Limits

HASH_SIZE: Final = 32
SECONDS_MAX: Final = 253_402_300_799
"""The last second of the year 9999, behind which neither we nor X.509 can count."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """A path from a leaf to a root hash, and the log's signature over that root hash."""

    log_index: int
    """Of the leaf in this tree. A log of several shards counts differently in `LogEntry`."""
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint | None
    """None in the oldest bundles: then the proof proves nothing, and is refused."""

    @classmethod
    def parse(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> InclusionProof:
        """Return the proof that a bundle's `inclusionProof` writes (sigstore_rekor.proto).

        Raises:
            JsonFieldError, LimitError: it is malformed.
        """
        return _proof(fields, limits=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One entry of one log."""

    log_id: bytes
    log_index: int
    integrated_time: datetime | None
    """None where the log says none (Rekor v2). Worth nothing without a verified promise."""
    body: bytes
    record: Record
    kind_version: tuple[str, str] | None
    """Kind and version as a bundle says them beside the body; None in an annotation."""
    promise: bytes | None
    proof: InclusionProof | None

    @classmethod
    def from_bundle(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> LogEntry:
        """Return the entry that a bundle's `tlogEntries` item writes (sigstore_rekor.proto).

        Raises:
            JsonFieldError, LimitError: it is malformed.
        """
        fields.only(
            "logIndex",
            "logId",
            "kindVersion",
            "integratedTime",
            "inclusionPromise",
            "inclusionProof",
            "canonicalizedBody",
        )
        log_id = fields.fields("logId")
        log_id.only("keyId")
        kind_version = fields.fields("kindVersion")
        kind_version.only("kind", "version")
        promise = fields.optional_fields("inclusionPromise")
        if promise is not None:
            promise.only("signedEntryTimestamp")
        proof = fields.optional_fields("inclusionProof")
        body = decode_loose_base64(
            fields.text("canonicalizedBody", length_max=2 * limits.evidence_size_max),
            where=fields.at("canonicalizedBody"),
        )
        return cls(
            log_id=log_id.base64("keyId", length_max=64),
            log_index=int64(fields, "logIndex"),
            integrated_time=_at(int64(fields, "integratedTime"), fields),
            body=body,
            record=parse_record(body, where=fields.at("canonicalizedBody"), limits=limits),
            kind_version=(
                kind_version.text("kind", length_max=64),
                kind_version.text("version", length_max=64),
            ),
            promise=None
            if promise is None
            else promise.base64("signedEntryTimestamp", length_max=2 * limits.signature_size_max),
            proof=None if proof is None else InclusionProof.parse(proof, limits=limits),
        )

    @classmethod
    def from_annotation(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> LogEntry:
        """Return the entry in cosign's `bundle` annotation (FORMATS §1.4): a promise, no proof.

        Raises:
            JsonFieldError, LimitError: it is malformed.
        """
        fields.only("SignedEntryTimestamp", "Payload")
        payload = fields.fields("Payload")
        payload.only("body", "integratedTime", "logIndex", "logID")
        body = decode_loose_base64(
            payload.text("body", length_max=2 * limits.evidence_size_max), where=payload.at("body")
        )
        return cls(
            log_id=decode_hex(payload.text("logID", length_max=64), where=payload.at("logID")),
            log_index=payload.integer("logIndex"),
            integrated_time=_at(payload.integer("integratedTime"), payload),
            body=body,
            record=parse_record(body, where=payload.at("body"), limits=limits),
            kind_version=None,
            promise=fields.base64("SignedEntryTimestamp", length_max=2 * limits.signature_size_max),
            proof=None,
        )


def int64(fields: Fields, name: str) -> int:
    """Return a number of protobuf JSON: a decimal string or an integer; 0 where it is left out.

    Raises:
        JsonFieldError: it is negative, or no number.
    """
    value = fields.object.get(name)
    if value is None:
        return 0
    if isinstance(value, str):
        if _DECIMAL.fullmatch(value) is None or int(value) > INTEGER_MAX:
            raise JsonFieldError(
                "not a number that is not negative", where=fields.at(name), found=shown(value)
            )
        return int(value)
    return fields.integer(name)


def _at(seconds: int, fields: Fields) -> datetime | None:
    if seconds == 0:
        return None
    if seconds > SECONDS_MAX:
        raise JsonFieldError("a time that no calendar has", where=fields.at("integratedTime"))
    # By the calendar alone: `fromtimestamp` asks the C library, which under TZ=right/UTC counts
    # leap seconds, and then what the log signed is another number.
    return _EPOCH + timedelta(seconds=seconds)


def _proof(fields: Fields, *, limits: Limits) -> InclusionProof:
    fields.only("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
    checkpoint = fields.optional_fields("checkpoint")
    if checkpoint is not None:
        checkpoint.only("envelope")
    hashes = (
        fields.items("hashes", count_max=limits.proof_hash_count_max)
        if fields.has("hashes")
        else []
    )
    return InclusionProof(
        log_index=int64(fields, "logIndex"),
        tree_size=int64(fields, "treeSize"),
        root_hash=hash_of(fields.value("rootHash"), where=fields.at("rootHash")),
        hashes=tuple(
            hash_of(item, where=f"{fields.at('hashes')}[{position}]")
            for position, item in enumerate(hashes)
        ),
        checkpoint=None
        if checkpoint is None
        else Checkpoint.parse(
            checkpoint.text("envelope", length_max=limits.checkpoint_size_max),
            where=checkpoint.at("envelope"),
            limits=limits,
        ),
    )


def hash_of(value: object, *, where: str) -> bytes:
    """Return the node of a Merkle tree that base64 writes.

    Raises:
        JsonFieldError: it is none.
    """
    if not isinstance(value, str):
        raise JsonFieldError("not a hash", where=where)
    raw = decode_base64(value, where=where)
    if len(raw) != HASH_SIZE:
        raise JsonFieldError("not a SHA-256 hash", where=where, found=f"{len(raw)} bytes")
    return raw
