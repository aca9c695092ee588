"""What is judged before any member but the statement is read: CASES A001 to A029, the judge's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from loader.errors import FormatError, OciError
from loader.model.bundle import BundleStatement
from loader.policy.facts import Judgement
from tests.fakes import images
from tests.fakes.content import Json, digest_of
from tests.fakes.sigworld import ca, statements
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import CREATED, NAME, entry_of
from tests.unit.loader.policy.scene import (
    AS_PACKED,
    IDENTITY,
    ISSUER,
    PACKER,
    VOUCHED,
    Scene,
    encoded,
)

PACKED = VOUCHED + PACKER
KEYLESS_PACKER = f"""
[[image.require]]
claim = "bundle-signature"
trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_signed_statement_vouches_for_everything_in_it(scene: Scene) -> None:
    judgement = scene.run(PACKED, signers=[scene.packer])
    image = judgement.images[0]
    assert (image.name.how, str(image.name.reference)) == ("bundle-signature", f"{NAME}:1.0.0")
    assert image.claims[0].holds == "met"
    assert "packer" in image.claims[0].who[0]
    assert judgement.reference_time is None


@pytest.mark.parametrize("log", ["v1", "v2", "both", "none"])
def test_a_certificate_may_seal_a_bundle(scene: Scene, log: str) -> None:
    statement = scene.statement()
    signed = scene.world.sign(statement.raw, scene.world.keyless(), log=log)  # type: ignore[arg-type]
    raw = encoded(signed.bundle())
    text = VOUCHED + KEYLESS_PACKER + ('log = "none"\n' if log == "none" else "")
    judgement = scene.run(text, statement=statement, signatures=[raw])
    assert judgement.images[0].name.how == "bundle-signature"
    assert judgement.reference_time is not None


def test_a001_signature_removed(scene: Scene) -> None:
    refusal = scene.refused(PACKED)
    assert (refusal.code, refusal.exit_status) == ("no-evidence.claim", 10)
    assert "--sign-key" in refusal.hint


def test_a002_signed_by_another_key(scene: Scene) -> None:
    refusal = scene.refused(PACKED, signers=[scene.world.managed("stranger")])
    assert (refusal.code, refusal.exit_status) == ("signature.unverified", 11)


@pytest.mark.parametrize(
    "san",
    [
        IDENTITY[:-1] + "1",
        IDENTITY + ".evil",
        "x" + IDENTITY,
        # A005: letter case, trailing dot, homoglyph; a newline is tried below
        IDENTITY.replace("acme", "Acme"),
        IDENTITY + ".",
        IDENTITY.replace("acme", "%61cme"),
    ],
)
def test_a003_a005_another_identity(scene: Scene, san: str) -> None:
    statement = scene.statement()
    identity = Identity(san=ca.uri(san), extensions=workflow().extensions)
    signed = scene.world.sign(statement.raw, scene.world.keyless(identity))
    refusal = scene.refused(
        VOUCHED + KEYLESS_PACKER, statement=statement, signatures=[encoded(signed.bundle())]
    )
    assert (refusal.code, refusal.exit_status) == ("identity.mismatch", 12)
    assert IDENTITY in refusal.found or IDENTITY in refusal.expected


def test_a004_another_issuer(scene: Scene) -> None:
    statement = scene.statement()
    signer = scene.world.keyless(workflow(issuer=ISSUER + ".evil.example"))
    refusal = scene.refused(
        VOUCHED + KEYLESS_PACKER,
        statement=statement,
        signatures=[encoded(scene.world.sign(statement.raw, signer).bundle())],
    )
    assert refusal.code == "identity.mismatch"
    assert "issuer" in refusal.found


def test_a006_a_pattern_is_anchored(scene: Scene) -> None:
    statement = scene.statement()
    text = (VOUCHED + KEYLESS_PACKER).replace(
        f'certificate-identity = "{IDENTITY}"',
        r"certificate-identity-regexp = 'github\.com/acme/.*'",
    )
    evil = Identity(
        san=ca.uri("https://evil.example/?github.com/acme/x"), extensions=workflow().extensions
    )
    refusals = []
    for identity in (evil, workflow()):
        signed = scene.world.sign(statement.raw, scene.world.keyless(identity))
        refusal = scene.refused(text, statement=statement, signatures=[encoded(signed.bundle())])
        assert refusal.code == "identity.mismatch"
        assert "only a part" in refusal.hint
        assert "evil" not in refusal.hint
        refusals.append(refusal)
    assert r"write 'https://github\.com/acme/.*'" in refusals[-1].hint


