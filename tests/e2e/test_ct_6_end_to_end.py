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
from tests.e2e.test_promote_engines import verified
from tests.engines import Registry, docker_registry, olareg  # noqa: F401 - fixtures
from tests.fakes.registry import FakeRegistry
from tests.presence import FROZEN, ROOT


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


def enclave(release: Release, registry: Registry) -> Path:
    """Make the host behind the gap: policy, anchors, how its registry is reached."""
    root = release.folder / "host"
    places = root / "etc" / "airlock"
    places.mkdir(parents=True)
    for name in ("policy.toml", "trusted_root.json", "release.pub"):
        shutil.copy(release.folder / name, places / name)
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
    docker_registry: Registry,  # noqa: F811
) -> None:
    program = (sys.executable, "-m", "loader")
    verified(release, loaded(release, docker_registry, program=program))


@pytest.mark.engine("olareg", "cosign", "cosign2")
def test_ct_6_to_a_registry_with_the_referrers_api(
    release: Release,
    olareg: Registry,  # noqa: F811
) -> None:
    program = (sys.executable, "-m", "loader")
    verified(release, loaded(release, olareg, program=program))


@pytest.mark.engine("docker-registry", "cosign", "cosign2", "frozen", "frozen-push")
def test_ct_6_with_the_two_frozen_programs(
    release: Release,
    docker_registry: Registry,  # noqa: F811
) -> None:
    verified(release, loaded(release, docker_registry, program=(str(FROZEN),)))
