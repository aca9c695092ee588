"""What was seen of roots and logs: kept among the floors, and only ever moved forward."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785

from loader.digest import Digest
from loader.errors import LocalError, StateError, StateVersionError
from loader.places import Places
from loader.state import schema
from loader.state.floors import Copy, Floors
from loader.state.ledger import Ledger, look
from loader.state.lock import StateFolder
from loader.state.record import NO_RECORD, Attempt
from loader.trust.memory import HeadSeen, RoleSeen, RootsSeen, Seen, TrustKey, covers

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CONTENTS = {number: bytes([number]) * 512_000 for number in range(1, 5)}
"""As large as TUF root metadata may be."""
ROOTS = {number: Digest.of(content) for number, content in CONTENTS.items()}
TUF: TrustKey = ("tuf", "sigstore")
LOG: TrustKey = ("log", "rekor.example")


def chain(newest: int = 2, *, snapshot: int = 7) -> RootsSeen:
    return RootsSeen(
        roots={number: ROOTS[number] for number in range(1, newest + 1)},
        roles={
            "timestamp": RoleSeen(version=2**63 - 1, signers=("a", "b"), expires=AT),
            "snapshot": RoleSeen(version=snapshot, signers=("a",)),
            "targets": RoleSeen(version=1),
        },
        files={"root.json": ROOTS[newest]},
    )


def head(size: int = 2**60, root_hash: bytes = b"\x01" * 32) -> HeadSeen:
    return HeadSeen(size=size, root_hash=root_hash, files={"checkpoint": Digest.of(b"note")})


NOTE = Digest.of(b"note")
FILES = {ROOTS[2]: CONTENTS[2], NOTE: b"note"}
EVERYTHING = {ROOTS[number]: content for number, content in CONTENTS.items()} | {NOTE: b"note"}


def attempt() -> Attempt:
    return Attempt(verb="load", outcome="loaded", at=AT, loader="0")


def seen(floors: Floors, trust: Mapping[TrustKey, Seen]) -> Floors:
    return floors.raised(time=AT, channel=None, names={}, logs={}, trust=trust)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


def write(
    places: Places, trust: Mapping[TrustKey, Seen], files: Mapping[Digest, bytes] = FILES
) -> None:
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        ledger.append(attempt(), floors=seen(ledger.floors, trust), trust_files=files)
        assert ledger.trust.seen.items() >= trust.items()
        assert set(ledger.trust.files) == set(ledger.floors.trust_files)


def test_what_was_seen_is_there_again_with_its_files(places: Places) -> None:
    write(places, {TUF: chain(), LOG: head()})
    found = look(places)
    assert found.trust.roots("tuf", "sigstore") == chain()
    assert found.trust.head("rekor.example") == head()
    assert found.trust.roots("notary", "sigstore") is None
    assert found.trust.files == FILES
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        assert ledger.trust == found.trust


def test_a_file_that_nothing_names_any_more_is_forgotten(places: Places) -> None:
    write(places, {TUF: chain()})
    write(places, {TUF: chain(3)}, EVERYTHING)
    assert look(places).trust.files == {ROOTS[3]: CONTENTS[3]}


FALLS: dict[str, tuple[Seen, Seen]] = {
    "a shorter chain": (chain(3), chain(2)),
    "another root of the same version": (
        chain(2),
        replace(chain(2), roots={1: ROOTS[1], 2: ROOTS[3]}),
    ),
    "another history": (
        chain(3),
        replace(chain(4), roots={**chain(4).roots, 1: ROOTS[2]}),
    ),
    "a role's older version": (chain(snapshot=7), chain(snapshot=6)),
    "a role that is gone": (chain(), replace(chain(), roles={"timestamp": RoleSeen(version=9)})),
    "a smaller log": (head(5), head(4)),
    "another log of the same size": (head(5), head(5, b"\x02" * 32)),
    "a log where a chain was": (chain(), head()),
}


@pytest.mark.parametrize("case", FALLS)
def test_it_never_goes_back(case: str, places: Places) -> None:
    old, new = FALLS[case]
    assert covers(old, old)
    assert not covers(new, old)
    key: TrustKey = TUF if isinstance(old, RootsSeen) else LOG
    write(places, {key: old}, EVERYTHING)
    before = look(places)
    with pytest.raises(StateError, match="floors would fall"):
        write(places, {key: new}, EVERYTHING)
    assert look(places) == before


def test_under_a_newer_root_a_role_may_begin_anew() -> None:
    """Fast-forward and recovery: who replays the chain says when (A092)."""
    assert covers(chain(3, snapshot=1), chain(2, snapshot=2**63 - 1))


@pytest.mark.parametrize("files", [{}, {ROOTS[2]: b"other bytes"}], ids=["none", "wrong"])
def test_a_document_without_its_file_is_not_written(
    files: Mapping[Digest, bytes], places: Places
) -> None:
    write(places, {})
    before = look(places)
    with pytest.raises(StateError, match="without its file"):
        write(places, {TUF: chain()}, files)
    assert look(places) == before


DAMAGE = {
    "a role was lowered": "UPDATE trust SET seen = replace(seen, '\"7\"', '\"6\"')",
    "a document was forgotten": "DELETE FROM trust",
    "a document is no document": "UPDATE trust SET seen = '{'",
    "of an unknown kind": "UPDATE trust SET kind = 'x' WHERE kind = 'log'",
    "a number with a sign": "UPDATE trust SET seen = replace(seen, '\"7\"', '\"-7\"')",
    "a number too large": "UPDATE trust SET seen = replace(seen, '\"7\"', '\"9223372036854775808\"')",  # noqa: E501
    "a file was changed": "UPDATE trust_files SET content = x'00'",
    "a file was forgotten": "DELETE FROM trust_files",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_host_that_was_made_to_forget_goes_no_further(case: str, places: Places) -> None:
    write(places, {TUF: chain(), LOG: head()})
    with sqlite3.connect(places.ledger) as db:
        db.execute(DAMAGE[case])
    with pytest.raises(StateError):
        look(places)
    with pytest.raises(StateError):
        write(places, {})


def _as_version_1(places: Places) -> None:
    """Turn a ledger without trust material into what the loader before wrote."""
    with sqlite3.connect(places.ledger) as db:
        db.execute("DROP TABLE trust")
        db.execute("DROP TABLE trust_files")
        db.execute("DROP TABLE keys")
        before, previous = "", NO_RECORD
        rows = db.execute("SELECT number, hash, record FROM records ORDER BY number").fetchall()
        for number, before, record in rows:  # noqa: B007 - the last one is wanted
            raw = rfc8785.dumps(json.loads(record) | {"key": None, "previous": str(previous)})
            previous = Digest.of(raw)
            db.execute(
                "UPDATE records SET key = NULL, signature = NULL, record = ?, hash = ?"
                " WHERE number = ?",
                (raw.decode(), str(previous), number),
            )
        db.execute("PRAGMA user_version=1")
    _, _, body = places.floors.read_bytes().partition(b"\n")
    body = body.replace(b'"schema":2', b'"schema":1')
    body = body.replace(before.encode(), str(previous).encode())
    places.floors.write_bytes(b"airlock-floors 1 " + str(Digest.of(body)).encode() + b"\n" + body)


def test_the_ledger_of_an_older_loader_is_taken_over(places: Places) -> None:
    write(places, {})
    floors = look(places).floors
    _as_version_1(places)
    assert look(places).floors == floors, "who looks does not upgrade"
    with sqlite3.connect(places.ledger) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    write(places, {TUF: chain()})
    assert look(places).trust.roots("tuf", "sigstore") == chain()
    with sqlite3.connect(places.ledger) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_a_second_copy_of_a_later_version_is_said_to_be_one(places: Places) -> None:
    """A116: the older loader says what is the matter, and leaves everything as it is."""
    write(places, {})
    copy = Copy(number=1, record=Digest.of(b""), floors=Floors()).encode()
    body = copy.partition(b"\n")[2].replace(b'"schema":2', b'"schema":3,"unknown":{}')
    written = b"airlock-floors 1 " + str(Digest.of(body)).encode() + b"\n" + body
    places.floors.write_bytes(written)
    with pytest.raises(StateVersionError, match="another version"):
        look(places)
    with pytest.raises(LocalError):
        write(places, {})
    assert places.floors.read_bytes() == written


def test_a_chain_has_a_root() -> None:
    with pytest.raises(ValueError, match="without a root"):
        RootsSeen(roots={})
