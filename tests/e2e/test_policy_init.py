"""`airlock policy init`: exact identities from what an image has, and the image passes them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loader.policy.model import Policy
from tests.e2e.checking import IDENTITY, ISSUER, NOW, Desk, Ran, desk, sign_by_key, sign_keyless
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import COMMIT, workflow
from tests.fakes.sigworld.signed import Layer

PACKAGES = {"packages": [{"name": "app", "SPDXID": "SPDXRef-app", "versionInfo": "1.0.0"}]}
COMPONENTS = {"components": [{"type": "library", "name": "app", "version": "1.0.0"}]}
CLEAN = {"SchemaVersion": 2, "Results": []}
FULL_OF_HOLES = {
    "matches": [
        {"vulnerability": {"id": "CVE-2026-0001", "severity": "Critical"}},
        {"vulnerability": {"id": "CVE-2026-0002", "severity": "Unknown"}},
    ]
}


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk(tmp_path, capsys) as made:
        yield made


def proposed(at: Desk, *more: str) -> Ran:
    return at.ask(
        ["policy", "init"], at.tagged,
        "--trusted-root", str(at.folder / "trusted_root.json"), *more,
        "-o", str(at.folder / "policy.toml"),
    )  # fmt: skip


def requirements(at: Desk) -> list[dict[str, Any]]:
    (image,) = tomllib.loads((at.folder / "policy.toml").read_text())["image"]
    found: list[dict[str, Any]] = image["require"]
    return found


def test_exactly_those_who_signed(at: Desk) -> None:
    sign_by_key(at)
    sign_keyless(at)
    ran = proposed(at, "--key", str(at.folder / "release.pub"))
    assert ran.status == 0, ran.err
    assert requirements(at) == [
        {"claim": "signature", "key": "release.pub", "trusted-root": "trusted_root.json"},
        {
            "claim": "signature",
            "certificate-identity": IDENTITY,
            "certificate-oidc-issuer": ISSUER,
            "trusted-root": "trusted_root.json",
        },
    ]
    text = (at.folder / "policy.toml").read_text()
    assert f"said by {IDENTITY}" in text
    assert r"@refs/tags/v[0-9]+\.[0-9]+\.[0-9]+'" in text
    assert "sign it off" in ran.err


def test_the_image_passes_what_is_proposed_and_another_does_not(at: Desk) -> None:
    sign_keyless(at)
    assert proposed(at).status == 0
    policy = ("--policy", str(at.folder / "policy.toml"))
    assert at.verify(at.tagged, *policy, root=False).status == 0
    Policy.parse((at.folder / "policy.toml").read_bytes(), where="")
    for tag in [name for name in at.store.tags if name != "1.0.0"]:
        del at.store.tags[tag]
    at.registry.features.referrers = False
    assert at.verify(at.tagged, *policy, root=False).status == 10


def test_a_name_that_nobody_signed_is_said(at: Desk) -> None:
    sign_keyless(at)
    assert proposed(at).status == 0
    text = (at.folder / "policy.toml").read_text()
    assert 'name = "as-packed"' in text
    assert "bundle-signature" in text


def test_what_cannot_be_verified_is_a_comment(at: Desk) -> None:
    sign_keyless(at)
    sign_by_key(at)
    raw = b"SPDXVersion: SPDX-2.3\n"
    attach.attach_tag(at.image, [Layer(media_type="text/spdx", blob=raw)], "sbom")
    assert proposed(at).status == 0
    assert [one["claim"] for one in requirements(at)] == ["signature"]
    text = (at.folder / "policy.toml").read_text()
    assert "#   signature (simple signing): no known root or given key verifies it" in text
    assert "nobody signed it" in text


def test_attestations_are_proposed_by_their_type(at: Desk) -> None:
    sign_keyless(at)
    kind = "https://acme.example/release/v1"
    said = statements.statement(at.image.digest, kind, {"tag": "v1.0.0"})
    signed = at.world.sign_statement(said, at.world.keyless())
    attach.attach_bundle(at.image, signed.bundle(), fallback="full")
    assert proposed(at).status == 0
    found = {one["claim"]: one for one in requirements(at)}
    assert found["attestation"]["type"] == kind
    assert found["attestation"]["certificate-identity"] == IDENTITY


def attest(at: Desk, predicate: object, kind: str = statements.SLSA_V1) -> None:
    said = statements.statement(at.image.digest, kind, predicate)
    signed = at.world.sign_statement(said, at.world.keyless())
    attach.attach_bundle(at.image, signed.bundle(), fallback="full")


def test_provenance_is_asked_for_by_source_and_workflow(at: Desk) -> None:
    attest(at, statements.slsa_v1(commit=COMMIT))
    assert proposed(at).status == 0
    (found,) = requirements(at)
    assert {"claim", "source-uri", "workflow", "level"} <= set(found)
    assert (found["source-uri"], found["level"]) == ("github.com/acme/app", 2)
    text = (at.folder / "policy.toml").read_text()
    assert f"# built from refs/tags/v1.0.0, commit {COMMIT}" in text


def test_provenance_of_another_kind_is_asked_for_by_its_type(at: Desk) -> None:
    """A claim that the image would not meet is no proposal."""
    attest(at, statements.slsa_v1(commit=COMMIT, build_type="https://acme.example/build"))
    assert proposed(at).status == 0
    (found,) = requirements(at)
    assert (found["claim"], found["type"]) == ("attestation", statements.SLSA_V1)


@pytest.mark.parametrize(
    ("kind", "predicate", "asked"),
    [
        (statements.SPDX, statements.spdx() | PACKAGES, {"claim": "sbom"}),
        (statements.CYCLONEDX, statements.cyclonedx() | COMPONENTS, {"claim": "sbom"}),
        (statements.SPDX, statements.spdx() | {"packages": []}, {"claim": "attestation"}),
        (statements.SPDX, {"nothing": "of it"}, {"claim": "attestation"}),
        (
            statements.COSIGN_VULN,
            statements.vulnerabilities("2026-11-30T00:00:00Z", CLEAN),
            {"claim": "vulnerabilities", "max-age": "30d", "max": {"critical": 0}},
        ),
        (
            statements.COSIGN_VULN,
            statements.vulnerabilities("2026-01-15T00:00:00Z", CLEAN),
            {"claim": "vulnerabilities", "max": {"critical": 0}},
        ),
        (
            statements.COSIGN_VULN,
            statements.vulnerabilities("2026-11-30T00:00:00Z", FULL_OF_HOLES),
            {"claim": "vulnerabilities", "max-age": "30d", "max": {"critical": 1, "unknown": 1}},
        ),
        (
            statements.COSIGN_VULN,
            statements.vulnerabilities("0001-01-01T00:00:00Z"),
            {"claim": "vulnerabilities", "require-results": False},
        ),
    ],
)
def test_contents_are_asked_for_as_far_as_they_go(
    at: Desk, kind: str, predicate: object, asked: dict[str, object]
) -> None:
    at.world.at = NOW - timedelta(hours=1)
    attest(at, predicate, kind)
    assert proposed(at).status == 0
    (found,) = requirements(at)
    who = {"certificate-identity", "certificate-oidc-issuer", "trusted-root", "type"}
    assert {name: value for name, value in found.items() if name not in who} == asked


def test_what_is_loose_is_said_beside_it(at: Desk) -> None:
    at.world.at = NOW - timedelta(hours=1)
    attest(
        at,
        statements.vulnerabilities("2026-11-30T00:00:00Z", FULL_OF_HOLES),
        statements.COSIGN_VULN,
    )
    attest(
        at,
        statements.vulnerabilities("0001-01-01T00:00:00Z"),
        "https://in-toto.io/attestation/vulns/v0.1",
    )
    said = statements.statement(at.image.digest, statements.SPDX, statements.spdx() | PACKAGES)
    act = at.world.sign_statement(said, at.world.keyless(), log="none", timestamp=True)
    attach.attach_bundle(at.image, act.bundle(), fallback="full")
    assert proposed(at).status == 0
    text = (at.folder / "policy.toml").read_text()
    for words in (
        "# it found 1 critical and 1 unknown: max takes no more than that\n",
        "# it is signed, and holds no result of any scan\n",
        '# no log holds it, which log = "none" takes; a timestamp says when it was\n',
    ):
        assert text.count(words) == 1, words


def test_what_speaks_for_one_platform_alone_is_not_required_of_all(at: Desk) -> None:
    sign_keyless(at)
    child = at.image.children[0]
    other = at.world.managed("release")
    attach.attach_bundle(child, at.world.sign_image(child.digest, other).bundle(), fallback="full")
    ran = proposed(at, "--key", str(at.folder / "release.pub"))
    assert ran.status == 0, ran.err
    assert [one for one in requirements(at) if "key" in one] == []
    assert "# Seen, and not proposed:" in (at.folder / "policy.toml").read_text()


def test_nothing_is_proposed_from_nothing(at: Desk) -> None:
    ran = proposed(at)
    assert ran.status == 10
    assert "no evidence at all" in ran.err
    assert not (at.folder / "policy.toml").exists()


def test_a_file_that_is_there_stays_as_it_is(at: Desk) -> None:
    sign_keyless(at)
    at.write("policy.toml", "mine")
    assert proposed(at).status == 2
    assert (at.folder / "policy.toml").read_text() == "mine"
    assert at.registry.requests == []


def test_hostile_text_stays_in_its_comment(at: Desk) -> None:
    """Whoever may push evidence may not write lines of a policy."""
    sign_keyless(at)
    kind = 'https://acme.example/x"\n[[image]]\nmatch = "**'
    said = statements.statement(at.image.digest, kind, {})
    stranger = at.world.managed("stranger")
    attach.attach_bundle(
        at.image, at.world.sign_statement(said, stranger).bundle(), fallback="full"
    )
    at.write("stranger.pub", stranger.public_pem)
    for more in ((), ("--key", str(at.folder / "stranger.pub"))):
        (at.folder / "policy.toml").unlink(missing_ok=True)
        ran = proposed(at, *more)
        assert ran.status == 0, ran.err
        (image,) = tomllib.loads((at.folder / "policy.toml").read_text())["image"]
        assert image["match"] == at.name
        assert len(image["require"]) == 1


def test_provenance_that_contradicts_itself_is_not_asked_for_as_something_less(at: Desk) -> None:
    sign_keyless(at)
    attest(at, statements.slsa_v1(commit="0" * 40))
    assert proposed(at).status == 0
    assert [one["claim"] for one in requirements(at)] == ["signature"]
    text = (at.folder / "policy.toml").read_text()
    assert "the provenance contradicts its certificate about the commit" in text


def test_a_strangers_identity_does_not_become_a_variable(at: Desk) -> None:
    """Git takes `{tag}` and `{x}` for names of tags; the first would fit every release."""
    sign_keyless(at)
    for ref in ("refs/tags/{tag}", "refs/tags/{x}"):
        said = statements.statement(at.image.digest, statements.SPDX, statements.spdx() | PACKAGES)
        signed = at.world.sign_statement(said, at.world.keyless(workflow(ref=ref)))
        attach.attach_bundle(at.image, signed.bundle(), fallback="full")
    ran = proposed(at)
    assert ran.status == 0, ran.err
    assert [one["claim"] for one in requirements(at)] == ["signature"]
    text = (at.folder / "policy.toml").read_text()
    assert "refs/tags/{" not in text
