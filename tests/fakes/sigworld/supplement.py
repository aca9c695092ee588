"""What a packer adds to evidence that carries only a log's promise: the proof behind it."""

from __future__ import annotations

from typing import Any

from tests.fakes.sigworld.encoding import Json, digest_of, jcs
from tests.fakes.sigworld.rekor import Entry

MEDIA_TYPE = "application/vnd.airlock.supplement.v1+json"


def supplement(entry: Entry, blob: bytes, *, size: int | None = None, **changes: Any) -> Json:  # noqa: ANN401
    """The document, for an entry that came with this blob; ``changes`` replace fields."""
    return {
        "schema": 1,
        "subject": digest_of(blob),
        "logId": entry.log.log_id.hex(),
        "logIndex": str(entry.log_index),
        "inclusionProof": entry.inclusion_proof(size),
        **changes,
    }


def written(document: Json) -> bytes:
    """Its bytes: canonical JSON."""
    return jcs(document)
