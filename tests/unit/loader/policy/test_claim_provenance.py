"""`claim = "provenance"` by forged certificates and predicates: rules, contradictions, levels.

The certificates are what no real authority would issue, and the predicates what no honest builder
would write; each differs from a good one in a single place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.policy.model import Policy
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import Identity, workflow
from tests.unit.loader.policy.claiming import (
    BY_KEY,
    RELEASE_METADATA,
    attest,
    claims,
    facts,
    require,
    run,
)
from tests.unit.loader.policy.judging import NAME
from tests.unit.loader.policy.scene import AS_PACKED, ISSUER, VOUCHED, Scene

GENERATOR = "slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml"
ID = f"https://github.com/{GENERATOR}"
BY_GENERATOR = r"""trusted-root = "acme"
certificate-identity-regexp = 'https://github\.com/slsa-framework/.*'
certificate-oidc-issuer-regexp = 'https://(?:token\.actions\.githubusercontent\.com|gitlab\.com)'
"""
BY_ANYONE_OF_ACME = rf"""trusted-root = "acme"
certificate-identity-regexp = 'https://github\.com/acme/.*'
certificate-oidc-issuer = "{ISSUER}"
"""
SOURCE = "https://github.com/acme/app"
COMMIT = "5324d6edc3cd4edc6ae44251ec13884b1e7d4242"
OTHER = "0" * 40
Change = Callable[[Json], object]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def generator(ref: str = "refs/tags/v2.0.0", **options: str) -> Identity:
    return workflow(called=f"{GENERATOR}@{ref}", called_commit="1" * 40, **options)


def called(path: str) -> Identity:
    return workflow(called=f"{path}@refs/tags/v2.0.0", called_commit="1" * 40)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def provenance_02(change: Change | None = None) -> Json:
    predicate = statements.slsa_v02()
    if change is not None:
        change(predicate)
    return predicate


def provenance_1(change: Change | None = None) -> Json:
    predicate = statements.slsa_v1()
    if change is not None:
        change(predicate)
    return predicate


def source(uri: str) -> Change:
    return put("invocation", "configSource", "uri", value=uri)


def put(*path: str | int, value: object) -> Change:
    def change(predicate: Json) -> None:
        here: Any = predicate
        for step in path[:-1]:
            here = here[step]
        here[path[-1]] = value

    return change


def test_a_good_one_of_each_format(scene: Scene) -> None:
    attest(scene, statements.SLSA_V02, provenance_02(), by=generator(), legacy=True)
    attest(scene, statements.SLSA_V1, provenance_1())
    asked = ('source-uri = "github.com/acme/app"', 'source-tag = "v1.0.0"')
    more = (f'source-commit = "{COMMIT}"', 'workflow = ".github/workflows/release.yml"')
    judgement = run(
        scene,
        require("provenance", *asked, *more, "level = 3", who=BY_GENERATOR),
        require("provenance", *asked, *more, "level = 2"),
    )
    assert [claim.holds for claim in claims(judgement)] == ["met", "met"]
    assert facts(judgement, 0)["level"] == "3"
    assert facts(judgement, 1)["level"] == "2"
    assert facts(judgement, 1)["builder"].endswith("release.yml@refs/tags/v1.0.0")


CERTIFICATE = "policy.contradiction"
CONTENTS = "policy.contents"


@pytest.mark.parametrize(
    ("rule", "identity", "code"),
    [
        # (3) the certificate with itself
        (3, generator().but({2: "release"}), CERTIFICATE),
        (3, generator().but({3: OTHER}), CERTIFICATE),
        (3, generator().but({5: "acme/other"}), CERTIFICATE),
        (3, generator().but({6: "refs/heads/main"}), CERTIFICATE),
        (3, generator().but({19: OTHER}), CERTIFICATE),
        (3, generator().but({18: "https://github.com/evil/app/x.yml@refs/tags/v1"}), CERTIFICATE),
        (3, generator().but({18: f"{SOURCE}-evil/x.yml@refs/tags/v1.0.0"}), CERTIFICATE),
        (3, generator().but({18: f"{SOURCE}/.github/workflows/release.yml"}), CERTIFICATE),
        (3, generator().but({18: f"{SOURCE}/.github/workflows/r@x.yml@refs/tags/1"}), CERTIFICATE),
        (3, generator().but({9: f"{ID}@refs/tags/v9.9.9"}), CERTIFICATE),
        # (4) the issuer
        (4, generator(issuer="https://gitlab.com"), CONTENTS),
        # (5) the builder
        (
            5,
            workflow(called=f"{GENERATOR.replace('container', 'generic')}@refs/tags/v2.0.0"),
            CONTENTS,
        ),
        (5, workflow(called=f"{GENERATOR}.evil.yml@refs/tags/v2.0.0"), CONTENTS),
        (
            5,
            workflow(called="slsa-framework/other/.github/workflows/x.yml@refs/tags/v2.0.0"),
            CONTENTS,
        ),
        # (6) a release of it
        (6, generator("refs/heads/main"), CONTENTS),
        (6, generator("refs/tags/v2.0"), CONTENTS),
        (6, generator("refs/tags/v2.0.0-rc.1"), CONTENTS),
        (6, generator("refs/tags/2.0.0"), CONTENTS),
        (6, generator("refs/tags/v02.0.0"), CONTENTS),
        # (9) the builder that the predicate names
        (9, generator("refs/tags/v2.1.0"), CERTIFICATE),
        # certificate and predicate
        (7, generator(repository="acme/other"), CERTIFICATE),
        (10, generator(ref="refs/tags/v1.0.0", commit=OTHER), CERTIFICATE),
        (10, generator(event="release"), CERTIFICATE),
        (10, generator().but({15: "9999"}), CERTIFICATE),
        (10, generator().but({21: f"{SOURCE}/actions/runs/1/attempts/1"}), CERTIFICATE),
        (10, generator(file="other.yml"), CERTIFICATE),
    ],
)
def test_op5_rules_about_the_certificate(
    scene: Scene, rule: int, identity: Identity, code: str
) -> None:
    attest(scene, statements.SLSA_V02, provenance_02(), by=identity)
    text = require("provenance", who=BY_GENERATOR)
    assert refused(scene, text).code == code, rule


@pytest.mark.parametrize(
    ("rule", "change", "code"),
    [
        (8, put("buildType", value="https://example.com/by-hand"), CONTENTS),
        (8, put("buildType", value=""), CONTENTS),
        (8, put("extra", value=1), CONTENTS),
        (8, put("builder", "version", value="1"), CONTENTS),
        (8, put("invocation", "extra", value=1), CONTENTS),
        (8, put("invocation", "configSource", "extra", value=1), CONTENTS),
        (8, put("metadata", "extra", value=1), CONTENTS),
        (8, put("metadata", "completeness", "extra", value=1), CONTENTS),
        (8, put("materials", 0, "extra", value=1), CONTENTS),
        (8, put("builder", value=None), CONTENTS),
        (9, put("builder", "id", value=f"{ID}@refs/tags/v2.0.1"), CERTIFICATE),
        (9, put("builder", "id", value=ID), CERTIFICATE),
        (10, put("invocation", "configSource", "uri", value=f"git+{SOURCE}"), CONTENTS),
        (
            10,
            put("invocation", "configSource", "uri", value=f"git+{SOURCE}-x@refs/tags/v1.0.0"),
            CERTIFICATE,
        ),
        (10, put("invocation", "configSource", "uri", value=""), CONTENTS),
        (10, put("invocation", "configSource", "digest", "sha1", value=OTHER), CERTIFICATE),
        (10, put("invocation", "configSource", "entryPoint", value="x.yml"), CERTIFICATE),
        (10, put("materials", 0, "uri", value=f"git+{SOURCE}@refs/heads/main"), CERTIFICATE),
        (10, put("materials", 0, "digest", "sha1", value=OTHER), CERTIFICATE),
        (10, put("materials", value=[]), CONTENTS),
        (12, put("invocation", "environment", "github_ref", value="refs/tags/v2"), CERTIFICATE),
        (12, put("invocation", "environment", "github_sha1", value=OTHER), CERTIFICATE),
        (12, put("invocation", "environment", "github_event_name", value="x"), CERTIFICATE),
        (12, put("metadata", "buildInvocationID", value="1-1"), CERTIFICATE),
    ],
)
def test_op5_rules_about_the_predicate(scene: Scene, rule: int, change: Change, code: str) -> None:
    attest(scene, statements.SLSA_V02, provenance_02(change), by=generator())
    refusal = refused(scene, require("provenance", who=BY_GENERATOR))
    assert (refusal.code, refusal.exit_status) == (code, 14), rule


def test_op5_rule_8_the_type_is_that_of_the_builder(scene: Scene) -> None:
    """slsa-github-generator writes v0.2; what it would write as v1 nobody can judge."""
    attest(scene, statements.SLSA_V1, provenance_1(), by=generator())
    assert refused(scene, require("provenance", who=BY_GENERATOR)).code == CONTENTS


def test_op5_rule_11_the_subject_is_the_image(scene: Scene) -> None:
    other = "sha256:" + "e" * 64
    attest(scene, statements.SLSA_V02, provenance_02(), by=generator(), on=other)
    assert refused(scene, require("provenance", who=BY_GENERATOR)).exit_status == 11


@pytest.mark.parametrize(
    "change",
    [
        put("buildDefinition", "externalParameters", "workflow", "repository", value=f"{SOURCE}x"),
        put("buildDefinition", "externalParameters", "workflow", "ref", value="refs/heads/main"),
        put("buildDefinition", "externalParameters", "workflow", "path", value="x.yml"),
        put("buildDefinition", "internalParameters", "github", "event_name", value="release"),
        put("buildDefinition", "internalParameters", "github", "repository_id", value="7"),
        put("buildDefinition", "internalParameters", "github", "repository_owner_id", value="7"),
        put("buildDefinition", "internalParameters", "github", "runner_environment", value="own"),
        put("buildDefinition", "resolvedDependencies", 0, "uri", value="git+https://evil/x@y"),
        put("buildDefinition", "resolvedDependencies", 0, "digest", "gitCommit", value=OTHER),
        put("runDetails", "builder", "id", value="https://builder.example/untrusted@v1"),
        put("runDetails", "metadata", "invocationId", value=f"{SOURCE}/actions/runs/1/attempts/1"),
    ],
)
def test_ct3_the_predicate_must_not_contradict_the_certificate(
    scene: Scene, change: Change
) -> None:
    attest(scene, statements.SLSA_V1, provenance_1(change))
    refusal = refused(scene, require("provenance"))
    assert refusal.code == CERTIFICATE
    assert "contradicts its certificate" in refusal.found


@pytest.mark.parametrize(
    "change",
    [
        put("extra", value=1),
        put("buildDefinition", "externalParameters", "inputs", value={}),
        put("buildDefinition", "externalParameters", "workflow", "inputs", value={}),
        put("buildDefinition", "externalParameters", value=None),
        put("buildDefinition", "buildType", value="https://example.com/by-hand"),
        put("buildDefinition", value=[]),
        put("runDetails", value=None),
    ],
)
def test_ct3_what_is_not_known_of_a_build_refuses(scene: Scene, change: Change) -> None:
    attest(scene, statements.SLSA_V1, provenance_1(change))
    refusal = refused(scene, require("provenance"))
    assert (refusal.code, refusal.exit_status) == (CONTENTS, 14)


@pytest.mark.parametrize(
    "line",
    [
        'source-uri = "github.com/acme/ap"',
        'source-uri = "github.com/acme/app/x"',
        f'source-commit = "{OTHER}"',
        'source-tag = "v1.0.1"',
        'source-branch = "main"',
        'workflow = ".github/workflows/other.yml"',
        'workflow = "release.yml"',
        'builder-id = "https://github.com/acme/app/.github/workflows/other.yml"',
        'workflow-inputs = { a = "b" }',
        "level = 3",
    ],
)
def test_ct3_one_thing_that_was_built_otherwise(scene: Scene, line: str) -> None:
    attest(scene, statements.SLSA_V1, provenance_1())
    assert run(scene, require("provenance"))
    assert refused(scene, require("provenance", line)).code == CONTENTS


def test_dz7_one_of_several_provenances_is_enough(scene: Scene) -> None:
    """Two builds of one image: `any` takes the one, `all` wants both (dangerzone#1270)."""
    for commit in (COMMIT, "a" * 40):
        predicate = statements.slsa_v1(commit=commit)
        attest(scene, statements.SLSA_V1, predicate, by=workflow(commit=commit))
    wanted = f'source-commit = "{COMMIT}"'
    judgement = run(scene, require("provenance", wanted))
    assert facts(judgement)["commit"] == COMMIT
    seen = judgement.images[0].considered
    assert [one.counts for one in seen].count(True) == 1
    assert any("another commit" in str(one.why_not) for one in seen)
    everyone = require("provenance", wanted, 'quantifier = "all"')
    assert refused(scene, everyone).code == "policy.quantifier"
    nobody = refused(scene, require("provenance", f'source-commit = "{"c" * 40}"'))
    assert nobody.code == CONTENTS
    assert COMMIT in nobody.found
    assert "a" * 40 in nobody.found


@pytest.mark.parametrize(
    ("identity", "builders", "level"),
    [
        (generator(), "", 3),
        (workflow(), "", 2),
        (workflow(runner="self-hosted"), "", 1),
        (workflow().but({11: None}), "", 1),
        (workflow(called="acme/ci/.github/workflows/b.yml@refs/tags/v3"), "", 2),
        (workflow(called="acme/ci/.github/workflows/b.yml@refs/tags/v3"), "acme/ci", 3),
        (workflow(called="acme/ci/.github/workflows/b.yml@" + "d" * 40), "acme/ci", 3),
        (workflow(called="acme/ci/.github/workflows/b.yml@refs/heads/main"), "acme/ci", 2),
        (workflow(called="acme/ci/.github/workflows/b.yml@refs/heads/main"), "named", 3),
        (workflow(called="acme/ci/.github/workflows/c.yml@refs/tags/v3"), "acme/ci", 2),
        (
            workflow(called="acme/ci/.github/workflows/b.yml@refs/tags/v3", runner="self-hosted"),
            "acme/ci",
            1,
        ),
        (workflow(), "caller", 2),
    ],
)
def test_levels(scene: Scene, identity: Identity, builders: str, level: int) -> None:
    san = str(identity.san.value)
    predicate = provenance_02() if "slsa-framework" in san else statements.slsa_v1(builder=san) | {}
    if "slsa-framework" not in san:
        runner = identity.extensions.get(11, "github-hosted")
        predicate["buildDefinition"]["internalParameters"]["github"]["runner_environment"] = runner
    kind = statements.SLSA_V02 if "slsa-framework" in san else statements.SLSA_V1
    attest(scene, kind, predicate, by=identity)
    listed = {
        "": "",
        "acme/ci": "https://github.com/acme/ci/.github/workflows/b.yml",
        "named": "https://github.com/acme/ci/.github/workflows/b.yml@refs/heads/main",
        "caller": "https://github.com/acme/app/.github/workflows/release.yml",
    }[builders]
    more = f'\n[[builder]]\nid = "{listed}"\nlevel = 3\n' if listed else ""
    who = BY_GENERATOR if "slsa-framework" in san else BY_ANYONE_OF_ACME
    judgement = run(scene, require("provenance", f"level = {level}", who=who), more)
    assert facts(judgement)["level"] == str(level)
    if level < 3:
        refusal = refused(scene, require("provenance", f"level = {level + 1}", who=who), more)
        assert f"found {level} (" in refusal.found


def test_op5_inputs_of_a_run_by_hand(scene: Scene) -> None:
    def by_hand(predicate: Json) -> None:
        environment = predicate["invocation"]["environment"]
        environment["github_event_name"] = "workflow_dispatch"
        environment["github_event_payload"] = {"inputs": {"version": "1.0.0", "dry": True}}

    identity = generator(event="workflow_dispatch")
    attest(scene, statements.SLSA_V02, provenance_02(by_hand), by=identity)
    who = BY_GENERATOR
    assert run(scene, require("provenance", 'workflow-inputs = { version = "1.0.0" }', who=who))
    for line in ('version = "1.0.1"', 'other = "x"', 'dry = "true"'):
        text = require("provenance", f"workflow-inputs = {{ {line} }}", who=who)
        assert refused(scene, text).code == CONTENTS


@pytest.mark.parametrize(
    ("event", "payload", "base"),
    [
        ("push", {"base_ref": "refs/heads/dev"}, ""),
        ("release", {"release": {"target_commitish": "dev"}}, ""),
        ("push", {}, "refs/heads/dev"),
    ],
)
def test_op5_rule_12_the_branch_of_a_tag(
    scene: Scene, event: str, payload: Json, base: str
) -> None:
    def change(predicate: Json) -> None:
        predicate["invocation"]["environment"] |= {
            "github_event_name": event,
            "github_event_payload": payload,
            "github_base_ref": base,
        }

    identity = generator(event=event)
    attest(scene, statements.SLSA_V02, provenance_02(change), by=identity)
    who = BY_GENERATOR
    assert run(scene, require("provenance", 'source-branch = "dev"', who=who))
    assert refused(scene, require("provenance", 'source-branch = "main"', who=who))


def test_another_builder_by_key(scene: Scene) -> None:
    """A builder with a key of its own: the policy names its kind of build and its id."""
    predicate = statements.slsa_v1(builder="https://ci.acme.example/1", build_type="acme:make")
    attest(scene, statements.SLSA_V1, predicate, by=scene.release)
    lines = ('build-type = "acme:make"', 'builder-id = "https://ci.acme.example/1"')
    assert facts(run(scene, require("provenance", *lines, who=BY_KEY)))["level"] == "1"
    listed = '\n[[builder]]\nid = "https://ci.acme.example/1"\nlevel = 2\n'
    assert run(scene, require("provenance", *lines, "level = 2", who=BY_KEY), listed)
    assert refused(scene, require("provenance", who=BY_KEY)).code == CONTENTS
    other = (lines[0], 'builder-id = "https://ci.acme.example/2"')
    assert refused(scene, require("provenance", *other, who=BY_KEY)).code == CONTENTS


def test_x11_evidence_that_disagrees(scene: Scene) -> None:
    """The commit of the release's metadata is that of the provenance which counts, or nothing."""
    attest(scene, statements.SLSA_V1, provenance_1())
    attest(scene, RELEASE_METADATA, {"commit": COMMIT, "tag": "v1.0.0", "src": f"git+{SOURCE}"})
    both = require("provenance") + require(
        "attestation",
        f'type = "{RELEASE_METADATA}"',
        'predicate = { "/commit" = "{source_commit}", "/tag" = "{source_tag}",'
        ' "/src" = "git+{source_uri}" }',
    )
    assert run(scene, both)


@pytest.mark.parametrize(
    "said",
    [
        {"commit": OTHER, "tag": "v1.0.0"},
        {"commit": COMMIT, "tag": "v1.0.1"},
        {"commit": COMMIT[:7], "tag": "v1.0.0"},
    ],
)
def test_x11_one_differing_field(scene: Scene, said: Json) -> None:
    attest(scene, statements.SLSA_V1, provenance_1())
    attest(scene, RELEASE_METADATA, said)
    both = require("provenance") + require(
        "attestation",
        f'type = "{RELEASE_METADATA}"',
        'predicate = { "/commit" = "{source_commit}", "/tag" = "{source_tag}" }',
    )
    refusal = refused(scene, both)
    assert (refusal.code, refusal.exit_status) == (CERTIFICATE, 14)
    assert "evidence disagrees" in refusal.found
    assert said["commit"] in refusal.found
    assert COMMIT in refusal.found
    judgement = refusal.judgement
    assert not any(c.counts for c in judgement.images[0].considered if "metadata" in c.piece.what)  # type: ignore[attr-defined]


def test_x11_each_platform_agrees_with_its_own_provenance(scene: Scene) -> None:
    """Metadata of the index that fits one platform's build is none of the other's."""
    first, second = (item["digest"] for item in scene.image.manifest["manifests"][:2])
    for digest, commit in ((first, COMMIT), (second, OTHER)):
        predicate = statements.slsa_v1(commit=commit)
        attest(scene, statements.SLSA_V1, predicate, by=workflow(commit=commit), on=digest)
    attest(scene, RELEASE_METADATA, {"commit": COMMIT})
    both = require("provenance") + require(
        "attestation",
        f'type = "{RELEASE_METADATA}"',
        'predicate = { "/commit" = "{source_commit}" }',
    )
    refusal = refused(scene, both)
    assert refusal.code == CERTIFICATE
    assert "disagrees with the provenance" in refusal.message


def test_decision_11_provenance_names_repository_and_tag(scene: Scene) -> None:
    predicate = statements.slsa_v1(ref="refs/tags/1.0.0", builder=BUILDER)
    identity = workflow(ref="refs/tags/1.0.0")
    attest(scene, statements.SLSA_V1, predicate, by=identity, name=NAME)
    who = BY_ANYONE_OF_ACME
    judgement = scene.run(VOUCHED + require("provenance", who=who))
    assert judgement.images[0].name.how == "source-tag"
    attested = VOUCHED + require("attestation", 'type = "slsa"', who=who)
    assert scene.refused(attested).code == "policy.name"


BUILDER = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/1.0.0"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('source-uri = "acme"', "not a repository"),
        ('source-uri = "github.com/acme/app@main"', "not a repository"),
        ('source-uri = "github.com/acme/*"', "not a repository"),
        ('source-tag = "refs/tags/v1"', "without refs/"),
        ('source-branch = "refs/heads/main"', "without refs/"),
        ('source-commit = "5324d6e"', "not a commit"),
        ('source-commit = "main"', "not a commit"),
        ('source-versioned-tag = "1.2.3"', "not a version"),
        ('source-versioned-tag = "v1.2.x"', "not a version"),
        ('source-versioned-tag = "v01"', "not a version"),
        ("level = 0", "not an integer in range"),
        ("level = 4", "not an integer in range"),
        ('level = "3"', "not an integer in range"),
        ('type = "slsaprovenance1"\nworkflow-inputs = { a = "b" }', "records no inputs"),
        ('build-type = "acme:make"', "nobody who makes it"),
        ('workflow = "x y"', "not a workflow"),
        ('predicate = { "/a" = "b" }', "only the claim"),
    ],
)
def test_what_could_mean_nothing_is_refused(lines: str, message: str) -> None:
    text = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n'
    with pytest.raises(PolicyFileError) as caught:
        Policy.parse((text + require("provenance", lines)).encode(), where="policy.toml")
    assert message in caught.value.message
