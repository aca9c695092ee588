"""Rekor's HTTP API, the questions that a packer has: of one entry, and of how the log grew.

    GET {base}/api/v1/log/entries?logIndex=N                       openapi.yaml: getLogEntryByIndex
    GET {base}/api/v1/log                                          getLogInfo
    GET {base}/api/v1/log/proof?firstSize=N&lastSize=N&treeID=N    getLogProof
    GET {base}/api/v2/checkpoint, {base}/api/v2/tile/L/N[.p/W]     rekor-tiles; C2SP tlog-tiles

Through the same door as registries: bounded in time and size, no redirects, the user's proxies and
authorities. Nothing that a log answers is believed here; `prove.py` verifies it.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from bundler.errors import (
    RemoteError,
    RemoteLogError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteUnavailableError,
)
from bundler.registry.http import Answer, Http, place_of
from bundler.registry.retry import Retry, retry_after_seconds
from bundler.registry.settings import RegistrySettings
from loader.errors import FormatError, shown
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model import strictjson
from loader.model.entry import HASH_SIZE
from loader.model.fields import Fields, decode_base64, decode_hex
from loader.model.strictjson import JsonObject

ANSWER_SIZE_MAX: Final = 8 * MIB
"""Bytes of an answer: an entry has a few KiB, an attestation that the log stored beside it 100."""
TREE_COUNT_MAX: Final = 1000
"""Trees that one log closed; the public one had four in five years."""
_FIRST_ATTEMPT_COUNT: Final = 2
"""Tries of a log that has not answered yet: it may well be one that cannot be reached from here."""
_Answer = TypeVar("_Answer")
_OK, _TIMEOUT, _NOT_FOUND, _RATE = 200, 408, 404, 429
_SERVER_ERRORS: Final = range(500, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAnswer:
    """What a log says of an entry."""

    log_id: bytes
    log_index: int
    integrated_time: int
    body: bytes
    proof: JsonObject
    """Written as in a Sigstore bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeAnswer:
    """What a Rekor v1 says of one of its trees."""

    tree: str
    """Its number, which its checkpoints name behind the log."""
    checkpoint: str


class RekorClient:
    """Asks logs; called from several threads."""

    def __init__(self, settings: RegistrySettings, *, sleep: Callable[[float], None]) -> None:
        self._http = Http(settings)
        timing = settings.timing
        count = min(_FIRST_ATTEMPT_COUNT, timing.attempt_count)
        self._patient = Retry(timing=timing, sleep=sleep)
        self._hasty = Retry(timing=replace(timing, attempt_count=count), sleep=sleep)
        self._lock = threading.Lock()
        self._answered: set[str] = set()
        self._down: dict[str, RemoteError] = {}

    def close(self) -> None:
        """Cut what is being read, and close every connection."""
        self._http.close()

    def entry(self, base: str, log_index: int) -> LogAnswer:
        """Return what the log at this address says of the entry with this index.

        Raises:
            RemoteError: it cannot be asked, and is not asked again; or it has no such entry.
            RemoteLogError: its answer is not one.
        """
        return self._answer(
            base, f"/api/v1/log/entries?logIndex={log_index}", parse_answer, what="a log's entry"
        )

    def trees(self, base: str) -> tuple[TreeAnswer, ...]:
        """Return the trees of a Rekor v1: the one that grows first, then those that it closed.

        Raises:
            RemoteError, RemoteLogError: as `entry`.
        """
        return self._answer(base, "/api/v1/log", parse_trees, what="a log's trees")

    def consistency(self, base: str, tree: str, size: int, later_size: int) -> tuple[bytes, ...]:
        """Return the path from an earlier tree of a Rekor v1 to a later one.

        Raises:
            RemoteError, RemoteLogError: as `entry`.
        """
        asked = f"/api/v1/log/proof?firstSize={size}&lastSize={later_size}&treeID={tree}"
        return self._answer(base, asked, parse_path, what="how a log grew")

    def checkpoint(self, base: str) -> str:
        """Return the newest checkpoint of a Rekor v2.

        Raises:
            RemoteError, RemoteLogError: as `entry`.
        """
        return self._answer(base, "/api/v2/checkpoint", parse_note, what="a log's checkpoint")

    def tile(self, base: str, path: str) -> bytes:
        """Return a tile of a Rekor v2: up to 256 hashes.

        Raises:
            RemoteError: as `entry`.
        """
        return self._ask(base, f"{base.rstrip('/')}/api/v2/tile/{path}")

    def _answer(self, base: str, path: str, parse: Callable[..., _Answer], *, what: str) -> _Answer:
        url = f"{base.rstrip('/')}{path}"
        raw = self._ask(base, url)
        try:
            return parse(raw, where=place_of(url))
        except FormatError as e:
            raise RemoteLogError(
                f"not an answer about {what}: {e.message}",
                where=e.where or place_of(url),
                expected=e.expected,
                found=e.found,
            ) from e

    def _ask(self, base: str, url: str) -> bytes:
        """Ask a log, patiently if it answered before; one that does not is asked no more."""
        with self._lock:
            if base in self._down:
                raise self._down[base]
            retry = self._patient if base in self._answered else self._hasty
        try:
            raw = retry.run(lambda: self._get(url))
        except RemoteError as e:
            if e.retryable:
                with self._lock:
                    self._down.setdefault(base, e)
            raise
        with self._lock:
            self._answered.add(base)
        return raw

    def _get(self, url: str) -> bytes:
        with self._http.get(url, {"Accept": "application/json"}) as answer:
            if answer.status != _OK:
                raise _refused(answer)
            return answer.read(size_max=ANSWER_SIZE_MAX, what="an answer of a log")


