"""Detached evidence has the structure of the real folders, files and archives."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import attach, detached
from tests.fakes.images import Image
from tests.fakes.sigworld.signed import SignedMessage
from tests.fakes.sigworld.world import World

REFERENCE = "registry.acme.example/acme/app"
Sign = Callable[[Image], SignedMessage]


@pytest.fixture
def signed(image: Image) -> SignedMessage:
    world = World()
    return world.sign_image_legacy(image.digest, world.managed())


def test_folder_is_like_a_real_one(
    image: Image, signed: SignedMessage, shared_dir: Path, tmp_path: Path
) -> None:
    [theirs, *_] = [
        path.parent for path in sorted((shared_dir / "real" / "ghcr-signer").rglob("LATEST"))
    ]
    ours = detached.write_ghcr_signer(tmp_path, image, signed, REFERENCE)
    assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
    for name in ("MANIFEST", "PAYLOAD_BLOB", "CONFIG_BLOB"):
        one, other = (json.loads((folder / name).read_bytes()) for folder in (ours, theirs))
        assert list(one) == list(other)
    layers = [
        json.loads((folder / "MANIFEST").read_bytes())["layers"][0] for folder in (ours, theirs)
    ]
    assert sorted(layers[0]["annotations"]) == sorted(layers[1]["annotations"])
    assert (ours / "IMAGE").read_text() == f"{REFERENCE}@{image.digest}"


def test_line_is_like_a_real_one(signed: SignedMessage, shared_dir: Path, tmp_path: Path) -> None:
    [real, *_] = sorted(
        (shared_dir / "real" / "dangerzone" / "signatures" / "valid").rglob("*.json")
    )
    ours = detached.write_download_lines(tmp_path / "key" / "digest.json", [signed])
    one, other = (json.loads(path.read_bytes())[0] for path in (ours, real))
    assert list(one) == list(other)
    assert list(one["Bundle"]) == list(other["Bundle"])
    assert list(one["Bundle"]["Payload"]) == list(other["Bundle"]["Payload"])


def test_archive_lists_images_and_keeps_the_signatures(
    image: Image, signed: SignedMessage, tmp_path: Path
) -> None:
    attach.attach_tag(image, [signed.layer()])
    file = detached.write_dangerzone_archive(tmp_path / "a.tar", image, tmp_path / "scratch")
    with tarfile.open(file) as archive:
        names = archive.getnames()
        listed, saved = (
            json.loads(opened.read())
            for name in ("./index.json", "./dangerzone.json")
            if (opened := archive.extractfile(name)) is not None
        )
    assert all(name.startswith("./") for name in names)
    assert [one["digest"] for one in listed["manifests"]] == [image.digest]
    assert sorted(one["annotations"]["kind"].rpartition("/")[2] for one in saved["manifests"]) == [
        "imageIndex",
        "sigs",
    ]


def test_demo_serves_what_its_trust_verifies(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.registry", "--demo", "--trust", str(tmp_path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            tags = [process.stdout.readline().strip().rpartition(":")[2] for _ in range(3)]
        finally:
            process.terminate()
    assert tags[0] == "1.0.0"
    assert sorted(tag.rpartition(".")[2] == "sig" for tag in tags) == [False, False, True]
    trusted_root = json.loads((tmp_path / "trusted_root.json").read_bytes())
    assert trusted_root == World().trusted_root()
    assert (tmp_path / "release.pub").read_bytes() == World().managed("release").public_pem
