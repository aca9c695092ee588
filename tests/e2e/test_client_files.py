"""`--client-files`: podman, skopeo and containerd pull by the source's name from the enclave."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.loading import POLICY, REPOSITORY, Publisher
from tests.e2e.test_push import MIRROR, Enclave
from tests.engines import Containerd, Podman, Registry
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image
from tests.fakes.registry import FakeRegistry

KEYLESS = """
[[image]]
match = "ghcr.io/other/**"
[[image.require]]
claim = "signature"
trusted-root = "acme"
certificate-identity-regexp = 'https://github\\.com/other/.*'
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
[[image.require]]
claim = "attestation"
type = "https://example.com/x"
key = "release"
"""


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> Enclave:
    return Enclave(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


def loaded(host: Enclave, publisher: Publisher, at: str, folder: Path) -> tuple[Path, Any]:
    """Load the usual image into a registry, and return where the files are, and the verdict."""
    bundle = folder / "1.tar.zst"
    publisher.bundle(bundle, extra=[Layer.of({"etc/x": b"y\n"})])
    config = host.root / "config" / "airlock"
    config.mkdir(parents=True, exist_ok=True)
    (config / "registries.toml").write_text(f'schema = 1\nplain-http = ["{at}"]\n')
    files = folder / "files"
    into = ("--into", f"registry:{at}/mirror", "--client-files", files)
    ran = host.reach("load", bundle, *into)
    assert ran.status == 0, ran.err
    return files, ran.verdict


def test_what_is_written_says_what_the_policy_says(
    host: Enclave, publisher: Publisher, tmp_path: Path
) -> None:
    (host.root / "etc/airlock/policy.toml").write_text(POLICY + KEYLESS)
    with FakeRegistry() as registry:
        files, verdict = loaded(host, publisher, registry.host, tmp_path)
        at = f"{registry.host}/mirror"
    conf = tomllib.loads((files / "registries.conf.d/50-airlock.conf").read_text())
    assert conf["registry"] == [
        {
            "prefix": "registry.acme.example",
            "location": f"{at}/registry.acme.example",
            "insecure": True,
        }
    ]
    hosts = tomllib.loads((files / "certs.d/registry.acme.example/hosts.toml").read_text())
    assert hosts["server"] == f"http://{registry.host}/v2/mirror/registry.acme.example"
    policy = json.loads((files / "policy.json").read_text())
    assert policy["default"] == [{"type": "reject"}]
    docker = policy["transports"]["docker"]
    assert set(docker) == {
        REPOSITORY,
        f"{registry.host}/{MIRROR}",
        "ghcr.io/other",
        f"{at}/ghcr.io/other",
    }
    assert docker["ghcr.io/other"] == [{"type": "reject"}]  # a workflow has no words there
    [signed] = docker[REPOSITORY]
    assert signed["type"] == "sigstoreSigned"
    assert json.loads((files / "relocation.json").read_text()) == {
        "schema": "airlock-relocation/1",
        "registries": {"registry.acme.example": f"{at}/registry.acme.example"},
        "images": [
            {
                "source": f"{REPOSITORY}:1",
                "here": f"{registry.host}/{MIRROR}:1",
                "digest": verdict["images"][0]["loaded"]["digest"],
            }
        ],
    }
    cluster = json.loads((files / "kyverno.yaml").read_text())
    first, second = cluster["spec"]["rules"]
    assert first["verifyImages"][0]["imageReferences"] == [f"{at}/registry.acme.example/acme/*"]
    [keyless] = second["verifyImages"][0]["attestors"][0]["entries"]
    assert keyless["keyless"]["subjectRegExp"] == r"^(?:https://github\.com/other/.*)$"
    texts = (files / "cluster-image-policy.yaml").read_text().split("---\n")
    images = [json.loads(text) for text in texts]
    assert [one["spec"]["images"][0]["glob"] for one in images] == [
        f"{at}/registry.acme.example/acme/*",
        f"{at}/ghcr.io/other/**",
    ]
    assert "BEGIN PUBLIC KEY" in images[0]["spec"]["authorities"][0]["key"]["data"]
    warnings = "\n".join(verdict["warnings"])
    assert "what the policy asks of ghcr.io/other cannot be said there: it is closed" in warnings
    assert "not asked: attestation" in warnings


def test_they_are_for_a_registry_alone(host: Enclave, tmp_path: Path) -> None:
    ran = host.run(
        *("load", tmp_path / "x", "--into", "oci:y", "--client-files", tmp_path / "files")
    )
    assert ran.status == 2
    assert not (tmp_path / "files").exists()


def test_nothing_is_written_for_a_refused_bundle(
    host: Enclave, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle, signed=False)
    with FakeRegistry() as registry:
        into = ("--into", f"registry:{registry.host}", "--client-files", tmp_path / "files")
        assert host.reach("load", bundle, *into).status == 10
    assert not (tmp_path / "files").exists()


@pytest.mark.engine("docker-registry", "podman")
def test_podman_pulls_by_the_sources_name(
    host: Enclave,
    publisher: Publisher,
    docker_registry: Registry,
    podman_engine: Podman,
    tmp_path: Path,
) -> None:
    files, _ = loaded(host, publisher, docker_registry.host, tmp_path)
    environment = {"CONTAINERS_REGISTRIES_CONF": str(files / "registries.conf.d/50-airlock.conf")}
    client = podman_engine.client
    done = subprocess.run(
        [*client.argv, "pull", "--quiet", f"{REPOSITORY}:1"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **client.env, **environment},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"{REPOSITORY}:1" in podman_engine.list()


@pytest.mark.engine("docker-registry", "skopeo")
def test_skopeo_reads_registries_and_policy(
    host: Enclave,
    publisher: Publisher,
    docker_registry: Registry,
    tmp_path: Path,
) -> None:
    files, verdict = loaded(host, publisher, docker_registry.host, tmp_path)
    conf = files / "registries.conf.d/50-airlock.conf"
    front = [
        "skopeo",
        "--registries-conf",
        str(conf),
        "--registries.d",
        str(files / "registries.d"),
    ]
    done = subprocess.run(
        [*front, "inspect", "--raw", f"docker://{REPOSITORY}:1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert verdict["images"][0]["loaded"]["digest"]
    other = tmp_path / "copied"
    copied = subprocess.run(
        [
            *front, "--policy", str(files / "policy.json"),
            "copy", f"docker://{REPOSITORY}:1", f"oci:{other}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    print(copied.stderr)
    # Debian 12 builds skopeo without sigstore: it says so, and no image comes past the policy.
    assert copied.returncode == 0 or "sigstore" in copied.stderr.lower(), copied.stderr
    foreign = subprocess.run(
        [
            *front, "--policy", str(files / "policy.json"),
            "copy", f"docker://{docker_registry.host}/nobody/knows:1", f"oci:{other}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert foreign.returncode != 0


@pytest.mark.engine("docker-registry", "containerd")
def test_containerd_pulls_by_the_sources_name(
    host: Enclave,
    publisher: Publisher,
    docker_registry: Registry,
    containerd_engine: Containerd,
    tmp_path: Path,
) -> None:
    files, verdict = loaded(host, publisher, docker_registry.host, tmp_path)
    containerd_engine.client.call(
        *("images", "pull", "--hosts-dir", str(files / "certs.d")),
        *("--snapshotter", containerd_engine.snapshotter, f"{REPOSITORY}:1"),
    )
    found = containerd_engine.list()
    assert found[f"{REPOSITORY}:1"] == verdict["images"][0]["loaded"]["digest"]


def test_two_images_of_one_registry_share_its_files(
    host: Enclave, publisher: Publisher, tmp_path: Path
) -> None:
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, version=name), tag=name, days=1) for name in ("a", "b")
    ]
    bundle = tmp_path / "1.tar.zst"
    publisher.pack(bundle, store, entries)
    with FakeRegistry() as registry:
        ran = host.push(bundle, registry, "--client-files", str(tmp_path / "files"))
    assert ran.status == 0, ran.err
    assert len(list((tmp_path / "files").rglob("hosts.toml"))) == 1
