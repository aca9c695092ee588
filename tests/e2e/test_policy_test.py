"""`airlock policy test`: which evidence each rule would use, without loading (X-9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checking import IDENTITY, ISSUER, Desk, desk, sign_by_key, sign_keyless
from tests.e2e.loading import FarSide

POLICY = f"""\
schema = 1
[anchor.acme]
trusted-root = "trusted_root.json"
[[image]]
match = "HOST/acme/*"
name = "as-packed"
[[image.require]]
claim = "signature"
key = "release.pub"
[[image.require]]
claim = "signature"
trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
[[image]]
match = "ghcr.io/other/*"
[[image.require]]
claim = "signature"
key = "release.pub"
"""


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk(tmp_path, capsys) as made:
        made.write("policy.toml", POLICY.replace("HOST", made.registry.host))
        yield made


def tried(at: Desk, *arguments: str) -> dict[str, Any]:
    ran = at.ask(
        ["policy", "test"], *arguments, "--policy", str(at.folder / "policy.toml"), "--json"
    )
    found: dict[str, Any] = json.loads(ran.out)
    assert found["exit_status"] == ran.status
    return found


def test_x_9_each_rule_names_the_evidence_that_it_would_use(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    found = tried(at, at.tagged)
    assert found["verdict"] == "accept"
    (image,) = found["images"]
    by_key, keyless = image["claims"]
    used = {one["blob"]: one["used_by"] for one in image["considered"]}
    assert used == {
        by_key["evidence"][0]: ["image[0].require[0]"],
        keyless["evidence"][0]: ["image[0].require[1]"],
    }


def test_x_9_a_rule_without_an_image_is_said(at: Desk) -> None:
    sign_by_key(at)
    rules = {one["where"]: one["images"] for one in tried(at, at.tagged)["rules"]}
    assert rules == {"image[0]": [at.tagged], "image[1]": []}
    ran = at.ask(["policy", "test"], at.tagged, "--policy", str(at.folder / "policy.toml"))
    assert "image[1]  match ghcr.io/other/*: matches no image here" in ran.out


def test_x_9_every_unmet_requirement_is_there_with_why(at: Desk) -> None:
    found = tried(at, at.tagged)
    assert (found["verdict"], found["exit_status"]) == ("reject", 10)
    assert [claim["holds"] for claim in found["images"][0]["claims"]] == ["unmet", "unmet"]
    assert len(found["reasons"]) == 2


def test_x_9_a_bundle_is_tried_and_nothing_is_written(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    policy = at.folder / "policy.toml"
    bundle = at.folder / "bundle.tar"
    packed = at.ask(
        *("pack", at.tagged, "--policy", str(policy), "-o", str(bundle), "--plain"),
        "--no-log-proofs",
    )
    assert packed.status == 0, packed.err
    before = {path: path.read_bytes() for path in at.folder.rglob("*") if path.is_file()}
    at.registry.requests.clear()
    assert tried(at, str(bundle))["kind"] == "bundle"
    policy.write_text(
        policy.read_text() + '[[image]]\nmatch = "**"\n[[image.require]]\n'
        'claim = "bundle-signature"\nkey = "release.pub"\n'
    )
    found = tried(at, str(bundle))
    assert found["exit_status"] == 10
    # Refused before its images are judged; what is there of them is shown all the same.
    assert [claim["holds"] for claim in found["images"][0]["claims"]] == ["met", "met"]
    assert at.registry.requests == []
    before[policy] = policy.read_bytes()
    assert {p: p.read_bytes() for p in at.folder.rglob("*") if p.is_file()} == before


def test_an_exception_is_said_in_words_and_as_json(at: Desk) -> None:
    sign_keyless(at)
    policy = at.folder / "policy.toml"
    host = at.registry.host
    text = policy.read_text().replace('claim = "signature"', 'claim = "sbom"\ntype = "spdx"', 1)
    policy.write_text(
        f'{text}[[exception]]\nimage = "{host}/acme/*"\nclaim = "sbom"\nreason = "ACME-12"\n'
        "until = 2026-12-31\n"
    )
    sbom, signature = tried(at, at.tagged)["images"][0]["claims"]
    assert (sbom["holds"], signature["holds"]) == ("excepted", "met")
    assert sbom["exception"] == {
        "where": "exception[0]",
        "reason": "ACME-12",
        "until": "2026-12-31",
    }
    assert sbom["problem"]["code"] == "no-evidence.claim"
    assert signature["exception"] is None
    ran = at.verify(at.tagged, "--policy", str(policy), root=False)
    assert "EXCEPTED sbom of spdx" in ran.out
    assert "let through until 2026-12-31: ACME-12" in ran.out
    options = ("--policy", str(policy), "--plain", "--no-log-proofs", "-o")
    packed = at.ask("pack", at.tagged, *options, str(at.folder / "a.tar"))
    assert packed.status == 0, packed.err
    assert (
        "  EXCEPTED  sbom: no-evidence.claim, let through until 2026-12-31: ACME-12" in packed.out
    )
    packed = at.ask("pack", at.tagged, *options, str(at.folder / "b.tar"), "--json")
    (image,) = packed.document["images"]
    assert [claim["holds"] for claim in image["claims"]] == ["excepted", "met"]
    assert image["claims"][0]["exception"]["reason"] == "ACME-12"


def test_a_block_that_matches_no_image_is_said_by_every_verb(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    policy = ("--policy", str(at.folder / "policy.toml"))
    words = "1 of 2 blocks matches no image here: image[1] ghcr.io/other/*"
    assert f"note: {words}" in at.verify(at.tagged, *policy, root=False).err
    bundle = at.folder / "bundle.tar"
    packed = at.ask("pack", at.tagged, *policy, "-o", str(bundle), "--plain", "--no-log-proofs")
    assert packed.status == 0, packed.err
    assert words in packed.out + packed.err
    host = at.folder / "host" / "etc" / "airlock"
    host.mkdir(parents=True)
    for name in ("policy.toml", "release.pub", "trusted_root.json"):
        (host / name).write_bytes((at.folder / name).read_bytes())
    far = FarSide(at.folder / "host", at.folder / "loaded")
    for ran in (far.run("verify", bundle), far.run("load", bundle, "--into", f"oci:{far.loaded}")):
        assert ran.status == 0, ran.err
        assert words in ran.out
    assert far.verify(bundle).verdict["policy"]["without_image"] == ["image[1]"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"", "a key is missing"), (b"\xff", "not UTF-8"), (b"[[", "not TOML")],
)
def test_a_policy_that_is_none(at: Desk, raw: bytes, words: str) -> None:
    (at.folder / "policy.toml").write_bytes(raw)
    ran = at.ask(["policy", "test"], at.tagged, "--policy", str(at.folder / "policy.toml"))
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
