"""`airlock verify`: cosign's flags over a registry, and what scripts read of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checking import IDENTITY, ISSUER, WHO, Desk, desk, sign_by_key, sign_keyless
from tests.fakes import attach
from tests.fakes.sigworld import statements

ONE_LINER = (
    'import json,sys; print(json.load(sys.stdin)[0]["critical"]["image"]["docker-manifest-digest"])'
)
"""How oci-prometheus-sd-proxy's release notes take the digest out of `cosign verify`."""


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk(tmp_path, capsys) as made:
        yield made


def test_op_1_the_projects_one_liner_reads_our_output(at: Desk) -> None:
    sign_keyless(at)
    ran = at.verify(at.tagged, *WHO, "--json")
    assert ran.status == 0, ran.err
    read = subprocess.run(
        [sys.executable, "-c", ONE_LINER],
        input=ran.out,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert read.stdout.strip() == at.image.digest


def test_op_1_nothing_is_printed_for_the_script_where_nothing_holds(at: Desk) -> None:
    sign_keyless(at)
    other = (WHO[0], IDENTITY.replace("v1.0.0", "v1.0.1"), *WHO[2:])
    ran = at.verify(at.tagged, *other, "--json")
    assert (ran.status, ran.out) == (12, "")
    assert IDENTITY in ran.err


def test_what_cosign_says_of_a_certificate_is_there(at: Desk) -> None:
    sign_keyless(at)
    (item,) = at.verify(at.by_digest, *WHO, "--output", "json").document
    assert item["critical"] == {
        "identity": {"docker-reference": at.by_digest},
        "image": {"docker-manifest-digest": at.image.digest},
        "type": "https://sigstore.dev/cosign/sign/v1",
    }
    assert item["optional"]["Subject"] == IDENTITY
    assert item["optional"]["Issuer"] == ISSUER
    assert item["optional"]["1.3.6.1.4.1.57264.1.1"] == ISSUER
    assert item["optional"]["githubWorkflowRef"] == "refs/tags/v1.0.0"


def test_what_cosign_says_of_a_legacy_signature_is_there(at: Desk) -> None:
    sign_by_key(at, commit="693130cb")
    (item,) = at.verify(at.tagged, "--key", str(at.folder / "release.pub"), "--json").document
    assert item["critical"]["identity"]["docker-reference"] == at.name
    assert item["critical"]["type"] == "cosign container image signature"
    assert item["optional"]["commit"] == "693130cb"
    payload = item["optional"]["Bundle"]["Payload"]
    assert set(payload) == {"body", "integratedTime", "logIndex", "logID"}
    assert isinstance(payload["integratedTime"], int)


def test_old_and_new_stores_are_one_answer(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    ran = at.verify(at.tagged, "--key", str(at.folder / "release.pub"))
    assert ran.status == 0
    assert "VERIFIED: 1 image" in ran.out
    assert at.verify(at.tagged, *WHO).status == 0


def test_claims_name_who_said_them_when_and_where_it_is_kept(at: Desk) -> None:
    sign_keyless(at)
    ran = at.verify(at.tagged, *WHO)
    assert f"said by {IDENTITY} (issuer {ISSUER})" in ran.out
    assert "at 20" in ran.out
    assert "evidence sha256:" in ran.out


@pytest.mark.parametrize(
    ("pattern", "status", "hint"),
    [
        (r"https://github\.com/acme/app/.*", 0, ""),
        (r"https://github\.com/acme/app/", 2, r"write 'https://github\.com/acme/app/.*'"),
        (r"^https://github\.com/acme/app", 12, r"write '^https://github\.com/acme/app.*'"),
        (r"acme/app", 12, "only a part of the identity matches, and the whole must"),
        (r".*", 2, ""),
        (r"[", 2, ""),
    ],
)
def test_ct_1_a_pattern_that_cosign_would_match_in_part(
    at: Desk, pattern: str, status: int, hint: str
) -> None:
    sign_keyless(at)
    ran = at.verify(
        at.tagged, "--certificate-identity-regexp", pattern, "--certificate-oidc-issuer", ISSUER
    )
    assert ran.status == status
    assert hint in ran.out + ran.err


def test_ct_1_another_issuer(at: Desk) -> None:
    sign_keyless(at)
    ran = at.verify(at.tagged, *WHO[:3], "https://issuer.example")
    assert ran.status == 12
    assert ISSUER in ran.out


def test_ct_1_lone_dots_are_pointed_at(at: Desk) -> None:
    sign_keyless(at)
    ran = at.verify(
        at.tagged,
        *("--certificate-identity-regexp", "https://github.com/acme/app/.*"),
        *WHO[2:],
    )
    assert ran.status == 0
    assert r"https://github\.com/acme/app/.*" in ran.err


def test_ct_2_an_sbom_is_no_signature(at: Desk) -> None:
    said = statements.statement(at.image.digest, statements.SPDX, {"spdxVersion": "SPDX-2.3"})
    signed = at.world.sign_statement(said, at.world.keyless())
    attach.attach_bundle(at.image, signed.bundle(), fallback="full")
    ran = at.verify(at.tagged, *WHO)
    assert ran.status == 10
    assert "no evidence for the claim signature" in ran.out
    assert "attestation of https://spdx.dev/Document" in ran.out


def test_op_6_a_tag_alone_is_refused(at: Desk) -> None:
    sign_keyless(at)
    ran = at.verify(at.tagged, *WHO, "--require-digest")
    assert (ran.status, ran.out) == (2, "")
    assert "airlock resolve" in ran.err
    assert at.registry.requests == []
    assert at.verify(at.by_digest, *WHO, "--require-digest").status == 0


def test_a_key_wants_the_log_as_cosign_does(at: Desk) -> None:
    sign_by_key(at, log="none")
    key = ("--key", str(at.folder / "release.pub"))
    ran = at.verify(at.tagged, *key)
    assert ran.status == 14
    assert "--insecure-ignore-tlog" in ran.err
    assert at.verify(at.tagged, *key, "--insecure-ignore-tlog=true", root=False).status == 0
    assert at.verify(at.tagged, *key, "--insecure-ignore-tlog=false").status == 14


def test_a_signature_on_a_platform_is_none_on_the_image(at: Desk) -> None:
    child = at.image.children[0]
    signed = at.world.sign_image(child.digest, at.world.keyless())
    attach.attach_bundle(child, signed.bundle(), fallback="full")
    assert at.verify(at.tagged, *WHO).status == 14
    ran = at.verify(f"{at.name}@{child.digest}", *WHO, "--json")
    assert ran.document[0]["critical"]["image"]["docker-manifest-digest"] == child.digest


def test_annotations_must_be_signed_along(at: Desk) -> None:
    sign_by_key(at, commit="abc")
    key = ("--key", str(at.folder / "release.pub"))
    assert at.verify(at.tagged, *key, "-a", "commit=abc").status == 0
    assert at.verify(at.tagged, *key, "-a", "commit=abd").status == 14
    assert at.verify(at.tagged, *key, "-a", "commit").status == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nobody is named"),
        (("--certificate-identity", "x"), "--certificate-oidc-issuer"),
        ((*WHO, "--key", "release.pub"), "a key together with an identity"),
        (("--key", "awskms:///alias/x"), "cosign public-key"),
        (("--key", "nowhere.pub"), "nowhere.pub"),
        ((*WHO, "--check-claims=false"), "--check-claims"),
        ((*WHO, "--insecure-ignore-tlog=perhaps"), "true or false"),
        ((*WHO, "--policy", "policy.toml"), "--policy"),
        ((*WHO, "--json", "--output", "text"), "--json"),
        ((*WHO[:3], "https://{tag}.example"), "a word in braces"),
        (("--key", "release.pub", "-a", "release={tag}"), "a word in braces"),
        ((*WHO, "--type", "https://acme.example/{tag}"), "a word in braces"),
        (("--source-uri", "github.com/acme/app", "--source-branch", "{tag}"), "a word in braces"),
    ],
)
def test_flags_that_cannot_be_meant(at: Desk, arguments: tuple[str, ...], words: str) -> None:
    ran = at.verify(at.tagged, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert at.registry.requests == []


def test_a_policy_instead_of_flags(at: Desk) -> None:
    sign_by_key(at, log="none")
    policy = at.write(
        "policy.toml",
        'schema = 1\n[bundle]\nchannels = ["stable"]\n'
        f'[[image]]\nmatch = "{at.registry.host}/acme/*"\n'
        '[[image.require]]\nclaim = "signature"\nkey = "release.pub"\n'
        '[[image.require]]\nclaim = "bundle-signature"\nkey = "release.pub"\n',
    )
    ran = at.verify(at.tagged, "--policy", str(policy), root=False)
    assert ran.status == 0, ran.out
    assert "judged when it is packed" in ran.out
    policy.write_text(policy.read_text().replace("acme", "other"))
    ran = at.verify(at.tagged, "--policy", str(policy), root=False)
    assert ran.status == 14
    assert "no rule of the policy accepts this image" in ran.out


def test_a_bundle_is_judged_by_the_same_flags(at: Desk) -> None:
    sign_by_key(at, log="none")
    policy = at.write(
        "policy.toml",
        f'schema = 1\n[[image]]\nmatch = "{at.name}"\nname = "as-packed"\n'
        '[[image.require]]\nclaim = "signature"\nkey = "release.pub"\n',
    )
    bundle = at.folder / "bundle.tar"
    packed = at.ask(
        *("pack", at.tagged, "--policy", str(policy), "-o", str(bundle), "--plain"),
        "--no-log-proofs",
    )
    assert packed.status == 0, packed.err
    key = ("--key", str(at.folder / "release.pub"), "--insecure-ignore-tlog")
    asked = len(at.registry.requests)
    ran = at.verify(str(bundle), *key, "--json", root=False)
    assert ran.document[0]["critical"]["image"]["docker-manifest-digest"] == at.image.digest
    assert at.verify(str(bundle), *WHO).status == 11
    assert len(at.registry.requests) == asked
    raw = bytearray(bundle.read_bytes())
    place = raw.index(b"dev.cosignproject.cosign/signature")
    raw[place] ^= 1
    bundle.write_bytes(raw)
    ran = at.verify(str(bundle), *key, root=False)
    assert (ran.status, ran.out) == (19, "")
    bundle.write_bytes(raw[: len(raw) // 3])
    assert at.verify(str(bundle), *key, root=False).status == 19


def test_a_layout_needs_no_name_where_none_is_judged(at: Desk) -> None:
    sign_keyless(at)
    layout = at.store.write_layout(at.folder / "layout")
    ran = at.verify(f"oci:{layout}:1.0.0", *WHO)
    assert ran.status == 0, ran.err
    assert ran.out.startswith(f"oci:{layout}:1.0.0\n  digest   {at.image.digest}\n")
    assert ran.err == ""


def test_a_file_that_is_not_there(at: Desk) -> None:
    ran = at.verify("bundle.tar.zst", *WHO)
    assert ran.status == 2
    assert "no such file" in ran.err


def test_every_reason_of_a_refusal_is_listed_and_why_evidence_does_not_count(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    other = at.write("other.pub", at.world.managed("other").public_pem)
    ran = at.verify(at.tagged, "--key", str(other))
    assert ran.status == 11
    assert ran.out.count("does not count") == 2
    assert "REFUSED (signature.unverified, exit status 11)" in ran.out


def test_evidence_of_another_kind_explains_no_refusal(at: Desk) -> None:
    sign_by_key(at, log="none")
    said = statements.statement(at.image.digest, statements.SPDX, {"spdxVersion": "SPDX-2.3"})
    release = at.world.managed("release")
    attach.attach_bundle(at.image, at.world.sign_statement(said, release, log="none").bundle())
    key = ("--key", str(at.folder / "release.pub"))
    ran = at.verify(at.tagged, *key)
    assert ran.status == 14
    assert "signature (simple signing)" in ran.out
    assert "spdx.dev" not in ran.out
    line = next(
        one for one in at.verify(at.tagged, *key, "--explain").out.splitlines() if "spdx" in one
    )
    assert line.endswith("does not count: no requirement asks for evidence of this kind")


def test_json_is_one_line_of_plain_ascii(at: Desk) -> None:
    sign_by_key(at, note="Grüße\x1b[31m")
    ran = at.verify(at.tagged, "--key", str(at.folder / "release.pub"), "--json")
    assert ran.out.isascii()
    assert ran.out.count("\n") == 1
    assert json.loads(ran.out)[0]["optional"]["note"] == "Grüße\x1b[31m"
