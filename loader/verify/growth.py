"""One fact: a log's newest tree continues each of some earlier ones (RFC 9162 §2.1.4).

The newest tree is believed because the log signed its checkpoint; an earlier one because the path
from it leads to that very root. So what is said here of a log cannot be made by anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader._seal import SEAL
from loader.errors import CheckpointError
from loader.verify.facts import LogTree
from loader.verify.merkle import verify_consistency
from loader.verify.note import verify_checkpoint
from loader.witness import Verified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.model.growth import LogGrowth
    from loader.trust.trusted_root import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A log's newest tree, and the trees that it is known to continue; itself among them."""

    name: str
    """What the trusted root calls the log."""
    newest: LogTree
    continues: frozenset[LogTree]


def verify_growth(growth: LogGrowth, logs: Iterable[Log]) -> Verified[Growth]:
    """Check a checkpoint, and that its tree continues every tree that is named beside it.

    Raises:
        CheckpointError: no log of these has the id, or it did not sign the checkpoint.
        ConsistencyError: the tree does not continue one of the others.
    """
    checkpoint = growth.checkpoint
    log = next((one for one in logs if one.log_id == growth.log_id), None)
    if log is None:
        raise CheckpointError(
            "a checkpoint of a log that no pinned trusted root knows", found=growth.log_id.hex()
        )
    verify_checkpoint(checkpoint, log)
    for tree in growth.trees:
        verify_consistency(
            size=tree.size,
            root_hash=tree.root_hash,
            later_size=checkpoint.size,
            later_root_hash=checkpoint.root_hash,
            path=tree.hashes,
        )
    log_id, origin = growth.log_id.hex(), checkpoint.origin
    newest = LogTree(
        log=log_id, origin=origin, size=checkpoint.size, root_hash=checkpoint.root_hash
    )
    earlier = (
        LogTree(log=log_id, origin=origin, size=tree.size, root_hash=tree.root_hash)
        for tree in growth.trees
    )
    return Verified(
        Growth(name=log.name, newest=newest, continues=frozenset({newest, *earlier})), SEAL
    )
