"""`state recover`: what is wrong with the host's memory, and what can be kept of it.

A damaged memory is never replaced in silence: a load refuses to go on, and this is the one way out,
with a reason that stands in the first record behind it. Nothing is deleted; what is damaged is put
aside under another name. Floors are the higher of whatever is left and whole: the ledger's, the
second copy's. Where neither is, nothing can be recovered, and that is said.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    ReadOnlyError,
    StateError,
    StateKeyError,
    StateLostError,
    StatePermissionError,
    StateVersionError,
    shown,
)
from loader.places import state_error
from loader.state import database, signed_rows, trust_rows
from loader.state.floors import Copy, Floors, prepare_copy, read_copy
from loader.state.ledger import Ledger
from loader.state.record import Attempt
from loader.state.signing import KEY_NAME, HostKey, key_id

if TYPE_CHECKING:
    from loader.state.lock import StateFolder
    from loader.state.signing import Signer
    from loader.trust.memory import Seen, TrustKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What was found, before anything is changed."""

    findings: tuple[str, ...]
    """What is wrong, in words; empty where nothing is."""
    ledger: signed_rows.Head | None
    """The last record of a ledger that is whole by itself."""
    ledger_floors: Floors | None
    copy: Copy | None
    key: bool
    """Whether the key at hand is the one that signed the last record."""

    @property
    def floors(self) -> Floors | None:
        """The floors that would stand: the higher of what is left; None where nothing is."""
        copied = None if self.copy is None else self.copy.floors
        if self.ledger_floors is None or copied is None:
            return self.ledger_floors or copied
        return self.ledger_floors.joined(copied)

    def plan(self) -> Iterator[str]:
        """Say what `recover` would do."""
        floors = self.floors
        if floors is None:
            return
        names = " and ".join(
            name
            for name, there in (
                ("the ledger", self.ledger is not None),
                ("the second copy", self.copy is not None),
            )
            if there
        )
        yield f"keep the floors of {names}:"
        for channel, floor in sorted(floors.channels.items()):
            yield f"  channel {channel}: sequence {floor.sequence} or higher"
        yield f"  {len(floors.names)} names, {len(floors.logs)} logs, {len(floors.trust)} anchors"
        if floors.time is not None:
            yield f"  time: {floors.time:%Y-%m-%dT%H:%M:%SZ} or later"
        if self.ledger is None:
            yield "put the damaged ledger aside, and begin a new one with these floors"
        if not self.key:
            yield "sign with the key at hand, or a new one, from here on"
        yield "write down what happened, and why"


def diagnose(folder: StateFolder, *, signer: Signer | None) -> Damage:
    """Look at the whole memory; change nothing but what a run that was cut off left to play back.

    Raises:
        StateVersionError: a newer loader wrote it: nothing is damaged, and nothing is recovered.
        StatePermissionError: others may write to it: first find out who did.
        ReadOnlyError: the disk cannot be written.
    """
    findings: list[str] = []
    copy = _copy(folder, findings)
    head, floors, key = _ledger(folder, copy, findings, signer=signer)
    return Damage(findings=tuple(findings), ledger=head, ledger_floors=floors, copy=copy, key=key)


def _copy(folder: StateFolder, findings: list[str]) -> Copy | None:
    path = folder.places.floors
    try:
        copy = read_copy(folder.fd, path.name, where=database.shown_path(path))
    except (StateVersionError, StatePermissionError, ReadOnlyError):
        raise
    except StateError as e:
        findings.append(str(e))
        return None
    return copy


def _ledger(
    folder: StateFolder, copy: Copy | None, findings: list[str], *, signer: Signer | None
) -> tuple[signed_rows.Head | None, Floors | None, bool]:
    path = folder.places.ledger
    where = database.shown_path(path)
    if not database.expect_file(folder.fd, path):
        if copy is not None:
            findings.append(f"the ledger is gone; at {where}")
        return None, None, True
    try:
        with (
            database.translated(where),
            contextlib.closing(database.connect(path, mode="rw")) as db,
        ):
            if database.is_empty(db):
                database.expect_never_begun(copy, where=where)
                return None, None, True
            database.expect_whole(db, where=where)
            head, floors = database.read(db, where=where)
            with _finding(findings):
                database.expect_fit(db, head, floors, copy, where=where)
            with _finding(findings):
                trust_rows.read_files(db, floors, where=where)
            key = _key(folder, db, head, findings, signer=signer, where=where)
            return head, floors, key
    except (StateVersionError, StatePermissionError, ReadOnlyError):
        raise
    except StateError as e:
        findings.append(str(e))
        return None, None, True


