"""The policies that ship, and every example in the document, are read as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loader.model.reference import Reference
from loader.policy import reading
from loader.policy.keys import names_of
from loader.policy.model import Policy

ROOT = Path(__file__).parents[4]
DOCUMENT = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
IMAGES = {
    "cosign-key.toml": "registry.acme.example/acme/app:1.0.0",
    "cosign-keyless.toml": "registry.acme.example/acme/app:1.0.0",
    "docker-content-trust.toml": "docker.io/acme/nut:latest",
    "dangerzone.toml": "ghcr.io/freedomofpress/dangerzone/v1:latest",
    "dangerzone-signature.toml": "ghcr.io/freedomofpress/dangerzone/v1:latest",
    "complytime.toml": "ghcr.io/complytime/compass:1.0.0",
    "oci-prometheus-sd-proxy.toml": "ghcr.io/amaanx86/oci-prometheus-sd-proxy:1.5.0",
    "github-attestations.toml": "ghcr.io/acme/app:1.0.0",
}


def given(text: str) -> dict[str, str]:
    """What whoever runs a policy with `{version}` in it has to give."""
    return {"version": "1.5.0"} if "{version}" in text else {}


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.toml")), ids=lambda p: p.name)
def test_shipped_policies_are_read_without_a_warning(path: Path) -> None:
    raw = path.read_bytes()
    policy = Policy.parse(raw, where=path.name, variables=given(raw.decode()))
    assert policy.warnings == ()
    assert policy.rules_for(Reference.parse(IMAGES[path.name])).require


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_document_are_read(text: str) -> None:
    assert Policy.parse(text.encode(), where="docs/policy.md", variables=given(text)).rules


def test_the_document_names_every_key() -> None:
    keys = (
        *(
            name
            for claim in reading.CLAIM_KEYS.values()
            for name in names_of(claim)
            if "workflow" not in name
        ),
        *names_of(reading.IMAGE_KEYS),
        "clock",
        "max-staleness",
        "tuf-root",
        "notary-root",
    )
    assert [key for key in keys if key not in DOCUMENT] == []
    for claim in reading.CLAIM_KEYS:
        assert f"`{claim}`" in DOCUMENT or f'"{claim}"' in DOCUMENT
    for code in re.findall(r"^\| `([a-z-]+\.[a-z-]+)`", DOCUMENT, re.MULTILINE):
        assert code in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
