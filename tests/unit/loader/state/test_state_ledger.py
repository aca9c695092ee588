from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import (
    BusyError,
    LocalError,
    NoSpaceError,
    StateError,
    StateMissingError,
    StatePermissionError,
    StateVersionError,
)
from loader.model import strictjson
from loader.places import Places
from loader.state import database, record, schema
from loader.state import floors as floors_module
from loader.state.floors import ChannelFloor, Floors, NameFloor
from loader.state.ledger import Ledger, look
from loader.state.lock import StateFolder
from loader.state.record import Attempt, Failure

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
APP = "registry.example/org/app:1"


def floors(sequence: int) -> Floors:
    at = datetime(2026, 1, sequence, tzinfo=UTC)
    return (
        Floors()
        .raised(
            time=at,
            channel=("stable", ChannelFloor(sequence=sequence, statement=ONE)),
            names={APP: NameFloor(image=TWO, at=at)},
            logs={("key", "log"): sequence},
        )
        .with_loaded({("oci:/srv/images", APP): TWO})
    )


def attempt(**keyword: object) -> Attempt:
    plain: dict[str, object] = {"verb": "load", "outcome": "loaded", "at": AT, "loader": "0"}
    return Attempt(**(plain | keyword))  # type: ignore[arg-type]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


def write(places: Places, *sequences: int) -> None:
    """Begin a ledger and accept these."""
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        for sequence in sequences:
            assert ledger.append(attempt(sequence=sequence), floors=floors(sequence)) == ()


def read(places: Places) -> Floors:
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        return ledger.floors


def test_a_new_host_has_no_floors_and_looking_makes_nothing(places: Places) -> None:
    assert look(places).floors == Floors()
    assert list(places.state.parents[2].iterdir()) == []


def test_what_was_accepted_is_remembered(places: Places) -> None:
    write(places, 3, 5)
    assert read(places) == look(places).floors == floors(5)
    assert places.ledger.stat().st_mode & 0o777 == 0o600
    assert places.floors.stat().st_mode & 0o777 == 0o600
    assert places.state.stat().st_mode & 0o777 == 0o700


def test_looking_writes_nothing(places: Places) -> None:
    write(places, 3)

    def tree() -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in places.state.rglob("*")
            if path.is_file()
        }

    before = tree()
    look(places)
    assert tree() == before


def test_a_refusal_adds_a_record_and_moves_no_floor(places: Places) -> None:
    write(places, 3)
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        failure = Failure(code="policy.refused", message="no", where="x")
        ledger.append(attempt(outcome="refused", failure=failure))
    assert read(places) == floors(3)
    with sqlite3.connect(places.ledger) as db:
        rows = db.execute("SELECT number, outcome, failure, message FROM attempts").fetchall()
    assert rows == [
        (0, "begun", None, None),
        (1, "loaded", None, None),
        (2, "refused", "policy.refused", "no"),
    ]


def test_names_that_differ_only_in_case_are_two_names(places: Places) -> None:
    """Tags do: `app:RC1` and `app:rc1` in one bundle, and the host could never read its floors."""
    names = {f"registry.example/org/app:{t}": NameFloor(image=ONE, at=AT) for t in ("RC1", "rc1")}
    after = Floors().raised(time=AT, channel=None, names=names, logs={})
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        ledger.append(attempt(), floors=after)
    assert look(places).floors == read(places) == after


def test_a_long_memory_can_be_read(places: Places) -> None:
    """Limits of JSON are for what others wrote: 150,000 names are a year of nightly builds."""
    names = {f"registry.example/org/app:{n}": NameFloor(image=ONE, at=AT) for n in range(150_000)}
    after = Floors().raised(time=AT, channel=None, names=names, logs={})
    after = after.with_loaded({("oci:/srv/images", name): ONE for name in names})
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        ledger.append(attempt(), floors=after)
    assert look(places).floors == after


def test_what_could_not_be_read_again_is_not_written(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places, 1)
    before = read(places)
    for module, name in ((floors_module, "COPY_SIZE_MAX"), (record, "RECORD_SIZE_MAX")):
        with (
            monkeypatch.context() as narrow,
            StateFolder.lock(places, verb="load", at=AT) as folder,
            Ledger.open(folder, at=AT, loader="0") as ledger,
        ):
            narrow.setattr(module, name, 100)
            with pytest.raises(StateError):
                ledger.append(attempt(sequence=2), floors=floors(2))
        assert read(places) == before
    write(places, 2)


