"""The policies of real projects, by what those projects really published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import VerificationError
from loader.model.cosign import CosignSignature
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest
from loader.model.reference import Reference
from loader.policy.claims.signature import SignatureClaim
from loader.policy.contents import Contents
from loader.policy.facts import About, Weighed
from loader.policy.model import Policy
from loader.policy.speakers import KeySpeaker, Speaker
from loader.policy.weigh import Outcome, weigh
from loader.trust.store import TrustStore
from loader.verify.sigstore import Material, verify_evidence
from tests.unit.loader.policy.judging import CREATED

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def dangerzone() -> tuple[SignatureClaim, TrustStore]:
    path = ROOT / "policies" / "dangerzone.toml"
    policy = Policy.parse(path.read_bytes(), where=path.name)
    claim = policy.rules[0].require[0]
    assert isinstance(claim, SignatureClaim)
    # Its anchors came with the program: nothing lies beside this policy.
    return claim, TrustStore.open(policy, policy_directory=path.parent)


def published(shared_dir: Path) -> list[tuple[Reference, CosignSignature]]:
    found: list[tuple[Reference, CosignSignature]] = []
    for folder in sorted((shared_dir / "real" / "ghcr-signer").glob("*/*/")):
        raw = (folder / "MANIFEST").read_bytes()
        descriptor = Descriptor.make("application/vnd.oci.image.manifest.v1+json", raw)
        manifest = ImageManifest.parse(raw, descriptor, where="MANIFEST")
        payload = (folder / "PAYLOAD_BLOB").read_bytes()
        signature = CosignSignature.parse(payload, manifest.layers[0], where="PAYLOAD_BLOB")
        found.append((Reference.parse((folder / "IMAGE").read_text().strip()), signature))
    return found


def judged(
    claim: SignatureClaim, trust: TrustStore, reference: Reference, evidence: CosignSignature
) -> Weighed:
    def verify(speaker: Speaker) -> Outcome:
        assert isinstance(speaker, KeySpeaker)
        assert speaker.trusted_root is not None
        material = Material(
            trusted_root=trust.trusted_root(speaker.trusted_root), key=trust.key(speaker.key)
        )
        try:
            return verify_evidence(evidence, material)
        except VerificationError as e:
            return e

    assert reference.digest is not None
    return weigh(
        claim,
        verify,
        about=About(digests=frozenset({reference.digest}), reference=reference, now=CREATED),
        contents=Contents(),
        is_of_kind=True,
    )


def test_dangerzones_releases_count(
    dangerzone: tuple[SignatureClaim, TrustStore], shared_dir: Path
) -> None:
    claim, trust = dangerzone
    releases = published(shared_dir)
    assert len(releases) == 6
    places: dict[str, int] = {}
    for reference, evidence in releases:
        found = judged(claim, trust, reference, evidence)
        assert found.stage == "counts", found.problem
        assert found.names[0].repository == reference.name == "ghcr.io/freedomofpress/dangerzone/v1"
        places[found.at[0].strftime("%Y-%m")] = found.positions[0].log_index
    # What `rollback = "log-index"` compares.
    assert sorted(places) == ["2026-03", "2026-04"]
    assert places["2026-03"] < places["2026-04"]


def test_dangerzones_signature_of_one_release_is_none_of_another(
    dangerzone: tuple[SignatureClaim, TrustStore], shared_dir: Path
) -> None:
    claim, trust = dangerzone
    (reference, _), (_, other), *_ = published(shared_dir)
    found = judged(claim, trust, reference, other)
    assert (found.stage, found.names) == ("signature", ())


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("ghcr.io/freedomofpress/dangerzone/v2", "condition"),
        ("ghcr.io/evil/dangerzone", "condition"),
    ],
)
def test_dangerzones_signature_does_not_move_to_another_name(
    dangerzone: tuple[SignatureClaim, TrustStore], shared_dir: Path, name: str, stage: str
) -> None:
    claim, trust = dangerzone
    reference, evidence = published(shared_dir)[0]
    moved = replace(reference, repository=name.partition("/")[2])
    assert judged(claim, trust, moved, evidence).stage == stage


def test_dz_12_a_signature_for_another_repository_is_said_by_default(
    dangerzone: tuple[SignatureClaim, TrustStore], shared_dir: Path
) -> None:
    claim, trust = dangerzone
    reference, evidence = published(shared_dir)[0]
    lax = replace(claim, docker_reference="ignore")
    assert judged(lax, trust, reference, evidence).facts == ()
    found = judged(lax, trust, replace(reference, repository="evil/dangerzone"), evidence)
    assert found.stage == "counts"
    (fact,) = found.facts
    assert (fact.name, fact.value) == ("signed as", "ghcr.io/freedomofpress/dangerzone/v1")
    assert "another repository" in fact.source


def test_a_changed_payload_is_no_signature(
    dangerzone: tuple[SignatureClaim, TrustStore], shared_dir: Path
) -> None:
    claim, trust = dangerzone
    reference, evidence = published(shared_dir)[0]
    assert reference.digest is not None
    other = Digest.of(b"other")
    forged = replace(
        evidence, raw=evidence.raw.replace(reference.digest.hex.encode(), other.hex.encode())
    )
    assert forged.raw != evidence.raw
    found = judged(claim, trust, replace(reference, digest=other), forged)
    assert found.stage == "signature"
