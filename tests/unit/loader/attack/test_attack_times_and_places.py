"""An old image by way of what nobody signed: a log's index, or the times that were left away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from loader.trust.validity import Validity
from loader.verify.sigstore import Material
from tests.fakes import attach
from tests.fakes.content import Json
from tests.fakes.sigworld import trustroot
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import entry_of
from tests.unit.loader.policy.scene import AS_PACKED, Scene, encoded
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    key_of,
    managed,
    root_of,
    signed,
)

BY_INDEX = AS_PACKED + 'rollback = "log-index"\n'
LOGGED = """
[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
"""


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def moved(bundle: Json, index: int) -> Json:
    """The bundle without its promise: what is left of the entry does not sign the index."""
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    del entry["inclusionPromise"]
    entry["logIndex"] = str(index)
    return bundle


def test_an_index_beside_a_proof_is_nobodys_word(world: World) -> None:
    signer = world.managed("release")
    act = world.sign_image(IMAGE, signer)
    (true,) = signed(bundle_of(act.bundle()), managed(world, signer)).logs
    assert true.log_index is not None
    for index in (0, true.log_index + 1, 2**62):
        (log,) = signed(bundle_of(moved(act.bundle(), index)), managed(world, signer)).logs
        assert (log.log_index, log.proof) == (None, "verified")


def test_the_one_tree_of_a_second_log_signs_its_index(world: World) -> None:
    signer = world.managed("release")
    act = world.sign_image(IMAGE, signer, log="v2")
    bundle = act.bundle()
    (log,) = signed(bundle_of(bundle), managed(world, signer)).logs
    assert log.log_index == act.entries[0].log_index
    bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "99"
    assert code_of(bundle_of(bundle), managed(world, signer)) == "signature.inclusion"


@pytest.mark.parametrize("need", ["promise", "proof"])
def test_a065_two_logs_are_not_one_log_twice(scene: Scene, need: str) -> None:
    two = f'{AS_PACKED}{LOGGED}log = "{need}"\nlogs = 2\n'
    act = scene.world.sign_image(scene.image.digest, scene.release)
    again = scene.world.sign_image(scene.image.digest, scene.release)
    bundle = act.bundle()
    bundle["verificationMaterial"]["tlogEntries"] += again.bundle()["verificationMaterial"][
        "tlogEntries"
    ]
    attach.attach_bundle(scene.image, encoded(bundle))
    refused = scene.refused(two, entry_of(scene.image))
    assert refused.code == "policy.condition"
    assert "too few distinct logs of the trusted root hold it; expected 2 with a p" in str(
        refused.reasons
    )
    assert "; found 1" in str(refused.reasons)


def test_a065_two_logs_that_hold_it_count(scene: Scene) -> None:
    two = AS_PACKED + LOGGED + 'log = "proof"\nlogs = 2\n'
    act = scene.world.sign_image(scene.image.digest, scene.release, log="both")
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    (image,) = scene.run(two, entry_of(scene.image)).images
    assert [claim.holds for claim in image.claims] == ["met"]


@pytest.mark.parametrize("index", [0, 2**62])
def test_an_old_signature_does_not_climb_over_the_floor(scene: Scene, index: int) -> None:
    act = scene.world.sign_image(scene.image.digest, scene.release)
    attach.attach_bundle(scene.image, encoded(moved(act.bundle(), index)))
    entry = entry_of(scene.image)
    # By time it may count: that has a floor of its own, which what has no time never passes.
    (image,) = scene.run(AS_PACKED + LOGGED, entry).images
    assert (image.positions, image.at) == ((), None)
    refused = scene.refused(BY_INDEX + LOGGED, entry)
    assert refused.code == "policy.condition"
    assert "no log says where its entry stands" in str(refused.reasons)


def test_leaving_the_entry_away_is_no_way_around_the_floor(scene: Scene) -> None:
    bare = BY_INDEX + '\n[[image.require]]\nclaim = "signature"\nkey = "release"\n'
    act = scene.world.sign_image(scene.image.digest, scene.release, log="none")
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    assert scene.refused(bare, entry_of(scene.image)).code == "policy.condition"


def test_a_promised_place_counts(scene: Scene) -> None:
    act = scene.world.sign_image(scene.image.digest, scene.release)
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    (image,) = scene.run(BY_INDEX + LOGGED, entry_of(scene.image)).images
    (place,) = image.positions
    assert place.log_index == act.entries[0].log_index


def test_a_retired_key_whose_signature_nobody_dates(world: World) -> None:
    # A067, with the times left away instead of wrong.
    signer = world.managed("retired")
    window = Validity(start=world.since, end=world.at - timedelta(days=1))
    material = replace(managed(world, signer), key=key_of(signer, valid_for=window))
    dated = bundle_of(world.sign_image(IMAGE, signer).bundle())
    bare = bundle_of(world.sign_image(IMAGE, signer, log="none").bundle())
    proven = bundle_of(moved(world.sign_image(IMAGE, signer).bundle(), 0))
    assert code_of(dated, material) == "signature.key.time"
    assert code_of(bare, material) == "signature.no-time"
    assert code_of(proven, material) == "signature.no-time"
    assert code_of(bare, Material(key=key_of(signer))) == ""


@pytest.mark.parametrize("log", ["v1", "v2"])
def test_a_retired_log_whose_entry_nobody_dates(world: World, log: str) -> None:
    signer = world.managed("release")
    bundle = world.sign_image(IMAGE, signer, log=log, timestamp=False).bundle()
    bundle["verificationMaterial"]["tlogEntries"][0].pop("inclusionPromise", None)
    document = world.trusted_root()
    assert code_of(bundle_of(bundle), managed(world, signer)) == ""
    document["tlogs"] = [
        trustroot.rekor_log(one, start=world.since, end=world.at + timedelta(days=9))
        for one in (world.rekor1, world.rekor2)
    ]
    material = Material(trusted_root=root_of(document), key=key_of(signer))
    assert code_of(bundle_of(bundle), material) == "signature.no-time"