@contextlib.contextmanager
def _finding(findings: list[str]) -> Iterator[None]:
    try:
        yield
    except StateError as e:
        findings.append(str(e))


def _key(
    folder: StateFolder,
    db: sqlite3.Connection,
    head: signed_rows.Head,
    findings: list[str],
    *,
    signer: Signer | None,
    where: str,
) -> bool:
    """Tell whether the key at hand signed the last record."""
    try:
        signer = signer or HostKey.read(folder)
    except (StateKeyError, StatePermissionError) as e:
        findings.append(str(e))
        return False
    try:
        if not signed_rows.expect_known_key(db, head.number, where=where):
            return True
    except StateError as e:
        findings.append(str(e))  # the chain is whole all the same: only the key is written anew
    try:
        signed_rows.expect_same_key(db, head, signer, where=where)
    except StateError as e:
        findings.append(str(e))
        return False
    return True


def recover(
    folder: StateFolder,
    damage: Damage,
    *,
    reason: str,
    at: datetime,
    loader: str,
    signer: Signer | None,
) -> tuple[str, ...]:
    """Make the memory whole again: floors no lower than anything that is left, and a record of it.

    Killed at any point, it can be run again: the second copy is replaced last.

    Returns:
        What was done, in words.

    Raises:
        StateLostError: neither ledger nor second copy is whole.
        LocalError: it cannot be written.
    """
    floors = damage.floors
    if floors is None:
        raise StateLostError(
            "neither the ledger nor the second copy of the floors is whole",
            where=database.shown_path(folder.places.state),
            hint="put the folder back from a backup; who moves it away begins a new host, which "
            "has forgotten what it accepted (docs/operations.md)",
        )
    done: list[str] = [f"found: {finding}" for finding in damage.findings]
    signer = _signer(folder, damage, done, signer=signer)
    if damage.copy is None:
        _put_aside(folder, folder.places.floors, done)
    if damage.ledger is None:
        _begin_anew(folder, damage, floors, done, reason=reason, at=at, loader=loader, sign=signer)
    else:
        _go_on(folder, damage, floors, done, reason=reason, at=at, loader=loader, sign=signer)
    return tuple(done)


def _signer(
    folder: StateFolder, damage: Damage, done: list[str], *, signer: Signer | None
) -> Signer:
    if signer is None:
        try:
            signer = HostKey.read(folder)
        except (StateKeyError, StatePermissionError):
            _put_aside(folder, folder.places.state / KEY_NAME, done)
    if signer is None:
        signer = HostKey.make(folder)
        done.append("a new key was made for this host")
    if not damage.key:
        done.append(f"records are signed by the key {key_id(signer.key)} from here on")
    return signer


def _begin_anew(
    folder: StateFolder,
    damage: Damage,
    floors: Floors,
    done: list[str],
    *,
    reason: str,
    at: datetime,
    loader: str,
    sign: Signer,
) -> None:
    path = folder.places.ledger
    if damage.copy is not None:
        done.append(
            f"the ledger before this one ended with record {damage.copy.number}, "
            f"{damage.copy.record}"
        )
    files = _salvaged_files(path)
    for suffix in ("", "-journal"):
        _put_aside(folder, path.with_name(path.name + suffix), done)
    floors = _without_lost_files(floors, files, done)
    database.make_file(folder, path)
    where = database.shown_path(path)
    with database.translated(where), contextlib.closing(database.connect(path, mode="rw")) as db:
        attempt = _attempt(done, reason=reason, at=at, loader=loader)
        head = database.begin(db, attempt, sign, floors=floors, files=files)
    copy = Copy(number=head.number, record=head.hash, floors=floors)
    prepare_copy(folder.fd, folder.places.floors, copy).publish()


