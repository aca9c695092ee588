"""Evidence in the old places and in the new ones counts together (row OP-5, what is of signatures).

cosign 3 looks into tags only where it finds no bundle at all: an SBOM in the new format hides every
signature and attestation in the old one.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from loader.policy.facts import Judgement
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import workflow
from tests.unit.loader.policy.judging import entry_of
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, Scene
from tests.unit.loader.test_judge_images import sign, sign_legacy


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def add_sbom_in_a_bundle(scene: Scene) -> None:
    said = statements.statement(scene.image.digest, statements.SPDX, {"spdxVersion": "SPDX-2.3"})
    act = scene.world.sign_statement(said, scene.world.keyless())
    attach.attach_bundle(scene.image, act.bundle())


def add_slsa_in_a_tag(scene: Scene) -> None:
    said = statements.statement(scene.image.digest, statements.SLSA_V02, statements.slsa_v02())
    act = scene.world.sign_statement(said, scene.world.keyless(), entry="intoto-0.0.1")
    attach.attach_tag(scene.image, [act.layer()], "att")


def add_signature_in_a_tag(scene: Scene) -> None:
    sign_legacy(scene, scene.release)


def add_signature_in_a_bundle(scene: Scene) -> None:
    sign(scene, scene.world.keyless(workflow()))


STEPS = (
    add_sbom_in_a_bundle,
    add_slsa_in_a_tag,
    add_signature_in_a_tag,
    add_signature_in_a_bundle,
)


def kinds(judgement: Judgement) -> dict[str, str]:
    return {one.piece.what: one.piece.store for one in judgement.images[0].considered}


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_old_and_new_places_count_together(scene: Scene, order: tuple[int, ...]) -> None:
    for number in order:
        STEPS[number](scene)
    judgement = scene.run(AS_PACKED + KEY + KEYLESS, entry_of(scene.image))
    assert [claim.holds for claim in judgement.images[0].claims] == ["met", "met"]
    found = kinds(judgement)
    assert set(found.values()) == {"referrer", "signature-tag", "attestation-tag"}
    assert found[f"attestation of {statements.SLSA_V02}"] == "attestation-tag"
    assert found[f"attestation of {statements.SPDX}"] == "referrer"
    # Genuine, of this image, by the right one; only not of the kind that was asked for.
    for one in judgement.images[0].considered:
        assert {weighed.stage for weighed in one.weighed} <= {"absent", "counts", "signature"}


def test_a_new_sbom_hides_no_old_signature(scene: Scene) -> None:
    add_sbom_in_a_bundle(scene)
    add_signature_in_a_tag(scene)
    assert scene.run(AS_PACKED + KEY)


def test_an_old_attestation_stands_for_no_new_signature(scene: Scene) -> None:
    add_slsa_in_a_tag(scene)
    add_sbom_in_a_bundle(scene)
    assert scene.refused(AS_PACKED + KEYLESS).code == "no-evidence.claim"