def _refused(answer: Answer) -> RemoteError:
    place, status = place_of(answer.url), answer.status
    headers = answer.headers
    after = retry_after_seconds(headers.get("Retry-After"), headers.get("Date"))
    if status == _NOT_FOUND:
        return RemoteNotFoundError("the log knows no such entry", where=place)
    if status == _RATE:
        return RemoteRateLimitError("the log is asked too often", where=place, after_seconds=after)
    if status == _TIMEOUT or status in _SERVER_ERRORS:
        return RemoteUnavailableError(
            "the log cannot answer now", where=place, found=str(status), after_seconds=after
        )
    return RemoteProtocolError("the log gives no answer", where=place, found=f"status {status}")


def parse_answer(raw: bytes, *, where: str) -> LogAnswer:
    """Return what a log's answer to `logIndex=` says: one entry, with its proof.

    Raises:
        FormatError: it says something else.
    """
    document = strictjson.parse_object(raw, what="a log's answer", size_max=ANSWER_SIZE_MAX)
    if len(document) != 1:
        raise FormatError("not one entry", where=where, found=f"{len(document)} entries")
    [(name, value)] = document.items()
    fields = Fields(value, f"{where} {shown(name, limit=100)}")
    body = fields.text("body", length_max=ANSWER_SIZE_MAX)
    proof = fields.fields("verification").fields("inclusionProof")
    return LogAnswer(
        log_id=decode_hex(fields.text("logID", length_max=2 * HASH_SIZE), where=fields.at("logID")),
        log_index=fields.integer("logIndex"),
        integrated_time=fields.integer("integratedTime"),
        body=decode_base64(body, where=fields.at("body")),
        proof={
            "logIndex": str(proof.integer("logIndex")),
            "rootHash": _hash(proof.value("rootHash"), where=proof.at("rootHash")),
            "treeSize": str(proof.integer("treeSize")),
            "hashes": [
                _hash(item, where=proof.at("hashes"))
                for item in proof.items("hashes", count_max=DEFAULT_LIMITS.proof_hash_count_max)
            ],
            "checkpoint": {
                "envelope": proof.text("checkpoint", length_max=DEFAULT_LIMITS.checkpoint_size_max)
            },
        },
    )


def parse_trees(raw: bytes, *, where: str) -> tuple[TreeAnswer, ...]:
    """Return what a log says of its trees: the growing one, then the closed ones.

    Raises:
        FormatError: it says something else.
    """
    document = strictjson.parse_object(raw, what="a log's answer", size_max=ANSWER_SIZE_MAX)
    fields = Fields(document, where)
    closed = (
        fields.each("inactiveShards", count_max=TREE_COUNT_MAX)
        if fields.has("inactiveShards")
        else ()
    )
    return tuple(
        TreeAnswer(
            tree=item.text("treeID", length_max=40),
            checkpoint=item.text("signedTreeHead", length_max=DEFAULT_LIMITS.checkpoint_size_max),
        )
        for item in (fields, *closed)
    )


def parse_path(raw: bytes, *, where: str) -> tuple[bytes, ...]:
    """Return the nodes of a consistency path.

    Raises:
        FormatError: it says something else.
    """
    document = strictjson.parse_object(raw, what="a log's answer", size_max=ANSWER_SIZE_MAX)
    fields = Fields(document, where)
    return tuple(
        _node(item, where=fields.at("hashes"))
        for item in fields.items("hashes", count_max=2 * DEFAULT_LIMITS.proof_hash_count_max)
    )


def parse_note(raw: bytes, *, where: str) -> str:
    """Return a signed note as text; who signed it is for others to verify.

    Raises:
        FormatError: it is no text, or too long for one.
    """
    if len(raw) > DEFAULT_LIMITS.checkpoint_size_max:
        raise FormatError("too long for a checkpoint", where=where, found=f"{len(raw)} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise FormatError("not UTF-8", where=where) from e


def _node(value: object, *, where: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * HASH_SIZE:
        raise FormatError("not a SHA-256 hash", where=where)
    return decode_hex(value, where=where)


def _hash(value: object, *, where: str) -> str:
    """Return a hash as bundles write it, from how Rekor does: in hexadecimal."""
    return b64encode(_node(value, where=where)).decode("ascii")
