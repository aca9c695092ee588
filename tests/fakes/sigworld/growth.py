"""What a packer carries to show how a log grew: its checkpoint, and proofs from earlier trees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.fakes.sigworld.encoding import Json, b64, jcs
from tests.fakes.sigworld.rekor import Log

MEDIA_TYPE = "application/vnd.airlock.log.v1+json"


def growth(log: Log, sizes: Iterable[int], *, to: int | None = None, **changes: Any) -> Json:  # noqa: ANN401
    """The document, from trees of these sizes to the newest one; ``changes`` replace fields."""
    size = log.tree.size if to is None else to
    return {
        "schema": 1,
        "logId": log.log_id.hex(),
        "checkpoint": log.checkpoint(size),
        "trees": [earlier(log, one, size) for one in sizes],
        **changes,
    }


def earlier(log: Log, size: int, to: int) -> Json:
    """One tree that the newest one continues, and the proof of it."""
    return {
        "size": str(size),
        "rootHash": b64(log.tree.head(size)),
        "hashes": [b64(node) for node in log.tree.consistency(size, to)],
    }


def written(document: Json) -> bytes:
    """Its bytes: canonical JSON."""
    return jcs(document)
