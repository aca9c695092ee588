"""`airlock attestation show` and `verify --type`: what attestations say, and whether it holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.checking.attestations import cut_predicate, for_terminal
from tests.e2e.checking import IDENTITY, WHO, Desk, desk, sign_keyless
from tests.fakes import attach
from tests.fakes.sigworld import statements

RELEASE = "https://github.com/acme/app/release-metadata/v1"
PREDICATE = '{ "tag":"v1.0.0",\n  "commit": "693130cb", "size": 9007199254740993, "\\u0070": 1.50 }'
"""As somebody's script wrote it: spaces, a long number, an escaped key."""


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk(tmp_path, capsys) as made:
        sign_keyless(made)
        yield made


def raw_statement(at: Desk, predicate: str = PREDICATE, kind: str = RELEASE) -> bytes:
    digest = at.image.digest.removeprefix("sha256:")
    return (
        '{"_type": "https://in-toto.io/Statement/v1", "predicate":'
        f"{predicate} ,"
        f'"subject":[{{"name":"{at.name}","digest":{{"sha256":"{digest}"}}}}],'
        f'"predicateType":"{kind}"}}'
    ).encode()


def attest(
    at: Desk, predicate: str = PREDICATE, kind: str = RELEASE, *, legacy: bool = False
) -> bytes:
    raw = raw_statement(at, predicate, kind)
    signed = at.world.sign_statement(raw, at.world.keyless())
    if legacy:
        attach.attach_tag(at.image, [signed.layer()], "att")
    else:
        attach.attach_bundle(at.image, signed.bundle(), fallback="full")
    return raw


def show(at: Desk, *arguments: str) -> list[str]:
    return [
        "show", at.tagged, *arguments, "--trusted-root", str(at.folder / "trusted_root.json")
    ]  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
def test_op_4_the_predicate_as_it_was_signed(at: Desk, *, legacy: bool) -> None:
    attest(at, legacy=legacy)
    ran = at.ask("attestation", *show(at, "--type", RELEASE, "--predicate", *WHO))
    assert ran.status == 0, ran.err
    assert ran.out == f"{PREDICATE}\n"
    assert f"VERIFIED: said by {IDENTITY}" in ran.err


def test_op_4_it_is_what_cosigns_pipeline_gives(at: Desk) -> None:
    """`cosign verify-attestation --type T | jq -r .payload | base64 -d | jq .predicate`."""
    raw = attest(at)
    envelope = at.verify(at.tagged, "--type", RELEASE, *WHO, "--json").document
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(envelope["payload"]) == raw
    ran = at.ask("attestation", *show(at, "--type", RELEASE, *WHO))
    assert ran.out.encode() == raw + b"\n"
    shown = at.ask("attestation", *show(at, "--type", RELEASE, "--predicate", *WHO))
    assert json.loads(shown.out) == json.loads(raw)["predicate"]


def test_without_anybody_named_it_is_said_to_be_unverified(at: Desk) -> None:
    attest(at)
    ran = at.ask("attestation", *show(at, "--type", RELEASE, "--predicate"))
    assert (ran.status, ran.out) == (0, f"{PREDICATE}\n")
    assert "NOT VERIFIED" in ran.err
    found = at.ask("attestation", *show(at, "--type", RELEASE, "--json")).document
    assert (found["verified"], found["who"]) == (False, None)
    found = at.ask("attestation", *show(at, "--type", RELEASE, "--json", *WHO)).document
    assert (found["verified"], found["schema"]) == (True, "airlock-attestation/1")
    assert found["predicate"]["commit"] == "693130cb"


def test_who_said_something_else_shows_nothing(at: Desk) -> None:
    attest(at)
    other = (WHO[0], IDENTITY.replace("acme", "evil"), *WHO[2:])
    ran = at.ask("attestation", *show(at, "--type", RELEASE, "--predicate", *other))
    assert (ran.status, ran.out) == (12, "")
    assert IDENTITY in ran.err


def test_a_type_that_is_not_there_names_those_that_are(at: Desk) -> None:
    attest(at)
    ran = at.ask("attestation", *show(at, "--type", "cyclonedx", "--predicate"))
    assert (ran.status, ran.out) == (10, "")
    assert RELEASE in ran.err
    ran = at.ask("attestation", *show(at, "--type", "cyclonedx", *WHO))
    assert (ran.status, ran.out) == (10, "")


