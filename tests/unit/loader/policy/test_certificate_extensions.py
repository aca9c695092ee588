"""Every extension of GitHub's certificates, in a policy by its name: equal, or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loader.policy.speakers import CERTIFICATE_EXTENSIONS, WORKFLOW_EXTENSIONS
from tests.fakes.sigworld.identity import workflow
from tests.presence import ROOT
from tests.unit.loader.policy.scene import AS_PACKED, KEYLESS, Scene
from tests.unit.loader.test_judge_images import sign

WHOLE = workflow(environment="production")
MISMATCH = "identity.mismatch"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def asked(name: str, value: str) -> str:
    return f'{AS_PACKED}{KEYLESS}certificate-extension = {{ {name} = "{value}" }}\n'


@pytest.mark.parametrize("name", CERTIFICATE_EXTENSIONS)
def test_each_is_compared(scene: Scene, name: str) -> None:
    number = int(CERTIFICATE_EXTENSIONS[name][0])
    value = WHOLE.extensions[number]
    sign(scene, scene.world.keyless(WHOLE))
    assert scene.run(asked(name, value))
    for other in (value[:-1], value + "x", value.swapcase()):
        if other != value:
            assert scene.refused(asked(name, other)).code == MISMATCH


@pytest.mark.parametrize("name", CERTIFICATE_EXTENSIONS)
def test_what_is_not_there_is_not_equal(scene: Scene, name: str) -> None:
    number = int(CERTIFICATE_EXTENSIONS[name][0])
    sign(scene, scene.world.keyless(WHOLE.but({number: None})))
    assert scene.refused(asked(name, WHOLE.extensions[number])).code == MISMATCH


@pytest.mark.parametrize("name", [n for n, (_, *old) in CERTIFICATE_EXTENSIONS.items() if old])
def test_a_deprecated_one_must_not_say_something_else(scene: Scene, name: str) -> None:
    new, old = map(int, CERTIFICATE_EXTENSIONS[name])
    text = asked(name, WHOLE.extensions[new])
    sign(scene, scene.world.keyless(WHOLE.but({old: "mallory/app"})))
    assert scene.refused(text).code == MISMATCH
    sign(scene, scene.world.keyless(WHOLE.but({old: None})))
    assert scene.run(text)


def test_all_that_are_named_must_hold(scene: Scene) -> None:
    sign(scene, scene.world.keyless(WHOLE))
    both = 'deployment-environment = "production", runner-environment = "self-hosted"'
    text = f"{AS_PACKED}{KEYLESS}certificate-extension = {{ {both} }}\n"
    refused = scene.refused(text)
    assert refused.code == MISMATCH
    assert scene.run(text.replace("self-hosted", "github-hosted"))


def test_every_number_is_available() -> None:
    newer = {number for number, *_ in CERTIFICATE_EXTENSIONS.values()}
    older = {number for numbers in WORKFLOW_EXTENSIONS.values() for number in numbers}
    by_other_keys = {"1", "8", "7"}  # issuer, and a kind of identity
    assert newer | older | by_other_keys == {str(number) for number in range(1, 25)}


def test_the_document_has_the_same_names_and_numbers() -> None:
    text = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+)(?: \((\d+)\))? \|", text, re.MULTILINE)
    assert {name: tuple(filter(None, n)) for name, *n in rows} == CERTIFICATE_EXTENSIONS