def test_a007_reserialised(scene: Scene) -> None:
    statement = scene.statement()
    spaced = json.dumps(json.loads(statement.raw)).encode()
    with pytest.raises(FormatError):
        BundleStatement.parse(spaced)
    signatures = [encoded(scene.world.sign(spaced, scene.packer, log="none").bundle())]
    refusal = scene.refused(PACKED, statement=statement, signatures=signatures)
    assert refusal.code == "signature.unverified"


def test_a008_duplicate_key() -> None:
    scene_raw = b'{"schema":1,"images":[],"images":[]}'
    with pytest.raises(FormatError) as caught:
        BundleStatement.parse(scene_raw)
    assert caught.value.error_class == "json"


def test_a019_a_signature_over_another_file(scene: Scene) -> None:
    statement = scene.statement()
    other = scene.world.sign(statement.raw + b" ", scene.packer, log="none")
    refusal = scene.refused(PACKED, statement=statement, signatures=[encoded(other.bundle())])
    assert refusal.code == "signature.unverified"


def _dsse(scene: Scene, statement: BundleStatement) -> bytes:
    signed = scene.world.sign_statement(statement.raw, scene.packer, log="none")
    return encoded(signed.bundle())


def _base64url(scene: Scene, statement: BundleStatement) -> bytes:
    bundle = scene.world.sign(statement.raw, scene.packer, log="none").bundle()
    content = bundle["messageSignature"]
    standard = content["signature"]
    content["signature"] = standard.replace("+", "-").replace("/", "_")
    assert content["signature"] != standard
    return encoded(bundle)


def _white_space(scene: Scene, statement: BundleStatement) -> bytes:
    bundle = scene.world.sign(statement.raw, scene.packer, log="none").bundle()
    content = bundle["messageSignature"]
    content["signature"] = content["signature"][:8] + "\n" + content["signature"][8:]
    return encoded(bundle)


def _attestation(scene: Scene, statement: BundleStatement) -> bytes:
    """Genuine, by the right key, about exactly these bytes: it says something, approves nothing."""
    said = statements.statement(
        digest_of(statement.raw), statements.SLSA_V1, statements.slsa_v1(), name="airlock.json"
    )
    return encoded(scene.world.sign_statement(said, scene.packer, log="none").bundle())


def _older(scene: Scene, statement: BundleStatement) -> bytes:
    return encoded(scene.world.sign(statement.raw, scene.packer, log="none").bundle("0.2"))


@pytest.mark.parametrize(
    "make",
    [
        *(_dsse, _base64url, _white_space, _attestation, _older),
        *(lambda *_: b"", lambda *_: b"{}"),
    ],
)
def test_a020_another_form_of_signature(
    scene: Scene, make: Callable[[Scene, BundleStatement], bytes]
) -> None:
    statement = scene.statement()
    raw = make(scene, statement)
    refusal = scene.refused(PACKED, statement=statement, signatures=[raw])
    assert (refusal.code, refusal.exit_status) == ("signature.unverified", 11)
    good = scene.sealed(statement, scene.packer)
    assert scene.run(PACKED, statement=statement, signatures=[raw, *good])


def test_a021_a_good_stranger_and_a_bad_friend(scene: Scene) -> None:
    statement = scene.statement()
    (stranger,) = scene.sealed(statement, scene.world.managed("stranger"))
    bundle: Json = json.loads(scene.sealed(statement, scene.packer)[0])
    bundle["messageSignature"]["signature"] = json.loads(stranger)["messageSignature"]["signature"]
    refusal = scene.refused(PACKED, statement=statement, signatures=[stranger, encoded(bundle)])
    assert refusal.code == "signature.unverified"


def test_a022_the_same_signature_twice(scene: Scene) -> None:
    text = PACKED.replace('key = "packer"', 'any = [{ key = "packer" }, { key = "second" }]')
    text += "threshold = 2\n"
    statement = scene.statement()
    once = scene.sealed(statement, scene.packer)
    refusal = scene.refused(text, statement=statement, signatures=once * 2)
    assert refusal.code == "policy.threshold"
    # Another signature by the same key is still one voice.
    logged = encoded(scene.world.sign(statement.raw, scene.packer, log="v1").bundle())
    assert scene.refused(text, statement=statement, signatures=[*once, logged]).found == "1"
    both = scene.sealed(statement, scene.packer, scene.world.managed("second"))
    assert len(scene.run(text, statement=statement, signatures=both).images[0].claims[0].who) == 2


