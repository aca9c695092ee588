"""`state recover`: whatever was damaged, no floor is lower afterwards, and a record says why."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.errors import LocalError, StateError, StateLostError, StateVersionError
from loader.places import Places
from loader.state.audit import audit
from loader.state.floors import Floors
from loader.state.history import reading
from loader.state.ledger import look
from loader.state.lock import StateFolder
from loader.state.recover import Damage, diagnose, recover
from tests.unit.loader.state.test_state_ledger import AT, floors, write

REASON = "the disk was replaced"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places.under(tmp_path)
    write(places, 1, 2, 3)
    return places


def diagnosed(places: Places) -> Damage:
    with StateFolder.lock(places, verb="recover", at=AT) as folder:
        return diagnose(folder, signer=None)


def recovered(places: Places) -> tuple[str, ...]:
    with StateFolder.lock(places, verb="recover", at=AT) as folder:
        damage = diagnose(folder, signer=None)
        return recover(folder, damage, reason=REASON, at=AT, loader="0", signer=None)


def _gone(places: Places) -> None:
    places.ledger.unlink()


def _empty(places: Places) -> None:
    places.ledger.write_bytes(b"")


def _nonsense(places: Places) -> None:
    places.ledger.write_bytes(b"nonsense" * 1000)


def _half(places: Places) -> None:
    raw = places.ledger.read_bytes()
    places.ledger.write_bytes(raw[: len(raw) // 2])


def _edited(places: Places) -> None:
    with sqlite3.connect(places.ledger) as db:
        db.execute("UPDATE records SET record = replace(record, 'loaded', 'failed')")


def _lowered(places: Places) -> None:
    with sqlite3.connect(places.ledger) as db:
        db.execute("UPDATE channels SET sequence = 1")


def _older(places: Places) -> None:
    """The ledger of an earlier day, put back without its second copy."""
    old = places.ledger.with_name("old")
    shutil.copy(places.ledger, old)
    write(places, 4)
    shutil.copy(old, places.ledger)
    old.unlink()


def _copy_gone(places: Places) -> None:
    places.floors.unlink()


def _copy_damaged(places: Places) -> None:
    raw = bytearray(places.floors.read_bytes())
    raw[-10] ^= 1
    places.floors.write_bytes(raw)


def _key_gone(places: Places) -> None:
    (places.state / "host.key").unlink()


def _key_damaged(places: Places) -> None:
    (places.state / "host.key").write_bytes(b"x")


def _key_read(places: Places) -> None:
    (places.state / "host.key").chmod(0o644)


def _key_of_another(places: Places) -> None:
    other = Places.under(places.state / "other")
    write(other, 1)
    shutil.copy(other.state / "host.key", places.state / "host.key")
    shutil.rmtree(places.state / "other")


def _keys_emptied(places: Places) -> None:
    with sqlite3.connect(places.ledger) as db:
        db.execute("DELETE FROM keys")


def _keys_changed(places: Places) -> None:
    with sqlite3.connect(places.ledger) as db:
        db.execute("UPDATE keys SET spki = 'AAAA'")


DAMAGES = [
    _gone, _empty, _nonsense, _half, _edited, _lowered, _older, _copy_gone, _copy_damaged,
    _key_gone, _key_damaged, _key_read, _key_of_another, _keys_emptied, _keys_changed,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_floors_are_no_lower_than_before(places: Places, damage: Callable[[Places], None]) -> None:
    """A107, A160, A162, FI-38: fail closed first; then recovered, and never lower."""
    damage(places)
    with pytest.raises(LocalError):
        write(places, 9)
    found = diagnosed(places)
    assert found.findings
    assert list(found.plan())
    done = recovered(places)
    assert done
    newest = 4 if damage is _older else 3
    after = look(places).floors
    assert after.covers(floors(newest))
    assert after.channels["stable"].sequence == newest, "floors are kept, and not raised"
    assert diagnosed(places).findings == ()
    write(places, 9)
    with reading(places) as ledger:
        assert audit(ledger).findings == ()
        records = list(ledger.records())
    [record] = [record for record in records if record.attempt.verb == "recover"]
    assert record.attempt.reason == REASON
    assert record.attempt.notes == done


@pytest.mark.parametrize("damage", [_nonsense, _copy_damaged, _key_damaged])
def test_what_is_damaged_is_put_aside_and_not_deleted(
    places: Places, damage: Callable[[Places], None]
) -> None:
    damage(places)
    spoiled = {path.name: path.read_bytes() for path in places.state.iterdir() if path.is_file()}
    recovered(places)
    aside = [path for path in places.state.iterdir() if ".damaged-1" in path.name]
    assert len(aside) == 1
    assert aside[0].read_bytes() == spoiled[aside[0].name.partition(".damaged")[0]]


@pytest.mark.parametrize("damage", [_keys_emptied, _keys_changed])
def test_public_keys_are_written_anew_and_the_chain_is_kept(
    places: Places, damage: Callable[[Places], None]
) -> None:
    damage(places)
    recovered(places)
    with reading(places) as ledger:
        found = audit(ledger)
    assert (found.findings, found.unsigned) == ((), 0)
    assert list(found.signed.values()) == [5], "all records are this host's, as they were"


def test_a_key_that_is_lost_twice_is_said_ever_after(places: Places) -> None:
    """Neither the file nor the ledger has it: what it signed cannot be told to be this host's."""
    _keys_emptied(places)
    _key_gone(places)
    recovered(places)
    assert diagnosed(places).findings == ()
    with reading(places) as ledger:
        words = [finding.words for finding in audit(ledger).findings]
    assert len(words) == 4
    assert all("a key that is not this host's" in one for one in words)


