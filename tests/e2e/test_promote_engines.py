"""CT-7 with real registries, one with and one without the referrers API, and cosign 3 and 2."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.e2e.promoting import Release, make_release
from tests.engines import Registry
from tests.fakes import attach
from tests.fakes.images import Layer, hello_image, image
from tests.fakes.registry import FakeRegistry

REPOSITORY = "rel/app"


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    with FakeRegistry() as registry:
        yield make_release(tmp_path, registry)


def cosign(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )


def verified(release: Release, reference: str) -> None:
    """cosign 3 and 2 find the bundles of index and platforms."""
    key = ("--key", str(release.folder / "release.pub"))
    root = ("--trusted-root", str(release.folder / "trusted_root.json"))
    for subject in (release.image, *release.image.children):
        at = f"{reference}@{subject.digest}"
        done = cosign("cosign", release.folder, "verify", *key, *root, at)
        assert done.returncode == 0, done.stderr
        assert subject.digest.removeprefix("sha256:") in done.stdout
        done = cosign("cosign2", release.folder, "verify", *key, *root, at)
        assert done.returncode == 0, done.stderr


def verified_by_tag(release: Release, reference: str, digest: str) -> None:
    """cosign 2 finds what only a tag shows (it looks no further once it sees a bundle)."""
    old = ("verify", "--key", str(release.folder / "release.pub"), "--output=json")
    done = cosign(
        "cosign2", release.folder, *old, "--insecure-ignore-tlog=true", f"{reference}@{digest}"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)[0]["critical"]["image"]["docker-manifest-digest"]
    assert said == digest


def digest_at(registry: Registry, tag: str) -> str:
    types = "application/vnd.oci.image.index.v1+json"
    asked = Request(f"{registry.url}/v2/{REPOSITORY}/manifests/{tag}", headers={"Accept": types})
    with urlopen(asked, timeout=20) as answer:
        found: str = answer.headers["Docker-Content-Digest"]
    return found


@pytest.mark.engine("docker-registry", "olareg", "cosign", "cosign2")
@pytest.mark.parametrize("first", ["docker-registry", "olareg"])
def test_ct_7_from_each_real_registry_to_the_other(
    release: Release,
    docker_registry: Registry,
    olareg: Registry,
    first: str,
) -> None:
    pair = [docker_registry, olareg] if first == "docker-registry" else [olareg, docker_registry]
    release.promote(pair[0].host, "--semver", "1.2.3", repository=f"one/{first}")
    source = f"{pair[0].host}/one/{first}:1.2.3"
    promoted = release.promote(
        pair[1].host, "--semver", "v1.2.3", source=source, repository=REPOSITORY
    )
    assert {step.doing for step in promoted.tags} == {"set"}
    for tag in ("1.2.3", "1.2", "1", "latest"):
        assert digest_at(pair[1], tag) == release.image.digest
    verified(release, f"{pair[1].host}/{REPOSITORY}")
    plain = hello_image(release.image.store, tag="plain")
    signed = release.world.sign_image_legacy(plain.digest, release.signer, log="v1")
    attach.attach_tag(plain, [signed.layer()])
    source = release.registry.reference("acme/app", "plain")
    release.promote(pair[1].host, "--tags", "plain", source=source, repository=REPOSITORY)
    verified_by_tag(release, f"{pair[1].host}/{REPOSITORY}", plain.digest)
    source = f"{pair[0].host}/one/{first}:1.2.3"
    again = release.promote(
        pair[1].host, "--semver", "v1.2.3", "--dry-run", source=source, repository=REPOSITORY
    )
    assert again.exit_status == 0


@pytest.mark.engine("docker-registry", "olareg")
def test_a_large_layer_goes_through_real_registries(
    release: Release,
    docker_registry: Registry,
    olareg: Registry,
) -> None:
    big = Layer.noise(40_000_000)

    made = image(release.image.store, [big], tag="big")
    bundle = release.world.sign_image(made.digest, release.signer).bundle()

    attach.attach_bundle(made, bundle)
    source = release.registry.reference("acme/app", "big")
    release.promote(
        docker_registry.host, "--tags", "big", "--deep", source=source, repository="big/one"
    )
    release.promote(
        olareg.host,
        "--tags",
        "big",
        "--deep",
        source=f"{docker_registry.host}/big/one:big",
        repository="big/two",
    )
