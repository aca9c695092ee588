"""Dangerzone archives as its own code makes them: `cosign save`, two indexes, `tarfile.add`."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.loading import SIGNED_AT, FarSide
from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import Image, Layer, hello_image, hello_index
from tests.fakes.sigworld.world import World

REPOSITORY = "ghcr.io/freedomofpress/dangerzone/v1"
NAME = f"{REPOSITORY}:latest"
_KIND = "dev.cosignproject.cosign/"
POLICY = f"""\
schema = 1

[anchor.acme]
trusted-root = "trusted_root.json"

[anchor.release]
key = "release.pub"

[[image]]
match = "{REPOSITORY}"
rollback = "log-index"
name = "as-packed"

[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
log = "promise"
docker-reference = "match-repository"
"""


@dataclass
class Maintainer:
    """Signs images as Dangerzone's maintainers do: index and platforms, one key, one log."""

    world: World = field(default_factory=lambda: World(at=SIGNED_AT))

    def __post_init__(self) -> None:
        self.key = self.world.managed("release")

    def host(self, folder: Path) -> FarSide:
        anchors = folder / "host/etc/airlock"
        anchors.mkdir(parents=True)
        (anchors / "policy.toml").write_text(POLICY)
        (anchors / "trusted_root.json").write_bytes(encode(self.world.trusted_root()))
        (anchors / "release.pub").write_bytes(self.key.public_pem)
        return FarSide(folder / "host", folder / "loaded")

    def image(self, version: str = "1", *, multi: bool = False) -> Image:
        """Return a signed image; its platforms are signed too."""
        store = ContentStore()
        image = (
            hello_index(store, version=version)
            if multi
            else hello_image(
                store,
                text=f"hello {version}\n",
                version=version,
                extra=[Layer.noise(50_000, seed=len(version))],
            )
        )
        for one in (image, *image.children):
            self.sign(one)
        return image

    def sign(self, image: Image, *, reference: str = REPOSITORY) -> None:
        signature = self.world.sign_image_legacy(image.digest, self.key, reference=reference)
        attach.attach_tag(image, [signature.layer()])


def save(image: Image, folder: Path) -> Path:
    """Write what `cosign save` writes of an image and its signatures."""
    store = image.store
    kind = "imageIndex" if image.children else "image"
    signatures = store.describe(f"sha256-{image.digest[7:]}.sig")
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    waiting = [image.digest, signatures["digest"]]
    while waiting:
        digest = waiting.pop()
        raw = store.read(digest)
        (blobs / digest[7:]).write_bytes(raw)
        try:
            document = json.loads(raw)
        except ValueError:
            continue
        if isinstance(document, dict):
            parts = [document.get("config"), *document.get("layers", ())]
            parts += document.get("manifests", ())
            waiting += [part["digest"] for part in parts if part and "digest" in part]
    entries = [_entry(image.descriptor, kind), _entry(signatures, "sigs")]
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{\n    "imageLayoutVersion": "1.0.0"\n}')
    return folder


def _entry(descriptor: dict[str, Any], kind: str) -> dict[str, Any]:
    kept = {name: descriptor[name] for name in ("mediaType", "size", "digest")}
    return {**kept, "annotations": {"kind": f"{_KIND}{kind}"}}


def prepare(saved: Path, archive: Path, *, format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    """Do what dangerzone.updater.signatures.prepare_airgapped_archive does after `cosign save`."""
    original = json.loads((saved / "index.json").read_text())
    with (saved / "dangerzone.json").open("w+") as file:
        json.dump(original, file)
    images = original.copy()
    images["manifests"] = [
        manifest
        for manifest in original["manifests"]
        if manifest["annotations"].get("kind") in (f"{_KIND}imageIndex", f"{_KIND}image")
    ]
    with (saved / "index.json").open("w") as file:
        json.dump(images, file)
    with tarfile.open(archive, "w", format=format) as tar:
        tar.add(str(saved), arcname=".")
    return archive


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Read an archive's members."""
    found = []
    with tarfile.open(archive) as tar:
        for info in tar:
            file = tar.extractfile(info)
            found.append((info, b"" if file is None else file.read()))
    return found
