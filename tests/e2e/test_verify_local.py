"""`verify-local`: no archive at hand, today's policy, and whatever the runtime has now."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.loading import POLICY, REPOSITORY, FarSide, Publisher, Ran
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image

NAME = f"{REPOSITORY}:1"


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(publisher: Publisher, tmp_path: Path) -> FarSide:
    """A host that loaded two images of one bundle; the archive is gone."""
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, text=f"{tag}\n", version=tag), tag=tag) for tag in "12"
    ]
    bundle = tmp_path / "bundle.tar.zst"
    publisher.pack(bundle, store, entries)
    assert host.load(bundle).status == 0
    bundle.unlink()
    return host


def check(host: FarSide, *options: str) -> Ran:
    return host.run("verify-local", "--json", *(options or ("--all",)))


def only(ran: Ran, name: str = NAME) -> dict[str, object]:
    [found] = [image for image in ran.verdict["images"] if image["name"] == name]
    return dict(found)


def test_dz_8_what_was_loaded_is_judged_again_and_compared(host: FarSide) -> None:
    before = host.untouched(), (host.state / "ledger.sqlite").read_bytes()
    ran = check(host)
    assert ran.status == 0, ran.err
    assert [image["name"] for image in ran.verdict["images"]] == [NAME, f"{REPOSITORY}:2"]
    for image in ran.verdict["images"]:
        assert (image["policy"], image["runtime"]) == ("accepted", "same")
    words = host.run("verify-local", NAME)
    assert words.status == 0
    assert words.out.splitlines()[-1] == "AS IT WAS LET IN: 1 image, judged again and compared"
    assert "said by key 'release'" in words.out
    assert (host.untouched(), (host.state / "ledger.sqlite").read_bytes()) == before


def _gone(host: FarSide) -> None:
    index = json.loads((host.loaded / "index.json").read_text())
    index["manifests"] = [
        one for one in index["manifests"] if NAME not in one["annotations"].values()
    ]
    (host.loaded / "index.json").write_text(json.dumps(index))


def _moved(host: FarSide) -> None:
    index = json.loads((host.loaded / "index.json").read_text())
    [one] = [one for one in index["manifests"] if NAME in one["annotations"].values()]
    [other] = [one for one in index["manifests"] if NAME not in one["annotations"].values()]
    one["digest"], one["size"] = other["digest"], other["size"]
    (host.loaded / "index.json").write_text(json.dumps(index))


def _blob(host: FarSide) -> None:
    image = only(check(host, NAME))["image"]
    path = host.loaded / "blobs/sha256" / str(image).removeprefix("sha256:")
    path.write_bytes(path.read_bytes() + b" ")


def _all(host: FarSide) -> None:
    shutil.rmtree(host.loaded)


@pytest.mark.parametrize(
    ("spoil", "runtime", "code"),
    [
        (_gone, "gone", "drift.gone"),
        (_moved, "changed", "drift.changed"),
        (_blob, "changed", "drift.changed"),
        (_all, "gone", "drift.gone"),
    ],
)
def test_dz_8_an_image_that_changed_or_vanished(
    host: FarSide, spoil: Callable[[FarSide], None], runtime: str, code: str
) -> None:
    spoil(host)
    ran = check(host)
    assert (ran.status, ran.verdict["code"]) == (1, code)
    assert (only(ran)["policy"], only(ran)["runtime"]) == ("accepted", runtime)
    if spoil is not _all:
        assert only(ran, f"{REPOSITORY}:2")["runtime"] == "same"
    assert check(host, NAME).status == 1
    assert host.run("verify-local", NAME).out.splitlines()[-1].startswith("NOT AS IT SHOULD BE")


def _rule(host: FarSide, text: str) -> None:
    (host.root / "etc/airlock/policy.toml").write_text(text)


def test_an_image_that_policy_refuses_today(host: FarSide) -> None:
    _rule(host, POLICY.replace("acme/*", "acme/other"))
    ran = check(host)
    assert (ran.status, ran.verdict["code"]) == (14, "policy.no-rule")
    assert (only(ran)["policy"], only(ran)["runtime"]) == ("refused", "same")


def test_a_signer_who_is_not_trusted_any_more(host: FarSide, publisher: Publisher) -> None:
    other = publisher.world.managed("other")
    (host.root / "etc/airlock/release.pub").write_bytes(other.public_pem)
    ran = check(host)
    assert ran.status == 11, ran.err
    assert only(ran)["policy"] == "refused"


def test_dz_8_a_key_that_was_deleted(host: FarSide) -> None:
    (host.root / "etc/airlock/release.pub").unlink()
    ran = host.run("verify-local", "--all")
    assert ran.status == 2
    assert "release.pub" in ran.error


@pytest.mark.parametrize("how", ["gone", "a folder", "not TOML"])
def test_a_policy_that_cannot_be_read_refuses_nothing(host: FarSide, how: str) -> None:
    """That is this host's fault, and no verdict about the images."""
    policy = host.root / "etc/airlock/policy.toml"
    policy.unlink()
    if how == "a folder":
        policy.mkdir()
    elif how == "not TOML":
        policy.write_text("schema =")
    ran = check(host)
    assert ran.status == (2 if how == "not TOML" else 20), ran.err
    assert {image["policy"] for image in ran.verdict["images"]} == {"unknown"}
    words = host.run("verify-local", "--all").out
    assert "REFUSED" not in words
    assert words.splitlines()[-1] == "NOT AS IT SHOULD BE: 2 of 2 images"


