"""CT-6 end to end: packed from a registry, carried, judged, pushed, verified there by cosign."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide
from tests.e2e.promoting import Release, make_release
from tests.e2e.test_promote_engines import cosign, verified
from tests.engines import Registry
from tests.fakes.registry import FakeRegistry
from tests.presence import FROZEN, ROOT
from tests.unit.loader.policy.scene import Scene
from tests.unit.loader.policy.test_reference_policies import complytime


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    with FakeRegistry() as registry:
        yield make_release(tmp_path, registry)


def packed(release: Release) -> Path:
    """Seal the release, as its packer does."""
    bundle = release.folder / "bundle.tar.zst"
    done = subprocess.run(
        [
            sys.executable, "-m", "bundler.cli", "pack", release.reference,
            "--policy", str(release.folder / "policy.toml"), "--output", str(bundle),
            "--plain-http", release.registry.host, "--no-log-proofs",
            "--cache", str(release.folder / "cache"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(release.folder), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return bundle


def complytime_release(folder: Path, registry: FakeRegistry) -> Release:
    """Publish what complytime's workflow does; its policy as it ships, but for the registry."""
    scene = Scene(folder, store=registry.store("acme/app"))
    complytime(scene)
    text = (ROOT / "policies" / "complytime.toml").read_text(encoding="utf-8")
    (folder / "policy.toml").write_text(text.replace("ghcr.io/complytime/*", f"{registry.host}/**"))
    return Release(folder, registry, scene.image, scene.world, scene.release)


def attested(release: Release, reference: str) -> None:
    """Check with cosign, as complytime's workflow does, that each of the four claims is there."""
    at = f"{reference}@{release.image.digest}"
    by = (
        "--certificate-identity-regexp", r"https://github\.com/complytime/.*",
        "--certificate-oidc-issuer", "https://token.actions.githubusercontent.com",
        "--trusted-root", str(release.folder / "anchors" / "sigstore" / "trusted_root.json"),
    )  # fmt: skip
    done = cosign("cosign", release.folder, "verify", *by, at)
    assert done.returncode == 0, done.stderr
    for kind in ("slsaprovenance1", "https://spdx.dev/Document/v2.3", "vuln"):
        done = cosign("cosign", release.folder, "verify-attestation", "--type", kind, *by, at)
        assert done.returncode == 0, done.stderr
    done = cosign("cosign", release.folder, "verify-attestation", "--type", "cyclonedx", *by, at)
    assert done.returncode != 0


def enclave(release: Release, registry: Registry) -> Path:
    """Make the host behind the gap: policy, anchors, how its registry is reached."""
    root = release.folder / "host"
    places = root / "etc" / "airlock"
    places.mkdir(parents=True)
    for name in ("policy.toml", "trusted_root.json", "release.pub"):
        if (release.folder / name).exists():
            shutil.copy(release.folder / name, places / name)
    if (release.folder / "anchors").exists():
        shutil.copytree(release.folder / "anchors", places / "anchors")
    config = root / "config" / "airlock"
    config.mkdir(parents=True)
    (config / "registries.toml").write_text(f'schema = 1\nplain-http = ["{registry.host}"]\n')
    return root


def loaded(release: Release, registry: Registry, *, program: tuple[str, ...]) -> str:
    """Load into the registry; return the repository's name there."""
    bundle = packed(release)
    release.registry.stop()  # the gap
    root = enclave(release, registry)
    host = FarSide(root, release.folder / "loaded", program=program)
    ran = host.run(
        *("load", bundle, "--into", f"registry:{registry.host}/mirror"),
        isolated=False,
        environment={"HOME": str(root), "XDG_CONFIG_HOME": str(root / "config")},
    )
    assert ran.status == 0, ran.err
    source = f"{release.registry.host}/acme/app".replace(":", "_")
    return f"{registry.host}/mirror/{source}"


@pytest.mark.engine("docker-registry", "cosign", "cosign2")
def test_ct_6_to_a_registry_without_the_referrers_api(
    release: Release,
    docker_registry: Registry,
) -> None:
    program = (sys.executable, "-m", "loader")
    verified(release, loaded(release, docker_registry, program=program))


@pytest.mark.engine("olareg", "cosign", "cosign2")
def test_ct_6_to_a_registry_with_the_referrers_api(
    release: Release,
    olareg: Registry,
) -> None:
    program = (sys.executable, "-m", "loader")
    verified(release, loaded(release, olareg, program=program))


@pytest.mark.engine("docker-registry", "cosign")
def test_ct_6_the_four_claims_of_complytime_from_end_to_end(
    tmp_path: Path,
    docker_registry: Registry,
) -> None:
    with FakeRegistry() as source:
        release = complytime_release(tmp_path, source)
        there = loaded(release, docker_registry, program=(sys.executable, "-m", "loader"))
        attested(release, there)


@pytest.mark.engine("docker-registry", "cosign", "cosign2", "frozen", "frozen-push")
def test_ct_6_with_the_two_frozen_programs(
    release: Release,
    docker_registry: Registry,
) -> None:
    verified(release, loaded(release, docker_registry, program=(str(FROZEN),)))
