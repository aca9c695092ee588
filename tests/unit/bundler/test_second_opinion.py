"""sigstore-python's opinion before sealing: it agrees, it cannot judge, or nothing is sealed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SecondOpinionError
from bundler.second_opinion import GAPS, SecondOpinion, second_opinion
from bundler.store import ContentStore
from loader.policy.facts import Judgement
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json, b64, pem_of
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.signed import SignedStatement
from tests.presence import ROOT
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, Scene, encoded


@dataclass
class Stage:
    """One image, one piece of evidence; what a test does not say is as sigstore-python likes it."""

    scene: Scene
    folder: Path
    policy: str = AS_PACKED + KEYLESS
    root: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.scene.world.trusted_root()

    def signed(self, **options: Any) -> SignedStatement:  # noqa: ANN401
        signer = options.pop("signer", None) or self.scene.world.keyless()
        return self.scene.world.sign_image(self.scene.image.digest, signer, **options)

    def attach(self, bundle: Json) -> None:
        attach.attach_bundle(self.scene.image, encoded(bundle))

    def judged(self) -> Judgement:
        path = self.scene.folder / "anchors" / "acme" / "trusted_root.json"
        path.write_text(json.dumps(self.root))
        judgement = self.scene.run(self.policy)
        assert any(one.counts for one in judgement.images[0].considered)
        return judgement

    def opinion(self, *, but: str = "") -> SecondOpinion:
        judgement = self.judged()
        store = ContentStore(self.folder / "store")
        for digest in self.scene.store.blobs:
            store.put(self.scene.store.read(digest))
        trust = self.scene.trust(self.scene.policy(self.policy))
        for anchor in trust.anchors:
            store.put(Path(anchor.origin).read_bytes())
        gaps = [gap for gap in GAPS if gap.name != but]
        assert len(gaps) == len(GAPS) - bool(but)
        return second_opinion(judgement, store, trust, gaps=gaps)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "scene").mkdir()
    return Stage(Scene(tmp_path / "scene"), tmp_path)


# --- it agrees ------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["v1", "v2"])
@pytest.mark.parametrize("version", ["0.2", "0.3", "0.3-old"])
def test_it_agrees(stage: Stage, log: str, version: str) -> None:
    stage.attach(stage.signed(log=log).bundle(version))
    opinion = stage.opinion()
    assert (opinion.agreed, opinion.silent) == (1, {})
    assert str(opinion) == "1 agreed"


def test_it_is_asked_about_attestations_too(stage: Stage) -> None:
    stage.policy = AS_PACKED + KEYLESS.replace(
        'claim = "signature"', f'claim = "attestation"\ntype = "{statements.SPDX}"'
    )
    world = stage.scene.world
    said = statements.statement(stage.scene.image.digest, statements.SPDX, statements.spdx())
    stage.attach(world.sign_statement(said, world.keyless(), log="v1").bundle())
    opinion = stage.opinion()
    assert (opinion.agreed, opinion.silent) == (1, {})


def test_it_agrees_with_a_timestamp_beside_the_promise(stage: Stage) -> None:
    stage.attach(stage.signed(log="v1", timestamp=True).bundle())
    assert stage.opinion().agreed == 1


def test_only_what_counted_is_asked_about(stage: Stage) -> None:
    stage.attach(stage.signed().bundle())
    other = stage.scene.world.keyless(person("mallory@acme.example"))
    stage.attach(stage.signed(signer=other).bundle())
    stage.attach(stage.signed(signer=other).bundle("0.1", proof=False))
    opinion = stage.opinion()
    assert (opinion.agreed, opinion.silent) == (1, {})


# --- it cannot judge ------------------------------------------------------------------------------


def test_cosigns_annotations(stage: Stage) -> None:
    signed = stage.scene.world.sign_image_legacy(
        stage.scene.image.digest, stage.scene.world.keyless(), log="v1"
    )
    attach.attach_tag(stage.scene.image, [signed.layer()])
    assert stage.opinion().silent == {"it knows no cosign annotations": 1}


def test_keys(stage: Stage) -> None:
    stage.policy = AS_PACKED + KEY
    stage.attach(stage.signed(signer=stage.scene.release, log="v1").bundle())
    opinion = stage.opinion()
    assert opinion.silent == {"it knows no keys without certificates": 1}
    assert str(opinion) == "0 agreed, 1 it cannot judge: it knows no keys without certificates"


@pytest.mark.parametrize(
    "made",
    [
        lambda stage: stage.signed().bundle("0.1", proof=False),
        lambda stage: stage.signed(log="none").bundle(),
        lambda stage: stage.signed(log="both").bundle(),
    ],
    ids=["a promise alone", "no log", "two logs"],
)
def test_what_it_cannot_read(stage: Stage, made: Callable[[Stage], Json]) -> None:
    stage.policy += 'log = "none"\n'
    stage.attach(made(stage))
    [reason] = stage.opinion().silent
    assert reason.startswith("it cannot read this (")


def test_a_root_that_it_cannot_read(stage: Stage) -> None:
    stage.attach(stage.signed().bundle())
    stage.root["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.2+json"
    assert list(stage.opinion().silent) == ["it cannot read this (Error)"]


def test_a_private_authority(stage: Stage) -> None:
    world = stage.scene.world
    pems = b"".join(pem_of(one) for one in world.ca.chain)
    (stage.scene.folder / "ca.pem").write_bytes(pems)
    (stage.scene.folder / "root.json").write_text(json.dumps(stage.root))
    own = '[anchor.corp]\ncertificate = "ca.pem"\ntrusted-root = "root.json"\n'
    stage.policy = own + stage.policy.replace('"acme"', '"corp"') + "sct = 0\n"
    stage.attach(stage.signed().bundle())
    opinion = stage.opinion()
    assert opinion.silent == {"it knows no authorities beside those of a trusted root": 1}


def test_what_it_stumbles_over(stage: Stage) -> None:
    """It takes every key for an elliptic curve's, and then fails otherwise than by refusing."""
    stage.attach(stage.signed(signer=stage.scene.world.keyless(kind="RSA-2048")).bundle())
    assert list(stage.opinion().silent) == ["it cannot judge this (TypeError)"]