def _evidence(host: FarSide) -> Path:
    return host.state / "evidence"


@pytest.mark.parametrize("what", ["one blob", "all of it", "a bit of each"])
def test_dz_8_evidence_that_is_gone_says_what_to_do(host: FarSide, what: str) -> None:
    paths = sorted(_evidence(host).iterdir())
    if what == "one blob":
        statement = only(check(host))
        record = host.records()[int(str(statement["record"]))]
        (_evidence(host) / record["statement"].removeprefix("sha256:")).unlink()
    elif what == "all of it":
        shutil.rmtree(_evidence(host))
    else:
        for path in paths:
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
    ran = host.run("verify-local", "--all")
    assert ran.status == 20
    assert "error[state.evidence]" in ran.error
    assert "load the bundle" in ran.err


@pytest.mark.parametrize("number", range(12))
def test_each_kept_blob_is_needed_or_harmless(host: FarSide, number: int) -> None:
    """Whatever single file is spoiled, an answer is a refusal, a fault, or the same as before."""
    paths = sorted(_evidence(host).iterdir())
    if number >= len(paths):
        pytest.skip("fewer blobs than that")
    paths[number].write_bytes(b"another")
    assert check(host).status in {0, 20}
    paths[number].unlink()
    assert check(host).status in {0, 20}


def test_dz_8_a_record_that_was_deleted(host: FarSide) -> None:
    with sqlite3.connect(host.state / "ledger.sqlite") as db:
        db.execute("DELETE FROM records WHERE number = 1")
    ran = host.run("verify-local", "--all")
    assert ran.status == 20
    assert "error[state.damaged]" in ran.error


def test_a_bundle_that_expired_since_is_no_fault(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    bundle = tmp_path / "bundle.tar.zst"
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    publisher.bundle(bundle, expires=expires)
    assert host.load(bundle).status == 0
    time.sleep(max(0.0, (expires - datetime.now(UTC)).total_seconds()) + 1)
    assert host.load(bundle).status == 18, "it has expired"
    ran = check(host)
    assert ran.status == 0, ran.err
    assert only(ran)["expired"] is True


def test_an_image_that_nobody_let_in(host: FarSide) -> None:
    ran = host.run("verify-local", "docker.io/library/alpine:3")
    assert ran.status == 20
    assert "error[state.no-record]" in ran.error


@pytest.mark.parametrize("arguments", [(), (NAME, "--all")])
def test_it_wants_one_image_or_all(host: FarSide, arguments: tuple[str, ...]) -> None:
    assert host.run("verify-local", *arguments).status == 2


def test_a_new_host_has_nothing_to_judge(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    ran = host.run("verify-local", "--all")
    assert ran.status == 0, ran.err
    assert "NOTHING WAS LOADED" in ran.out


def test_a_downgrade_is_shown_here_too(publisher: Publisher, tmp_path: Path) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    for number in (1, 2):
        publisher.bundle(tmp_path / f"{number}.tar.zst", sequence=number, days=number)
    assert host.load(tmp_path / "2.tar.zst").status == 0
    assert host.load(tmp_path / "1.tar.zst", "--allow-downgrade", "it hangs").status == 0
    ran = host.run("verify-local", NAME)
    assert ran.status == 0
    assert "let in because: it hangs" in ran.out


def test_a_name_that_moved_on_is_judged_by_its_last_record(
    publisher: Publisher, tmp_path: Path
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    for number in (1, 2):
        publisher.bundle(
            tmp_path / f"{number}.tar.zst", sequence=number, days=number, version=f"{number}"
        )
        assert host.load(tmp_path / f"{number}.tar.zst").status == 0
    ran = check(host)
    assert ran.status == 0, ran.err
    assert only(ran)["record"] == 2
