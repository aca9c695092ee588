"""A genuine image under a name, or with words, that those whom policy names did not give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.unit.loader.policy.judging import NAME, entry_of
from tests.unit.loader.policy.scene import AS_PACKED, VOUCHED, Scene, encoded

SIGN = "https://sigstore.dev/cosign/sign/v1"
TWO = """
[[image.require]]
claim = "signature"
any = [{ key = "release" }, { key = "packer" }]
threshold = 2
"""
PRODUCTION = """
[[image.require]]
claim = "signature"
key = "release"
scope = "platform"
annotations = { stage = "production", checked = "yes" }
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def platforms(scene: Scene) -> list[str]:
    return [str(one.manifest.digest) for one in entry_of(scene.image).platforms]


def subject(digest: str, name: str = "", **annotations: str) -> dict[str, Any]:
    found: dict[str, Any] = {"digest": {"sha256": digest.removeprefix("sha256:")}}
    return found | ({"name": name} if name else {}) | {"annotations": annotations}


def say(scene: Scene, *subjects: dict[str, Any], signer: str = "release") -> None:
    """A signature of cosign 3's kind over these subjects, attached to the index."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": list(subjects),
        "predicateType": SIGN,
        "predicate": {},
    }
    act = scene.world.sign_statement(statement, scene.world.managed(signer), log="none")
    attach.attach_bundle(scene.image, encoded(act.bundle()))


# --- annotations ---------------------------------------------------------------------------------

BOTH = {"stage": "production", "checked": "yes"}


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (BOTH, BOTH, ""),
        (BOTH, BOTH | {"more": "is fine"}, ""),
        (BOTH, {"stage": "test", "checked": "yes"}, "policy.scope"),
        ({"stage": "test", "checked": "yes"}, BOTH, "policy.scope"),
        (BOTH, {}, "policy.scope"),
        ({"stage": "production"}, {"checked": "yes"}, "policy.condition"),
        ({"stage": "Production", "checked": "yes"}, {}, "policy.condition"),
        ({"stage": "production\n", "checked": "yes"}, {}, "policy.condition"),
    ],
)
def test_annotations_of_one_platform_are_not_lent_to_another(
    scene: Scene, first: dict[str, str], second: dict[str, str], code: str
) -> None:
    amd64, arm64 = platforms(scene)
    say(scene, subject(amd64, **first), subject(arm64, **second))
    entry = entry_of(scene.image)
    if not code:
        scene.run(AS_PACKED + PRODUCTION, entry)
    else:
        assert scene.refused(AS_PACKED + PRODUCTION, entry).code == code


def test_a_digest_listed_twice_counts_with_the_words_it_was_listed_with(scene: Scene) -> None:
    amd64, arm64 = platforms(scene)
    say(
        scene,
        subject(amd64, stage="production"),
        subject(amd64, checked="yes"),
        subject(arm64, **BOTH),
    )
    assert scene.refused(AS_PACKED + PRODUCTION, entry_of(scene.image)).code == "policy.scope"


# --- names ---------------------------------------------------------------------------------------


def test_one_of_two_who_must_sign_does_not_name_the_image_alone(scene: Scene) -> None:
    entry = entry_of(scene.image)
    digest = scene.image.digest
    say(scene, subject(digest))
    say(scene, subject(digest), signer="packer")
    say(scene, subject(digest, f"{NAME}:1.0.0"), signer="packer")
    entry = entry_of(scene.image)
    scene.run(AS_PACKED + TWO, entry)
    assert scene.refused(VOUCHED + TWO, entry).code == "policy.name"
    say(scene, subject(digest, f"{NAME}:1.0.0"))
    (image,) = scene.run(VOUCHED + TWO, entry_of(scene.image)).images
    assert image.name.how == "subject-name"
    assert "release" in image.name.by
    assert "packer" in image.name.by


def test_the_same_key_twice_does_not_name_for_two(scene: Scene) -> None:
    digest = scene.image.digest
    for signer in ("release", "packer"):
        say(scene, subject(digest), signer=signer)
    say(scene, subject(digest, f"{NAME}:1.0.0"), signer="packer")
    say(scene, subject(digest, f"{NAME}:1.0.0", note="again"), signer="packer")
    assert scene.refused(VOUCHED + TWO, entry_of(scene.image)).code == "policy.name"


def test_an_sbom_by_a_stranger_names_nothing(scene: Scene) -> None:
    digest = scene.image.digest
    say(scene, subject(digest))
    said = statements.statement(digest, "https://spdx.dev/Document", {}, name=f"{NAME}:1.0.0")
    act = scene.world.sign_statement(said, scene.world.managed("stranger"), log="none")
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    one = '\n[[image.require]]\nclaim = "signature"\nkey = "release"\n'
    assert scene.refused(VOUCHED + one, entry_of(scene.image)).code == "policy.name"
