"""The host's memory: what it accepted, every attempt in a chain, and the judge that admits.

SQLite with a rollback journal and `synchronous=EXTRA`, written under the lock of `StateFolder`
alone. A record and the floors that stand after it are one transaction, and the record's hash covers
both. A second copy of the floors follows it; where the two do not fit together the host refuses to
go on, because whoever could make it forget could make it go back.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from loader._seal import SEAL
from loader.digest import Digest
from loader.errors import LocalError, ReadOnlyError, StateError, UnconfirmedCommitError
from loader.places import Places, open_private_folder
from loader.state import database, signed_rows, trust_rows
from loader.state.admission import Admission, Ages, Candidate, CandidateName, consider
from loader.state.floors import Copy, Floors, prepare_copy, read_copy
from loader.state.record import Attempt
from loader.state.signing import HostKey
from loader.trust.memory import NO_MEMORY, TrustMemory
from loader.witness import Admitted, Authorized

if TYPE_CHECKING:
    from loader.policy.facts import ImageJudgement, Judgement
    from loader.state.lock import StateFolder
    from loader.state.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedBundle:
    """What was admitted, with what came of the comparison."""

    judgement: Judgement
    admission: Admission


def admit(
    authorized: Authorized[Judgement],
    floors: Floors,
    *,
    now: datetime,
    clock: Literal["warn", "strict"],
    ages: Ages,
    witness: Collection[str] = (),
    allow_downgrade: str | None = None,
    least: Mapping[str, int] | None = None,
) -> Admitted[AdmittedBundle]:
    """Admit what policy allows, if it is not older than what this host accepted (DESIGN §6, 6).

    Raises:
        TrustRootError, RollbackError, ExpiredError, ClockBehindError, UsageError: as
            `admission.consider`.
    """
    judgement = authorized.value
    admission = consider(
        _candidate(judgement),
        floors,
        now=now,
        clock=clock,
        allow_downgrade=allow_downgrade,
        ages=ages,
        witness=witness,
        least=least,
    )
    return Admitted(AdmittedBundle(judgement=judgement, admission=admission), SEAL)


class Ledger:
    """The open ledger of a locked state folder. Use it as a context manager."""

    __slots__ = ("_db", "_files", "_folder", "_signer", "floors", "head")

    def __init__(
        self,
        db: sqlite3.Connection,
        folder: StateFolder,
        *,
        floors: Floors,
        head: signed_rows.Head,
        files: Mapping[Digest, bytes],
        signer: Signer,
    ) -> None:
        self._db = db
        self._folder = folder
        self._files = files
        self._signer = signer
        self.floors = floors
        self.head = head

    @classmethod
    def open(
        cls, folder: StateFolder, *, at: datetime, loader: str, signer: Signer | None = None
    ) -> Self:
        """Open the ledger, or begin it on a host that has neither ledger nor floors.

        A run that was killed between its commit and the second copy is brought to its end.

        Args:
            folder: the state folder, locked.
            at: the local clock, for the first record.
            loader: the loader's version.
            signer: who signs for this host; None takes the key in the state folder.

        Raises:
            StateError: ledger and second copy are damaged, or do not fit together.
            StateKeyError: the host's key is gone, or another than the one that signed before.
            LocalError: they cannot be read or written.
        """
        path, floors_path = folder.places.ledger, folder.places.floors
        where = database.shown_path(path)
        copy = read_copy(folder.fd, floors_path.name, where=database.shown_path(floors_path))
        database.make_file(folder, path)
        with database.translated(where):
            db = database.connect(path, mode="rw")
        try:
            with database.translated(where):
                if database.is_empty(db):
                    database.expect_never_begun(copy, where=where)
                    signer = signer or HostKey.read(folder) or HostKey.make(folder)
                    first = Attempt(verb="begin", outcome="begun", at=at, loader=loader)
                    database.begin(db, first, signer)
                database.expect_whole(db, where=where)
                head, floors = database.read(db, where=where)
                database.expect_fit(db, head, floors, copy, where=where)
                database.upgrade(db)
                files = trust_rows.read_files(db, floors, where=where)
                signer = _signer_of(db, folder, head, signer, where=where)
            ledger = cls(db, folder, floors=floors, head=head, files=files, signer=signer)
            if copy is None or copy.number != head.number:
                prepare_copy(folder.fd, floors_path, ledger._copy()).publish()
        except BaseException:
            db.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    @property
    def trust(self) -> TrustMemory:
        """What was seen of roots and logs, with the files that go with it."""
        return TrustMemory(seen=self.floors.trust, files=self._files)

    def owned(self, target: str, name: str) -> tuple[Digest, ...]:
        """Return the images that we put, or were about to put, under this name in this target."""
        with database.translated(self._where):
            rows = self._db.execute(
                "SELECT image FROM intents WHERE target = ? AND name = ?", (target, name)
            ).fetchall()
        known = self.floors.loaded.get((target, name))
        intended = (database.parse_digest(row[0], where=self._where) for row in rows)
        return tuple(dict.fromkeys((*(() if known is None else (known,)), *intended)))

    def intend(
        self, target: str, images: Mapping[str, frozenset[Digest]]
    ) -> tuple[tuple[str, str, str], ...]:
        """Write down what a load is about to do, before any runtime is asked.

        Returns:
            What was not written down before: what `withdraw` takes back.

        Raises:
            LocalError: it cannot be written.
        """
        rows = [(target, name, str(d)) for name, digests in images.items() for d in digests]
        with database.translated(self._where), self._transaction():
            return tuple(
                row
                for row in rows
                if self._db.execute("INSERT OR IGNORE INTO intents VALUES (?, ?, ?)", row).rowcount
            )

    def withdraw(self, intended: Sequence[tuple[str, str, str]]) -> None:
        """Forget what was intended and, for certain, did not come to be.

        Raises:
            LocalError: it cannot be written; the intents then stand, which harms nothing.
        """
        with database.translated(self._where), self._transaction():
            self._db.executemany(
                "DELETE FROM intents WHERE target = ? AND name = ? AND image = ?", intended
            )

    def append(
        self,
        attempt: Attempt,
        *,
        floors: Floors | None = None,
        loaded: Mapping[tuple[str, str], Digest] | None = None,
        trust_files: Mapping[Digest, bytes] | None = None,
    ) -> tuple[str, ...]:
        """Add a record, and the floors that stand after it where something was accepted.

        Args:
            attempt: what to record.
            floors: the new floors; None leaves them as they are.
            loaded: what was put where under which name; what was intended there is done with.
            trust_files: the files that trust material among the floors names for the first time.

        Returns:
            What went wrong behind the commit, in words: the second copy could not be renamed. The
            next run mends it; the attempt stands.

        Raises:
            UnconfirmedCommitError: it is recorded, and the disk failed behind that: whether it
                outlives a power cut is not known. What was done is not to be undone.
            LocalError: nothing was recorded, and the floors are as they were.
        """
        done = loaded or {}
        after = (self.floors if floors is None else floors).with_loaded(done)
        if not after.covers(self.floors):
            raise StateError("floors would fall", where=self._where)
        number = self.head.number + 1
        head: signed_rows.Head | None = None
        try:
            with database.translated(self._where), self._transaction():
                head = signed_rows.insert(
                    self._db,
                    attempt,
                    number=number,
                    previous=self.head.hash,
                    floors=after.digest,
                    signer=self._signer,
                )
                database.write_floors(self._db, self.floors, after)
                trust_rows.write(self._db, self.floors, after, trust_files or {})
                self._db.executemany("DELETE FROM intents WHERE target = ? AND name = ?", done)
                # Before the commit: whatever can run out of space does so while all can be undone.
                copy = Copy(number=head.number, record=head.hash, floors=after)
                prepared = prepare_copy(self._folder.fd, self._folder.places.floors, copy)
            files = {**self._files, **(trust_files or {})}
            self._files = {digest: files[digest] for digest in after.trust_files}
            self.floors, self.head = after, head
            try:
                prepared.publish()
            except LocalError as e:
                return (f"{e}; the next run mends it",)
        except BaseException as e:
            # Whatever it is, even a bug of ours behind the commit: what is recorded was done.
            self._expect_not_there(head, e)
            raise
        return ()

    def _expect_not_there(self, head: signed_rows.Head | None, e: BaseException) -> None:
        """Tell a commit that did not happen from one that did, and was not confirmed.

        SQLite says "I/O error" also where the record is committed and only the folder's own sync,
        the last thing that `synchronous=EXTRA` does, has failed.

        Raises:
            UnconfirmedCommitError: the record is there.
        """
        there = None
        with contextlib.suppress(sqlite3.Error):
            there = (
                head
                and self._db.execute(
                    "SELECT hash FROM records WHERE number = ?", (head.number,)
                ).fetchone()
            )
        if head is not None and there == (str(head.hash),):
            raise UnconfirmedCommitError(
                "what was done is recorded, and the disk did not confirm it",
                where=self._where,
                found=e.found if isinstance(e, LocalError) else type(e).__name__,
                hint="look at the disk; the next run finds either, and goes on from there",
            ) from e

    @property
    def _where(self) -> str:
        return database.shown_path(self._folder.places.ledger)

    def _copy(self) -> Copy:
        return Copy(number=self.head.number, record=self.head.hash, floors=self.floors)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _signer_of(
    db: sqlite3.Connection,
    folder: StateFolder,
    head: signed_rows.Head,
    signer: Signer | None,
    *,
    where: str,
) -> Signer:
    """Return who signed the last record. A ledger that is older than its host's key gets one."""
    signer = signer or HostKey.read(folder)
    if not signed_rows.expect_known_key(db, head.number, where=where):
        return signer or HostKey.make(folder)
    return signed_rows.expect_same_key(db, head, signer, where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The floors as somebody sees them who may not write."""

    floors: Floors
    trust: TrustMemory = NO_MEMORY
    note: str = ""


def look(places: Places) -> Look:
    """Read the floors without writing anything; a host without state has none.

    A load that was cut off leaves a journal that only a writer may play back: then the second copy
    speaks, which is whole by itself.

    Raises:
        StateError: ledger and second copy are damaged, or do not fit together.
        LocalError: they cannot be read.
    """
    try:
        fd = open_private_folder(places.state, create=False)
    except FileNotFoundError:
        return Look(floors=Floors())
    where = database.shown_path(places.ledger)
    try:
        copy = read_copy(fd, places.floors.name, where=database.shown_path(places.floors))
        if not database.expect_file(fd, places.ledger):
            database.expect_never_begun(copy, where=where)
            return Look(floors=Floors())
        return _look(places, copy, where=where)
    finally:
        os.close(fd)


def _look(places: Places, copy: Copy | None, *, where: str) -> Look:
    try:
        with database.translated(where):
            db = database.connect(places.ledger, mode="ro")
            try:
                if database.is_empty(db):
                    database.expect_never_begun(copy, where=where)
                    return Look(floors=Floors())
                database.expect_whole(db, where=where)
                head, floors = database.read(db, where=where)
                database.expect_fit(db, head, floors, copy, where=where)
                files = trust_rows.read_files(db, floors, where=where)
            finally:
                db.close()
    except ReadOnlyError as e:
        journal = places.ledger.with_name(places.ledger.name + "-journal")
        if not journal.exists():
            raise
        if copy is None:
            # The power was cut in a host's very first load, or somebody took the copy away.
            raise StateError(
                "a run was cut off in the middle", where=where, hint=database.CUT_OFF
            ) from e
        return Look(
            floors=copy.floors,
            trust=TrustMemory(seen=copy.floors.trust),
            note="a load was cut off before; floors are those of the second copy",
        )
    return Look(floors=floors, trust=TrustMemory(seen=floors.trust, files=files))


def _candidate(judgement: Judgement) -> Candidate:
    """Return what floors are compared with; instants in whole seconds, as floors keep them."""
    statement = judgement.statement
    return Candidate(
        statement=statement.digest,
        channel=statement.channel,
        sequence=statement.sequence,
        vouched=any(
            claim.claim == "bundle-signature" and claim.holds == "met"
            for claim in judgement.bundle.results
        ),
        expires=statement.expires,
        names=tuple(_candidate_name(image) for image in judgement.images),
        time=_whole(judgement.reference_time),
        trust=judgement.learned.seen,
        sightings=judgement.sightings(counting=False),
        counting=judgement.sightings(counting=True),
        growth=tuple(one.value for one in judgement.grown.logs),
        growth_problems=tuple(
            f"{problem.where}: {problem}" for problem in judgement.grown.problems
        ),
    )


def _candidate_name(image: ImageJudgement) -> CandidateName:
    rules = image.policy.rollback
    return CandidateName(
        name=image.name.reference.tagged,
        image=image.entry.image.digest,
        at=_whole(image.at),
        by_time="time" in rules,
        positions=tuple((p.signer, p.log, p.log_index) for p in image.positions)
        if "log-index" in rules
        else (),
    )


def _whole(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)
