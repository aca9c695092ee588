"""One fact: a log promised to include an entry (Rekor v1's signed entry timestamp, SET).

The promise covers the body, the integrated time, the log's id and the entry's index, as canonical
JSON (RFC 8785). It is why the integrated time can be believed at all (CVE-2024-55655).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import rfc8785

from loader.errors import PromiseError, SignatureMismatchError
from loader.verify.message import Message
from loader.verify.signature import verify_with_hash

if TYPE_CHECKING:
    from datetime import datetime

    from loader.model.entry import LogEntry
    from loader.trust.trusted_root import Log


def verify_promise(entry: LogEntry, log: Log) -> datetime:
    """Check a log's promise over an entry, and return the time that it fixes.

    Args:
        entry: with a promise; its body is put back into the base64 that the log signed.
        log: the log that has the entry's id.

    Raises:
        PromiseError: there is no promise or time, the log makes none, or it is not the log's.
    """
    if entry.promise is None or entry.integrated_time is None:
        raise PromiseError("a log entry without a promise and a time", found=f"log {log.name}")
    if not log.is_named_by_key or not log.key.algorithm.startswith("ECDSA"):
        raise PromiseError("a promise of a log that makes none", found=f"log {log.name}")
    try:
        signed = rfc8785.dumps(
            {
                "body": base64.b64encode(entry.body).decode("ascii"),
                "integratedTime": int(entry.integrated_time.timestamp()),
                "logID": entry.log_id.hex(),
                "logIndex": entry.log_index,
            }
        )
    except rfc8785.CanonicalizationError as e:
        raise PromiseError(
            "an index that canonical JSON cannot write", found=str(entry.log_index)
        ) from e
    try:
        verify_with_hash(
            log.key, entry.promise, Message.of(signed), hash_name="sha256", what="a log's promise"
        )
    except SignatureMismatchError as e:
        raise PromiseError(
            "a promise that is not the log's over this entry", expected=e.expected
        ) from e
    return entry.integrated_time
