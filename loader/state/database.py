"""The ledger's file: opened, looked over, read and written by functions of one SQLite connection.

Nothing that stands in it is believed because it stands there: file and folder must be ours alone,
SQLite must find the file whole, the chain's tail is recomputed, the floors must be those that the
last record names, and they must fit the second copy.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    BusyError,
    InterruptedLoadError,
    LocalError,
    NoSpaceError,
    ReadOnlyError,
    StateError,
    StateMissingError,
    StatePermissionError,
    StateVersionError,
    shown,
)
from loader.model.fields import Fields, format_instant, parse_instant
from loader.places import expect_private, state_error
from loader.state import schema, signed_rows, trust_rows
from loader.state.floors import ChannelFloor, Copy, Floors, NameFloor
from loader.state.record import NO_RECORD, Attempt, parse_record
from loader.state.signed_rows import Head

if TYPE_CHECKING:
    from loader.state.lock import StateFolder
    from loader.state.signing import Signer

BUSY_SECONDS: Final = 5.0
TAIL_COUNT: Final = 1000
"""Records whose chain is looked at whenever the ledger is opened; `audit verify` looks at all."""
TAIL_SIZE: Final = 16 * 1024 * 1024
"""Bytes of them: behind this, only the record that goes beyond it."""
CUT_OFF: Final = "a run was cut off: the next load, or `state recover`, brings it to its end"
"""What is to be done about a journal that only a writer may play back."""
_TIME: Final = "newest verified time"
_SQLITE_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def make_file(folder: StateFolder, path: Path) -> None:
    """Make an empty ledger where there is none."""
    if expect_file(folder.fd, path):
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path.name, flags, 0o600, dir_fd=folder.fd))
    except OSError as e:
        raise state_error(e, what="the ledger cannot be made", where=shown_path(path)) from e


def expect_never_begun(copy: Copy | None, *, where: str) -> None:
    """Refuse a ledger that is not there, or has nothing in it, where there was one once.

    Raises:
        StateMissingError: its second copy is there.
    """
    if copy is not None:
        raise StateMissingError(
            "the ledger is gone, and its second copy of the floors is there",
            where=where,
            hint="do not delete the copy: state recover begins a new ledger with its floors",
        )


def expect_file(folder: int, path: Path) -> bool:
    """Tell whether the ledger is there; it must then be a file that only we could have written."""
    where = shown_path(path)
    try:
        status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as e:
        raise state_error(e, what="the ledger cannot be looked at", where=where) from e
    if not stat.S_ISREG(status.st_mode):
        raise StatePermissionError(
            "the ledger is not a regular file",
            where=where,
            expected="a file, not a link",
            found=stat.filemode(status.st_mode),
        )
    expect_private(status, where=where)
    return True


def connect(path: Path, *, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Open the ledger, durable to the last byte where it is written."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    if mode == "rw":
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA synchronous=EXTRA")
    return db


def is_empty(db: sqlite3.Connection) -> bool:
    """Tell whether there is not even a table: nothing was ever committed here."""
    return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,))


def expect_whole(db: sqlite3.Connection, *, where: str) -> None:
    """Refuse another program's database, another version's, and a damaged one.

    Raises:
        StateError: it is one of these.
    """
    expect_ours(db, where=where)
    problems = db.execute("PRAGMA quick_check(1)").fetchall()
    if problems != [("ok",)]:
        raise StateError("the ledger is damaged", where=where, found=shown(problems))


def expect_ours(db: sqlite3.Connection, *, where: str) -> None:
    """Refuse another program's database, and another version's.

    Raises:
        StateError: it is one of these.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application != schema.APPLICATION_ID:
        raise StateError("this is not a ledger", where=where, found=shown(application))
    if not 1 <= version <= schema.VERSION:
        raise StateVersionError(
            "a ledger of another version",
            where=where,
            expected=f"1 to {schema.VERSION}",
            found=shown(version),
            hint="a newer loader wrote it: use that one, nothing was changed",
        )


