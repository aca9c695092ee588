"""Collecting from real registries, with evidence that real clients put there."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from bundler.registry.settings import Timing
from tests.e2e.collecting import gather
from tests.engines import Registry
from tests.fakes import attach, images
from tests.fakes.content import ContentStore


def push(layout: Path, registry: Registry, home: Path) -> None:
    """Push an image with its referrers and digest tags, as `regctl` does."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    for command in (
        ["registry", "set", "--tls", "disabled", registry.host],
        [
            *("image", "copy", "--referrers", "--digest-tags"),
            *(f"ocidir://{layout}:1.0.0", f"{registry.host}/acme/app:1.0.0"),
        ],
    ):
        subprocess.run(["regctl", *command], check=True, capture_output=True, env=env, timeout=120)


def made(folder: Path) -> tuple[Path, images.Image]:
    store = ContentStore()
    image = images.hello_index(store)
    attach.attach_bundle(image, b"{}", fallback="full")
    attach.attach_bundle(image.children[1], b"{ }", fallback="full")
    return store.write_layout(folder), image


def evidence_at(registry: Registry, cache: Path) -> set[tuple[str, str]]:
    (one,), store = gather(
        [f"{registry.host}/acme/app:1.0.0"], cache, plain_http=[registry.host], timing=Timing()
    )
    assert all(store.holds(d) for d in (*one.graph.metadata, *one.graph.layers))
    return {(item.store, str(item.subject)) for item in one.entry.evidence}


@pytest.mark.engine("docker-registry", "regctl")
def test_a_registry_without_the_referrers_api(docker_registry: Registry, tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    push(layout, docker_registry, tmp_path)
    expected = {("referrer", image.digest), ("referrer", image.children[1].digest)}
    assert evidence_at(docker_registry, tmp_path / "cache") == expected


@pytest.mark.engine("olareg", "regctl")
def test_a_registry_with_the_referrers_api(olareg: Registry, tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    push(layout, olareg, tmp_path)
    expected = {("referrer", image.digest), ("referrer", image.children[1].digest)}
    assert evidence_at(olareg, tmp_path / "cache") == expected


@pytest.mark.engine("docker-registry", "regctl", "crane")
def test_pulling_is_of_the_same_order_as_crane(docker_registry: Registry, tmp_path: Path) -> None:
    """150 MB in six layers, hashed on the way; printed, and compared on the same machine."""
    store = ContentStore()
    images.image(store, [images.Layer.noise(25_000_000, seed=n) for n in range(6)], tag="1.0.0")
    push(store.write_layout(tmp_path / "layout"), docker_registry, tmp_path)
    reference = f"{docker_registry.host}/acme/app:1.0.0"
    ours, theirs = [], []
    for turn in range(3):
        begin = time.monotonic()
        gather(
            [reference], tmp_path / f"c{turn}", plain_http=[docker_registry.host], timing=Timing()
        )
        ours.append(time.monotonic() - begin)
        begin = time.monotonic()
        subprocess.run(
            ["crane", "pull", "--insecure", "--format=oci", reference, tmp_path / f"t{turn}"],
            check=True,
            capture_output=True,
            timeout=120,
        )
        theirs.append(time.monotonic() - begin)
    print(f"150 MB: {150 / min(ours):.0f} MB/s; crane {150 / min(theirs):.0f} MB/s")
    # Catches what is wrong by an order (one request after the other, a drip): a machine that does
    # other things besides must not decide. The exact figure is the bench's.
    assert min(ours) < 6 * min(theirs)
