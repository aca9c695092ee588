"""Every record carries the host's signature; another key, or none, is noticed."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from loader.digest import Digest
from loader.errors import LocalError, StateError, StateKeyError, StatePermissionError
from loader.places import Places
from loader.state.history import reading
from loader.state.ledger import Ledger
from loader.state.lock import StateFolder
from loader.state.record import Attempt, AttemptedClaim, AttemptedImage, Failure, Record
from loader.state.signing import Signer, key_id, signed_by
from loader.trust.keys import PublicKey
from tests.unit.loader.state.test_state_ledger import AT, ONE, TWO, attempt, floors, write


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


class Token:
    """A signer that is no file: an ECDSA key, as a TPM has one."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.key = PublicKey.of(self.private.public_key(), name="token")
        self.broken = False

    def sign(self, raw: bytes) -> bytes:
        if self.broken:
            raise StateKeyError("the token is not there")
        return self.private.sign(raw, ec.ECDSA(SHA256()))


def run(places: Places, signer: Signer | None = None) -> None:
    with (
        StateFolder.lock(places, verb="load", at=AT) as folder,
        Ledger.open(folder, at=AT, loader="0", signer=signer) as ledger,
    ):
        ledger.append(attempt(sequence=3), floors=floors(3))


def key_file(places: Places) -> Path:
    return places.state / "host.key"


def test_the_key_is_made_once_and_is_the_owners_alone(places: Places) -> None:
    write(places, 1)
    raw = key_file(places).read_bytes()
    assert stat.S_IMODE(key_file(places).stat().st_mode) == 0o600
    write(places, 2)
    assert key_file(places).read_bytes() == raw


def test_every_record_is_signed_over_its_very_bytes(places: Places) -> None:
    write(places, 1, 2)
    with reading(places) as ledger:
        rows, keys = list(ledger.rows()), ledger.keys()
    assert [row.number for row in rows] == [0, 1, 2]
    [key] = keys.values()
    for row in rows:
        assert row.key == str(key_id(key)) == json.loads(row.record)["key"]
        signature = sqlite_bytes(row.signature)
        signed_by(key, signature, row.record, where="here")
        with pytest.raises(StateError, match="does not carry"):
            signed_by(key, signature, row.record + b" ", where="here")


def sqlite_bytes(text: str | None) -> bytes:
    assert text is not None
    return base64.standard_b64decode(text)


def test_without_its_key_a_host_does_not_go_on(places: Places) -> None:
    write(places, 1)
    key_file(places).unlink()
    with pytest.raises(StateKeyError, match="the host's key is gone") as refused:
        write(places, 2)
    assert "state recover" in refused.value.hint
    assert not key_file(places).exists(), "no new key is made in silence"


def test_another_key_does_not_go_on(places: Places, tmp_path: Path) -> None:
    write(places, 1)
    other = Places.under(tmp_path / "other")
    write(other, 1)
    key_file(places).write_bytes(key_file(other).read_bytes())
    with pytest.raises(StateKeyError, match="another key"):
        write(places, 2)