def upgrade(db: sqlite3.Connection) -> None:
    """Give the ledger of an older loader the tables that came since, all of them or none."""
    version = _version(db)
    if version == schema.VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    for older in range(version, schema.VERSION):
        for statement in schema.UPGRADES[older]:
            db.execute(statement)
    db.execute(f"PRAGMA user_version={schema.VERSION}")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def begin(
    db: sqlite3.Connection,
    attempt: Attempt,
    signer: Signer,
    *,
    floors: Floors | None = None,
    files: Mapping[Digest, bytes] | None = None,
) -> Head:
    """Make tables and the first record, all or nothing; with floors where it takes over from one.

    Raises:
        StateError: the record, or trust material, could not be read again.
    """
    begun = floors or Floors()
    db.execute("BEGIN IMMEDIATE")
    for statement in schema.STATEMENTS:
        db.execute(statement)
    db.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={schema.VERSION}")
    head = signed_rows.insert(
        db, attempt, number=0, previous=NO_RECORD, floors=begun.digest, signer=signer
    )
    write_floors(db, Floors(), begun)
    trust_rows.write(db, Floors(), begun, files or {})
    db.execute("COMMIT")
    return head


def read(db: sqlite3.Connection, *, where: str) -> tuple[Head, Floors]:
    """Return the head of the chain and the floors, after the chain's tail was recomputed."""
    rows = db.execute("SELECT number, hash, record FROM records ORDER BY number DESC")
    try:
        floors = _read_floors(db)
        return _follow(rows, floors, where=where), floors
    except (InterruptedLoadError, StateError):
        raise
    except (AirlockError, AttributeError, TypeError) as e:
        raise StateError("the ledger cannot be understood", where=where, found=shown(e)) from e


def _follow(rows: Iterable[tuple[int, str, str]], floors: Floors, *, where: str) -> Head:
    """Recompute the chain from its last record backwards, holding one record at a time.

    Refused bundles add records, too: neither time nor memory may grow with what they hold.
    """
    head: Head | None = None
    named: Digest | None = None
    size = 0
    for position, (number, text, record) in enumerate(rows):
        if position == TAIL_COUNT or size > TAIL_SIZE:
            break
        place = f"{where}, record {number}"
        raw = record.encode("utf-8")
        size += len(raw)
        found = Digest.of(raw)
        if str(found) != text or named not in {None, found}:
            raise StateError(
                "a record of the ledger was changed",
                where=place,
                expected=str(named or text),
                found=str(found),
            )
        fields = Fields(parse_record(raw), place)
        head = head or Head(number=number, hash=found)
        if number != head.number - position or fields.integer("number") != number:
            raise StateError("a record of the ledger is missing", where=place)
        if position == 0 and fields.digest("floors") != floors.digest:
            raise StateError("the floors are not those of the last record", where=place)
        named = fields.digest("previous")
        if number == 0:
            break
    else:
        raise StateError("the chain of records does not begin at its beginning", where=where)
    if head is None or (head.number - position == 0) != (named == NO_RECORD):
        raise StateError("the chain of records does not begin at its beginning", where=where)
    return head


def read_floors(db: sqlite3.Connection, *, where: str) -> Floors:
    """Return the floors of the tables.

    Raises:
        StateError: they cannot be understood.
    """
    try:
        return _read_floors(db)
    except InterruptedLoadError:
        raise
    except (AirlockError, AttributeError, TypeError, ValueError) as e:
        raise StateError("the ledger cannot be understood", where=where, found=shown(e)) from e


