"""`trust inspect` and `trust key-id`: the tables of docker, expiry, and what a key is called."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from bundler.cli import main
from bundler.notary.captured import Captured
from bundler.notary.inspect import Inspection
from bundler.notary.key_file import key_ids_of
from bundler.notary.sources import verify
from loader.errors import UsageError
from tests.fakes.notaryworld import AT, Key, Repository, changed

GUN = "registry.acme.example/acme/app"


def published() -> Repository:
    """Tags of the admin, of releases with and without its signer, and of a signer alone."""
    world = Repository(gun=GUN)
    for role in ("targets/releases", "targets/alice", "targets/bob"):
        world.delegate(role)
    world.delegate("targets/carol", published=False)
    world.tag("v10", b"ten")
    world.tag("v2", b"two", role="targets/releases")
    for role in ("targets/releases", "targets/alice", "targets/bob"):
        world.tag("v9", b"nine", role=role)
    world.tag("alone", b"x", role="targets/alice")
    world.publish()
    return world


def shown(world: Repository, *, days: int = 0, tag: str = "", pinned: str = "") -> Inspection:
    trust = verify(Captured(gun=GUN, files=world.files, origin="here"), None)
    return Inspection.of(trust, now=AT + timedelta(days=days), pinned=pinned, tag=tag)


def test_dc_4_the_three_tables() -> None:
    world = published()
    ids = {name: d.keys[0].canonical_id[:12] for name, d in world.delegations.items()}
    lines = list(shown(world).as_text(GUN))
    digest = {row.tag: row.digest for row in shown(world).tags}
    end = lines.index(f"Roles of {GUN}") - 1
    assert [line.split() for line in lines[:end] if line] == [
        ["Signatures", "for", GUN],
        ["SIGNED", "TAG", "DIGEST", "SIGNERS"],
        ["v2", digest["v2"], "(Repo", "Admin)"],
        ["v9", digest["v9"], "alice,", "bob"],
        ["v10", digest["v10"], "(Repo", "Admin)"],
        ["List", "of", "signers", "and", "their", "keys", "for", GUN],
        ["SIGNER", "KEYS"],
        *([name, ids[f"targets/{name}"]] for name in ("alice", "bob", "carol")),
        ["Administrative", "keys", "for", GUN],
        ["Repository", "Key:", world.keys["targets"][0].key_id],
        ["Root", "Key:", world.root_ids[0]],
    ]
    assert "alone" not in "".join(lines[:end])


def test_one_tag() -> None:
    assert [row.tag for row in shown(published(), tag="v9").tags] == ["v9"]
    assert (
        next(iter(list(shown(published(), tag="nope").as_text(GUN))[1:]))
        == f"No signatures for {GUN}"
    )


def test_dc_7_warnings_of_what_ends() -> None:
    world = published()
    world.lifetimes["targets/releases"] = timedelta(days=200)
    world.publish()
    assert shown(world).warnings == ()
    assert shown(world, days=20).warnings == (
        "targets/releases expires at 2026-08-03T12:00:00Z, within six months: have it signed anew",
        "timestamp expired at 2026-01-29T12:00:00Z",
    )
    assert "targets/releases expired at" in shown(world, days=201).warnings[0]


def test_dc_6_dc_7_conflicts_and_unusable_roles_are_warned_of() -> None:
    world = published()
    world.tag("v2", b"other two")
    world.publish()
    assert shown(world).warnings == (
        "targets and targets/releases mean different bytes by the tag v2",
    )
    world.files["targets/bob"] = changed(
        world.files["targets/bob"], lambda d: d.update(signatures=[])
    )
    world.publish_snapshot()
    assert any(line.startswith("targets/bob is not usable") for line in shown(world).warnings)


def test_whose_word_it_is() -> None:
    world = published()
    assert shown(world).verified.startswith("NOT PINNED")
    assert world.root_ids[0] in shown(world).verified
    assert shown(world, pinned="root key abc").verified == "verified: root key abc, root 1 to 1"


def test_inspect_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = published()
    Captured(gun=GUN, files=world.files, origin="here").write(tmp_path)
    root = world.root_ids[0]
    arguments = ["trust", "inspect", str(tmp_path), f"{GUN}:v9", "--notary-root", root, "--json"]
    assert main(arguments, clock=lambda: AT) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["schema"] == "airlock-content-trust/1"
    assert document["pinned"] == f"root key {root[:12]}"
    assert [row["tag"] for row in document["signed_tags"]] == ["v9"]
    assert {key["name"] for key in document["administrative_keys"]} == {"Root", "Repository"}


def test_inspect_under_another_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Captured(gun=GUN, files=published().files, origin="here").write(tmp_path)
    arguments = ["trust", "inspect", str(tmp_path), GUN, "--notary-root", "ab" * 32]
    assert main(arguments, clock=lambda: AT) == 15
    assert "the root is not the pinned one" in capsys.readouterr().err


def test_fetch_from_a_cache_says_what_to_pin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = published()
    Captured(gun=GUN, files=world.files, origin="here").write(tmp_path / "cache")
    arguments = ["trust", "fetch", "--notary-cache", str(tmp_path / "cache")]
    assert main([*arguments, "-o", str(tmp_path / "out")], clock=lambda: AT) == 0
    said = capsys.readouterr().out
    assert "NOT PINNED" in said
    pins = json.loads(said.splitlines()[-1])
    assert pins["trust_pinning"]["certs"] == {GUN: world.root_ids}
    assert (tmp_path / "out" / "tuf" / GUN / "metadata" / "root.json").is_file()


# --- DC-10 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["P-256", "RSA-2048", "Ed25519"])
def test_dc_10_ids_of_files(tmp_path: Path, kind: str) -> None:
    bare = Key.bare("some", kind)
    files = {
        "key.pub": bare.signer.public_pem,
        "key.der": bare.signer.spki,
        "key.pem": bare.signer.private_pem,
        "docker.pub": bare.signer.public_pem.replace(
            b"KEY-----\n", b"KEY-----\nrole: alice\n\n", 1
        ),
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
        ids = key_ids_of(tmp_path / name)
        assert (ids.tuf_id, ids.canonical_id) == (bare.key_id, bare.key_id), name
    if kind != "Ed25519":
        certified = Key.certified("some", "alice", kind)
        (tmp_path / "key.crt").write_bytes(certified.public)
        ids = key_ids_of(tmp_path / "key.crt")
        assert (ids.tuf_id, ids.canonical_id) == (certified.key_id, bare.key_id)


def test_what_has_no_id(tmp_path: Path) -> None:
    encrypted = Key.bare("some").signer.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    files = {
        "empty": b"",
        "text": b"hello",
        "huge": bytes(1 << 20),
        "encrypted.key": encrypted,
        "broken.pem": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UsageError):
            key_ids_of(tmp_path / name)
    with pytest.raises(UsageError):
        key_ids_of(tmp_path / "nowhere")