def test_two_names_for_one_key_are_one_voice(scene: Scene) -> None:
    (scene.folder / "anchors" / "second" / "key.pub").write_bytes(scene.packer.public_pem)
    text = PACKED.replace('key = "packer"', 'any = [{ key = "packer" }, { key = "second" }]')
    refusal = scene.refused(text + "threshold = 2\n", signers=[scene.packer, scene.packer])
    assert refusal.code == "policy.threshold"


def test_a024_an_empty_bundle(scene: Scene) -> None:
    statement = BundleStatement.make(
        created=CREATED,
        channel=None,
        sequence=None,
        expires=None,
        images=(),
        trust=(),
        metadata=(),
        layers=(),
    )
    assert scene.refused(PACKED, statement=statement).code == "policy.empty"


def test_a025_one_name_for_two_images(scene: Scene) -> None:
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    refusal = scene.refused(PACKED, entry_of(scene.image), entry_of(other), signers=[scene.packer])
    assert refusal.code == "policy.name-twice"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "--flag",
        "a b",
        "A/UPPER",
        "x/" + "y" * 300,
        "host:99999/x:1",
        "x@sha256:00",
        "a.b/x:1\n",
    ],
)
def test_a026_names(scene: Scene, name: str) -> None:
    raw = scene.statement().raw.replace(f'"{NAME}:1.0.0"'.encode(), json.dumps(name).encode())
    with pytest.raises(OciError):
        BundleStatement.parse(raw)


def test_expiry_is_judged_before_anything_is_read(scene: Scene) -> None:
    statement = scene.statement(expires=CREATED)
    assert scene.run(PACKED, statement=statement, signers=[scene.packer], now=CREATED)
    late = CREATED + timedelta(seconds=1)
    refusal = scene.refused(PACKED, statement=statement, signers=[scene.packer], now=late)
    assert (refusal.code, refusal.exit_status) == ("expired.bundle", 18)


def test_an_image_without_a_rule_is_refused_at_once(scene: Scene) -> None:
    text = PACKED.replace(NAME, "registry.acme.example/other/*")
    refusal = scene.refused(text, signers=[scene.packer])
    assert (refusal.code, refusal.exit_status) == ("policy.no-rule", 14)
    assert NAME in refusal.expected


def test_a_signature_that_no_rule_asks_for_vouches_for_nothing(scene: Scene) -> None:
    text = AS_PACKED + '[[image.require]]\nclaim = "signature"\nkey = "release"\n'
    refusal = scene.refused(text.replace('name = "as-packed"\n', ""), signers=[scene.packer])
    assert refusal.code == "no-evidence.claim"
    judgement = refusal.judgement
    assert isinstance(judgement, Judgement)
    assert judgement.images[0].name.how == "nobody"


def test_the_requirement_of_one_image_is_judged_for_the_whole_bundle(scene: Scene) -> None:
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    entries = (entry_of(scene.image), entry_of(other, "registry.acme.example/acme/web:2"))
    text = PACKED + PACKED.replace(NAME, "registry.acme.example/acme/web").replace(
        '"packer"', '"second"'
    )
    refusal = scene.refused(text, *entries, signers=[scene.packer])
    assert refusal.code == "signature.unverified"
    both = [scene.packer, scene.world.managed("second")]
    assert len(scene.run(text, *entries, signers=both).images) == 2


def test_another_world_of_the_same_name_is_a_stranger(scene: Scene) -> None:
    statement = scene.statement()
    other = World("other")
    signed = other.sign(statement.raw, other.keyless())
    refusal = scene.refused(
        VOUCHED + KEYLESS_PACKER, statement=statement, signatures=[encoded(signed.bundle())]
    )
    assert refusal.code == "signature.unverified"


def test_a_reference_pins_its_image(scene: Scene) -> None:
    entry = entry_of(scene.image)
    pinned = replace(entry.reference, digest=entry.platforms[0].manifest.digest)
    with pytest.raises(FormatError):
        scene.run(PACKED, replace(entry, reference=pinned), signers=[scene.packer])
