"""Kyverno and ClusterImagePolicy files against the schemas that their projects publish.

A schema of a custom resource passes over fields that it does not know, and Kubernetes drops them:
here an unknown field is an error, for a rule that is dropped asks for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.e2e.loading import POLICY, Publisher
from tests.e2e.test_client_files import KEYLESS, loaded
from tests.e2e.test_push import Enclave
from tests.fakes.registry import FakeRegistry
from tests.presence import SCHEMAS


def strict(schema: Any) -> Any:  # noqa: ANN401
    """The schema, with unknown fields refused wherever it lists the known ones."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    closed = "properties" in schema and isinstance(schema["properties"], dict)
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def schema_of(name: str, version: str) -> dict[str, Any]:
    document = yaml.safe_load((SCHEMAS / name).read_text())
    [found] = [one for one in document["spec"]["versions"] if one["name"] == version]
    schema: dict[str, Any] = strict(found["schema"]["openAPIV3Schema"])
    # What every resource has, and no schema of one needs to describe.
    whole = {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    schema["properties"] |= whole
    return schema


def documents(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text().split("---\n"):
        yield json.loads(text)


@pytest.mark.engine("schemas")
def test_what_is_written_fits_the_published_schemas(tmp_path: Path) -> None:
    publisher = Publisher()
    host = Enclave(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    (host.root / "etc/airlock/policy.toml").write_text(POLICY + KEYLESS)
    with FakeRegistry() as registry:
        files, _ = loaded(host, publisher, registry.host, tmp_path)
    kyverno = schema_of("kyverno.io_clusterpolicies.yaml", "v1")
    [policy] = documents(files / "kyverno.yaml")
    jsonschema.validate(policy, kyverno)
    image_policy = schema_of("policy.sigstore.dev_clusterimagepolicies.yaml", "v1beta1")
    found = list(documents(files / "cluster-image-policy.yaml"))
    for one in found:
        jsonschema.validate(one, image_policy)
    assert len(found) == 2
    policy["spec"]["rules"][0]["verifyImages"][0]["attestor"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(policy, kyverno)
