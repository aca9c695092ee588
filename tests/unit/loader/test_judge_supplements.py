"""Proofs that a packer added: they count where policy asks for a proof, and never for less."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import LimitError, MissingError, RefusedError
from loader.limits import Limits
from loader.model.bundle import EvidenceEntry, ImageEntry
from loader.model.descriptor import Descriptor
from loader.model.supplement import Supplement
from loader.policy.facts import Considered
from loader.report import _image
from loader.supplement import Supplements
from tests.fakes import attach, images
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json, b64
from tests.fakes.sigworld.rekor import Entry
from tests.fakes.sigworld.signed import SignedMessage, SignedStatement
from tests.fakes.sigworld.supplement import MEDIA_TYPE, supplement, written
from tests.unit.loader.policy.judging import NAME, Blobs, entry_of
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, Scene, encoded

ROOTED = KEY + 'trusted-root = "acme"\n'
PROMISED = AS_PACKED + ROOTED + 'log = "promise"\n'
PROVEN = AS_PACKED + ROOTED + 'log = "proof"\n'


@dataclass
class Stage:
    """An image with one legacy signature, which carries a promise and no proof."""

    scene: Scene
    signed: SignedMessage

    @property
    def logged(self) -> Entry:
        return self.signed.entries[0]

    @property
    def blob(self) -> bytes:
        return self.signed.message

    def item(
        self, raw: bytes, *, subject: str | bytes = "", media_type: str = MEDIA_TYPE
    ) -> EvidenceEntry:
        """The statement's words for a supplement with these bytes, which go into the store."""
        self.scene.store.add(raw, MEDIA_TYPE)
        about = subject if isinstance(subject, str) else str(Digest.of(subject))
        return EvidenceEntry(
            subject=Digest.parse(about or str(Digest.of(self.blob))),
            store="supplement",
            manifest=Descriptor.make(media_type, raw),
        )

    def entry(self, *items: EvidenceEntry) -> ImageEntry:
        found = entry_of(self.scene.image)
        return entry_of(self.scene.image, evidence=(*found.evidence, *items))

    def document(self, **changes: Any) -> Json:  # noqa: ANN401
        return supplement(self.logged, self.blob, **changes)

    def failing(self, *items: EvidenceEntry) -> list[Considered]:
        """What the judge says of supplements that do not hold, while the evidence counts on."""
        judgement = self.scene.run(PROMISED, self.entry(*items))
        assert judgement.images[0].claims[0].holds == "met"
        return [one for one in judgement.images[0].considered if one.piece.store == "supplement"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    scene = Scene(tmp_path)
    signed = scene.world.sign_image_legacy(scene.image.digest, scene.release, log="v1")
    attach.attach_tag(scene.image, [signed.layer()])
    scene.world.rekor1.grow(9)
    return Stage(scene, signed)


def codes(failing: list[Considered]) -> list[str]:
    assert not any(one.counts for one in failing)
    return [one.why_not.code if one.why_not else "" for one in failing]


# --- what is added counts -------------------------------------------------------------------------


def test_a_promise_alone_is_no_proof(stage: Stage) -> None:
    refusal = stage.scene.refused(PROVEN)
    assert (refusal.code, refusal.exit_status) == ("policy.condition", 14)


@pytest.mark.parametrize("size", [None, 9, 15])
def test_a_supplement_is_the_proof_that_policy_asks_for(stage: Stage, size: int | None) -> None:
    item = stage.item(written(stage.document(size=size)))
    image = stage.scene.run(PROVEN, stage.entry(item)).images[0]
    assert image.claims[0].holds == "met"
    assert [place.log_index for place in image.positions] == [stage.logged.log_index]
    assert not [one for one in image.considered if one.piece.store == "supplement"], "all hold"


def test_legacy_attestations_and_old_bundles_are_completed_too(tmp_path: Path) -> None:
    policy = AS_PACKED + KEYLESS + 'log = "proof"\n'
    scene = Scene(tmp_path)
    signed = scene.world.sign_image(scene.image.digest, scene.world.keyless())
    old = encoded(signed.bundle("0.1", proof=False))
    attach.attach_bundle(scene.image, old)
    stage = Stage(scene, signed)  # type: ignore[arg-type]
    assert scene.refused(policy).code == "policy.condition"
    item = stage.item(written(supplement(stage.logged, old)), subject=old)
    assert scene.run(policy, stage.entry(item)).images[0].claims[0].holds == "met"


def test_a_legacy_statement_is_completed_by_its_envelope(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    said = statements.image_statement(scene.image.digest)
    signed: SignedStatement = scene.world.sign_statement(said, scene.release)
    attach.attach_tag(scene.image, [signed.layer()], "att")
    stage = Stage(scene, signed)  # type: ignore[arg-type]
    assert scene.refused(PROVEN).code == "policy.condition"
    blob = signed.envelope()
    item = stage.item(written(supplement(stage.logged, blob)), subject=blob)
    assert scene.run(PROVEN, stage.entry(item)).images[0].claims[0].holds == "met"


def test_two_signatures_over_one_payload_have_a_proof_each(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    other = scene.world.managed("second")
    both = [
        scene.world.sign_image_legacy(scene.image.digest, one, log="v1")
        for one in (scene.release, other)
    ]
    assert both[0].message == both[1].message, "one blob in the registry"
    attach.attach_tag(scene.image, [one.layer() for one in both])
    stage = Stage(scene, both[0])
    items = [stage.item(written(supplement(s.entries[0], s.message))) for s in both]
    policy = PROVEN + ROOTED.replace("release", "second") + 'log = "proof"\n'
    assert scene.refused(policy, stage.entry(items[0])).code == "policy.condition"
    assert scene.run(policy, stage.entry(*items)).images[0].claims[1].holds == "met"


# --- what is added falsely counts for nothing, and takes nothing away -----------------------------


def _proof(**changes: object) -> Callable[[Stage], Json]:
    def spoil(stage: Stage) -> Json:
        document = stage.document()
        document["inclusionProof"] |= changes
        return document

    return spoil


def _forked(stage: Stage) -> Json:
    fork = stage.scene.world.rekor1.fork(3)
    fork.add(b'{"another":"body"}', at=stage.scene.world.at)
    fork.grow(9)
    return stage.document(inclusionProof={**fork.entries[-1].inclusion_proof(9), "logIndex": "5"})


def _replayed(stage: Stage) -> Json:
    """The genuine proof of another entry of the same log."""
    other = stage.scene.world.sign(b"something else", stage.scene.release).entries[0]
    return stage.document(inclusionProof=other.inclusion_proof())


def _forged(stage: Stage) -> Json:
    note = stage.scene.world.rekor1.checkpoint(
        stage.logged.leaf_index + 1, signer=stage.scene.packer
    )
    return _proof(checkpoint={"envelope": note})(stage)


def _other_log(stage: Stage) -> Json:
    entry = stage.scene.world.rekor2.add(stage.logged.body, at=stage.scene.world.at)
    return stage.document(inclusionProof=entry.inclusion_proof())


WRONG: dict[str, tuple[Callable[[Stage], Json], str]] = {
    "a proof of another entry": (_replayed, "signature.inclusion"),
    "a proof from another history": (_forked, "signature.inclusion"),
    "a checkpoint by another key": (_forged, "signature.checkpoint"),
    "a proof from another log": (_other_log, "signature.checkpoint"),
    "another leaf": (_proof(logIndex="3"), "signature.inclusion"),
    "another size": (_proof(treeSize="7"), "signature.checkpoint"),
    "another root": (_proof(rootHash=b64(b"\x07" * 32)), "signature.checkpoint"),
    "no path": (_proof(hashes=[]), "signature.inclusion"),
    "a proof without a checkpoint": (_proof(checkpoint=None), "json.field"),
    "65 hashes": (_proof(hashes=[b64(b"\x03" * 32)] * 65), "limit.exceeded"),
    "of another place in the log": (
        lambda s: s.document(logIndex=str(s.logged.log_index + 1)),
        "signature.supplement",
    ),
    "of an unknown log": (lambda s: s.document(logId="00" * 32), "signature.supplement"),
    "a short log id": (lambda s: s.document(logId="00"), "json.field"),
    "another schema": (lambda s: s.document(schema=2), "json.field"),
    "an unknown field": (lambda s: s.document(body="e30="), "json.field"),
    "about other evidence": (lambda s: s.document(subject=f"sha256:{'0' * 64}"), "oci.format"),
}


@pytest.mark.parametrize("lie", WRONG)
def test_a_wrong_supplement_fails_aloud_and_weakens_nothing(stage: Stage, lie: str) -> None:
    spoil, code = WRONG[lie]
    item = stage.item(written(spoil(stage)))
    assert codes(stage.failing(item)) == [code]
    assert stage.scene.refused(PROVEN, stage.entry(item)).code == "policy.condition"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json."),
        (b"{}", "json.field"),
        (b"[" * 100 + b"]" * 100, "limit.exceeded"),
        (b"\xff\xfe", "json."),
        (b'{"schema":1,"schema":1}', "json."),
        (b" " * 200_000, "limit.exceeded"),
    ],
)
def test_malformed_supplements(stage: Stage, raw: bytes, code: str) -> None:
    [found] = codes(stage.failing(stage.item(raw)))
    assert found.startswith(code)


def test_a_supplement_is_written_in_one_way(stage: Stage) -> None:
    pretty = json.dumps(stage.document(), indent=1).encode()
    assert codes(stage.failing(stage.item(pretty))) == ["json.syntax"]


def test_a_manifest_is_no_supplement(stage: Stage) -> None:
    raw = written(stage.document())
    item = stage.item(raw, media_type="application/vnd.oci.image.manifest.v1+json")
    assert codes(stage.failing(item)) == ["oci.format"]


def test_a_proof_about_nothing_in_the_bundle_is_said(stage: Stage) -> None:
    document = stage.document(subject=f"sha256:{'1' * 64}")
    item = stage.item(written(document), subject=f"sha256:{'1' * 64}")
    assert codes(stage.failing(item)) == ["signature.supplement"]


def test_a_second_proof_of_one_entry_is_not_looked_at(stage: Stage) -> None:
    good, second = (stage.item(written(stage.document(size=size))) for size in (9, 12))
    failing = stage.failing(good, second)
    assert codes(failing) == ["signature.supplement"]
    assert failing[0].piece.manifest == second.manifest.digest
    assert stage.scene.run(PROVEN, stage.entry(good, second)).images


def test_a_proof_never_stands_in_for_a_promise(stage: Stage) -> None:
    """The entry's promise is another log's work: a genuine proof beside it does not help."""
    layer = stage.signed.layer()
    name = "dev.sigstore.cosign/bundle"
    said = json.loads(layer.annotations[name])
    said["SignedEntryTimestamp"] = b64(stage.scene.packer.sign(b"no promise of the log"))
    layer.annotations[name] = json.dumps(said)
    attach.attach_tag(stage.scene.image, [layer])
    item = stage.item(written(stage.document()))
    for policy in (PROMISED, PROVEN):
        refusal = stage.scene.refused(policy, stage.entry(item))
        assert (refusal.code, "promise" in refusal.found) == ("signature.unverified", True)


def test_a_proof_is_added_to_promises_alone(tmp_path: Path) -> None:
    """What its format refuses for want of a proof is not mended by somebody else's."""
    scene = Scene(tmp_path)
    signed = scene.world.sign_image(scene.image.digest, scene.release)
    raw = encoded(signed.bundle(promise=False, proof=False))
    attach.attach_bundle(scene.image, raw)
    stage = Stage(scene, signed)  # type: ignore[arg-type]
    item = stage.item(written(supplement(stage.logged, raw)), subject=raw)
    for policy in (PROMISED, PROVEN):
        refusal = scene.refused(policy, stage.entry(item))
        assert (refusal.code, "proof" in refusal.found) == ("signature.unverified", True)


def test_what_brought_its_own_proof_takes_no_other(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    signed = scene.world.sign_image(scene.image.digest, scene.release)
    raw = encoded(signed.bundle())
    attach.attach_bundle(scene.image, raw)
    stage = Stage(scene, signed)  # type: ignore[arg-type]
    item = stage.item(written(supplement(stage.logged, raw)), subject=raw)
    assert codes(stage.failing(item)) == ["signature.supplement"]


@pytest.mark.parametrize("version", ["0.2", "0.3"])
def test_a_bundle_that_must_bring_its_proof_is_not_mended(tmp_path: Path, version: str) -> None:
    scene = Scene(tmp_path)
    signed = scene.world.sign_image(scene.image.digest, scene.release)
    raw = encoded(signed.bundle(version, proof=False))
    attach.attach_bundle(scene.image, raw)
    stage = Stage(scene, signed)  # type: ignore[arg-type]
    item = stage.item(written(supplement(stage.logged, raw)), subject=raw)
    refusal = scene.refused(PROMISED, stage.entry(item))
    assert (refusal.code, "without an inclusion proof" in refusal.found) == (
        "signature.unverified",
        True,
    )


def test_a_supplement_that_fails_is_in_the_short_report_too(stage: Stage) -> None:
    item = stage.item(written(_forged(stage)))
    judgement = stage.scene.run(PROMISED, stage.entry(item))
    lines = list(_image(judgement.images[0], None, {}, explain=False))  # type: ignore[arg-type]
    assert any("(supplement " in line and "did not sign" in line for line in lines), lines


def test_a_supplement_speaks_for_nobody(stage: Stage) -> None:
    """On an image that nobody signed, a supplement is no evidence."""
    bare = images.hello_index(stage.scene.store, tag="9", version="9.9.9")
    item = stage.item(written(stage.document()))
    entry = entry_of(bare, f"{NAME}:9.9.9", evidence=(item,))
    assert stage.scene.refused(PROMISED, entry).code == "no-evidence.claim"


# --- bounds, and what the bundle promises ---------------------------------------------------------


def test_a_supplement_that_is_not_there_refuses_the_bundle(stage: Stage) -> None:
    item = stage.item(written(stage.document()))
    statement = stage.scene.statement(stage.entry(item))
    del stage.scene.store.blobs[str(item.manifest.digest)]
    with pytest.raises(MissingError):
        stage.scene.run(PROMISED, statement=statement)


def test_too_many_supplements_of_one_blob(stage: Stage) -> None:
    items = [stage.item(written(stage.document(logIndex=str(i)))) for i in range(3)]
    entry = stage.entry(*items)
    with pytest.raises(LimitError):
        Supplements(entry, Blobs(stage.scene.store), limits=Limits(supplement_count_max=2))


def test_index_json_lists_no_supplement(stage: Stage) -> None:
    item = stage.item(written(stage.document()))
    with_it = stage.scene.statement(stage.entry(item))
    without = stage.scene.statement(stage.entry())
    assert with_it.metadata[:2] == without.metadata[:2]
    assert len(with_it.metadata) == len(without.metadata) + 1


def test_every_single_byte_counts(stage: Stage) -> None:
    """Any byte of a supplement changed: refused, or the proof does not hold, or it is the same."""
    raw = written(stage.document())
    entry = entry_of(stage.scene.image)
    held = []
    for place in range(0, len(raw), 7):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            Supplement.parse(changed, where="test")
        except RefusedError:
            continue
        about = json.loads(changed)["subject"]
        item = stage.item(changed, subject=about)
        image = stage.scene.run(
            PROMISED, entry_of(stage.scene.image, evidence=(*entry.evidence, item))
        ).images[0]
        if not [one for one in image.considered if one.piece.store == "supplement"]:
            held.append(place)
    assert held == []