def test_a_list_of_what_is_there(at: Desk) -> None:
    attest(at)
    attest(at, "{}", statements.SPDX, legacy=True)
    ran = at.ask("attestation", *show(at))
    assert [line.partition("  ")[0] for line in ran.out.splitlines()] == [statements.SPDX, RELEASE]
    assert "NOT VERIFIED" in ran.err


@pytest.mark.parametrize("whole", [False, True])
def test_private_parts_of_an_event_are_left_out(at: Desk, *, whole: bool) -> None:
    private = {"pusher": {"email": "ada@acme.example"}}
    said = {"invocation": {"environment": {"github_event_payload": private, "github_ref": "r"}}}
    raw = attest(at, json.dumps(said), statements.SLSA_V02)
    arguments = ("--type", "slsaprovenance", "--redact", *WHO)
    ran = at.ask("attestation", *show(at, *arguments, *(() if whole else ("--predicate",))))
    assert "ada@" not in ran.out
    found = json.loads(ran.out)
    environment = (found["predicate"] if whole else found)["invocation"]["environment"]
    assert environment == {"github_event_payload": "REDACTED", "github_ref": "r"}
    assert b"ada@" in raw


def test_a_bundle_shows_what_it_carries(at: Desk) -> None:
    attest(at)
    policy = at.write(
        "policy.toml",
        "schema = 1\n[[image]]\nmatch = '**'\nname = 'as-packed'\n[[image.require]]\n"
        "claim = 'signature'\ntrusted-root = 'trusted_root.json'\n"
        f"certificate-identity = '{IDENTITY}'\ncertificate-oidc-issuer = '{WHO[3]}'\n",
    )
    bundle = at.folder / "bundle.tar"
    packed = at.ask(
        "pack", at.tagged, "--policy", str(policy), "-o", str(bundle), "--plain", "--no-log-proofs"
    )
    assert packed.status == 0, packed.err
    root = ("--trusted-root", str(at.folder / "trusted_root.json"))
    ran = at.ask("attestation", "show", str(bundle), "--type", RELEASE, "--predicate", *WHO, *root)
    assert ran.out == f"{PREDICATE}\n"


def test_verify_a_type_wants_it_of_the_one_who_is_named(at: Desk) -> None:
    ran = at.verify(at.tagged, "--type", RELEASE, *WHO)
    assert ran.status == 10
    attest(at)
    ran = at.verify(at.tagged, "--type", RELEASE, *WHO)
    assert ran.status == 0
    assert f"attestation of {RELEASE}" in ran.out
    assert at.verify(at.tagged, "--type", "spdxjson", *WHO).status == 10
    assert at.verify(at.tagged, "--type", "no type", *WHO).status == 2
    assert at.verify(at.tagged, "--type", RELEASE, "-a", "x=y", *WHO).status == 2


def test_several_are_one_a_line_for_programs(at: Desk) -> None:
    attest(at, '{"n": 1}')
    attest(at, '{"n": 2}', legacy=True)
    lines = at.verify(at.tagged, "--type", RELEASE, *WHO, "--json").out.splitlines()
    said = [json.loads(base64.b64decode(json.loads(one)["payload"])) for one in lines]
    assert sorted(one["predicate"]["n"] for one in said) == [1, 2]


@pytest.mark.parametrize(
    ("statement", "predicate"),
    [
        ('{"predicate":{}}', "{}"),
        ('{ "a" : [1, {"predicate": 2}] , "predicate" :\t"x\\"}" }', '"x\\"}"'),
        ('{"pred\\u0069cate": -1.5e3 , "b": null}', "-1.5e3"),
        ('{"a": 1}', "null"),
        ("{}", "null"),
    ],
)
def test_a_predicate_is_cut_out_of_its_statement(statement: str, predicate: str) -> None:
    assert cut_predicate(statement.encode()) == predicate.encode()


def test_a_terminal_gets_the_same_in_ascii() -> None:
    raw = '{"a": "Grüße \U0001f600 \x9b31m"}'.encode()
    assert for_terminal(raw).isascii()
    assert json.loads(for_terminal(raw)) == json.loads(raw)
