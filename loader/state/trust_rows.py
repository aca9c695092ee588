"""The rows of the ledger that hold trust material: documents, and the files that they name."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

import rfc8785

from loader.digest import Digest
from loader.errors import FormatError, StateError, shown
from loader.limits import MIB, STATE_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.state.floors import Floors
from loader.trust.memory import Seen, TrustKey, parse_kind, parse_seen

DOCUMENT_SIZE_MAX: Final = 64 * MIB


def read_seen(db: sqlite3.Connection) -> dict[TrustKey, Seen]:
    """Return every document.

    Raises:
        FormatError: one cannot be understood.
    """
    found: dict[TrustKey, Seen] = {}
    for kind_text, name, text in db.execute("SELECT kind, name, seen FROM trust"):
        kind = parse_kind(kind_text, where="ledger, trust")
        document = strictjson.parse_object(
            text.encode("utf-8"),
            what="trust material that was seen",
            size_max=DOCUMENT_SIZE_MAX,
            keys="exact",
            limits=STATE_LIMITS,
        )
        found[kind, name] = parse_seen(kind, Fields(document, f"trust {kind} {shown(name)}"))
    return found


def read_files(db: sqlite3.Connection, floors: Floors, *, where: str) -> dict[Digest, bytes]:
    """Return the files that the floors name.

    Raises:
        StateError: one is not there, or not as it was written.
    """
    found: dict[Digest, bytes] = {}
    for digest in sorted(floors.trust_files):
        row = db.execute(
            "SELECT content FROM trust_files WHERE digest = ?", (str(digest),)
        ).fetchone()
        if row is None or not isinstance(row[0], bytes) or Digest.of(row[0]) != digest:
            raise StateError(
                "a file of trust material is missing or was changed",
                where=where,
                expected=str(digest),
                found="nothing" if row is None else shown(row[0], limit=60),
            )
        found[digest] = row[0]
    return found


def write(
    db: sqlite3.Connection, before: Floors, after: Floors, files: Mapping[Digest, bytes]
) -> None:
    """Write the rows that differ, and forget the files that nothing names any more.

    Raises:
        StateError: a file that is named is neither here nor in `files`, or a document could not be
            read again.
    """
    for key, seen in after.trust.items():
        if before.trust.get(key) == seen:
            continue
        kind, name = key
        raw = rfc8785.dumps(seen.plain())
        db.execute(
            "INSERT OR REPLACE INTO trust VALUES (?, ?, ?)", (kind, name, raw.decode("utf-8"))
        )
    for digest in after.trust_files - before.trust_files:
        content = files.get(digest)
        if content is None or Digest.of(content) != digest:
            raise StateError("trust material without its file", found=str(digest))
        db.execute("INSERT OR REPLACE INTO trust_files VALUES (?, ?)", (str(digest), content))
    db.executemany(
        "DELETE FROM trust_files WHERE digest = ?",
        [(str(digest),) for digest in before.trust_files - after.trust_files],
    )
    try:
        readable = read_seen(db) == after.trust
    except FormatError as e:
        raise StateError("trust material that could not be read again", found=shown(e)) from e
    if not readable:
        raise StateError("trust material would not be read as it is")
