"""Real tools take the fakes for real: cosign verifies, registries' clients copy, docker runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines import Docker
from tests.fakes import attach
from tests.fakes.content import ContentStore
from tests.fakes.images import Image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.world import World

REPOSITORY = "acme/app"
IDENTITY = (
    "--certificate-identity",
    "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0",
    "--certificate-oidc-issuer",
    "https://token.actions.githubusercontent.com",
)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*command: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return call


@pytest.fixture
def trusted_root(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "trusted_root.json"
    path.write_text(json.dumps(world.trusted_root()))
    return path


@pytest.fixture
def bare(image: Image) -> Iterator[FakeRegistry]:
    """A registry without the referrers API."""
    with FakeRegistry({REPOSITORY: image.store}) as running:
        running.features.referrers = False
        yield running


@pytest.mark.engine("cosign")
@pytest.mark.parametrize("log", ["v1", "v2"])
def test_cosign_accepts_a_bundle_by_either_way_of_finding_it(
    world: World,
    image: Image,
    registry: FakeRegistry,
    bare: FakeRegistry,
    trusted_root: Path,
    run: Run,
    log: str,
) -> None:
    bundle = world.sign_image(image.digest, world.keyless(), log=log).bundle()
    attach.attach_bundle(image, bundle, fallback="bare")
    stamps = ("--use-signed-timestamps",) if log == "v2" else ()
    for served in (registry, bare):
        reference = served.reference(REPOSITORY, image.digest)
        command = ("cosign", "verify", "--trusted-root", trusted_root, *IDENTITY, *stamps)
        done = run(*command, reference)
        assert done.returncode == 0, done.stderr
        assert image.digest in done.stdout


@pytest.mark.engine("cosign")
def test_cosign_refuses_a_bundle_of_another_world(
    image: Image, registry: FakeRegistry, trusted_root: Path, run: Run
) -> None:
    other = World("other")
    attach.attach_bundle(image, other.sign_image(image.digest, other.keyless()).bundle())
    reference = registry.reference(REPOSITORY, image.digest)
    done = run("cosign", "verify", "--trusted-root", trusted_root, *IDENTITY, reference)
    assert done.returncode != 0


@pytest.mark.engine("cosign")
def test_cosign_accepts_legacy_layers(
    world: World, image: Image, registry: FakeRegistry, trusted_root: Path, run: Run
) -> None:
    release = world.keyless()
    attach.attach_tag(image, [world.sign_image_legacy(image.digest, release).layer()])
    said = statements.statement(
        image.digest,
        statements.SLSA_V1,
        statements.slsa_v1(),
        version=statements.STATEMENT_V01,
    )
    layers = [
        world.sign_statement(said, release, entry=entry).layer()
        for entry in ("dsse", "intoto-0.0.1", "intoto-0.0.2")
    ]
    attach.attach_tag(image, layers, "att")
    reference = registry.reference(REPOSITORY, image.digest)
    common = ("--trusted-root", trusted_root, *IDENTITY, reference)
    done = run("cosign", "verify", *common)
    assert done.returncode == 0, done.stderr
    done = run("cosign", "verify-attestation", "--type", "slsaprovenance1", *common)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(layers)


@pytest.mark.engine("cosign")
def test_cosign_accepts_a_key_with_promise_and_timestamp(
    world: World,
    image: Image,
    registry: FakeRegistry,
    trusted_root: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    keys = {name: world.managed(name) for name in ("right", "wrong")}
    for name, key in keys.items():
        (tmp_path / f"{name}.pub").write_bytes(key.public_pem)
    signed = world.sign_image_legacy(image.digest, keys["right"], timestamp=True)
    attach.attach_tag(image, [signed.layer()])
    reference = registry.reference(REPOSITORY, image.digest)
    found = {
        name: run(
            "cosign", "verify", "--trusted-root", trusted_root, "--key", tmp_path / f"{name}.pub",
            reference,
        ).returncode == 0
        for name in keys
    }  # fmt: skip
    assert found == {"right": True, "wrong": False}


@pytest.mark.engine("crane", "regctl", "skopeo")
def test_clients_of_registries_pull_push_and_copy_referrers(
    world: World, image: Image, registry: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    bundle = world.sign_image(image.digest, world.managed()).bundle()
    attached = attach.attach_bundle(image, bundle)
    source = registry.reference(REPOSITORY, "1.0.0")
    assert run("crane", "digest", source).stdout.strip() == image.digest
    assert run("crane", "validate", "--remote", source).returncode == 0
    assert run("regctl", "registry", "set", "--tls", "disabled", registry.host).returncode == 0
    copied = run("regctl", "image", "copy", "--referrers", source, f"{registry.host}/mirror/app:9")
    assert copied.returncode == 0, copied.stderr
    mirror = registry.store("mirror/app")
    assert mirror.tags == {"9": image.digest}
    assert [one["digest"] for one in mirror.referrers(image.digest)] == [attached["digest"]]
    layout = image.store.write_layout(tmp_path / "layout")
    moved = run(
        "skopeo", "copy", "--all", "--insecure-policy", "--dest-tls-verify=false",
        f"oci:{layout}:1.0.0", f"docker://{registry.host}/skopeo/app:1",
    )  # fmt: skip
    assert moved.returncode == 0, moved.stderr
    assert registry.store("skopeo/app").tags == {"1": image.digest}


@pytest.mark.engine("docker")
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "schema2"])
def test_docker_pulls_and_runs_the_image(docker_engine: Docker, *, docker: bool) -> None:
    one = hello_index(ContentStore(), docker=docker, version="3.2.1")
    with FakeRegistry({REPOSITORY: one.store}) as registry:
        reference = registry.reference(REPOSITORY, one.digest)
        docker_engine.client.call("pull", reference)
        assert docker_engine.run(reference) == "hello from version 3.2.1\n"