def test_refused_bundles_do_not_make_the_ledger_costly_to_open(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places, 1)
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        for _ in range(20):
            ledger.append(attempt(outcome="refused", archive="x" * 100_000))
    read_size, whole = 0, strictjson.parse_object

    def counted(raw: bytes, **keyword: object) -> object:
        nonlocal read_size
        read_size += len(raw)
        return whole(raw, **keyword)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "TAIL_SIZE", 300_000)
    monkeypatch.setattr(strictjson, "parse_object", counted)
    assert look(places).floors == floors(1)
    assert 300_000 < read_size < 500_000


def test_floors_are_not_lowered_by_anybody(places: Places) -> None:
    write(places, 5)
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
        pytest.raises(StateError, match="floors would fall"),
    ):
        ledger.append(attempt(), floors=floors(4))
    assert read(places) == floors(5)


def test_two_loaders_do_not_meet_and_the_second_hears_of_the_first(places: Places) -> None:
    with StateFolder.lock(places, verb="load x", at=AT):
        with pytest.raises(BusyError) as error:
            StateFolder.lock(places, verb="load", at=AT)
        assert f"pid {os.getpid()}, load x, since 2026-11-21T12:00:00Z" in error.value.found
        places.lock_note.unlink()
        with pytest.raises(BusyError):
            StateFolder.lock(places, verb="load", at=AT)
    StateFolder.lock(places, verb="load", at=AT).close()


def test_a_note_that_a_dead_process_left_stops_nobody(places: Places) -> None:
    places.lock_note.parent.mkdir(parents=True)
    places.lock_note.write_text("pid 1, load, since 1970-01-01T00:00:00Z")
    StateFolder.lock(places, verb="load", at=AT).close()


# --- damage ---------------------------------------------------------------------------------------


def _no_copy(places: Places) -> None:
    places.floors.unlink()


def _no_ledger(places: Places) -> None:
    places.ledger.unlink()


def _empty_ledger(places: Places) -> None:
    places.ledger.write_bytes(b"")


def _other_database(places: Places) -> None:
    places.ledger.unlink()
    with sqlite3.connect(places.ledger) as db:
        db.execute("CREATE TABLE x (y)")
    places.ledger.chmod(0o600)


def _later_version(places: Places) -> None:
    with sqlite3.connect(places.ledger) as db:
        db.execute(f"PRAGMA user_version={schema.VERSION + 1}")


def _linked_ledger(places: Places) -> None:
    other = places.state / "other"
    places.ledger.rename(other)
    places.ledger.symlink_to(other)


def _folder_for_ledger(places: Places) -> None:
    places.ledger.unlink()
    places.ledger.mkdir()


def _writable_ledger(places: Places) -> None:
    places.ledger.chmod(0o666)


def _writable_copy(places: Places) -> None:
    places.floors.chmod(0o666)


def _linked_copy(places: Places) -> None:
    other = places.state / "other"
    places.floors.rename(other)
    places.floors.symlink_to(other)


def _folder_for_copy(places: Places) -> None:
    places.floors.unlink()
    places.floors.mkdir(mode=0o700)


def _writable_folder(places: Places) -> None:
    places.state.chmod(0o777)


def _linked_folder(places: Places) -> None:
    other = places.state.with_name("other")
    places.state.rename(other)
    places.state.symlink_to(other)


def _sql(statement: str) -> Callable[[Places], None]:
    def spoil(places: Places) -> None:
        with sqlite3.connect(places.ledger) as db:
            db.execute(statement)

    return spoil


def _older_ledger(places: Places) -> None:
    write(places)
    kept = places.ledger.read_bytes()
    write(places, 7)
    places.ledger.write_bytes(kept)


def _foreign_copy(places: Places) -> None:
    other = Places.under(places.state / "host2")
    write(other, 3, 4)
    shutil.copy(other.floors, places.floors)


