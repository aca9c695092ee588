"""One repository under two spellings: two names for floors and rules, and one for a runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import OciError
from loader.model.bundle import BundleStatement
from loader.model.reference import Reference
from tests.unit.loader.policy.judging import entry_of
from tests.unit.loader.policy.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "docker.io/app",
        "index.docker.io/library/app",
        "index.docker.io/acme/app",
        "registry-1.docker.io/acme/app",
    ],
)
def test_docker_hub_has_one_spelling_in_a_statement(scene: Scene, name: str) -> None:
    entry = entry_of(scene.image, "docker.io/acme/app:1.0.0")
    document = json.loads(scene.statement(entry).raw)
    document["images"][0]["reference"] = f"{name}:1.0.0"
    with pytest.raises(OciError, match="another spelling"):
        BundleStatement.parse(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("port", ["05000", "0", "65536", "00443"])
def test_a_port_has_one_spelling(port: str) -> None:
    with pytest.raises(OciError, match="not a registry's name"):
        Reference.parse(f"localhost:{port}/app:1")