@pytest.mark.parametrize("details", ["PKIX_ED25519_PH", "ML_DSA_65", "LMS_SHA256", "SOMETHING"])
def test_another_log_with_a_key_that_nobody_knows_stops_no_pack(stage: Stage, details: str) -> None:
    stage.attach(stage.signed().bundle())
    other = json.loads(json.dumps(stage.root["tlogs"][0]))
    other["publicKey"]["keyDetails"] = details
    other["logId"]["keyId"] = b64(b"\x07" * 32)
    stage.root["tlogs"].append(other)
    opinion = stage.opinion()
    assert opinion.agreed + sum(opinion.silent.values()) == 1


def _entry_kind(stage: Stage) -> Json:
    return stage.signed(entry="intoto-0.0.2").bundle()


def _p384(stage: Stage) -> Json:
    return stage.signed(signer=stage.scene.world.keyless(kind="P-384")).bundle()


def _p521(stage: Stage) -> Json:
    return stage.signed(signer=stage.scene.world.keyless(kind="P-521")).bundle()


def _no_sct(stage: Stage) -> Json:
    stage.policy += "sct = 0\n"
    return stage.signed(signer=stage.scene.world.keyless(promises=())).bundle()


def _two_scts(stage: Stage) -> Json:
    world = stage.scene.world
    promise = world.ct.promise()
    return stage.signed(signer=world.keyless(promises=[promise, promise])).bundle()


def _no_key_identifier(stage: Stage) -> Json:
    return stage.signed(signer=stage.scene.world.keyless(key_identifier=False)).bundle()


def _intermediates(stage: Stage) -> Json:
    for authority in stage.root["certificateAuthorities"]:
        del authority["certChain"]["certificates"][:-1]
    return stage.signed().bundle("0.2", chain=True)


def _no_authority(stage: Stage) -> Json:
    stage.root["timestampAuthorities"] = []
    return stage.signed(log="v1", timestamp=True).bundle()


def _short_chain(stage: Stage) -> Json:
    for authority in stage.root["timestampAuthorities"]:
        del authority["certChain"]["certificates"][:-1]
    return stage.signed(log="v2").bundle()


def _at_the_end(stage: Stage) -> Json:
    signed = stage.signed(log="v2")
    for authority in stage.root["timestampAuthorities"]:
        authority["validFor"]["end"] = signed.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return signed.bundle()


def _first_line_of_two(stage: Stage) -> Json:
    bundle = stage.signed().bundle()
    [entry] = bundle["verificationMaterial"]["tlogEntries"]
    checkpoint = entry["inclusionProof"]["checkpoint"]
    text, _, line = checkpoint["envelope"].partition("\n\n")
    hint = stage.scene.world.rekor1.hint
    other = f"\u2014 {stage.scene.world.rekor1.host} {b64(hint + b'not a signature')}\n"
    checkpoint["envelope"] = f"{text}\n\n{other}{line}"
    return bundle


SHOWN: dict[str, tuple[Callable[[Stage], Json], ...]] = {
    "entry-kind": (_entry_kind,),
    "key-kind": (_p384, _p521),
    "sct": (_no_sct, _two_scts),
    "key-identifier": (_no_key_identifier,),
    "intermediates": (_intermediates,),
    "timestamp-authority": (_no_authority, _short_chain),
    "timestamp-end": (_at_the_end,),
    "checkpoint-lines": (_first_line_of_two,),
}


def test_every_gap_is_shown() -> None:
    assert set(SHOWN) == {gap.name for gap in GAPS}


@pytest.mark.parametrize(
    ("name", "made"), [(name, made) for name, several in SHOWN.items() for made in several]
)
def test_a_gap_is_a_gap_and_nothing_else_would_excuse_it(
    stage: Stage, name: str, made: Callable[[Stage], Json]
) -> None:
    """With the gap in the list it cannot judge; without it, its refusal stops the pack."""
    stage.attach(made(stage))
    reason = next(gap.reason for gap in GAPS if gap.name == name)
    assert stage.opinion().silent == {reason: 1}
    with pytest.raises(SecondOpinionError) as caught:
        stage.opinion(but=name)
    assert (caught.value.code, caught.value.exit_status) == ("signature.second-opinion", 11)
    assert "sigstore-python says: " in caught.value.found


def test_the_document_lists_the_same_gaps() -> None:
    page = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `([a-z-]+)` \| (it [^|]*) \|$", page, flags=re.MULTILINE)
    assert table == [(gap.name, gap.reason) for gap in GAPS]
