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
    from datetime import datetime

    from loader.model.growth import LogGrowth
    from loader.trust.trusted_root import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A log's newest tree, and the trees that it is known to continue; itself among them."""

    name: str
    """What the trusted root calls the log."""
    newest: LogTree
    continues: frozenset[LogTree]


def verify_growth(
    growth: LogGrowth, logs: Iterable[Log], *, at: datetime | None = None
) -> Verified[Growth]:
    """Check a checkpoint, and that its tree continues every tree that is named beside it.

    A checkpoint has no time. So a key whose window has ended still says how its log grew: its last
    tree is asked for long after it is closed, and links only what the log signed before. But a key
    whose window has not begun by any verified time has signed nothing yet.

    Args:
        growth: the checkpoint and the earlier trees.
        logs: of the trusted roots.
        at: the newest verified time of what it came with.

    Raises:
        CheckpointError: no log of these has the id, its key is not trusted yet, or it did not sign
            the checkpoint.
        ConsistencyError: the tree does not continue one of the others.
    """
    checkpoint = growth.checkpoint
    known = [one for one in logs if one.log_id == growth.log_id]
    if not known:
        raise CheckpointError(
            "a checkpoint of a log that no pinned trusted root knows", found=growth.log_id.hex()
        )
    log = next((one for one in known if at is None or one.valid_for.has_begun(at)), None)
    if log is None:
        raise CheckpointError(
            "a checkpoint by a key that no trusted root trusts yet",
            where=known[0].name,
            expected=str(known[0].valid_for),
            found="" if at is None else at.isoformat(),
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