def test_a_whole_memory_is_left_alone(places: Places) -> None:
    before = {path: path.read_bytes() for path in places.state.iterdir() if path.is_file()}
    assert diagnosed(places).findings == ()
    assert {p: p.read_bytes() for p in places.state.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("damage", [_gone, _nonsense, _half, _edited])
def test_with_both_gone_nothing_is_made_up(
    places: Places, damage: Callable[[Places], None]
) -> None:
    damage(places)
    _copy_damaged(places)
    with pytest.raises(StateLostError) as lost:
        recovered(places)
    assert "backup" in lost.value.hint
    with pytest.raises(StateError):
        look(places)


def test_a_newer_loaders_memory_is_not_recovered(places: Places) -> None:
    """A116, A165."""
    with sqlite3.connect(places.ledger) as db:
        db.execute("PRAGMA user_version=99")
    before = places.ledger.read_bytes()
    with pytest.raises(StateVersionError):
        diagnosed(places)
    assert places.ledger.read_bytes() == before


def test_to_look_changes_nothing(places: Places) -> None:
    _lowered(places)
    before = {path: path.read_bytes() for path in places.state.iterdir() if path.is_file()}
    diagnosed(places)
    assert {p: p.read_bytes() for p in places.state.iterdir() if p.is_file()} == before


def test_recovered_twice_is_recovered_once(places: Places) -> None:
    _copy_gone(places)
    recovered(places)
    _gone(places)
    recovered(places)
    assert look(places).floors.covers(floors(3))
    assert (places.state / "ledger.sqlite").exists()


def test_a_run_that_was_killed_between_ledger_and_copy_recovers_again(places: Places) -> None:
    """The second copy is replaced last: before that it still says what must not fall."""
    copy = places.floors.read_bytes()
    _nonsense(places)
    recovered(places)
    places.floors.write_bytes(copy)  # as if it had not come to that
    with pytest.raises(StateError):
        write(places, 9)
    recovered(places)
    assert look(places).floors.covers(floors(3))
    assert diagnosed(places).findings == ()


def test_joined_floors_cover_both() -> None:
    one, other = floors(3), floors(5)
    for joined in (one.joined(other), other.joined(one)):
        assert joined.covers(one)
        assert joined.covers(other)
    assert Floors().joined(one) == one.joined(Floors()) == one
