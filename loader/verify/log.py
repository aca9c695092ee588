"""One fact: a known log holds an entry. Its promise says so, or a proof that leads to its root.

bundle v0.1, annotation   promise mandatory; a proof, where there is one, must hold as well
bundle v0.2, v0.3         proof with checkpoint mandatory; a promise must hold as well
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loader.errors import (
    CheckpointError,
    EntryTimeError,
    EntryUnprovenError,
    InclusionError,
)
from loader.verify.facts import LogProof, SignedTime
from loader.verify.merkle import verify_inclusion
from loader.verify.note import verify_checkpoint
from loader.verify.promise import verify_promise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.model.checkpoint import Checkpoint
    from loader.model.entry import InclusionProof, LogEntry
    from loader.trust.trusted_root import Log

Need = Literal["promise", "proof"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An entry that a known log holds."""

    entry: LogEntry
    log: Log
    proof: LogProof
    time: SignedTime | None
    """When the log says that it took the entry, if it promised that."""


def verify_entry(entry: LogEntry, logs: Iterable[Log], *, need: Need) -> Recorded | None:
    """Check that a log holds an entry; None where it names a log that we do not know.

    Args:
        entry: with whatever came with it.
        logs: of the trusted root.
        need: what the format of the evidence demands of an entry.

    Raises:
        EntryUnprovenError: what the format demands is not there.
        EntryTimeError: it was taken outside the time in which the log's key is trusted.
        PromiseError, CheckpointError, InclusionError: what is there does not hold.
    """
    # (3.1) An entry of a log that we do not know proves nothing, and harms nothing.
    log = _log(entry, logs)
    if log is None:
        return None
    # (3.2) What its format demands is there.
    if need == "promise" and entry.promise is None:
        raise EntryUnprovenError("a log entry without the log's promise", found=f"log {log.name}")
    if need == "proof" and entry.proof is None:
        raise EntryUnprovenError("a log entry without an inclusion proof", found=f"log {log.name}")
    time: SignedTime | None = None
    if entry.promise is not None:
        # (3.3) The promise, and its time within the log's window.
        at = verify_promise(entry, log)
        time = SignedTime(source="log", at=at, authority=log.name)
        expect_in_window(log, time)
    checkpoint = None if entry.proof is None else _verify_proof(entry, entry.proof, log)
    return Recorded(
        entry=entry,
        log=log,
        proof=LogProof(
            log=log.log_id.hex(),
            name=log.name,
            log_index=_signed_index(entry, checkpoint, log),
            promise="absent" if entry.promise is None else "verified",
            proof="absent" if entry.proof is None else "verified",
            checkpoint=checkpoint,
        ),
        time=time,
    )


def _signed_index(entry: LogEntry, checkpoint: Checkpoint | None, log: Log) -> int | None:
    """Return the entry's index if the log stands behind it: by its promise, or as its one tree."""
    one_tree = checkpoint is not None and checkpoint.origin == log.origin
    return entry.log_index if entry.promise is not None or one_tree else None


def expect_in_window(log: Log, time: SignedTime) -> None:
    """Check that a log's key was trusted at a time (a closed interval).

    Raises:
        EntryTimeError: it was not.
    """
    if not log.valid_for.holds_at(time.at):
        raise EntryTimeError(
            "a log entry from outside the time in which its log is trusted",
            where=log.name,
            expected=str(log.valid_for),
            found=time.at.isoformat(),
        )


def _log(entry: LogEntry, logs: Iterable[Log]) -> Log | None:
    """Return the log of an entry; of several windows of one log the one that it fits."""
    candidates = [log for log in logs if log.log_id == entry.log_id]
    at = entry.integrated_time
    if at is not None:
        candidates.sort(key=lambda log: not log.valid_for.holds_at(at))
    return candidates[0] if candidates else None


def _verify_proof(entry: LogEntry, proof: InclusionProof, log: Log) -> Checkpoint:
    """Check proof and checkpoint, and that both speak of the same tree."""
    # (3.4) The log signed a checkpoint, of just this tree.
    checkpoint = proof.checkpoint
    if checkpoint is None:
        raise CheckpointError("an inclusion proof without a checkpoint", found=f"log {log.name}")
    verify_checkpoint(checkpoint, log)
    if checkpoint.size != proof.tree_size:
        raise CheckpointError(
            "a checkpoint of a tree of another size than the proof's",
            expected=str(proof.tree_size),
            found=str(checkpoint.size),
        )
    if checkpoint.root_hash != proof.root_hash:
        raise CheckpointError(
            "a checkpoint with another root than the proof's",
            expected=proof.root_hash.hex(),
            found=checkpoint.root_hash.hex(),
        )
    # (3.5) Rekor v1 counts an entry's index over all its trees, and a leaf's within one; a log that
    # calls itself by its host alone has but one tree, and nothing else signs the entry's index.
    if checkpoint.origin == log.origin and entry.log_index != proof.log_index:
        raise InclusionError(
            "an inclusion proof of another entry than the one it comes with",
            expected=str(entry.log_index),
            found=str(proof.log_index),
        )
    # (3.6) The path leads from the body to the root.
    verify_inclusion(proof, leaf=entry.body, root_hash=checkpoint.root_hash)
    return checkpoint
