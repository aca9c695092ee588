"""Records as rows, each with the host's signature, and the keys that made them."""

from __future__ import annotations

import base64
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    FormatError,
    InterruptedLoadError,
    StateError,
    StateKeyError,
    shown,
)
from loader.model.fields import decode_base64
from loader.state.record import Attempt, parse_record
from loader.state.signing import LOST_HINT, key_id, signed_by
from loader.trust.keys import PublicKey

if TYPE_CHECKING:
    from loader.state.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last record of the chain."""

    number: int
    hash: Digest


def insert(
    db: sqlite3.Connection,
    attempt: Attempt,
    *,
    number: int,
    previous: Digest,
    floors: Digest,
    signer: Signer,
) -> Head:
    """Add a signed record, if it can be read again.

    Raises:
        StateError: it cannot, or the signature is not one by the host's key.
    """
    key = key_id(signer.key)
    raw = attempt.encode(number=number, previous=previous, floors=floors, key=key)
    try:
        parse_record(raw)
    except FormatError as e:
        raise StateError("a record that could not be read again", found=str(e)) from e
    signature = signer.sign(raw)
    signed_by(signer.key, signature, raw, where=f"record {number}")
    db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (str(key), _base64(signer.key.spki)))
    db.execute(
        "INSERT INTO records (number, hash, record, key, signature) VALUES (?, ?, ?, ?, ?)",
        (number, str(Digest.of(raw)), raw.decode("utf-8"), str(key), _base64(signature)),
    )
    return Head(number=number, hash=Digest.of(raw))


def expect_same_key(
    db: sqlite3.Connection, head: Head, signer: Signer | None, *, where: str
) -> Signer:
    """Return the signer, if it is who signed the last record.

    Raises:
        StateKeyError: it was another key, or none; or there is no key any more.
        StateError: the last record's signature does not hold.
    """
    if signer is None:
        raise StateKeyError("the host's key is gone", where=where, hint=LOST_HINT)
    expect_signed(db, head.number, signer.key, where=where)
    return signer


def expect_signed(db: sqlite3.Connection, number: int, key: PublicKey, *, where: str) -> None:
    """Check that a key signed a record.

    Raises:
        StateKeyError: it was another key, or none.
        StateError: the signature does not hold.
    """
    row = db.execute(
        "SELECT record, key, signature FROM records WHERE number = ?", (number,)
    ).fetchone()
    place = f"{where}, record {number}"
    if row is None or row[1] != str(key_id(key)):
        raise StateKeyError(
            "the ledger was signed by another key than the host has now",
            where=place,
            expected=shown(row[1]) if row is not None else "",
            found=str(key_id(key)),
            hint=LOST_HINT,
        )
    signature = read_base64(row[2], where=place)
    signed_by(key, signature, row[0].encode("utf-8"), where=place)


def expect_known_key(db: sqlite3.Connection, number: int, *, where: str) -> bool:
    """Tell whether this host signs its records; the ledger then holds the key of record `number`.

    A table of keys with nothing in it is no sign of an older ledger: records say in their own
    bytes, which the chain covers, which key signed them.

    Raises:
        StateError: a key was changed, or that of the last record, which `number` is, is gone.
    """
    there = {str(key) for key in keys(db, where=where)}
    named = db.execute(
        "SELECT number, json_extract(record, '$.key') FROM records"
        " WHERE json_extract(record, '$.key') IS NOT NULL ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if named is None:
        return bool(there)
    if named[0] == number and named[1] not in there:
        raise StateError(
            "the ledger does not hold the key that signed its last record",
            where=f"{where}, record {number}",
            expected=shown(named[1]),
            found=f"{len(there)} other keys" if there else "no key",
        )
    return True


def keys(db: sqlite3.Connection, *, where: str) -> dict[Digest, PublicKey]:
    """Return every key that signed records, each under its own digest, which records name.

    Raises:
        StateError: one was changed.
    """
    rows = db.execute("SELECT key, spki FROM keys")
    found = (_key(text, spki, where=where) for text, spki in rows)
    return {key_id(key): key for key in found}


def forget_damaged_keys(db: sqlite3.Connection, *, where: str) -> int:
    """Remove what is not the key that it says; whoever signs next writes a key of their own anew.

    Returns:
        How many went.
    """
    damaged: list[tuple[str]] = []
    for text, spki in db.execute("SELECT key, spki FROM keys").fetchall():
        try:
            _key(text, spki, where=where)
        except StateError:
            damaged.append((text,))
    db.executemany("DELETE FROM keys WHERE key = ?", damaged)
    return len(damaged)


def _key(text: str, spki: object, *, where: str) -> PublicKey:
    try:
        key = PublicKey.from_der(read_base64(spki, where=where), name="the host's key")
    except InterruptedLoadError:
        raise
    except AirlockError as e:
        raise StateError("a key of the ledger is damaged", where=where, found=shown(e)) from e
    if str(key_id(key)) != text:
        raise StateError("a key of the ledger was changed", where=where, found=shown(text))
    return key


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def read_base64(text: object, *, where: str) -> bytes:
    """Return the bytes that a column holds.

    Raises:
        StateError: it holds something else.
    """
    try:
        return decode_base64(text if isinstance(text, str) else "", where=where)
    except FormatError as e:
        raise StateError("the ledger cannot be understood", where=where, found=shown(e)) from e
