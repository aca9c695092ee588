"""`claim = "attestation"`: any predicate type, with conditions on what it says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.policy.model import Policy
from tests.fakes.images import hello_index
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import workflow
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
from tests.unit.loader.policy.scene import AS_PACKED, ISSUER, Scene

TYPE = f'type = "{RELEASE_METADATA}"'


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def parse(text: str, **variables: str) -> Policy:
    head = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n'
    return Policy.parse((head + text).encode(), where="policy.toml", variables=variables)


def refused_file(text: str, **variables: str) -> PolicyFileError:
    with pytest.raises(PolicyFileError) as caught:
        parse(text, **variables)
    return caught.value


@pytest.mark.parametrize("where", ["bundle", "tag"])
def test_ct4_a_literal_type_is_that_type_alone(scene: Scene, where: str) -> None:
    attest(scene, "https://spdx.dev/Document/v2.3", {}, legacy=where == "tag")
    assert run(scene, require("attestation", 'type = "https://spdx.dev/Document/v2.3"'))
    for other in ("https://spdx.dev/Document", "https://spdx.dev/Document/v2.2", "cyclonedx"):
        refusal = refused(scene, require("attestation", f'type = "{other}"'))
        assert refusal.code == "no-evidence.claim"
    assert run(scene, require("attestation", 'type = "spdx"'))


def test_a055_a_statement_that_cannot_be_read_is_not_no_evidence(scene: Scene) -> None:
    for raw in (
        b"not json",
        b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": 7}',
        b"{}",
    ):
        attest(scene, TYPE, {}, raw=raw)
    refusal = refused(scene, require("attestation", TYPE))
    assert (refusal.code, refusal.exit_status) == ("signature.unverified", 11)


@pytest.mark.parametrize(
    "subject",
    [
        "[]",
        "null",
        "[null]",
        '[{"digest": {}}]',
        '[{"digest": {"sha1": "AAA"}}]'.replace("AAA", "a" * 40),
        '[{"digest": {"sha256": "AAA", "sha512": "OWN"}}]'.replace("AAA", "a" * 64),
        '[{"digest": {"sha512": "OWN"}}]',
    ],
)
def test_a056_a_statement_about_nothing_or_about_something_else(scene: Scene, subject: str) -> None:
    own = hashlib.sha512(scene.store.read(scene.image.digest)).hexdigest()
    raw = (
        '{"_type": "https://in-toto.io/Statement/v1", "predicate": {}, '
        f'"subject": {subject.replace("OWN", own)}, "predicateType": "{RELEASE_METADATA}"}}'
    )
    attest(scene, RELEASE_METADATA, {}, raw=raw.encode())
    refusal = refused(scene, require("attestation", TYPE))
    assert (refusal.code, refusal.exit_status) == ("signature.unverified", 11)


def test_a072_an_attestation_of_another_image_is_none_of_this(scene: Scene) -> None:
    other = hello_index(scene.store, version="2.0.0", tag=None)
    attest(scene, RELEASE_METADATA, {}, on=other.digest)
    assert refused(scene, require("attestation", TYPE)).exit_status == 11


def test_op4_conditions_on_what_it_says(scene: Scene) -> None:
    said = {"tag": "v1.0.0", "ok": True, "count": 3, "list": [{"a/b": "x~y"}], "url": "https://q"}
    attest(scene, RELEASE_METADATA, {**said, "digest": scene.image.digest})
    conditions = """predicate = { "/tag" = "v1.0.0", "/ok" = true, "/count" = 3, \
"/list/0/a~1b" = "x~y", "/digest" = "{digest}" }
predicate-regexp = { "/url" = 'https://[a-z]+' }"""
    judgement = run(scene, require("attestation", TYPE, conditions))
    assert facts(judgement)["/tag"] == "'v1.0.0'"
    assert claims(judgement)[0].who


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('"/tag" = "v1.0.1"', "'v1.0.0'"),
        ('"/tag" = "v1.0"', "'v1.0.0'"),
        ('"/TAG" = "v1.0.0"', "nothing"),
        ('"/ok" = false', "true"),
        ('"/ok" = 1', "true"),
        ('"/count" = 4', "3"),
        ('"/count" = "3"', "3"),
        ('"/count" = true', "3"),
        ('"/none" = true', "null"),
        ('"/list/1" = "x"', "nothing"),
        ('"/list/-1" = "x"', "nothing"),
        ('"/list/00" = "x"', "nothing"),
        ('"/list" = "x"', "an array of 1"),
        ('"/tag/0" = "v"', "nothing"),
        ('"/other" = "{digest}"', "sha256:"),
    ],
)
def test_op4_one_condition_that_does_not_hold(scene: Scene, condition: str, found: str) -> None:
    said = {"tag": "v1.0.0", "ok": True, "count": 3, "list": ["x"], "none": None}
    attest(scene, RELEASE_METADATA, {**said, "other": "sha256:" + "0" * 64})
    refusal = refused(scene, require("attestation", TYPE, f"predicate = {{ {condition} }}"))
    assert (refusal.code, refusal.exit_status) == ("policy.contents", 14)
    assert found in refusal.found
    assert condition.split('"')[1] in refusal.found


def test_every_condition_that_fails_is_named(scene: Scene) -> None:
    attest(scene, RELEASE_METADATA, {"a": "1", "b": "2", "c": "3"})
    line = 'predicate = { "/a" = "1", "/b" = "x", "/c" = "y" }'
    refusal = refused(scene, require("attestation", TYPE, line))
    assert "/b, /c" in refusal.found
    assert "/a" not in refusal.found


def test_digest_is_that_of_the_subject_that_it_speaks_of(scene: Scene) -> None:
    """Metadata about one platform that names the index is metadata about something else."""
    platform = scene.image.manifest["manifests"][0]["digest"]
    attest(scene, RELEASE_METADATA, {"digest": scene.image.digest}, on=platform)
    line = 'predicate = { "/digest" = "{digest}" }'
    assert refused(scene, require("attestation", TYPE, line)).code == "policy.contents"


def test_op2_a_variable_of_the_run_stands_in_an_identity(scene: Scene) -> None:
    attest(scene, RELEASE_METADATA, {"version": "1.0.0"})
    text = AS_PACKED + require(
        "attestation",
        TYPE,
        'predicate = { "/version" = "{version}" }',
        who=f"""trusted-root = "acme"
