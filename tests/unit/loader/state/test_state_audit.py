"""`audit verify` finds what was edited, removed, moved or cut off: the first bad record first."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import StateError
from loader.places import Places
from loader.state.audit import Audit, Noted, audit, audit_rows
from loader.state.export import Export, export_lines
from loader.state.history import reading
from tests.unit.loader.state.test_state_ledger import write

LAST = 5


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places.under(tmp_path)
    write(places, *range(1, LAST + 1))
    return places


def audited(places: Places, noted: Noted | None = None) -> Audit:
    with reading(places) as ledger:
        return audit(ledger, noted=noted)


def head(places: Places) -> Noted:
    found = audited(places).head
    assert found is not None
    return found


def change(places: Places, *statements: str) -> None:
    with sqlite3.connect(places.ledger) as db:
        for statement in statements:
            db.execute(statement)


def test_a_ledger_that_nobody_touched_is_whole(places: Places) -> None:
    found = audited(places, noted=head(places))
    assert found.findings == ()
    assert found.count == LAST + 1
    assert list(found.signed.values()) == [LAST + 1]


EDIT = (
    """UPDATE records SET record = replace(record, '"sequence":2', '"sequence":9')"""
    " WHERE number = 2"
)
AGAIN = "INSERT INTO records SELECT 6, hash, record, key, signature FROM records WHERE number = 5"
SWAP = (
    "UPDATE records SET number = 99 WHERE number = 2",
    "UPDATE records SET number = 2 WHERE number = 3",
    "UPDATE records SET number = 3 WHERE number = 99",
)


@pytest.mark.parametrize(
    ("statements", "record", "words"),
    [
        ([EDIT], 2, "its bytes were changed"),
        (["DELETE FROM records WHERE number = 2"], 2, "record 2 is missing"),
        (["DELETE FROM records WHERE number IN (2, 3)"], 2, "record 2 to 3 is missing"),
        (["DELETE FROM records WHERE number = 0"], 0, "record 0 is missing"),
        (list(SWAP), 2, "it was written as record 3"),
        (["DELETE FROM records WHERE number = 5"], 4, "the floors are not those"),
        (
            ["UPDATE records SET signature = NULL WHERE number = 3"],
            3,
            "does not carry the host's signature",
        ),
        (["DELETE FROM keys"], 0, "a key that is not this host's"),
        (["UPDATE names SET at = NULL"], 5, "the floors are not those"),
        (["UPDATE channels SET sequence = 1"], 5, "the floors are not those"),
        (
            [AGAIN],
            6,
            "it was written as record 5",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_was_done_to_a_record_is_found(
    places: Places, statements: list[str], record: int, words: str
) -> None:
    """A168: edited, removed, reordered, cut off; the first bad record is named."""
    change(places, *statements)
    first = audited(places).findings[0]
    assert first.record == record
    assert words in first.words


def _rewrite(places: Places) -> None:
    """Edit record 2 and write every hash behind it anew, as somebody without the key can."""
    with sqlite3.connect(places.ledger) as db:
        rows = db.execute("SELECT number, record FROM records ORDER BY number").fetchall()
        previous = None
        for number, text in rows:
            document = json.loads(text)
            if number == 2:
                document["archive"] = "another"
            if previous is not None:
                document["previous"] = str(previous)
            raw = json.dumps(document, sort_keys=True, separators=(",", ":"))
            previous = Digest.of(raw.encode())
            db.execute(
                "UPDATE records SET record = ?, hash = ? WHERE number = ?",
                (raw, str(previous), number),
            )


def test_a_chain_that_was_written_anew_is_not_signed(places: Places) -> None:
    _rewrite(places)
    first = audited(places).findings[0]
    assert (first.record, first.words) == (2, "a record does not carry the host's signature")


def test_a_record_that_follows_another_one(places: Places, tmp_path: Path) -> None:
    """Each record is whole and signed by this host; the chain is made of two all the same."""
    other = Places.under(tmp_path / "other")
    other.state.parent.mkdir(parents=True)
    shutil.copytree(places.state, other.state)
    write(places, 6)
    write(other, 7, 8)
    with sqlite3.connect(other.ledger) as db:
        db.execute("ATTACH ? AS mine", (str(places.ledger),))
        db.execute("DELETE FROM main.records WHERE number = 6")
        db.execute("INSERT INTO main.records SELECT * FROM mine.records WHERE number = 6")
    found = audited(other)
    assert found.count == found.signed[next(iter(found.signed))] == 8
    said = [(finding.record, finding.words) for finding in found.findings]
    assert said == [(7, "it does not follow the record before it")]


def test_a_tail_that_was_cut_off_is_found_by_the_second_copy(places: Places) -> None:
    old = places.state.parent / "old"
    shutil.copytree(places.state, old)
    write(places, 6, 7)
    shutil.copy(old / "ledger.sqlite", places.ledger)
    [first, *_] = audited(places).findings
    assert first.record == LAST + 1
    assert "record 6 to 7 is missing from the end" in first.words


def test_what_was_put_back_whole_is_found_by_a_head_that_was_noted(places: Places) -> None:
    """Out of scope for the host itself: root can put all of it back (docs/threat-model.md)."""
    old = places.state.parent / "old"
    shutil.copytree(places.state, old)
    write(places, 6)
    noted = head(places)
    shutil.rmtree(places.state)
    old.rename(places.state)
    assert audited(places).findings == ()
    [finding] = audited(places, noted=noted).findings
    assert "record 6 was noted, and the ledger ends before it" in finding.words


def test_a_second_copy_that_is_gone_is_said(places: Places) -> None:
    places.floors.unlink()
    assert [one.words for one in audited(places).findings] == [
        "the second copy of the floors is gone"
    ]


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 9000])
def test_a_file_that_is_cut_short_is_never_whole(places: Places, size: int) -> None:
    raw = places.ledger.read_bytes()
    places.ledger.write_bytes(raw[:size])
    try:
        findings = audited(places).findings
    except StateError:
        return
    assert findings


def _exported(places: Places, path: Path) -> Path:
    with reading(places) as ledger:
        path.write_text("".join(f"{line}\n" for line in export_lines(ledger)))
    return path


def _audited_export(path: Path) -> Audit:
    export = Export(path)
    try:
        keys = export.keys()
        return audit_rows(export.rows(), keys)
    finally:
        export.close()


def test_an_export_is_verified_elsewhere(places: Places, tmp_path: Path) -> None:
    found = _audited_export(_exported(places, tmp_path / "export.jsonl"))
    assert found.findings == ()
    assert found == audited(places)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], "record 2 is missing"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "record 2 is missing"),
        (
            lambda lines: [line.replace('sequence\\":3', 'sequence\\":4') for line in lines],
            "its bytes were changed",
        ),
    ],
    ids=["removed", "reordered", "edited"],
)
def test_an_export_that_was_touched_is_not_whole(
    places: Places, tmp_path: Path, spoil: Callable[[list[str]], list[str]], words: str
) -> None:
    path = _exported(places, tmp_path / "export.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in spoil(lines)))
    assert words in _audited_export(path).findings[0].words


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}\n", b"[]\n", b"\xff\n", b'{"schema":"airlock-ledger/2","keys":[]}\n',
     b'{"schema":"airlock-ledger/1","keys":["AAAA"]}\n',
     b'{"schema":"airlock-ledger/1","keys":[]}\n{"number":0}\n'],
)  # fmt: skip
def test_another_file_is_no_export(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "export.jsonl"
    path.write_bytes(raw)
    with pytest.raises(StateError):
        _audited_export(path)
