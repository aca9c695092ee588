"""Images that slsa-github-generator really built, with a negative for each rule (rows DZ-6, OP-5).

The numbers are those of FORMATS §2.2: what `slsa-verifier verify-image` checks, one by one. What a
real certificate cannot be made to say is forged in `test_claim_provenance.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.errors import PolicyError
from loader.judge import judge, judge_statement
from loader.policy.facts import ImageJudgement, Judgement
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests.fakes.content import read_layout
from tests.fakes.images import Image
from tests.unit.loader.policy.judging import CREATED, Blobs, entry_of, statement_of

REPOSITORY = "ghcr.io/slsa-framework/example-package.verifier-e2e.all.tag.main.default.slsa3"
GENERATOR = (
    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
    "generator_container_slsa3.yml"
)
COMMIT = {
    "v1.8.0": "6cf671f47f3752f97b9f5bff511e37b938fe10d2",
    "v2.0.0": "693130cb6cb840a7bc9cb18c6510d536a95dc7e6",
}
WORKFLOW = ".github/workflows/verifier-e2e.all.workflow_dispatch.main.all.slsa3.yml"
WHO = rf"""trusted-root = "sigstore"
certificate-identity-regexp = '{GENERATOR.replace(".", chr(92) + ".")}@refs/tags/v[0-9.]+'
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
"""


def judged(
    shared_dir: Path, version: str, *lines: str, who: str = WHO, tag: str = "latest", more: str = ""
) -> ImageJudgement:
    folder = shared_dir / "real" / "slsa-verifier" / version
    store = read_layout(folder / "container_workflow_dispatch")
    digest = (folder / "container_workflow_dispatch.digest").read_text().strip()
    for name, kind in store.manifests.items():  # `cosign save` has no tags
        if name != digest and kind.endswith("manifest.v1+json"):
            layers = store.json(name)["layers"]
            if any("dsse" in layer["mediaType"] for layer in layers):
                store.tags[f"{digest.replace(':', '-')}.att"] = name
    text = f"""schema = 1
