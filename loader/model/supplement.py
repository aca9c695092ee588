"""A supplement: the proof behind a log's promise, fetched by the packer (docs/format.md).

Most evidence carries only the promise of a log to include its entry. The packer can ask that log
for the proof; the evidence's own bytes never change, so what it got stands in a document beside:

    {"inclusionProof": {...}, "logId": HEX, "logIndex": "N", "schema": 1, "subject": "sha256:..."}

There is no body in it: the proof must lead from the evidence's own entry, or it proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import rfc8785

from loader.digest import Digest
from loader.errors import JsonError, JsonFieldError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.entry import HASH_SIZE, InclusionProof, int64
from loader.model.fields import Fields, decode_hex

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.strictjson import JsonObject

MEDIA_TYPE: Final = "application/vnd.airlock.supplement.v1+json"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """An inclusion proof for one entry of one piece of evidence; nothing of it is believed yet."""

    raw: bytes
    subject: Digest
    """The blob of evidence that the entry came with."""
    log_id: bytes
    log_index: int
    """The entry's, as the promise says it; the leaf's stands in the proof."""
    proof: InclusionProof

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Supplement:
        """Return the supplement that these bytes write: canonical JSON, no unknown fields.

        Raises:
            JsonError, LimitError: anything else, or a proof without a checkpoint.
        """
        document = strictjson.parse_object(
            raw, what="a supplement", size_max=limits.supplement_size_max, limits=limits
        )
        fields = Fields(document, where)
        fields.only("schema", "subject", "logId", "logIndex", "inclusionProof")
        fields.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
        if _dumps(document) != raw:
            raise JsonError(
                "a supplement that is not canonical JSON", where=where, expected="RFC 8785"
            )
        log_id = decode_hex(
            fields.text("logId", length_max=2 * HASH_SIZE), where=fields.at("logId")
        )
        if len(log_id) != HASH_SIZE:
            raise JsonFieldError("not a log's id", where=fields.at("logId"))
        proof = InclusionProof.parse(fields.fields("inclusionProof"), limits=limits)
        if proof.checkpoint is None:
            raise JsonFieldError("a proof without a checkpoint", where=fields.at("inclusionProof"))
        return cls(
            raw=raw,
            subject=fields.digest("subject"),
            log_id=log_id,
            log_index=int64(fields, "logIndex"),
            proof=proof,
        )

    @classmethod
    def make(
        cls,
        *,
        subject: Digest,
        log_id: bytes,
        log_index: int,
        proof: JsonObject,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Supplement:
        """Return a supplement of this proof, which is written as in a Sigstore bundle.

        Raises:
            JsonError, LimitError: a loader could not read it.
        """
        document: JsonObject = {
            "schema": SCHEMA,
            "subject": str(subject),
            "logId": log_id.hex(),
            "logIndex": str(log_index),
            "inclusionProof": proof,
        }
        return cls.parse(_dumps(document), where="supplement", limits=limits)


def _dumps(document: JsonObject) -> bytes:
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as e:
        raise JsonFieldError("a number that canonical JSON cannot write") from e