certificate-identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v{{version}}"
certificate-oidc-issuer = "{ISSUER}"
""",
    )
    assert scene.run(text, variables={"version": "1.0.0"})
    refusal = scene.refused(text, variables={"version": "1.0.1"})
    assert refusal.code == "identity.mismatch"
    assert "@refs/tags/v1.0.1" in refusal.expected
    assert "@refs/tags/v1.0.0" in refusal.found


@pytest.mark.parametrize(
    "version", ["1.0.0", "1+0", "a|b", "(x)?", ".*", "^$", "[a-z]", "\\d", "é"]
)
def test_op2_a_variable_in_a_pattern_stands_for_its_text_alone(scene: Scene, version: str) -> None:
    """However it is written: whoever gives the version gives no pattern."""
    attest(scene, RELEASE_METADATA, {"version": f"v{version}-rc{version}{version}"})
    text = AS_PACKED + require(
        "attestation",
        TYPE,
        r"predicate-regexp = { '/version' = '^v{version}-rc{version}{2}$' }",
        who=r"""trusted-root = "acme"
certificate-identity-regexp = 'https://github\.com/{org}/app/\.github/workflows/.+'
certificate-oidc-issuer-regexp = 'https://token\.actions\.githubusercontent\.{top}'
""",
    )
    given = {"version": version, "org": "acme", "top": "com"}
    assert scene.run(text, variables=given)
    for name, value in (("version", "1.0.1"), ("org", "acm."), ("org", "acme|x"), ("top", ".+")):
        refusal = scene.refused(text, variables=given | {name: value})
        assert refusal.code == ("policy.contents" if name == "version" else "identity.mismatch")


def test_braces_of_a_pattern_are_no_variables(scene: Scene) -> None:
    attest(scene, RELEASE_METADATA, {"a": "aab\u00abx{v}"})
    line = "predicate-regexp = { \"/a\" = 'a{2}\\x{62}\\x{ab}\\p{Ll}\\{v}' }"
    assert run(scene, require("attestation", TYPE, line))


def test_op2_the_images_own_tag_stands_in_an_identity(scene: Scene) -> None:
    attest(scene, RELEASE_METADATA, {"image": NAME})
    text = AS_PACKED + require(
        "attestation",
        TYPE,
        'predicate = { "/image" = "{repository}" }',
        who=f"""trusted-root = "acme"