def _go_on(
    folder: StateFolder,
    damage: Damage,
    floors: Floors,
    done: list[str],
    *,
    reason: str,
    at: datetime,
    loader: str,
    sign: Signer,
) -> None:
    path = folder.places.ledger
    where = database.shown_path(path)
    if damage.ledger is None or damage.ledger_floors is None:
        raise StateLostError("there is no ledger to go on with", where=where)
    if damage.copy is not None and damage.copy.number > damage.ledger.number:
        done.append(
            f"records {damage.ledger.number + 1} to {damage.copy.number} are lost; the last one "
            f"was {damage.copy.record}"
        )
    with database.translated(where), contextlib.closing(database.connect(path, mode="rw")) as db:
        database.upgrade(db)
        if lost := signed_rows.forget_damaged_keys(db, where=where):
            done.append(f"{lost} keys of the ledger were damaged, and are forgotten")
        files = _files_of(db, floors)
        floors = _without_lost_files(floors, files, done)
        # Its own floors without the files that are lost: what is left is what can be raised.
        own = _without_lost_files(damage.ledger_floors, files, [])
        ledger = Ledger(db, folder, floors=own, head=damage.ledger, files=files, signer=sign)
        ledger.append(_attempt(done, reason=reason, at=at, loader=loader), floors=floors)


def _attempt(done: list[str], *, reason: str, at: datetime, loader: str) -> Attempt:
    return Attempt(
        verb="recover", outcome="done", at=at, loader=loader, reason=reason, notes=tuple(done)
    )


def _files_of(db: sqlite3.Connection, floors: Floors) -> dict[Digest, bytes]:
    """Return those files of trust material that are still what they were."""
    found: dict[Digest, bytes] = {}
    with contextlib.suppress(sqlite3.Error):
        for digest in floors.trust_files:
            row = db.execute(
                "SELECT content FROM trust_files WHERE digest = ?", (str(digest),)
            ).fetchone()
            if row is not None and isinstance(row[0], bytes) and Digest.of(row[0]) == digest:
                found[digest] = row[0]
    return found


def _salvaged_files(path: Path) -> dict[Digest, bytes]:
    """Return files of trust material that a damaged ledger still gives: each proves itself."""
    found: dict[Digest, bytes] = {}
    with (
        contextlib.suppress(sqlite3.Error, AirlockError),
        contextlib.closing(database.connect(path, mode="ro")) as db,
    ):
        for text, raw in db.execute("SELECT digest, content FROM trust_files"):
            if isinstance(raw, bytes) and str(Digest.of(raw)) == text:
                found[Digest.of(raw)] = raw
    return found


def _without_lost_files(floors: Floors, files: Mapping[Digest, bytes], done: list[str]) -> Floors:
    """Return floors whose trust material names no file that is lost; versions stay as they are."""
    trust: dict[TrustKey, Seen] = {}
    for key, seen in floors.trust.items():
        kept = {name: digest for name, digest in seen.files.items() if digest in files}
        lost = sorted(seen.files.keys() - kept.keys())
        done.extend(f"lost: {name} of the {key[0]} anchor {shown(key[1])}" for name in lost)
        trust[key] = replace(seen, files=kept)
    return replace(floors, trust=trust)


def _put_aside(folder: StateFolder, path: Path, done: list[str]) -> None:
    """Give a damaged file another name; it stays for whoever wants to know what happened."""
    there = set(os.listdir(folder.fd))  # noqa: PTH208 - of the folder that is open
    names = (f"{path.name}.damaged-{number}" for number in itertools.count(1))
    name = next(name for name in names if name not in there)
    try:
        os.rename(path.name, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        os.fsync(folder.fd)
    except FileNotFoundError:
        return
    except OSError as e:
        raise state_error(
            e, what="a damaged file cannot be put aside", where=database.shown_path(path)
        ) from e
    done.append(f"{path.name} was put aside as {name}")
