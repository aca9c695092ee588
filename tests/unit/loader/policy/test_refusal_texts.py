"""What a person reads where something is refused (row X-6): asked, found, where, how to mend.

Whole texts, so that a change of words is seen by whoever makes it. Each is also what JSON says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loader import report
from loader.errors import PolicyError
from loader.policy.facts import Judgement
from loader.report_claims import claim_lines, claim_plain, considered_plain
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import workflow
from tests.unit.loader.policy.claiming import RELEASE_METADATA, attest, require
from tests.unit.loader.policy.scene import AS_PACKED, KEY, Scene
from tests.unit.loader.test_judge_images import sign

TEXTS = Path(__file__).parent / "refusal_texts"
BY = (
    "by identity 'https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0'"
    " by issuer 'https://token.actions.githubusercontent.com', root 'acme', log promise"
)


def nothing(scene: Scene) -> str:
    del scene
    return KEY


def stranger(scene: Scene) -> str:
    sign(scene, scene.world.managed("stranger"))
    return KEY


def another_repository(scene: Scene) -> str:
    attest(scene, RELEASE_METADATA, {}, by=workflow("evil/app"))
    return require("attestation", f'type = "{RELEASE_METADATA}"')


def another_build(scene: Scene) -> str:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    return require(
        "provenance",
        'source-uri = "github.com/acme/other"',
        'source-tag = "v2.0.0"',
        "level = 3",
    )


def a_lie(scene: Scene) -> str:
    attest(scene, statements.SLSA_V1, statements.slsa_v1(commit="0" * 40))
    return require("provenance")


def an_empty_list(scene: Scene) -> str:
    attest(scene, statements.SPDX, statements.spdx())
    return require("sbom", 'type = "spdx"')


def an_empty_scan(scene: Scene) -> str:
    attest(scene, statements.COSIGN_VULN, statements.vulnerabilities("0001-01-01T00:00:00Z"))
    return require("vulnerabilities", "max = { critical = 0 }")


def an_old_scan(scene: Scene) -> str:
    attest(scene, statements.COSIGN_VULN, statements.vulnerabilities("2025-11-01T00:00:00Z", []))
    return require("vulnerabilities", 'max-age = "30d"')


def other_metadata(scene: Scene) -> str:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    attest(scene, RELEASE_METADATA, {"commit": "0" * 40, "tag": "v1.0.0"})
    return require("provenance") + require(
        "attestation",
        f'type = "{RELEASE_METADATA}"',
        'predicate = { "/commit" = "{source_commit}" }',
    )


def a_denied_key(scene: Scene) -> str:
    sign(scene, scene.release)
    return KEY + '\n[[deny]]\nkey = "release"\nreason = "stolen on 2026-01-10"\n'


CASES: tuple[Callable[[Scene], str], ...] = (
    nothing,
    stranger,
    another_repository,
    another_build,
    a_lie,
    an_empty_list,
    an_empty_scan,
    an_old_scan,
    other_metadata,
    a_denied_key,
)


def text_of(refusal: PolicyError) -> str:
    judgement = refusal.judgement
    assert isinstance(judgement, Judgement)
    (image,) = judgement.images
    lines = [line for claim in image.claims for line in claim_lines(claim)]
    lines += [line for one in image.considered for line in report._considered(one)]
    lines += report.error_lines(refusal)
    text = "".join(f"{report.plain(line)}\n" for line in lines)
    for one in image.considered:  # digests of what is signed anew in every run
        if one.piece.manifest is not None:
            text = text.replace(one.piece.manifest.short, "MANIFEST")
    return text.replace(BY, "by the release workflow")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_x6_every_refusal_says_what_was_asked_and_found(
    case: Callable[[Scene], str], tmp_path: Path
) -> None:
    scene = Scene(tmp_path)
    refusal = scene.refused(AS_PACKED + case(scene))
    path = TEXTS / f"{case.__name__}.txt"
    assert text_of(refusal) == path.read_text(encoding="utf-8"), f"look at it, then change {path}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_x6_json_says_the_same_with_stable_codes(
    case: Callable[[Scene], str], tmp_path: Path
) -> None:
    scene = Scene(tmp_path)
    refusal = scene.refused(AS_PACKED + case(scene))
    assert isinstance(refusal.judgement, Judgement)
    (image,) = refusal.judgement.images
    unmet = [claim_plain(claim) for claim in image.claims if claim.problem is not None]
    assert refusal.code in {one["problem"]["code"] for one in unmet}  # type: ignore[call-overload, index]
    for one in unmet:
        problem = one["problem"]
        assert isinstance(problem, dict)
        assert all(problem[key] for key in ("code", "message", "where", "expected", "hint"))
    seen = [considered_plain(one) for one in image.considered]
    assert all(one["counts"] or one["problem"] for one in seen)
