"""Bundles of many images that share their documents: what is small to send must be small to judge.

A megabyte of statement can refer ten thousand times to the same index or the same attestation, and
zstd makes a thousand large documents small.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.errors import LimitError
from loader.judge import judge, judge_statement
from loader.limits import Limits
from loader.model.bundle import BundleStatement
from loader.policy.facts import Judgement
from tests.fakes import attach
from tests.fakes.images import hello_image
from tests.fakes.sigworld.signed import Layer
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, entry_of
from tests.unit.loader.policy.scene import AS_PACKED, KEY, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def judged(scene: Scene, statement: BundleStatement, limits: Limits) -> tuple[Judgement, int]:
    policy = scene.policy(AS_PACKED + KEY)
    trust = scene.trust(policy)
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    blobs = Blobs(scene.store)
    found = judge(statement, claims, blobs, policy=policy, trust=trust, now=CREATED, limits=limits)
    return found.value, len(blobs.reads)


def sign(scene: Scene) -> None:
    layer = scene.world.sign_image_legacy(scene.image.digest, scene.release, log="none").layer()
    attach.attach_tag(scene.image, [layer])


def test_names_of_one_image_share_its_graph(scene: Scene) -> None:
    sign(scene)
    few = scene.statement(entry_of(scene.image, f"{NAME}:0"))
    many = scene.statement(*(entry_of(scene.image, f"{NAME}:{n}") for n in range(50)))
    [one] = judged(scene, few, Limits())[0].images
    judgement, _ = judged(scene, many, Limits(graph_size_max=50_000))
    assert [str(i.name.reference) for i in judgement.images] == [f"{NAME}:{n}" for n in range(50)]
    assert [i.graph.entry for i in judgement.images] == [i.entry for i in judgement.images]
    assert all(i.graph.digests == one.graph.digests for i in judgement.images)


def test_documents_of_all_images_together_are_bounded(scene: Scene) -> None:
    names = []
    for n in range(20):
        image = hello_image(scene.store, text=f"{n}\n")
        signature = scene.world.sign_image_legacy(image.digest, scene.release, log="none").layer()
        attach.attach_tag(image, [signature])
        names.append(entry_of(image, f"{NAME}:{n}"))
    statement = scene.statement(*names)
    assert len(judged(scene, statement, Limits())[0].images) == 20
    with pytest.raises(LimitError, match="too large together"):
        judged(scene, statement, Limits(graph_size_max=10_000))


def test_one_piece_of_evidence_is_not_judged_ten_thousand_times(scene: Scene) -> None:
    sign(scene)
    statement = scene.statement(*(entry_of(scene.image, f"{NAME}:{n}") for n in range(200)))
    assert len(judged(scene, statement, Limits())[0].images) == 200
    with pytest.raises(LimitError, match="share too much evidence"):
        judged(scene, statement, Limits(judged_size_spare=0))


def test_little_evidence_is_counted_and_not_weighed(scene: Scene) -> None:
    """A layer of a hundred bytes in the manifest may lead to one small piece again and again."""
    layer = scene.world.sign_image_legacy(scene.image.digest, scene.release, log="none").layer()
    attach.attach_tag(scene.image, [layer] * 100)
    statement = scene.statement(*(entry_of(scene.image, f"{NAME}:{n}") for n in range(20)))
    assert sum(member.size for member in statement.members) < 100_000
    _, reads = judged(scene, statement, Limits())
    assert reads > 2000
    with pytest.raises(LimitError, match="share too much evidence"):
        judged(scene, statement, Limits(judged_size_spare=1000 * 32 * 1024))


def test_what_is_found_out_of_all_images_is_bounded(scene: Scene) -> None:
    """Nothing is read of what nobody signed; but that it is there is kept for the report."""
    layer = scene.world.sign_image_legacy(scene.image.digest, scene.release, log="none").layer()
    plain = Layer(media_type="text/plain", blob=b"x")
    attach.attach_tag(scene.image, [layer, *[plain] * 99])
    statement = scene.statement(*(entry_of(scene.image, f"{NAME}:{n}") for n in range(20)))
    judgement, _ = judged(scene, statement, Limits(evidence_count_max=2000))
    assert sum(len(image.considered) for image in judgement.images) == 2000
    with pytest.raises(LimitError, match="too many pieces of evidence together"):
        judged(scene, statement, Limits(evidence_count_max=1999))
