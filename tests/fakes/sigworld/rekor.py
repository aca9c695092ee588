"""Two transparency logs with real Merkle trees: Rekor v1 and Rekor v2.

An ``Entry`` is a leaf with everything that a log ever says about it; ``as_bundle_entry`` and
``as_annotation`` put that into the JSON of Sigstore bundles and of cosign's annotations.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from tests.fakes.sigworld import note
from tests.fakes.sigworld.encoding import Json, b64, jcs
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.merkle import MerkleTree
from tests.fakes.sigworld.note import Witness

_FILLERS = 5
"""Leaves that are there before the first entry: index 0 is left out of JSON by protobuf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A leaf of a log: where it is, what it says, when it came (Rekor v1 only)."""

    log: Log
    leaf_index: int
    log_index: int
    body: bytes
    integrated_time: int | None

    @property
    def kind(self) -> Json:
        """``kindVersion`` of the body."""
        decoded = json.loads(self.body)
        return {"kind": decoded["kind"], "version": decoded["apiVersion"]}

    def promise(self) -> bytes | None:
        """The signed entry timestamp, where this log gives one."""
        return self.log.signed_entry_timestamp(self)

    def inclusion_proof(
        self,
        size: int | None = None,
        *,
        witnesses: Sequence[Witness] = (),
        at: datetime | None = None,
    ) -> Json:
        """``inclusionProof`` in the tree of that size; by default the tree this entry ended."""
        size = self.leaf_index + 1 if size is None else size
        return {
            "logIndex": str(self.leaf_index),
            "rootHash": b64(self.log.tree.head(size)),
            "treeSize": str(size),
            "hashes": [b64(node) for node in self.log.tree.inclusion(self.leaf_index, size)],
            "checkpoint": {"envelope": self.log.checkpoint(size, witnesses=witnesses, at=at)},
        }

    def as_bundle_entry(
        self,
        *,
        size: int | None = None,
        promise: bool = True,
        proof: bool = True,
        witnesses: Sequence[Witness] = (),
    ) -> Json:
        """One element of ``verificationMaterial.tlogEntries``."""
        entry: Json = {
            "logIndex": str(self.log_index),
            "logId": {"keyId": b64(self.log.log_id)},
            "kindVersion": self.kind,
        }
        signed = self.promise()
        if self.integrated_time is not None:
            entry["integratedTime"] = str(self.integrated_time)
        if promise and signed is not None:
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(signed)}
        if proof:
            entry["inclusionProof"] = self.inclusion_proof(size, witnesses=witnesses)
        entry["canonicalizedBody"] = b64(self.body)
        return entry

    def as_annotation(self) -> Json:
        """The value of ``dev.sigstore.cosign/bundle``; only Rekor v1 has what it needs."""
        signed = self.promise()
        if signed is None:
            raise ValueError("this log gives no signed entry timestamps")
        return {
            "SignedEntryTimestamp": b64(signed),
            "Payload": {
                "body": b64(self.body),
                "integratedTime": self.integrated_time,
                "logIndex": self.log_index,
                "logID": self.log.log_id.hex(),
            },
        }


class Log(ABC):
    """A tree, a name, a key; what differs between the versions is in the subclasses."""

    def __init__(self, host: str, signer: Signer, *, index_offset: int = 0) -> None:
        self.host = host
        self.base_url = f"https://{host}"
        self.signer = signer
        self.index_offset = index_offset
        self.tree = MerkleTree()
        self.entries: list[Entry] = []
        for number in range(_FILLERS):
            self.tree.append(b'{"filler":%d}' % number)

    @property
    @abstractmethod
    def origin(self) -> str:
        """The first line of this log's checkpoints."""

    @property
    @abstractmethod
    def log_id(self) -> bytes:
        """What entries and trusted roots call this log."""

    @property
    def hint(self) -> bytes:
        """The four bytes that mark this log's signature lines."""
        return self.log_id[:4]

    @abstractmethod
    def signed_entry_timestamp(self, entry: Entry) -> bytes | None:
        """The promise for an entry, where this log gives one."""

    @abstractmethod
    def _integrated_time(self, at: datetime) -> int | None: ...

    def add(self, body: bytes, *, at: datetime) -> Entry:
        """Log a body."""
        leaf_index = self.tree.append(body)
        entry = Entry(
            log=self,
            leaf_index=leaf_index,
            log_index=leaf_index + self.index_offset,
            body=body,
            integrated_time=self._integrated_time(at),
        )
        self.entries.append(entry)
        return entry

    def grow(self, count: int) -> None:
        """Add leaves that nobody asks about, so that later proofs have another shape."""
        for _ in range(count):
            self.tree.append(b'{"filler":%d}' % self.tree.size)

    def fork(self, size: int | None = None) -> Self:
        """A second log under the same key that shares only the first ``size`` leaves.

        It begins to differ with the next leaf: what a log does that shows two histories.
        """
        size = self.tree.size if size is None else size
        other = copy.copy(self)
        other.tree = MerkleTree()
        for body in self.tree.leaves[:size]:
            other.tree.append(body)
        other.tree.append(b'{"forked":true}')
        other.entries = [
            replace(entry, log=other) for entry in self.entries if entry.leaf_index < size
        ]
        return other

    def checkpoint(
        self,
        size: int | None = None,
        *,
        origin: str | None = None,
        root_hash: bytes | None = None,
        extra: Sequence[str] = (),
        signer: Signer | None = None,
        name: str | None = None,
        hint: bytes | None = None,
        witnesses: Sequence[Witness] = (),
        witnesses_first: bool = False,
        at: datetime | None = None,
    ) -> str:
        """A signed note with the head of that size; each argument can replace one truth."""
        size = self.tree.size if size is None else size
        head = self.tree.head(size) if root_hash is None else root_hash
        text = note.body(origin or self.origin, size, head, extra)
        signature = (signer or self.signer).sign(text.encode())
        own = note.signature_line(name or self.host, self.hint if hint is None else hint, signature)
        when = at or datetime.fromisoformat("2026-01-15T12:00:00+00:00")
        cosigned = [witness.cosign(text, when) for witness in witnesses]
        return note.join(text, [*cosigned, own] if witnesses_first else [own, *cosigned])


