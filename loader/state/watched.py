"""What `watch` remembers of files: attempts that ended with no answer, and verdicts.

Not the ledger: nothing is accepted by what stands here. It spares the host from judging the same
file every minute, and from running into the same crash for ever; an attempt is written down before
it begins. Where the file is damaged it is begun anew: what is lost is patience, not memory.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Collection
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from loader.errors import shown
from loader.model.fields import format_instant
from loader.places import open_private_folder, state_error
from loader.state.database import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.places import Places

ROW_COUNT_MAX: Final = 100_000
VERDICT_HOURS: Final = 24
"""How long a verdict stands that anything but the file may have a part in: a clock that was wrong,
trust that came since. A file that is malformed stays so."""
KEPT_DAYS: Final = 30
"""How long a file is remembered that is no longer there: sticks come and go."""
_WHAT: Final = "what watch remembers"
_BUSY_SECONDS: Final = 5.0
_FOR_GOOD: Final = frozenset(
    {"container", "tar", "path", "json", "oci", "missing", "digest", "limit"}
)
_COLUMNS: Final = (
    "identity", "first_seen", "last_seen", "attempts", "under", "code", "words", "judged_at",
    "said",
)  # fmt: skip
_TABLE: Final = """CREATE TABLE IF NOT EXISTS files (
    identity TEXT PRIMARY KEY,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    under TEXT,
    code TEXT,
    words TEXT,
    judged_at TEXT,
    said TEXT
) STRICT"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a file."""

    first_seen: str
    attempts: int
    """Attempts that ended with no answer: killed, crashed, hanging."""
    code: str | None
    """The verdict, where one stands: an error's code, or `loaded`."""
    words: str


class Watched:
    """The open memory. Use it as a context manager."""

    __slots__ = ("_at", "_db", "_how", "_under")

    def __init__(self, db: sqlite3.Connection, *, at: datetime, under: str) -> None:
        self._db = db
        self._at = at
        self._under = under
        self._how = ""

    @classmethod
    def open(cls, places: Places, *, at: datetime, under: str) -> Self:
        """Open the memory, or begin it.

        Args:
            places: this host's.
            at: by the local clock.
            under: policy, anchors, target and loader: a verdict under others does not stand.

        Raises:
            LocalError: it cannot be opened or written.
        """
        path = places.watched
        os.close(open_private_folder(places.state, create=True))
        try:
            try:
                db = _opened(path)
            except _DamagedError:
                for left in (path, path.with_name(f"{path.name}-journal")):
                    left.unlink(missing_ok=True)
                db = _opened(path)
        except OSError as e:
            raise state_error(e, what=_WHAT, where=shown(str(path))) from e
        return cls(db, at=at.replace(microsecond=0), under=under)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def see(self, identities: Collection[str]) -> dict[str, Known]:
        """Write down that these files are there; return what is known of each."""
        now = format_instant(self._at)
        forgotten = format_instant(self._at - timedelta(days=KEPT_DAYS))
        known: dict[str, Known] = {}
        with self._lasting("NORMAL"):
            for identity in identities:
                self._db.execute(
                    "INSERT INTO files (identity, first_seen, last_seen) VALUES (?, ?, ?) "
                    "ON CONFLICT (identity) DO UPDATE SET last_seen = excluded.last_seen",
                    (identity, now, now),
                )
                known[identity] = self._known(identity)
            self._db.execute("DELETE FROM files WHERE last_seen < ?", (forgotten,))
            self._db.execute(
                "DELETE FROM files WHERE identity NOT IN "
                "(SELECT identity FROM files ORDER BY last_seen DESC LIMIT ?)",
                (ROW_COUNT_MAX,),
            )
        return known

    def begin(self, identity: str, *, doing: Literal["look", "load"]) -> None:
        """Count an attempt, before it begins.

        Before a load the count outlives a power cut; before a look, which reads a file's head, it
        outlives this process.
        """
        with self._lasting("EXTRA" if doing == "load" else "OFF"):
            self._db.execute(
                "UPDATE files SET attempts = attempts + 1 WHERE identity = ?", (identity,)
            )

    def answered(self, identity: str) -> None:
        """Take an attempt back that ended with an answer, whatever it was."""
        with self._lasting("OFF"):
            self._db.execute(
                "UPDATE files SET attempts = attempts - 1 WHERE identity = ? AND attempts > 0",
                (identity,),
            )

    def judged(self, identity: str, *, code: str, words: str) -> None:
        """Keep a verdict; the attempt is answered."""
        with self._lasting("OFF"):
            self._db.execute(
                "UPDATE files SET attempts = 0, under = ?, code = ?, words = ?, judged_at = ? "
                "WHERE identity = ?",
                (self._under, code, words, format_instant(self._at), identity),
            )

    def is_news(self, identity: str, what: str) -> bool:
        """Tell whether anything else was said of this file before; from now on, this was."""
        with self._lasting("OFF"):
            done = self._db.execute(
                "UPDATE files SET said = ? WHERE identity = ? AND said IS NOT ?",
                (what, identity, what),
            )
        return done.rowcount > 0

    def _known(self, identity: str) -> Known:
        row = self._db.execute(
            "SELECT first_seen, attempts, under, code, words, judged_at FROM files "
            "WHERE identity = ?",
            (identity,),
        ).fetchone()
        first_seen, attempts, under, code, words, judged_at = row
        if under != self._under or not self._stands(code, judged_at):
            code, words = None, ""
        return Known(first_seen=first_seen, attempts=attempts, code=code, words=words or "")

    def _stands(self, code: str | None, judged_at: str | None) -> bool:
        if code is None or judged_at is None:
            return False
        if code == "loaded" or code.partition(".")[0] in _FOR_GOOD:
            return True
        oldest = format_instant(self._at - timedelta(hours=VERDICT_HOURS))
        return oldest <= judged_at <= format_instant(self._at)

    @contextmanager
    def _lasting(self, how: Literal["OFF", "NORMAL", "EXTRA"]) -> Iterator[None]:
        with translated(_WHAT):
            if how != self._how:
                self._db.execute(f"PRAGMA synchronous={how}")
                self._how = how
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


class _DamagedError(Exception):
    """The file is no database, a damaged one, or another version's."""


def _opened(path: Path) -> sqlite3.Connection:
    """Return the database, made for this user alone where there is none."""
    with contextlib.suppress(FileExistsError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _DamagedError
    with translated(_WHAT):
        db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
        try:
            usable = _made_usable(db)
        except sqlite3.DatabaseError as e:
            db.close()
            if _is_damage(e):
                raise _DamagedError from e
            raise
    if not usable:
        db.close()
        raise _DamagedError
    return db


def _made_usable(db: sqlite3.Connection) -> bool:
    """Make the table where there is none; tell whether it is whole, and this version's."""
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA cell_size_check=ON")
    db.execute("PRAGMA journal_mode=TRUNCATE")
    whole = db.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    if whole:
        db.execute(_TABLE)
    return whole and [row[1] for row in db.execute("PRAGMA table_info(files)")] == list(_COLUMNS)


def _is_damage(e: sqlite3.DatabaseError) -> bool:
    primary = getattr(e, "sqlite_errorcode", 0) & 0xFF
    return primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
