"""One fact: a log signed a checkpoint (C2SP signed-note; Rekor's own variant of it in v1).

    Rekor v1   hint: first 4 bytes of SHA-256(SPKI); ECDSA over SHA-256 of the text, DER
    Rekor v2   hint: first 4 bytes of the log id;   Ed25519 over the text, or ECDSA as above

Lines of other names or with other hints are witnesses that we do not know: they add nothing and
take nothing away, whatever their number and order.
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

    A v2 log calls itself by the host of its URL, in the origin and in the signature's name. A v1
    log's origin is `NAME - TREE`, and the signature's name is NAME; which it is called nobody
    publishes, so the key alone says whose it is.

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
    if log.generation == "rekor-2":
        if checkpoint.origin != log.origin:
            raise CheckpointError(
                "a checkpoint of another log",
                expected=log.origin,
                found=shown(checkpoint.origin),
            )
        return log.origin
    name, dash, tree = checkpoint.origin.rpartition(" - ")
    if not dash or not tree.isdecimal() or not tree.isascii():
        raise CheckpointError(
            "a checkpoint of another kind of log",
            expected="an origin of the form NAME - TREE",
            found=shown(checkpoint.origin),
        )
    return name
