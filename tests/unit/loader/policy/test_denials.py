"""`[[deny]]` and `[[exception]]`: what no signature helps, and what need not hold for a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.policy.model import Policy
from loader.trust.keys import PublicKey
from tests.fakes.sigworld import statements
from tests.unit.loader.policy.claiming import BY_KEY, attest, claims, require, run
from tests.unit.loader.policy.judging import CREATED, NAME
from tests.unit.loader.policy.scene import AS_PACKED, IDENTITY, ISSUER, KEY, PACKER, Scene
from tests.unit.loader.test_judge_images import sign


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    sign(scene, scene.release)
    return scene


def deny(line: str) -> str:
    return f'\n[[deny]]\n{line}\nreason = "CVE-2026-1"\n'


def refused(scene: Scene, *parts: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(parts))


def test_a_digest_is_denied_whoever_signed_it(scene: Scene) -> None:
    platform = scene.image.manifest["manifests"][0]["digest"]
    config = scene.store.json(platform)["config"]["digest"]
    for digest in (scene.image.digest, platform, config):
        refusal = refused(scene, KEY, deny(f'digest = "{digest}"'))
        assert (refusal.code, refusal.exit_status) == ("denied.listed", 17)
        assert "CVE-2026-1" in refusal.found
        assert "deny[0]" in refusal.found
    assert run(scene, KEY, deny(f'digest = "sha256:{"0" * 64}"'))


def test_t36_a_denied_key_signs_nothing_any_more(scene: Scene) -> None:
    fingerprint = f"sha256:{PublicKey.parse(scene.release.public_pem, name='').fingerprint}"
    for key in ("release", fingerprint):
        refusal = refused(scene, KEY, deny(f'key = "{key}"'))
        assert (refusal.code, refusal.exit_status) == ("denied.listed", 17)
        assert "its signer is denied" in refusal.found
    assert run(scene, KEY, deny('key = "second"'))


def test_another_signature_helps_where_one_signer_is_denied(scene: Scene) -> None:
    either = KEY.replace('key = "release"', 'any = [{ key = "release" }, { key = "second" }]')
    sign(scene, scene.world.managed("second"))
    judgement = run(scene, either, deny('key = "release"'))
    assert len(claims(judgement)[0].who) == 1
    assert refused(scene, either, "threshold = 2\n", deny('key = "release"')).exit_status == 14
    everyone = refused(scene, either, 'quantifier = "all"\n', deny('key = "release"'))
    assert everyone.code == "policy.quantifier"


def test_an_identity_is_denied_as_its_issuer_vouched_for_it(scene: Scene) -> None:
    attest(scene, statements.SPDX, {})
    text = require("attestation", 'type = "spdx"')
    assert refused(scene, text, deny(f'identity = "{IDENTITY}"')).exit_status == 17
    both = f'identity = "{IDENTITY}"\nissuer = "{ISSUER}"'
    assert refused(scene, text, deny(both)).exit_status == 17
    assert run(scene, text, deny(both.replace(ISSUER, "https://other.example")))
    assert run(scene, text, deny(f'identity = "{IDENTITY}x"'))


def test_only_what_was_signed_before_a_day(scene: Scene) -> None:
    attest(scene, statements.SPDX, {})
    text = require("attestation", 'type = "spdx"')
    line = f'identity = "{IDENTITY}"\nbefore = '
    assert refused(scene, text, deny(f"{line}2026-01-16")).exit_status == 17
    assert run(scene, text, deny(f"{line}2026-01-15"))
    # What nobody dates may be from any time.
    assert refused(scene, KEY, deny('key = "release"\nbefore = 2020-01-01')).exit_status == 17


def test_every_image_that_was_signed_before_a_day(scene: Scene) -> None:
    attest(scene, statements.SPDX, {})
    text = require("attestation", 'type = "spdx"')
    assert refused(scene, text, deny("before = 2026-01-16")).exit_status == 17
    assert run(scene, text, deny("before = 2026-01-15"))
    elsewhere = 'before = 2026-01-16\nimage = "ghcr.io/other/*"'
    assert run(scene, text, deny(elsewhere))
    here = f'before = 2026-01-16\nimage = "{NAME}"'
    assert refused(scene, text, deny(here)).exit_status == 17


def test_the_key_of_a_bundle_can_be_denied(scene: Scene) -> None:
    text = AS_PACKED + KEY + PACKER
    assert scene.run(text, signers=[scene.packer])
    refusal = scene.refused(text + deny('key = "packer"'), signers=[scene.packer])
    assert (refusal.code, refusal.exit_status) == ("denied.listed", 17)


EXCEPTION = f"""
[[exception]]
image = "{NAME}"
claim = "sbom"
reason = "the vendor sends none, ACME-12"
until = 2026-02-01
"""


def test_an_exception_lets_one_claim_through_and_shows_it(scene: Scene) -> None:
    text = KEY + require("sbom", 'type = "spdx"') + EXCEPTION
    judgement = run(scene, text)
    signature, sbom = claims(judgement)
    assert (signature.holds, sbom.holds) == ("met", "excepted")
    assert sbom.excepted is not None
    assert sbom.excepted.code == "no-evidence.claim"
    (words,) = judgement.images[0].exceptions
    assert "let through until 2026-02-01: the vendor sends none, ACME-12" in words
    last = CREATED.replace(month=2, day=1, hour=23)
    assert scene.run(AS_PACKED + text, now=last)
    assert scene.refused(AS_PACKED + text, now=last + timedelta(hours=2)).exit_status == 10


def test_an_exception_is_for_its_image_and_its_claim(scene: Scene) -> None:
    text = KEY + require("sbom", 'type = "spdx"')
    other = EXCEPTION.replace(NAME, "ghcr.io/other/*")
    assert refused(scene, text, other).exit_status == 10
    more = require("provenance")
    assert refused(scene, text, more, EXCEPTION).exit_status == 10
    met = EXCEPTION.replace('"sbom"', '"signature"')
    assert run(scene, KEY, met).images[0].exceptions == ()


def test_an_exception_lets_nothing_through_that_is_denied(scene: Scene) -> None:
    text = KEY + EXCEPTION.replace('"sbom"', '"signature"')
    assert refused(scene, text, deny('key = "release"')).exit_status == 17
    assert refused(scene, text, deny(f'digest = "{scene.image.digest}"')).exit_status == 17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[deny]]\nreason = "x"', "not exactly one thing"),
        ('[[deny]]\nkey = "a"\nidentity = "b"\nreason = "x"', "not exactly one thing"),
        ('[[deny]]\nkey = "a"', "missing"),
        ('[[deny]]\nkey = "a"\nissuer = "b"\nreason = "x"', "issuer without"),
        ('[[deny]]\ndigest = "sha256:1"\nreason = "x"', "not a digest"),
        ('[[deny]]\ndigest = "latest"\nreason = "x"', "not a digest"),
        ('[[deny]]\nbefore = "2026-01-01"\nreason = "x"', "not a date"),
        ('[[deny]]\nimages = "x"\nreason = "x"', "unknown key"),
        (EXCEPTION.replace("until = 2026-02-01", ""), "missing"),
        (EXCEPTION.replace("reason", "because"), "unknown key"),
        (EXCEPTION.replace('"sbom"', '"provenance"'), "no rule asks for"),
        (EXCEPTION.replace('"sbom"', '"bundle-signature"'), "no rule asks for"),
        (EXCEPTION.replace(f'"{NAME}"', '"*"'), "without a slash"),
    ],
)
def test_what_could_mean_nothing_is_refused(text: str, message: str) -> None:
    whole = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n' + require(
        "sbom", 'type = "spdx"', who=BY_KEY
    )
    with pytest.raises(PolicyFileError) as caught:
        Policy.parse(f"{whole}\n{text}".encode(), where="policy.toml")
    assert message in caught.value.message
