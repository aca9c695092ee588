"""Rekor v1's HTTP API, the one question that a packer has: what of the entry at this index?

    GET {base}/api/v1/log/entries?logIndex=N       rekor, openapi.yaml: getLogEntryByIndex

Through the same door as registries: bounded in time and size, no redirects, the user's proxies and
authorities. Nothing that a log answers is believed here; `prove.py` verifies it.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bundler.errors import (
    RemoteError,
    RemoteLogError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteUnavailableError,
)
from bundler.registry.http import Answer, Http, place_of
from bundler.registry.oras_client import make_session
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
_FIRST_ATTEMPT_COUNT: Final = 2
"""Tries of a log that has not answered yet: it may well be one that cannot be reached from here."""
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


class RekorClient:
    """Asks logs; called from several threads."""

    def __init__(self, settings: RegistrySettings, *, sleep: Callable[[float], None]) -> None:
        self._http = Http(settings, make_session=make_session)  # one that takes no cookies
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
        with self._lock:
            if base in self._down:
                raise self._down[base]
            retry = self._patient if base in self._answered else self._hasty
        url = f"{base.rstrip('/')}/api/v1/log/entries?logIndex={log_index}"
        try:
            raw = retry.run(lambda: self._get(url))
        except RemoteError as e:
            if e.retryable:
                with self._lock:
                    self._down.setdefault(base, e)
            raise
        with self._lock:
            self._answered.add(base)
        try:
            return parse_answer(raw, where=place_of(url))
        except FormatError as e:
            raise RemoteLogError(
                f"not an answer about a log's entry: {e.message}",
                where=e.where or place_of(url),
                expected=e.expected,
                found=e.found,
            ) from e

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


def _hash(value: object, *, where: str) -> str:
    """Return a hash as bundles write it, from how Rekor does: in hexadecimal."""
    if not isinstance(value, str) or len(value) != 2 * HASH_SIZE:
        raise FormatError("not a SHA-256 hash", where=where)
    return b64encode(decode_hex(value, where=where)).decode("ascii")
