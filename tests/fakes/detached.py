"""Evidence that lies beside an image instead of in a registry.

Folders as ``ghcr-signer`` keeps them in git, files as ``cosign download signature`` prints and
Dangerzone stores them, and the archives that Dangerzone carries to machines without a network.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Protocol

from tests.fakes import attach
from tests.fakes.content import ContentStore, Json, encode
from tests.fakes.images import Image

_ARCHIVED_KINDS = ("imageIndex", "image")


class Detachable(Protocol):
    """A legacy signature; ``sigworld.signed.SignedMessage`` is one."""

    def layer(self) -> attach.LayerLike:
        """The layer of a ``.sig`` manifest."""

    def download_line(self) -> Json:
        """What ``cosign download signature`` prints."""


def write_ghcr_signer(
    folder: Path, image: Image, signed: Detachable, reference: str, *, latest: bool = True
) -> Path:
    """``<hex>/{IMAGE,MANIFEST,PAYLOAD_BLOB,CONFIG_BLOB,LATEST}`` for one signed digest."""
    scratch = ContentStore()
    layer = signed.layer()
    described = attach.attach_tag(image, [layer], store=scratch)
    place = folder / image.digest.removeprefix("sha256:")
    place.mkdir(parents=True)
    config = scratch.json(described["digest"])["config"]["digest"]
    (place / "IMAGE").write_text(f"{reference}@{image.digest}")
    (place / "MANIFEST").write_bytes(scratch.read(described["digest"]))
    (place / "PAYLOAD_BLOB").write_bytes(layer.blob)
    (place / "CONFIG_BLOB").write_bytes(scratch.read(config))
    if latest:
        (place / "LATEST").write_bytes(b"")
    return place


def write_download_lines(file: Path, signatures: Sequence[Detachable]) -> Path:
    """A JSON list of signatures, as Dangerzone keeps them for each image digest."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode([signed.download_line() for signed in signatures]))
    return file


def write_dangerzone_archive(file: Path, image: Image, folder: Path) -> Path:
    """``dangerzone-image prepare-archive``: a tar with ``./`` names.

    ``dangerzone.json`` is ``cosign save``'s index; ``index.json`` lists the images alone. Attach
    the signatures (``attach_tag``) first; ``folder`` is for scratch.
    """
    layout = image.store.write_layout(folder, style="cosign-save")
    saved = (layout / "index.json").read_bytes()
    document: Json = json.loads(saved)
    kept = [
        entry
        for entry in document["manifests"]
        if entry["annotations"]["kind"].rpartition("/")[2] in _ARCHIVED_KINDS
    ]
    (layout / "dangerzone.json").write_bytes(saved)
    (layout / "index.json").write_bytes(encode({**document, "manifests": kept}))
    with tarfile.open(file, "w") as archive:
        for path in _files(layout):
            raw = path.read_bytes()
            info = tarfile.TarInfo(f"./{path.relative_to(layout)}")
            info.size = len(raw)
            archive.addfile(info, BytesIO(raw))
    return file


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
