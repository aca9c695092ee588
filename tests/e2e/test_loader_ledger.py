"""What the ledger says afterwards, as an operator and an auditor ask it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher

NAME = f"{REPOSITORY}:1"
REASON = "the new one does not start"


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def host(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> FarSide:
    """A host that loaded 1 and 2, refused 1, and went back to 1 for a reason."""
    folder = tmp_path_factory.mktemp("ledger")
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    for number in (1, 2):
        publisher.bundle(
            folder / f"{number}.tar.zst", sequence=number, version=f"1.{number}", days=number
        )
        assert host.load(folder / f"{number}.tar.zst").status == 0
    assert host.load(folder / "1.tar.zst").status == 16
    assert host.load(folder / "1.tar.zst", "--allow-downgrade", REASON).status == 0
    return host


def test_x_10_each_attempt_is_a_record_that_says_what_decided(host: FarSide) -> None:
    ran = host.run("history", "--json", "--all")
    assert ran.status == 0
    document = ran.verdict
    assert document["schema"] == "airlock-history/1"
    records = [one["record"] for one in document["records"]]
    assert [r["outcome"] for r in records] == ["loaded", "refused", "loaded", "loaded", "begun"]
    for record in records[:-1]:
        assert record["statement"].startswith("sha256:")
        assert record["policy"].startswith("sha256:")
        assert {anchor["name"] for anchor in record["anchors"]} == {"acme", "release", "packer"}
        assert record["time"] == record["images"][0]["at"]
        assert record["loader"]
        assert len(record["signatures"]) == 1
    assert records[1]["failure"]["code"] == "rollback.sequence"
    assert records[0]["downgrade"] == REASON


def test_a_downgrade_is_shown_ever_after(host: FarSide) -> None:
    ran = host.run("history")
    assert f"let in because: {REASON}" in ran.out
    assert ran.out.splitlines()[-1] == "DOWNGRADES were let in by record 4"
    assert f"let in because: {REASON}" in host.run("why", NAME).out


def test_why_names_who_vouched(host: FarSide) -> None:
    ran = host.run("why", NAME)
    assert ran.status == 0
    assert "let in by  record 4" in ran.out
    assert "said by key 'release'" in ran.out
    image = json.loads(host.run("why", NAME, "--json").out)["reasons"][0]["record"]["images"][0]
    for asked in (image["image"], REPOSITORY, image["packed_as"]):
        assert "let in by" in host.run("why", asked).out


def test_why_something_that_no_record_let_in(host: FarSide) -> None:
    ran = host.run("why", "docker.io/library/alpine:3")
    assert ran.status == 20
    assert "error[state.no-record]" in ran.err
    assert ran.out == ""


def test_x_10_audit_verify(host: FarSide, tmp_path: Path) -> None:
    ran = host.run("audit", "verify")
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[-1].startswith("WHOLE")
    found = host.run("audit", "verify", "--json").verdict
    [key], head = found["signed"], found["head"]
    noted = f"{head['number']}:{head['hash']}"
    assert host.run("audit", "verify", "--key", key, "--noted", noted).status == 0
    other = "sha256:" + "0" * 64
    assert host.run("audit", "verify", "--key", other).status == 20
    assert host.run("audit", "verify", "--noted", f"99:{other}").status == 20
    assert host.run("audit", "verify", "--noted", "yes").status == 2
    assert host.run("audit", "verify", "--key", "yes").status == 2
    export = tmp_path / "export.jsonl"
    export.write_text(host.run("audit", "export").out)
    assert host.run("audit", "verify", export, "--key", key, "--noted", noted).status == 0


def test_x_10_an_edit_is_found_and_named(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    publisher.bundle(tmp_path / "1.tar.zst")
    assert host.load(tmp_path / "1.tar.zst").status == 0
    with sqlite3.connect(host.state / "ledger.sqlite") as db:
        db.execute("UPDATE records SET record = replace(record, 'loaded', 'failed')")
    ran = host.run("audit", "verify")
    assert ran.status == 20
    assert "BAD      record 1: its bytes were changed" in ran.out
    assert "record 1" in ran.error
    assert host.run("history").status == 20
    assert host.load(tmp_path / "1.tar.zst").status == 20, "a load does not go on either"


@pytest.mark.parametrize("verb", [("history",), ("audit", "verify"), ("audit", "export")])
def test_a_new_host_has_nothing_to_tell(
    publisher: Publisher, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.run(*verb).status == 0
    assert not host.state.exists()


def test_the_whole_ledger_of_another_user_is_not_read(publisher: Publisher, tmp_path: Path) -> None:
    """A163."""
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    publisher.bundle(tmp_path / "1.tar.zst")
    assert host.load(tmp_path / "1.tar.zst").status == 0
    (host.state / "ledger.sqlite").chmod(0o666)
    for verb in (("history",), ("audit", "verify"), ("why", NAME)):
        assert "error[state.permission]" in host.run(*verb).err


def test_a_damaged_memory_has_one_way_out(publisher: Publisher, tmp_path: Path) -> None:
    """T44: fail closed, explain, keep the floors, write it down."""
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    for number in (1, 2, 3):
        publisher.bundle(tmp_path / f"{number}.tar.zst", sequence=number, days=number)
    assert host.load(tmp_path / "2.tar.zst").status == 0
    (host.state / "ledger.sqlite").write_bytes(b"spilled coffee")
    ran = host.load(tmp_path / "3.tar.zst")
    assert (ran.status, ran.verdict["class"]) == (20, "state")
    assert "state recover" in ran.err
    looked = host.run("state", "recover")
    assert looked.status == 20
    assert "plan     keep the floors of the second copy:" in looked.out
    assert "channel stable: sequence 2 or higher" in looked.out
    assert host.run("state", "recover", "--reason", " ").status == 2
    ran = host.run("state", "recover", "--reason", "spilled coffee")
    assert ran.status == 0, ran.err
    assert host.load(tmp_path / "1.tar.zst").status == 16, "what was accepted is still known"
    assert host.load(tmp_path / "3.tar.zst").status == 0
    history = host.run("history", "--all").out
    assert "recover: done" in history
    assert "reason: spilled coffee" in history
    assert host.run("audit", "verify").status == 0
    again = host.run("state", "recover", "--reason", "to be sure")
    assert again.out.startswith("NOTHING TO RECOVER")


def test_a_new_host_has_nothing_to_recover(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.run("state", "recover", "--reason", "why not").status == 0
    assert not host.state.exists()


def test_status_is_one_screen(host: FarSide) -> None:
    ran = host.run("status")
    assert ran.status == 0, ran.err
    assert len(ran.out.splitlines()) <= 24
    assert "channel    stable: sequence 2 or higher" in ran.out
    assert "anchor     release  key" in ran.out
    assert f"let in because: {REASON}" in ran.out
    assert NAME in ran.out
    document = host.run("status", "--json").verdict
    assert document["schema"] == "airlock-status/1"
    assert [one["name"] for one in document["loaded"]] == [NAME]
    assert document["downgrades"][0]["downgrade"] == REASON
    ran = host.run("status", "--nagios")
    assert ran.status == 1
    assert ran.out.startswith("AIRLOCK WARNING: the last attempt went back")
    assert host.run("status", "--max-age", "3").status == 2
    assert host.run("status", "--nagios", "--json").status == 2


def test_status_of_a_host_with_faults_shows_the_rest(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.run("status").status == 0
    publisher.bundle(tmp_path / "1.tar.zst")
    assert host.load(tmp_path / "1.tar.zst").status == 0
    (host.root / "etc/airlock/policy.toml").write_text("schema = 2")
    ran = host.run("status")
    assert ran.status == 2
    assert "FAULT      usage.policy" in ran.out
    assert NAME in ran.out
    ran = host.run("status", "--nagios")
    assert (ran.status, ran.out.partition(":")[0]) == (2, "AIRLOCK CRITICAL")
