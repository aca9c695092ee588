"""Attacks on conditions: what stands nearly at the place, and is nearly what policy wants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.model.bundle import ImageEntry
from loader.model.reference import Reference
from loader.policy.variables import filler_of
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import workflow
from tests.unit.loader.policy.claiming import (
    RELEASE_METADATA,
    attest,
    require,
)
from tests.unit.loader.policy.judging import NAME, entry_of
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


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def test_op2_a_tag_that_is_called_like_the_variable(scene: Scene) -> None:
    """Git takes `{tag}` for a tag's name, and a rule that protects `v*` does not protect that."""
    who = BY_GENERATOR.replace(
        f"{SERVER}{GENERATOR}@refs/tags/v2.0.0",
        f"{SERVER}acme/app/.github/workflows/release.yml@refs/tags/{{tag}}",
    )
    attest(scene, RELEASE_METADATA, {"tag": "{tag}"}, by=workflow(ref="refs/tags/{tag}"))
    by_digest = entry_of(scene.image, f"{NAME}@{scene.image.digest}")
    asked = (f'type = "{RELEASE_METADATA}"',)
    assert (
        refused_by(scene, by_digest, require("attestation", *asked, who=who)) == "identity.mismatch"
    )
    said = (*asked, 'predicate = { "/tag" = "{tag}" }')
    assert (
        refused_by(scene, by_digest, require("attestation", *said, who=BY_ACME))
        == "policy.contents"
    )


def refused_by(scene: Scene, entry: ImageEntry, text: str) -> str:
    return scene.refused(AS_PACKED + text, entry).code


def test_what_stands_for_no_tag_is_no_ref_and_no_tag() -> None:
    fill = filler_of(Reference.parse(f"{NAME}@sha256:{'0' * 64}"))
    assert fill("refs/tags/{tag}") == "refs/tags/{tag: this image has none}"
    assert filler_of(Reference.parse(f"{NAME}:1.0"))("v{tag}") == "v1.0"


@pytest.mark.parametrize(
    ("pointer", "wanted", "predicate"),
    [
        ("/a/01", '"x"', {"a": ["z", "x"]}),
        ("/a/-", '"x"', {"a": ["x"]}),
        ("/a/+0", '"x"', {"a": ["x"]}),
        ("/a/1", '"x"', {"a": ["x"]}),
        ("/a~1b", '"x"', {"a": {"b": "x"}}),
        ("/a~01b", '"x"', {"a/b": "x"}),
        ("/a", '"null"', {"a": None}),
        ("/a", '""', {}),
        ("/a", '"1"', {"a": 1}),
        ("/a", "1", {"a": "1"}),
        ("/a", "1", {"a": True}),
        ("/a", "1", {"a": 1.0}),
        ("/a", "true", {"a": 1}),
        ("/a", "false", {"a": 0}),
        ("/a", "false", {"a": None}),
        ("/a", "false", {}),
        ("/a", '"x"', {"A": "x"}),
        ("/a", '"x"', {"a": "x\n"}),
        ("/a", '"x"', {"a": ["x"]}),
        ("/a/0", '"x"', {"a": "x"}),
    ],
)
def test_op4_a_place_that_is_nearly_the_one(
    scene: Scene, pointer: str, wanted: str, predicate: Json
) -> None:
    attest(scene, RELEASE_METADATA, predicate)
    asked = (f'type = "{RELEASE_METADATA}"', f'predicate = {{ "{pointer}" = {wanted} }}')
    try:
        refusal = refused(scene, require("attestation", *asked))
    except PolicyFileError as e:  # an empty text
        assert wanted == '""', e  # noqa: PT017
        return
    assert refusal.code == "policy.contents"


def test_op4_a_key_twice_is_no_choice(scene: Scene) -> None:
    raw = statements.statement(scene.image.digest, RELEASE_METADATA, {"tag": "good"})
    twice = json.dumps(raw).replace('"tag": "good"', '"tag": "evil", "tag": "good"').encode()
    attest(scene, RELEASE_METADATA, None, raw=twice)
    asked = (f'type = "{RELEASE_METADATA}"', 'predicate = { "/tag" = "good" }')
    assert refused(scene, require("attestation", *asked)).exit_status == 11
