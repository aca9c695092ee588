"""A Rekor log over HTTP on loopback: serves the entries of a signing world's log, or lies.

A v1 answers for entries, its trees and consistency; a v2 serves a checkpoint and tiles. ``lie``
gets what an honest log would answer and the entry, and returns another document, or raw bytes.
``status`` answers every question with that status; ``endless`` never ends a body. ``log`` may be
replaced by another between two questions: a log that shows two histories.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.loopback import Loopback
from tests.fakes.sigworld.encoding import Json, b64, hex_digest
from tests.fakes.sigworld.merkle import MerkleTree
from tests.fakes.sigworld.rekor import Entry, Log, RekorV1

Lie = Callable[[Json, Entry], Json | bytes]


def answer(entry: Entry, *, size: int | None = None) -> Json:
    """What ``GET /api/v1/log/entries?logIndex=`` says of an entry (rekor, openapi.yaml)."""
    size = entry.log.tree.size if size is None else size
    path = entry.log.tree.inclusion(entry.leaf_index, size)
    promise = entry.promise()
    return {
        "24296fb24b8ad77a" + hex_digest(b"\x00" + entry.body): {
            "body": b64(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": entry.log.log_id.hex(),
            "logIndex": entry.log_index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": entry.log.checkpoint(size),
                    "hashes": [node.hex() for node in path],
                    "logIndex": entry.leaf_index,
                    "rootHash": entry.log.tree.head(size).hex(),
                    "treeSize": size,
                },
                "signedEntryTimestamp": "" if promise is None else b64(promise),
            },
        }
    }


def trees(log: Log, *, closed: Sequence[RekorV1] = ()) -> Json:
    """What ``GET /api/v1/log`` says."""
    if not isinstance(log, RekorV1):
        raise TypeError("a v2 log has no such question")
    said = _tree(log)
    said["inactiveShards"] = [_tree(one) for one in closed] or None
    return said


def _tree(log: RekorV1) -> Json:
    return {
        "treeID": str(log.tree_id),
        "treeSize": log.tree.size,
        "rootHash": log.tree.head().hex(),
        "signedTreeHead": log.checkpoint(),
    }


def consistency(log: Log, query: Mapping[str, list[str]]) -> Json | None:
    """What ``GET /api/v1/log/proof`` says; None where it is asked for what it has not."""
    first, last = (int(query[name][0]) for name in ("firstSize", "lastSize"))
    if not 0 < first <= last <= log.tree.size:
        return None
    path = log.tree.consistency(first, last)
    return {"hashes": [node.hex() for node in path], "rootHash": log.tree.head(last).hex()}


def tile(log: Log, path: str) -> bytes | None:
    """A tile by its path: full ones of 256 hashes, the last one of each level as far as it goes."""
    words, _, width = path.partition(".p/")
    level, *groups = words.split("/")
    number = int("".join(group.removeprefix("x") for group in groups))
    span = 256 ** int(level)
    count = int(width) if width else 256
    begin = number * 256
    if (begin + count) * span > log.tree.size:
        return None
    return b"".join(subtree(log.tree, (begin + i) * span, span) for i in range(count))


def subtree(tree: MerkleTree, begin: int, count: int) -> bytes:
    """The hash of a complete subtree, by the definition."""
    one = MerkleTree()
    for body in tree.leaves[begin : begin + count]:
        one.append(body)
    return one.head()


class FakeRekor(Loopback):
    """``with FakeRekor(world.rekor1) as log: log.url``; ``asked`` are the indices asked for."""

    def __init__(
        self,
        log: Log,
        *,
        closed: Sequence[RekorV1] = (),
        lie: Lie | None = None,
        statuses: list[int] | None = None,
        status: int = 200,
        endless: bool = False,
    ) -> None:
        super().__init__()
        self.log = log
        self.closed = closed
        """Trees that a v1 has stopped to grow."""
        self.paths: list[str] = []
        """Everything that was asked for."""
        self.lie = lie
        self.status = status
        self.statuses = list(statuses or [])
        """One for each of the first questions; then `status`."""
        self.endless = endless
        self.asked: list[int] = []
        self.told: list[dict[str, str]] = []
        """The headers of each question; every answer asks to be remembered by a cookie."""

    def serve(self, handler: Any) -> None:  # noqa: ANN401
        """Answer one question."""
        parts = urlsplit(handler.path)
        self.paths.append(handler.path)
        self.told.append({name.lower(): value for name, value in handler.headers.items()})
        status = self.statuses.pop(0) if self.statuses else self.status
        if parts.path != "/api/v1/log/entries":
            self._write(handler, status, self._grown(parts.path, parse_qs(parts.query)))
            return
        index = int(parse_qs(parts.query).get("logIndex", ["-1"])[0])
        self.asked.append(index)
        entry = next((e for e in self.log.entries if e.log_index == index), None)
        body = None
        if entry is not None:
            said: Json | bytes = answer(entry)
            if self.lie is not None:
                said = self.lie(answer(entry), entry)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self._write(handler, status, body)

    def _grown(self, path: str, query: Mapping[str, list[str]]) -> bytes | None:
        """What shows how the log grew."""
        if path == "/api/v2/checkpoint":
            return self.log.checkpoint().encode()
        if path.startswith("/api/v2/tile/"):
            return tile(self.log, path.removeprefix("/api/v2/tile/"))
        if path == "/api/v1/log":
            return json.dumps(trees(self.log, closed=self.closed)).encode()
        if path == "/api/v1/log/proof":
            known = [one for one in (self.log, *self.closed) if isinstance(one, RekorV1)]
            asked = next((one for one in known if str(one.tree_id) == query["treeID"][0]), None)
            said = None if asked is None else consistency(asked, query)
            return None if said is None else json.dumps(said).encode()
        return None

    def _write(self, handler: Any, status: int, body: bytes | None) -> None:  # noqa: ANN401
        if body is None:
            status = 404
        if status != 200 or body is None:
            body = b'{"code":%d,"message":"no"}' % status
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Set-Cookie", "who=you; Path=/")
            if status in {301, 302}:
                handler.send_header("Location", f"{self.url}/elsewhere")
            if not self.endless:
                handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            while self.endless:
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True
