"""One fact: a log signed a checkpoint (C2SP signed-note; Rekor's own variant of it in v1).

    Rekor v1   origin NAME - TREE, signed by NAME; ECDSA over SHA-256 of the text, DER
    Rekor v2   origin and signer are the host of the log's URL; Ed25519 over the text, or ECDSA

The hint is the first four bytes of the log's id. Lines of other names or with other hints are
witnesses that we do not know: they add nothing and take nothing away, whatever their number and
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.errors import CheckpointError, SignatureMismatchError, shown
from loader.model.checkpoint import HINT_SIZE
from loader.verify.message import Message
from loader.verify.signature import verify_with_hash

if TYPE_CHECKING:
    from loader.model.checkpoint import Checkpoint
    from loader.trust.trusted_root import Log


def verify_checkpoint(checkpoint: Checkpoint, log: Log) -> None:
    """Check that a checkpoint is this log's: its origin, and one signature line of its key.

    A v2 log calls itself by the host of its URL. What a v1 log calls itself nobody publishes, so
    there the key alone says whose it is; the trees of one log do not mix, as each proof has its
    own root.

    Raises:
        CheckpointError: it has another origin, or no line is the log's signature.
    """
    name = _name(checkpoint, log)
    message = Message.of(checkpoint.text)
    hint = log.log_id[:HINT_SIZE]
    lines = [s for s in checkpoint.signatures if s.hint == hint and s.name == name]
    for line in lines:
        try:
            verify_with_hash(
                log.key, line.signature, message, hash_name="sha256", what="a checkpoint"
            )
        except SignatureMismatchError:
            continue
        return
    raise CheckpointError(
        "a checkpoint that its log did not sign",
        expected=f"a line of {name} with hint {hint.hex()} that holds",
        found=f"{len(lines)} that do not"
        if lines
        else shown(", ".join(f"{s.name} {s.hint.hex()}" for s in checkpoint.signatures)),
    )


def _name(checkpoint: Checkpoint, log: Log) -> str:
    """Return the name that a log signs with, from an origin that only this log may use."""
    if checkpoint.origin == log.origin:
        return log.origin
    name, dash, tree = checkpoint.origin.rpartition(" - ")
    if log.is_named_by_key and dash and tree.isascii() and tree.isdecimal():
        return name
    raise CheckpointError(
        "a checkpoint of another log",
        expected=log.origin + (", or NAME - TREE" if log.is_named_by_key else ""),
        found=shown(checkpoint.origin),
    )