[[image]]
match = "ghcr.io/slsa-framework/*"
{"" if tag[:1] in "v1" else 'name = "as-packed"'}
[[image.require]]
claim = "provenance"
{who}""" + "\n".join(lines)
    policy = Policy.parse(f"{text}\n{more}".encode(), where="policy.toml")
    trust = TrustStore.open(policy, policy_directory=folder)
    blobs = Blobs(store)
    image = Image(store=store, descriptor=store.describe(digest))
    statement = statement_of(entry_of(image, f"{REPOSITORY}:{tag}"), blobs=blobs)
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    found = judge(statement, claims, blobs, policy=policy, trust=trust, now=CREATED)
    return found.value.images[0]


def refused(shared_dir: Path, version: str, *lines: str, **options: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        judged(shared_dir, version, *lines, **options)
    assert isinstance(caught.value.judgement, Judgement)
    return caught.value


TAGGED = (
    'source-uri = "github.com/slsa-framework/example-package"',
    'source-tag = "v13.0.30"',
    f'source-commit = "{COMMIT["v2.0.0"]}"',
    f'workflow = "{WORKFLOW}"',
    f'builder-id = "{GENERATOR}@refs/tags/v2.0.0"',
    "level = 3",
)


def test_dz6_the_five_claims_have_their_real_values(shared_dir: Path) -> None:
    image = judged(shared_dir, "v2.0.0", *TAGGED)
    facts = {fact.name: (fact.value, fact.source) for fact in image.claims[0].facts}
    both = "certificate and predicate"
    assert facts["level"] == ("3", "slsa-github-generator at a release")
    assert facts["repository"] == ("https://github.com/slsa-framework/example-package", both)
    assert facts["workflow"] == (WORKFLOW, both)
    assert facts["commit"] == (COMMIT["v2.0.0"], both)
    assert facts["tag"] == ("v13.0.30", both)
    assert facts["builder"] == (f"{GENERATOR}@refs/tags/v2.0.0", both)
    assert facts["trigger"] == ("push", both)
    assert facts["run"] == ("8791219607-1", both)


def test_dz6_a_run_started_by_hand_on_a_branch(shared_dir: Path) -> None:
    image = judged(
        shared_dir,
        "v1.8.0",
        'source-uri = "git+https://github.com/slsa-framework/example-package"',
        'source-branch = "main"',
        f'builder-id = "{GENERATOR}"',
        "level = 3",
    )
    facts = {fact.name: fact.value for fact in image.claims[0].facts}
    assert (facts["branch"], facts["level"], facts["commit"]) == ("main", "3", COMMIT["v1.8.0"])
    assert "tag" not in facts


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("v2.0.0", 'source-versioned-tag = "v13"'),
        ("v2.0.0", 'source-versioned-tag = "v13.0"'),
        ("v2.0.0", 'source-versioned-tag = "v13.0.30"'),
        ("v2.0.0", f'builder-id = "{GENERATOR}@v2.0.0"'),
        ("v2.0.0", 'type = "slsaprovenance"'),
        ("v2.0.0", 'type = "https://slsa.dev/provenance/v0.2"'),
        ("v2.0.0", 'source-branch = "main"'),
    ],
)
def test_op5_more_ways_to_ask_for_the_same(shared_dir: Path, version: str, line: str) -> None:
    assert judged(shared_dir, version, line)


@pytest.mark.parametrize(
    ("rule", "version", "line", "what"),
    [
        (5, "v2.0.0", f'builder-id = "{GENERATOR}@refs/tags/v1.8.0"', "builder"),
        (5, "v2.0.0", f'builder-id = "{GENERATOR}@v2.0"', "builder"),
        (5, "v2.0.0", f'builder-id = "{GENERATOR.removesuffix(".yml")}"', "builder"),
        (7, "v2.0.0", 'source-uri = "github.com/slsa-framework/example-pack"', "repository"),
        (
            7,
            "v2.0.0",
            'source-uri = "github.com/slsa-framework/example-package-evil"',
            "repository",
        ),
        (7, "v2.0.0", 'source-uri = "gitlab.com/slsa-framework/example-package"', "repository"),
        (8, "v2.0.0", 'type = "slsaprovenance1"', ""),
        (12, "v2.0.0", 'source-tag = "v13.0.3"', "tag"),
        (12, "v2.0.0", 'source-tag = "13.0.30"', "tag"),
        (12, "v1.8.0", 'source-tag = "main"', "tag"),
        (12, "v2.0.0", 'source-versioned-tag = "v13.1"', "version"),
        (12, "v2.0.0", 'source-versioned-tag = "v1"', "version"),
        (12, "v2.0.0", 'source-versioned-tag = "v13.0.30-rc.1"', "version"),
        (12, "v1.8.0", 'source-versioned-tag = "v1"', "version"),
        (12, "v2.0.0", 'source-branch = "dev"', "branch"),
        (12, "v1.8.0", 'source-branch = "master"', "branch"),
        (12, "v2.0.0", 'workflow-inputs = { release_version = "x" }', "input"),
        (12, "v1.8.0", 'workflow-inputs = { release_version = "x" }', "input"),
        (13, "v2.0.0", f'source-commit = "{COMMIT["v1.8.0"]}"', "commit"),
        (14, "v2.0.0", 'workflow = ".github/workflows/release.yml"', "workflow"),
        (15, "v2.0.0", 'build-type = "https://actions.github.io/buildtypes/workflow/v1"', "build"),
    ],
)
def test_op5_slsa_verifiers_rules(
    shared_dir: Path, rule: int, version: str, line: str, what: str
) -> None:
    refusal = refused(shared_dir, version, line)
    assert refusal.code == ("policy.contents" if what else "no-evidence.claim"), rule
    assert what in refusal.found


def test_dz6_a_prefix_of_a_repository_is_another_repository(shared_dir: Path) -> None:
    """Dangerzone's first check matched a prefix: `…/example-pack` would have passed."""
    refusal = refused(shared_dir, "v2.0.0", 'source-uri = "github.com/slsa-framework/example-pack"')
    assert "expected https://github.com/slsa-framework/example-pack;" in refusal.found
    assert "found https://github.com/slsa-framework/example-package" in refusal.found


def test_everything_that_differs_is_said_at_once(shared_dir: Path) -> None:
    refusal = refused(
        shared_dir,
        "v2.0.0",
        'source-tag = "v1.0.0"',
        'source-uri = "github.com/acme/app"',
        'workflow = "release.yml"',
    )
    assert "another source repository, workflow, tag" in refusal.found


def test_another_issuer_is_another_identity(shared_dir: Path) -> None:
    """Rule 4, for what real certificates can show of it."""
    who = WHO.replace("https://token.actions.githubusercontent.com", "https://gitlab.com")
    assert refused(shared_dir, "v2.0.0", who=who).code == "identity.mismatch"


def test_decision_11_the_source_tag_vouches_for_the_images_tag(shared_dir: Path) -> None:
    for tag in ("v13.0.30", "13.0.30"):
        name = judged(shared_dir, "v2.0.0", tag=tag).name
        assert (name.how, name.reference.tag) == ("source-tag", tag)
    assert refused(shared_dir, "v2.0.0", tag="v13.0.3").code == "policy.name"
    assert refused(shared_dir, "v1.8.0", tag="v13.0.30").code == "policy.name"
