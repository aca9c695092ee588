r"""How a log grew: its newest checkpoint, and trees that this one continues. Not yet verified.

    {"checkpoint": "rekor.example - 123\n4711\n...", "logId": "c0d2...", "schema": 1,
     "trees": [{"hashes": ["..."], "rootHash": "...", "size": "1234"}]}

The packer asked the log for its newest checkpoint, and for a consistency proof (RFC 9162 §2.1.4)
from every tree in question: those that evidence of this bundle is in, and the heads that it shipped
before in this channel. A host that remembers one of the latter can tell that the log did not show
it one history and somebody else another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import rfc8785

from loader.errors import JsonError, JsonFieldError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.checkpoint import Checkpoint
from loader.model.entry import HASH_SIZE, hash_of, int64
from loader.model.fields import Fields, decode_hex, encode_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.limits import Limits
    from loader.model.strictjson import JsonObject

MEDIA_TYPE: Final = "application/vnd.airlock.log.v1+json"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierTree:
    """A tree that the log had before, and the proof that the newest one continues it."""

    size: int
    """Leaves, at least 1."""
    root_hash: bytes
    hashes: tuple[bytes, ...]
    """A consistency path; empty where it is the newest tree itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGrowth:
    """One log's newest checkpoint and earlier trees; nothing of it is believed yet."""

    raw: bytes
    log_id: bytes
    checkpoint: Checkpoint
    trees: tuple[EarlierTree, ...]

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> LogGrowth:
        """Return what these bytes write: canonical JSON, no unknown fields.

        Raises:
            JsonError, LimitError: anything else.
        """
        document = strictjson.parse_object(
            raw, what="a log's growth", size_max=limits.log_growth_size_max, limits=limits
        )
        fields = Fields(document, where)
        fields.only("schema", "logId", "checkpoint", "trees")
        fields.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
        if _dumps(document) != raw:
            raise JsonError(
                "a document that is not canonical JSON", where=where, expected="RFC 8785"
            )
        log_id = decode_hex(
            fields.text("logId", length_max=2 * HASH_SIZE), where=fields.at("logId")
        )
        if len(log_id) != HASH_SIZE:
            raise JsonFieldError("not a log's id", where=fields.at("logId"))
        return cls(
            raw=raw,
            log_id=log_id,
            checkpoint=Checkpoint.parse(
                fields.text("checkpoint", length_max=limits.checkpoint_size_max),
                where=fields.at("checkpoint"),
                limits=limits,
            ),
            trees=tuple(
                _tree(item, limits=limits)
                for item in fields.each("trees", count_max=limits.log_tree_count_max)
            ),
        )

    @classmethod
    def make(
        cls,
        *,
        log_id: bytes,
        checkpoint: str,
        trees: Sequence[EarlierTree],
        limits: Limits = DEFAULT_LIMITS,
    ) -> LogGrowth:
        """Return the document that says this.

        Raises:
            JsonError, LimitError: a loader could not read it.
        """
        document: JsonObject = {
            "schema": SCHEMA,
            "logId": log_id.hex(),
            "checkpoint": checkpoint,
            "trees": [
                {
                    "size": str(tree.size),
                    "rootHash": encode_base64(tree.root_hash),
                    "hashes": [encode_base64(one) for one in tree.hashes],
                }
                for tree in trees
            ],
        }
        return cls.parse(_dumps(document), where="log growth", limits=limits)


def _tree(fields: Fields, *, limits: Limits) -> EarlierTree:
    fields.only("size", "rootHash", "hashes")
    size = int64(fields, "size")
    if size < 1:
        raise JsonFieldError("a tree without leaves", where=fields.at("size"))
    return EarlierTree(
        size=size,
        root_hash=hash_of(fields.value("rootHash"), where=fields.at("rootHash")),
        hashes=tuple(
            hash_of(item, where=fields.at("hashes"))
            for item in fields.items("hashes", count_max=2 * limits.proof_hash_count_max)
        ),
    )


def _dumps(document: JsonObject) -> bytes:
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as e:
        raise JsonFieldError("a number that canonical JSON cannot write") from e
