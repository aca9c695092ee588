"""What counts by distinct authorities counts each of them once, however often it spoke."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import attach
from tests.unit.loader.policy.scene import AS_PACKED, KEYLESS, Scene, encoded


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_two_stamps_of_one_authority_are_one(scene: Scene) -> None:
    act = scene.world.sign_image(scene.image.digest, scene.world.keyless())
    act.timestamps = [
        scene.world.tsa.timestamp(act.signature, at=act.at, nonce=nonce) for nonce in (1, 2)
    ]
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    assert scene.run(AS_PACKED + KEYLESS + "timestamps = 1\n")
    refusal = scene.refused(AS_PACKED + KEYLESS + "timestamps = 2\n")
    assert refusal.code == "policy.condition"