def _read_floors(db: sqlite3.Connection) -> Floors:
    channels = db.execute("SELECT channel, sequence, statement FROM channels")
    names = db.execute("SELECT name, image, at FROM names")
    loaded = db.execute("SELECT target, name, image FROM loaded")
    logs = db.execute("SELECT signer, log, log_index FROM logs")
    times: dict[str, str] = dict(db.execute("SELECT what, at FROM times").fetchall())
    return Floors(
        channels={
            name: ChannelFloor(sequence=sequence, statement=Digest.parse(statement))
            for name, sequence, statement in channels
        },
        names={
            name: NameFloor(image=Digest.parse(image), at=_instant(at)) for name, image, at in names
        },
        loaded={(target, name): Digest.parse(image) for target, name, image in loaded},
        logs={(signer, log): log_index for signer, log, log_index in logs},
        time=_instant(times.get(_TIME)),
        # Somebody who only looks does not upgrade.
        trust=trust_rows.read_seen(db) if _version(db) > 1 else {},
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text, where="ledger")


def write_floors(db: sqlite3.Connection, before: Floors, after: Floors) -> None:
    """Write the rows that differ."""
    for name, channel in after.channels.items():
        if before.channels.get(name) != channel:
            db.execute(
                "INSERT OR REPLACE INTO channels VALUES (?, ?, ?)",
                (name, channel.sequence, str(channel.statement)),
            )
    for name, floor in after.names.items():
        if before.names.get(name) != floor:
            at = None if floor.at is None else format_instant(floor.at)
            db.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (name, str(floor.image), at)
            )
    for (target, name), image in after.loaded.items():
        if before.loaded.get((target, name)) != image:
            db.execute("INSERT OR REPLACE INTO loaded VALUES (?, ?, ?)", (target, name, str(image)))
    for (signer, log), log_index in after.logs.items():
        if before.logs.get((signer, log)) != log_index:
            db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", (signer, log, log_index))
    if after.time is not None and after.time != before.time:
        db.execute(
            "INSERT OR REPLACE INTO times VALUES (?, ?)", (_TIME, format_instant(after.time))
        )


def expect_fit(
    db: sqlite3.Connection, head: Head, floors: Floors, copy: Copy | None, *, where: str
) -> None:
    """Refuse a ledger and a second copy that one run did not write one after the other."""
    if copy is None:
        if head.number > 0:
            raise StateMissingError(
                "the second copy of the floors is gone",
                where=where,
                hint="state recover writes it anew; was the ledger put back to an older day?",
            )
        return
    row = db.execute("SELECT hash FROM records WHERE number = ?", (copy.number,)).fetchone()
    if copy.number > head.number or row != (str(copy.record),):
        raise StateError(
            "the ledger is older than, or another than, the second copy of the floors",
            where=where,
            expected=f"record {copy.number} with hash {copy.record}",
            found=f"{head.number} records" if row is None else shown(row[0]),
        )
    fits = floors == copy.floors if copy.number == head.number else floors.covers(copy.floors)
    if not fits:
        raise StateError("the ledger's floors are not those of the second copy", where=where)


def parse_digest(text: str, *, where: str) -> Digest:
    """Return a digest that a row holds.

    Raises:
        StateError: it is none.
    """
    try:
        return Digest.parse(text)
    except InterruptedLoadError:
        raise
    except AirlockError as e:
        raise StateError("the ledger cannot be understood", where=where, found=shown(e)) from e


def shown_path(path: Path) -> str:
    """Return a path for a message."""
    return shown(str(path))


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Say what SQLite says in our words."""
    try:
        yield
    except sqlite3.Error as e:
        raise _state_fault(e, where=where) from e


def _state_fault(e: sqlite3.Error, *, where: str) -> LocalError:
    primary = getattr(e, "sqlite_errorcode", 0) & 0xFF
    found = shown(str(e))
    if primary in _SQLITE_BUSY:
        return BusyError("the ledger is in use", where=where, found=found)
    if primary == sqlite3.SQLITE_FULL:
        return NoSpaceError("the ledger cannot be written", where=where, found=found)
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return ReadOnlyError("the ledger cannot be written", where=where, found=found)
    return StateError("the ledger cannot be used", where=where, found=found)
