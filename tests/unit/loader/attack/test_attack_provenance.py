"""Attacks on provenance: genuine, by whom the policy names, and not to be believed.

Or by a stranger, who wants to be heard at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.errors import PolicyError
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import Identity, workflow
from tests.unit.loader.policy.claiming import (
    attest,
    claims,
    facts,
    require,
    run,
)
from tests.unit.loader.policy.judging import NAME
from tests.unit.loader.policy.scene import AS_PACKED, ISSUER, Scene

SERVER = "https://github.com/"
GENERATOR = "slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml"
BY_ACME = rf"""trusted-root = "acme"
certificate-identity-regexp = 'https://github\.com/acme/app/\.github/workflows/.*'
certificate-oidc-issuer = "{ISSUER}"
"""
BY_GENERATOR = rf"""trusted-root = "acme"
certificate-identity = "{SERVER}{GENERATOR}@refs/tags/v2.0.0"
certificate-oidc-issuer = "{ISSUER}"
"""
EVIL = "refs/heads/evil"
GITHUB_BUILD = "https://actions.github.io/buildtypes/workflow/v1"
OTHER = "0" * 40


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def by_event(predicate: Json) -> Json:
    """Say that the run was by a tag that stands on main, whatever its ref is."""
    environment = predicate["invocation"]["environment"]
    environment |= {"github_ref_type": "tag", "github_base_ref": "refs/heads/main"}
    return predicate


def test_a_run_on_another_branch_does_not_come_from_main_by_saying_so(scene: Scene) -> None:
    lie = by_event(statements.slsa_v02(ref=EVIL))
    attest(
        scene,
        statements.SLSA_V02,
        lie,
        by=workflow(ref=EVIL, called=f"{GENERATOR}@refs/tags/v2.0.0"),
    )
    refusal = refused(scene, require("provenance", 'source-branch = "main"', who=BY_GENERATOR))
    assert refusal.code == "policy.contents"
    assert "another branch" in refusal.found
    assert run(scene, require("provenance", 'source-branch = "evil"', who=BY_GENERATOR))


@pytest.mark.parametrize("ref", [EVIL, "refs/tags/v1.0.0"])
def test_githubs_kind_of_build_in_the_words_of_another_version(scene: Scene, ref: str) -> None:
    """v0.2 has an event that nobody but the workflow itself vouches for."""
    me = f"{SERVER}acme/app/.github/workflows/release.yml@{ref}"
    lie = by_event(statements.slsa_v02(ref=ref, builder=me, build_type=GITHUB_BUILD))
    attest(scene, statements.SLSA_V02, lie, by=workflow(ref=ref))
    refusal = refused(scene, require("provenance", 'source-branch = "main"', who=BY_ACME))
    assert refusal.code == "policy.contents"
    assert "a version of provenance that this kind of build never has" in refusal.found


@pytest.mark.parametrize("repository", ["acme/app-evil", "acme/application", "acme/ap"])
def test_t25_another_repository_with_the_same_prefix(scene: Scene, repository: str) -> None:
    san = workflow(repository).san
    attest(
        scene,
        statements.SLSA_V1,
        statements.slsa_v1(source=SERVER + repository, builder=str(san.value)),
        by=workflow(repository),
    )
    who = BY_ACME.replace("acme/app/", "acme/[^/]+/")
    refusal = refused(scene, require("provenance", 'source-uri = "github.com/acme/app"', who=who))
    assert "another source repository" in refusal.found
    assert refused(scene, require("provenance", who=BY_ACME)).code == "identity.mismatch"


def lying(scene: Scene, by: Identity) -> None:
    attest(
        scene,
        statements.SLSA_V1,
        statements.slsa_v1(commit=OTHER, builder=str(by.san.value)),
        by=by,
    )


def test_ct3_a_contradiction_refuses_also_beside_a_good_one(scene: Scene) -> None:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    assert run(scene, require("provenance"))
    lying(scene, workflow())
    refusal = refused(scene, require("provenance"))
    assert (refusal.code, refusal.exit_status) == ("policy.contradiction", 14)
    assert "about the commit" in refusal.message


def test_a_strangers_contradiction_refuses_nothing(scene: Scene) -> None:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    lying(scene, workflow("mallory/app"))
    assert run(scene, require("provenance"))


def test_a_contradiction_about_another_image_refuses_nothing(scene: Scene) -> None:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    attest(scene, statements.SLSA_V1, statements.slsa_v1(commit=OTHER), on="sha256:" + "1" * 64)
    assert run(scene, require("provenance"))


def test_a_denied_signer_cannot_refuse_by_contradicting_itself(scene: Scene) -> None:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    evil = workflow(ref=EVIL)
    lying(scene, evil)
    text = require("provenance", who=BY_ACME)
    assert refused(scene, text).code == "policy.contradiction"
    deny = f'\n[[deny]]\nidentity = "{evil.san.value}"\nreason = "stolen"\n'
    judgement = run(scene, text, deny)
    assert [claim.holds for claim in claims(judgement)] == ["met"]
    assert any("denied" in str(one.why_not) for one in judgement.images[0].considered)


def test_a_contradiction_can_be_excepted_and_stays_in_sight(scene: Scene) -> None:
    attest(scene, statements.SLSA_V1, statements.slsa_v1())
    lying(scene, workflow())
    exception = (
        f'\n[[exception]]\nimage = "{NAME}"\nclaim = "provenance"\nreason = "our bug"\n'
        "until = 2026-01-31\n"
    )
    (claim,) = claims(run(scene, require("provenance"), exception))
    assert claim.holds == "excepted"
    assert claim.excepted is not None
    assert claim.excepted.code == "policy.contradiction"


@pytest.mark.parametrize(
    "kind",
    [
        "https://slsa.dev/provenance/v1/",
        "https://slsa.dev/provenance/V1",
        "https://slsa.dev/provenance/v1.1",
        "http://slsa.dev/provenance/v1",
        "https://slsa.dev/provenance/v1\n",
        " https://slsa.dev/provenance/v1",
        "https://slsa.dev/provenance/v1?x",
        "https://evil.example/https://slsa.dev/provenance/v1",
    ],
)
def test_t21_a_type_that_is_nearly_one(scene: Scene, kind: str) -> None:
    attest(scene, kind, statements.slsa_v1())
    assert refused(scene, require("provenance")).code == "no-evidence.claim"
    asked = require("attestation", 'type = "https://slsa.dev/provenance/v1"')
    assert refused(scene, asked).code == "no-evidence.claim"


# --- levels ---------------------------------------------------------------------------------------

CI = "acme/ci/.github/workflows/b.yml@refs/tags/v3"
LISTED = f"""
[[builder]]
id = "{SERVER}acme/ci/.github/workflows/b.yml"
level = 3
"""
BY_ANY_OF_ACME = BY_ACME.replace("acme/app/", "acme/[^/]+/")


def test_a_builder_does_not_become_another_by_calling_itself_so(scene: Scene) -> None:
    """Only for another kind of build may its name differ from who signed."""
    kind = "https://acme.example/build"
    lie = statements.slsa_v1(builder=SERVER + CI, build_type=kind)
    other = workflow(called="acme/hobby/.github/workflows/b.yml@refs/tags/v3")
    attest(scene, statements.SLSA_V1, lie, by=other)
    asked = (f'build-type = "{kind}"', f'builder-id = "{SERVER}{CI}"')
    refusal = refused(scene, require("provenance", *asked, "level = 3", who=BY_ANY_OF_ACME), LISTED)
    assert "another level" in refusal.found
    assert run(scene, require("provenance", *asked, "level = 2", who=BY_ANY_OF_ACME), LISTED)


@pytest.mark.parametrize(("missing", "level"), [(None, 3), (11, 1), (18, 2)])
def test_a_certificate_that_leaves_away_what_level_3_needs(
    scene: Scene, missing: int | None, level: int
) -> None:
    identity = workflow(called=CI) if missing is None else workflow(called=CI).but({missing: None})
    predicate = statements.slsa_v1(builder=SERVER + CI)
    attest(scene, statements.SLSA_V1, predicate, by=identity)
    text = require("provenance", f"level = {level}", who=BY_ANY_OF_ACME)
    assert facts(run(scene, text, LISTED))["level"] == str(level)
    if level < 3:
        more = require("provenance", f"level = {level + 1}", who=BY_ANY_OF_ACME)
        assert "another level" in refused(scene, more, LISTED).found