certificate-identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v{{tag}}"
certificate-oidc-issuer = "{ISSUER}"
""",
    )
    assert scene.run(text)
    other = text.replace("v{tag}", "{tag}")
    assert scene.refused(other).code == "identity.mismatch"


@pytest.mark.parametrize(
    ("lines", "variables", "message"),
    [
        ('predicate = { "/a" = "{version}" }', {}, "has no value"),
        ('predicate = { "/a" = "{verison}" }', {"version": "1"}, "has no value"),
        ('predicate = { "/a" = "b" }', {"version": "1"}, "no rule uses"),
        ('predicate-regexp = { "/a" = "{version}" }', {}, "has no value"),
        ('predicate-regexp = { "/a" = "{tag}" }', {}, "where none can stand"),
        ('predicate-regexp = { "/a" = "{source_commit}" }', {}, "where none can stand"),
        ('predicate-regexp = { "/a" = "[{v}]" }', {"v": "1"}, "in quoted text or a set"),
        ("predicate-regexp = { \"/a\" = '[[:alpha:]{v}]' }", {"v": "1"}, "quoted text or a set"),
        ("predicate-regexp = { \"/a\" = '\\Q{v}\\E' }", {"v": "1"}, "in quoted text or a set"),
        ('predicate = { "/a" = "{digest}{source_commit}" }', {}, "two variables"),
        ('predicate = { "/a" = "{tag}" }', {"tag": "1"}, "cannot be given|can be given"),
        ('predicate = { "/a" = "{v}" }', {"v": "a{tag}"}, "not a value"),
        ('predicate = { "/a" = "{v}" }', {"v": ""}, "not a value"),
        ('predicate = { "/a" = "{v}" }', {"v": "a\nb"}, "not a value"),
        ("predicate = { }", {}, "no conditions"),
        ('predicate = { "a" = "b" }', {}, "not a JSON pointer"),
        ('predicate = { "" = "b" }', {}, "not a JSON pointer"),
        ('predicate = { "/a~2" = "b" }', {}, "not a JSON pointer"),
        ('predicate = { "/a" = 1.5 }', {}, "not a value"),
        ('predicate = { "/a" = ["b"] }', {}, "not a value"),
        ('predicate = { "/a" = "b" }\npredicate-regexp = { "/a" = "b" }', {}, "same place"),
        ("predicate-regexp = { \"/a\" = '.*' }", {}, "everybody"),
        ('scope = "any"', {}, "not a word"),
        ("level = 3", {}, "unknown key|only the claim"),
        ("threshold = 2", {}, "never be reached"),
    ],
)
def test_what_could_mean_nothing_is_refused(
    lines: str, variables: dict[str, str], message: str
) -> None:
    error = refused_file(require("attestation", TYPE, lines, who=BY_KEY), **variables)
    assert error.exit_status == 2
    assert any(part in error.message for part in message.split("|")), error


@pytest.mark.parametrize(
    "line", ["", 'type = "spxd"', 'type = ""', 'type = "sbom"', 'type = "a b/c"', "type = 1"]
)
def test_a_type_is_a_word_or_a_uri(line: str) -> None:
    refused_file(require("attestation", line, who=BY_KEY))


@pytest.mark.parametrize("key", ["key", "trusted-root", "scope"])
def test_a_variable_stands_only_where_text_is_compared(key: str) -> None:
    text = require("attestation", TYPE, f'{key} = "x{{version}}"', who="")
    assert "where none can stand" in refused_file(text, version="1").message


def test_two_people_must_say_it(scene: Scene) -> None:
    both = 'any = [{ key = "release" }, { key = "second" }]\nthreshold = 2\n'
    text = require("attestation", TYPE, 'predicate = { "/ok" = true }', who=both)
    attest(scene, RELEASE_METADATA, {"ok": True}, by=scene.release)
    attest(scene, RELEASE_METADATA, {"ok": True}, by=scene.release)
    assert refused(scene, text).code == "policy.threshold"
    attest(scene, RELEASE_METADATA, {"ok": False}, by=scene.world.managed("second"))
    assert refused(scene, text).code == "policy.threshold"
    attest(scene, RELEASE_METADATA, {"ok": True}, by=scene.world.managed("second"))
    assert len(claims(run(scene, text))[0].who) == 2


def test_all_wants_each_one_of_the_type_to_hold(scene: Scene) -> None:
    text = require("attestation", TYPE, 'predicate = { "/ok" = true }', 'quantifier = "all"')
    attest(scene, RELEASE_METADATA, {"ok": True})
    attest(scene, statements.SPDX, {"ok": False})  # of another kind: not asked about
    assert run(scene, text)
    attest(scene, RELEASE_METADATA, {"ok": False}, by=workflow(commit="0" * 40))
    assert refused(scene, text).code == "policy.quantifier"


def test_three_states_are_told_apart(scene: Scene) -> None:
    """No evidence, evidence nobody asked about, evidence that fails."""
    text = require("attestation", TYPE)
    assert refused(scene, text).exit_status == 10
    attest(scene, statements.SPDX, {})
    refusal = refused(scene, text)
    assert refusal.exit_status == 10
    image = refusal.judgement.images[0]  # type: ignore[attr-defined]
    assert str(image.considered[0].why_not) == "no requirement asks for evidence of this kind"
    attest(scene, RELEASE_METADATA, {}, by=scene.world.managed("stranger"))
    assert refused(scene, text).exit_status == 11
    attest(scene, RELEASE_METADATA, {}, by=workflow("evil/app"))
    assert refused(scene, text).exit_status == 12
    attest(scene, RELEASE_METADATA, {})
    assert run(scene, text)
