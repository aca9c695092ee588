"""The tables of the ledger; people read them with `sqlite3 ledger.sqlite 'table attempts'`."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x4149524C
"""`AIRL`, in the header of the file: `file` and we tell it from other databases."""
VERSION: Final = 2

_KEYS: Final = (
    # Public halves: a record names its key by digest, so a row here can say nothing false.
    """CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        spki TEXT NOT NULL
    ) STRICT""",
)
_TRUST: Final = (
    # What was seen of roots and logs, each one document; `kind` decides what may follow it.
    """CREATE TABLE trust (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        seen TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT""",
    # The bytes of the files that these documents name.
    """CREATE TABLE trust_files (
        digest TEXT PRIMARY KEY,
        content BLOB NOT NULL
    ) STRICT""",
)
UPGRADES: Final = {1: (*_KEYS, *_TRUST)}
"""What makes a ledger of the next version out of one of this; rows are never rewritten."""

STATEMENTS: Final = (
    # The bytes that were hashed stand in `record`; everything else about an attempt is a view of
    # them, so that no column can say another thing. `signature` is the host key's, over `record`.
    """CREATE TABLE records (
        number INTEGER PRIMARY KEY,
        hash TEXT NOT NULL,
        record TEXT NOT NULL,
        key TEXT,
        signature TEXT
    ) STRICT""",
    """CREATE VIEW attempts AS SELECT
        number,
        json_extract(record, '$.at') AS at,
        json_extract(record, '$.verb') AS verb,
        json_extract(record, '$.outcome') AS outcome,
        json_extract(record, '$.archive') AS archive,
        json_extract(record, '$.channel') AS channel,
        json_extract(record, '$.sequence') AS sequence,
        json_extract(record, '$.target') AS target,
        json_extract(record, '$.downgrade') AS downgrade,
        json_extract(record, '$.failure.code') AS failure,
        json_extract(record, '$.failure.message') AS message,
        json_extract(record, '$.statement') AS statement
    FROM records ORDER BY number""",
    """CREATE TABLE channels (
        channel TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        statement TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE names (
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL,
        at TEXT
    ) STRICT""",
    """CREATE TABLE loaded (
        target TEXT NOT NULL,
        name TEXT NOT NULL,
        image TEXT NOT NULL,
        PRIMARY KEY (target, name)
    ) STRICT""",
    """CREATE TABLE logs (
        signer TEXT NOT NULL,
        log TEXT NOT NULL,
        log_index INTEGER NOT NULL,
        PRIMARY KEY (signer, log)
    ) STRICT""",
    """CREATE TABLE times (
        what TEXT PRIMARY KEY,
        at TEXT NOT NULL
    ) STRICT""",
    # What a load is about to do, written before the runtime is asked: after a power cut the next
    # run knows that a name which points to one of these images was moved by us.
    """CREATE TABLE intents (
        target TEXT NOT NULL,
        name TEXT NOT NULL,
        image TEXT NOT NULL,
        PRIMARY KEY (target, name, image)
    ) STRICT""",
    *_KEYS,
    *_TRUST,
)