DAMAGE: dict[str, tuple[Callable[[Places], None], type[StateError]]] = {
    "the second copy is gone": (_no_copy, StateMissingError),
    "the ledger is gone": (_no_ledger, StateMissingError),
    "the ledger is empty": (_empty_ledger, StateMissingError),
    "another program's database": (_other_database, StateError),
    "a newer loader's": (_later_version, StateVersionError),
    "the ledger is a link": (_linked_ledger, StatePermissionError),
    "the ledger is a folder": (_folder_for_ledger, StatePermissionError),
    "others may write the ledger": (_writable_ledger, StatePermissionError),
    "others may write the copy": (_writable_copy, StatePermissionError),
    "the copy is a link": (_linked_copy, StateError),
    "the copy is a folder": (_folder_for_copy, StateError),
    "others may write the folder": (_writable_folder, StatePermissionError),
    "the folder is a link": (_linked_folder, StatePermissionError),
    "an older ledger was put back": (_older_ledger, StateError),
    "another host's copy": (_foreign_copy, StateError),
    "a sequence was lowered": (_sql("UPDATE channels SET sequence = 1"), StateError),
    "a channel was forgotten": (_sql("DELETE FROM channels"), StateError),
    "a name was forgotten": (_sql("DELETE FROM names"), StateError),
    "the time was put back": (_sql("UPDATE times SET at = '2000-01-01T00:00:00Z'"), StateError),
    "a claim to somebody's image": (
        _sql(f"INSERT INTO loaded VALUES ('docker', 'x', '{ONE}')"), StateError),
    "a log index was lowered": (_sql("UPDATE logs SET log_index = 0"), StateError),
    "a record was edited": (
        _sql("UPDATE records SET record = replace(record, 'loaded', 'louded') WHERE number = 1"),
        StateError),
    "a record was edited with its hash": (
        _sql(f"UPDATE records SET record = '{{}}', hash = '{Digest.of(b'{}')}' WHERE number = 1"),
        StateError),
    "a record was removed": (_sql("DELETE FROM records WHERE number = 1"), StateError),
    "the last record was removed": (_sql("DELETE FROM records WHERE number = 2"), StateError),
    "the first record was removed": (_sql("DELETE FROM records WHERE number = 0"), StateError),
    "two records changed places": (
        _sql("UPDATE records SET number = -number WHERE number > 0"), StateError),
    "all records were removed": (_sql("DELETE FROM records"), StateError),
    "the table is gone": (_sql("DROP TABLE records"), StateError),
    "a time that is none": (_sql("UPDATE names SET at = 'yesterday'"), StateError),
    "an image that is none": (_sql("UPDATE names SET image = 'sha256:0'"), StateError),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_never_forgotten_silently(name: str, places: Places) -> None:
    spoil, kind = DAMAGE[name]
    write(places, 3, 5)
    spoil(places)
    with pytest.raises(kind) as error:
        look(places)
    assert error.value.exit_status == 20
    with pytest.raises(kind):
        read(places)
    with pytest.raises(kind):
        read(places)  # nothing was mended on the way


def test_floors_that_were_lowered_in_both_places_are_not_the_last_records(places: Places) -> None:
    """Tables and second copy agree, checksum and all; what the chain covers says otherwise."""
    write(places, 3, 5)
    copy = floors_module.Copy.parse(places.floors.read_bytes(), where="here")
    stable = {"stable": ChannelFloor(sequence=1, statement=ONE)}
    lowered = replace(copy, floors=replace(copy.floors, channels=stable))
    places.floors.write_bytes(lowered.encode())
    _sql("UPDATE channels SET sequence = 1")(places)
    for opened in (look, read):
        with pytest.raises(StateError):
            opened(places)


def test_an_older_ledger_whose_floors_are_the_same_is_noticed(places: Places) -> None:
    """What was refused since is part of the memory, too."""
    write(places, 3)
    kept = places.ledger.read_bytes()
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        ledger.append(attempt(outcome="refused"))
    places.ledger.write_bytes(kept)
    for opened in (look, read):
        with pytest.raises(StateError, match="older than"):
            opened(places)


def _positions(size: int) -> range:
    # Every byte of the small copy; of the ledger, whose pages are mostly zeros, every 61st.
    return range(0, size, 1 if size < 2000 else 61)


@pytest.mark.parametrize("which", ["floors", "ledger"])
def test_any_flipped_bit_is_noticed_or_means_nothing(which: str, places: Places) -> None:
    """A161."""
    write(places, 3)
    path: Path = getattr(places, which)
    whole = path.read_bytes()
    noticed = 0
    for position in _positions(len(whole)):
        for bit in (0, 5):
            spoiled = bytearray(whole)
            spoiled[position] ^= 1 << bit
            path.write_bytes(spoiled)
            try:
                assert look(places).floors == floors(3), f"byte {position}"
            except LocalError as e:
                assert e.error_class in {"state", "busy", "readonly"}  # noqa: PT017
                noticed += 1
    # Most of the ledger's pages is empty; in the copy every bit counts.
    assert noticed >= (2 * len(whole) if which == "floors" else 50)


@pytest.mark.parametrize("which", ["floors", "ledger"])
def test_any_truncation_is_noticed(which: str, places: Places) -> None:
    """A160."""
    write(places, 3)
    path: Path = getattr(places, which)
    whole = path.read_bytes()
    for size in _positions(len(whole)):
        path.write_bytes(whole[:size])
        try:
            # The last page belongs to a table that is empty: cut there, all that counts is whole.
            assert look(places).floors == floors(3)
            assert which == "ledger"
            assert size > len(whole) - 4096
        except StateError:
            pass


# --- cut off in the middle ------------------------------------------------------------------------


def test_a_run_that_died_between_ledger_and_copy_is_brought_to_its_end(places: Places) -> None:
    write(places, 3)
    old = places.floors.read_bytes()
    write(places, 5)
    places.floors.write_bytes(old)
    assert look(places).floors == floors(5)
    assert places.floors.read_bytes() == old, "looking writes nothing"
    assert read(places) == floors(5)
    assert places.floors.read_bytes() != old


def test_a_run_that_died_before_its_first_copy_is_brought_to_its_end(places: Places) -> None:
    write(places)
    places.floors.unlink()
    assert look(places).floors == Floors()
    write(places, 3)
    assert read(places) == floors(3)


def test_a_copy_that_cannot_be_renamed_is_said_and_mended_by_the_next_run(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places, 3)

    def rename(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        monkeypatch.setattr(os, "rename", rename)
        [said] = ledger.append(attempt(), floors=floors(5))
        assert "the next run mends it" in said
    monkeypatch.undo()
    assert read(places) == floors(5)


def test_a_full_disk_leaves_everything_as_it_was(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places, 3)

    def fsync(fd: int) -> None:
        del fd
        raise OSError(28, "No space left on device")

    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(NoSpaceError):
            ledger.append(attempt(), floors=floors(5))
        assert ledger.floors == floors(3)
        monkeypatch.undo()
        ledger.append(attempt(), floors=floors(4))
    assert read(places) == floors(4)


def test_a_journal_that_waits_for_a_writer_is_answered_by_the_second_copy(places: Places) -> None:
    write(places, 3)
    journal = places.ledger.with_name("ledger.sqlite-journal")
    before = places.ledger.read_bytes()
    db = sqlite3.connect(places.ledger, isolation_level=None)
    db.execute("PRAGMA cache_size=1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE channels SET sequence = 99")
    for number in range(200):
        db.execute("INSERT INTO names VALUES (?, ?, NULL)", (f"n{number}" + "x" * 500, str(ONE)))
    spilled, hot = places.ledger.read_bytes(), journal.read_bytes()
    db.close()
    assert spilled != before, "the transaction was to reach the disk before its end"
    places.ledger.write_bytes(spilled)
    journal.write_bytes(hot)
    seen = look(places)
    assert seen.floors == floors(3)
    assert "cut off" in seen.note
    assert journal.exists(), "looking played the journal back"
    assert read(places) == floors(3)
    assert look(places).note == ""


# --- intents --------------------------------------------------------------------------------------


def test_what_was_about_to_be_done_is_ours_after_a_power_cut(places: Places) -> None:
    write(places, 3)
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        assert ledger.owned("oci:/srv/images", APP) == (TWO,)
        assert ledger.owned("docker", APP) == ()
        ledger.intend("docker", {APP: frozenset({ONE})})
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0") as ledger,
    ):
        assert ledger.owned("docker", APP) == (ONE,)
        # Whatever fails next, of this bundle or another, what a power cut may have left stays ours.
        ledger.append(attempt(outcome="refused"))
        assert ledger.owned("docker", APP) == (ONE,)
        ledger.append(attempt(), loaded={("docker", APP): ONE})
        ledger.intend("docker", {APP: frozenset({TWO})})
        assert ledger.owned("docker", APP) == (ONE, TWO)
        ledger.append(attempt(), loaded={("docker", APP): TWO})
        assert ledger.owned("docker", APP) == (TWO,)
        assert ledger.owned("oci:/srv/images", APP) == (TWO,)
