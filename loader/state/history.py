"""The ledger as somebody reads it who may not write: records, newest first, and the keys.

A view of what stands there. Whether it is what was written is `audit`'s question; here every record
is still parsed from the very bytes that its hash covers.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.errors import ReadOnlyError, StateError, StateKeyError, shown
from loader.places import open_private_folder
from loader.state import database, signed_rows
from loader.state.floors import Copy, Floors, read_copy
from loader.state.record import Record
from loader.state.signing import LOST_HINT

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.places import Places
    from loader.trust.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table of records, as it stands there."""

    number: int
    hash: str
    record: bytes
    key: str | None
    signature: str | None


class Reading:
    """An open ledger that is read. Made by `reading`."""

    __slots__ = ("_db", "copy", "where")

    def __init__(self, db: sqlite3.Connection | None, copy: Copy | None, *, where: str) -> None:
        self._db = db
        self.copy = copy
        """The second copy of the floors, where there is one."""
        self.where = where

    def rows(self, *, newest_first: bool = False) -> Iterator[Row]:
        """Yield the rows, one in memory at a time; none on a host that did nothing yet.

        Raises:
            StateError: SQLite cannot read on.
        """
        if self._db is None:
            return
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT number, hash, record, key, signature FROM records ORDER BY number {order}"  # noqa: S608
        with database.translated(self.where):
            for number, hash_, record, key, signature in self._db.execute(query):
                if not isinstance(number, int) or not isinstance(record, str):
                    raise StateError("a row of the ledger is damaged", where=self.where)
                yield Row(
                    number=number,
                    hash=str(hash_),
                    record=record.encode("utf-8", "surrogatepass"),
                    key=key if isinstance(key, str) else None,
                    signature=signature if isinstance(signature, str) else None,
                )

    def records(self) -> Iterator[Record]:
        """Yield the records, the newest first.

        Raises:
            StateError: one is not what its hash says, or cannot be understood.
        """
        for row in self.rows(newest_first=True):
            record = Record.parse(row.record, where=f"record {row.number}")
            if str(record.hash) != row.hash or record.number != row.number:
                raise StateError(
                    "a record of the ledger was changed",
                    where=f"{self.where}, record {row.number}",
                    expected=shown(row.hash),
                    found=str(record.hash),
                    hint="airlock-loader audit verify",
                )
            yield record

    def keys(self) -> dict[Digest, PublicKey]:
        """Return the public keys that signed records."""
        if self._db is None:
            return {}
        with database.translated(self.where):
            return signed_rows.keys(self._db, where=self.where)

    def expect_signer(self, key: PublicKey | None) -> None:
        """Check that the key at hand signed the last record; without a record any may sign.

        Raises:
            StateKeyError: another key did, or there is none any more.
            StateError: the signature does not hold.
        """
        if self._db is None:
            return
        with database.translated(self.where):
            [number] = self._db.execute("SELECT max(number) FROM records").fetchone()
            if not signed_rows.expect_known_key(self._db, number, where=self.where):
                return
            if key is None:
                raise StateKeyError("the host's key is gone", where=self.where, hint=LOST_HINT)
            signed_rows.expect_signed(self._db, number, key, where=self.where)

    def floors(self) -> Floors:
        """Return the floors of the tables, whether or not they fit anything else.

        Raises:
            StateError: they cannot be understood.
        """
        if self._db is None:
            return Floors()
        with database.translated(self.where):
            return database.read_floors(self._db, where=self.where)

    def damage(self) -> str | None:
        """Return what SQLite finds wrong with the whole file, in its words."""
        if self._db is None:
            return None
        with database.translated(self.where):
            problems = self._db.execute("PRAGMA integrity_check(1)").fetchall()
        return None if problems == [("ok",)] else shown(problems)


@contextlib.contextmanager
def reading(places: Places) -> Iterator[Reading]:
    """Open the ledger to read it; on a host that did nothing yet there is nothing in it.

    Raises:
        StateMissingError: the ledger is gone, and its second copy is there.
        StateError: it is another program's file, a newer loader's, or cannot be opened.
    """
    where = database.shown_path(places.ledger)
    with contextlib.ExitStack() as stack:
        try:
            fd = open_private_folder(places.state, create=False)
        except FileNotFoundError:
            yield Reading(None, None, where=where)
            return
        stack.callback(os.close, fd)
        copy = read_copy(fd, places.floors.name, where=database.shown_path(places.floors))
        if not database.expect_file(fd, places.ledger):
            database.expect_never_begun(copy, where=where)
            yield Reading(None, copy, where=where)
            return
        db = _opened(places, stack, where=where)
        with database.translated(where):
            if database.is_empty(db):
                database.expect_never_begun(copy, where=where)
                yield Reading(None, copy, where=where)
                return
            database.expect_ours(db, where=where)
        yield Reading(db, copy, where=where)


def unfinished_policy(records: Iterable[Record]) -> Digest | None:
    """Return the policy whose acceptance was begun and did not come to its end.

    Args:
        records: the ledger's, the newest first.
    """
    for record in records:
        attempt = record.attempt
        if attempt.verb == "policy-accept" and attempt.outcome in {"begun", "done"}:
            return attempt.policy if attempt.outcome == "begun" else None
    return None


def _opened(places: Places, stack: contextlib.ExitStack, *, where: str) -> sqlite3.Connection:
    """Open the ledger for reading.

    Raises:
        StateError: a run was cut off, and only a writer may play its journal back.
    """
    try:
        with database.translated(where):
            db = database.connect(places.ledger, mode="ro")
            stack.callback(db.close)
            database.is_empty(db)
            return db
    except ReadOnlyError as e:
        if not places.ledger.with_name(places.ledger.name + "-journal").exists():
            raise
        raise StateError(
            "a run was cut off in the middle", where=where, hint=database.CUT_OFF
        ) from e