class RekorV1(Log):
    """ECDSA P-256; promises, integrated times; global indices that differ from leaf indices."""

    def __init__(
        self, host: str, *, tree_id: int = 1193050959916656506, index_offset: int = 4_163_431
    ) -> None:
        self.tree_id = tree_id
        super().__init__(host, Signer.make(host), index_offset=index_offset)

    @property
    def origin(self) -> str:
        """``HOST - TREEID``."""
        return f"{self.host} - {self.tree_id}"

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the SPKI."""
        return self.signer.key_id

    def signed_entry_timestamp(self, entry: Entry) -> bytes:
        """ECDSA over the canonical JSON of body, time, log id and global index."""
        return self.sign_promise(entry.body, entry.integrated_time or 0, entry.log_index)

    def sign_promise(
        self, body: bytes, integrated_time: int, log_index: int, log_id: bytes | None = None
    ) -> bytes:
        """The promise this log's key makes for any such values, true or not."""
        return self.signer.sign(
            jcs(
                {
                    "body": b64(body),
                    "integratedTime": integrated_time,
                    "logID": (log_id or self.log_id).hex(),
                    "logIndex": log_index,
                }
            )
        )

    def _integrated_time(self, at: datetime) -> int:
        return int(at.timestamp())


class RekorV2(Log):
    """Ed25519 checkpoints, tiles; neither promises nor times."""

    def __init__(self, host: str) -> None:
        super().__init__(host, Signer.make(host, "Ed25519"))

    @property
    def origin(self) -> str:
        """The host's name."""
        return self.host

    @property
    def log_id(self) -> bytes:
        """The note key id, all 32 bytes of it."""
        return note.note_key_id(self.host, note.raw_public(self.signer))

    def signed_entry_timestamp(self, entry: Entry) -> None:
        """None: this version gives proofs only."""
        del entry

    def _integrated_time(self, at: datetime) -> None:
        del at