@pytest.mark.parametrize("raw", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_said_to_be_one(places: Places, raw: bytes) -> None:
    write(places, 1)
    key_file(places).write_bytes(raw)
    with pytest.raises(StateKeyError, match="damaged"):
        write(places, 2)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_read_signs_nothing(places: Places, mode: int) -> None:
    """A163."""
    write(places, 1)
    key_file(places).chmod(mode)
    with pytest.raises(StatePermissionError):
        write(places, 2)


def test_a_key_that_is_a_link_is_not_followed(places: Places, tmp_path: Path) -> None:
    write(places, 1)
    key_file(places).rename(tmp_path / "key")
    key_file(places).symlink_to(tmp_path / "key")
    with pytest.raises(LocalError):
        write(places, 2)


def test_a_signature_that_was_touched_is_noticed_at_once(places: Places) -> None:
    write(places, 1)
    with sqlite3.connect(places.ledger) as db:
        rows = dict(db.execute("SELECT number, signature FROM records"))
        db.execute("UPDATE records SET signature = ? WHERE number = 1", (rows[0],))
    with pytest.raises(StateError, match="does not carry the host's signature"):
        write(places, 2)


def forget_keys(places: Places, *more: str) -> None:
    with sqlite3.connect(places.ledger) as db:
        for statement in ("DELETE FROM keys", *more):
            db.execute(statement)


def test_a_table_of_keys_that_was_emptied_makes_no_host_of_yesterday(places: Places) -> None:
    """A ledger from before hosts had keys gets one; this is none, and another key gets nothing."""
    write(places, 1)
    raw = key_file(places).read_bytes()
    forget_keys(places)
    with pytest.raises(StateError, match="does not hold the key that signed its last record"):
        write(places, 2)
    key_file(places).unlink()
    with pytest.raises(StateError, match="does not hold the key"):
        write(places, 2)
    assert not key_file(places).exists(), "no new key is made in silence"
    key_file(places).write_bytes(raw)


def test_a_record_without_a_key_does_not_end_a_signed_chain(places: Places) -> None:
    """Somebody who can write the file and not sign: the keys emptied, a record put behind."""
    write(places, 1)
    with sqlite3.connect(places.ledger) as db:
        number, previous, last = db.execute(
            "SELECT number, hash, record FROM records ORDER BY number DESC LIMIT 1"
        ).fetchone()
        fields = json.loads(last) | {"number": number + 1, "previous": previous, "key": None}
        raw = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        db.execute(
            "INSERT INTO records (number, hash, record) VALUES (?, ?, ?)",
            (number + 1, str(Digest.of(raw.encode())), raw),
        )
    for statements in ((), ("UPDATE records SET key = NULL, signature = NULL",)):
        forget_keys(places, *statements)
        with pytest.raises(StateError):
            write(places, 2)


def test_a_ledger_from_before_hosts_had_keys_gets_one(places: Places) -> None:
    write(places, 1)
    forget_keys(places, "DELETE FROM records WHERE number > 0")
    with sqlite3.connect(places.ledger) as db:
        [last] = db.execute("SELECT record FROM records").fetchone()
        raw = json.dumps(json.loads(last) | {"key": None}, sort_keys=True, separators=(",", ":"))
        for table in ("channels", "names", "loaded", "logs", "times"):
            db.execute(f"DELETE FROM {table}")
        db.execute(
            "UPDATE records SET key = NULL, signature = NULL, record = ?, hash = ?",
            (raw, str(Digest.of(raw.encode()))),
        )
    key_file(places).unlink()
    places.floors.unlink()
    write(places, 1)
    assert key_file(places).exists()


def test_a_token_signs_in_place_of_the_file(places: Places) -> None:
    token = Token()
    run(places, token)
    assert not key_file(places).exists()
    run(places, token)
    with pytest.raises(StateKeyError, match="the host's key is gone"):
        run(places, None)
    with pytest.raises(StateKeyError, match="another key"):
        run(places, Token())


def test_nothing_is_written_without_a_signature(places: Places) -> None:
    token = Token()
    run(places, token)
    before = places.ledger.read_bytes(), places.floors.read_bytes()
    token.broken = True
    with pytest.raises(StateKeyError, match="the token is not there"):
        run(places, token)
    assert (places.ledger.read_bytes(), places.floors.read_bytes()) == before


def test_a_wrong_signature_is_not_written(places: Places) -> None:
    token = Token()
    run(places, token)
    token.private = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(StateError, match="does not carry the host's signature"):
        run(places, token)


def attempts() -> Iterator[Attempt]:
    yield attempt()
    yield attempt(verb="recover", outcome="done", reason="disk replaced", notes=("one", "two"))
    yield attempt(
        archive="b.tar.zst",
        target="docker",
        statement=ONE,
        signatures=(TWO,),
        created=AT,
        channel="stable",
        sequence=7,
        policy=TWO,
        anchors=(("acme", ONE),),
        time=AT,
        images=(
            AttemptedImage(
                name="registry.example/org/app:1",
                packed_as="registry.example/org/app:1@sha256:0",
                image=ONE,
                evidence=(TWO,),
                claims=(AttemptedClaim(words="signature", who=("key release",), at=(AT,)),),
                at=AT,
                what="loaded",
                manifests=(TWO,),
                brought=("sha256:1",),
                read_back=(("image ID", "sha256:1"), ("empty", "")),
            ),
        ),
        exceptions=("until june",),
        downgrade="the new one is broken",
        downgrades=("sequence 6 after 7",),
        warnings=("clock",),
        failure=Failure(code="policy.refused", message="no", where="x"),
    )


@pytest.mark.parametrize("one", [*attempts()])
def test_what_was_recorded_is_read_again(one: Attempt) -> None:
    raw = one.encode(number=4, previous=ONE, floors=TWO, key=ONE)
    record = Record.parse(raw, where="record 4")
    assert record.attempt == one
    assert (record.number, record.previous, record.floors, record.key) == (4, ONE, TWO, ONE)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[1]", b"\xff", b'{"schema":1,"verb":"fly"}', b'{"number":-1}']
)
def test_what_is_no_record_is_said_to_be_none(raw: bytes) -> None:
    """A164."""
    with pytest.raises(StateError):
        Record.parse(raw, where="record 4")
