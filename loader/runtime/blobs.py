"""Staged blobs on their way out of quarantine: hashed once more, compared with the config."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loader.digest import Digest
from loader.errors import DiffIdError, DigestError, OciError
from loader.inflate import DiffIdCheck
from loader.runtime.base import CHUNK_SIZE

if TYPE_CHECKING:
    from loader.model.descriptor import Descriptor
    from loader.model.image import ImageConfig, ImageManifest
    from loader.runtime.base import StagedBlobs


def read_blob(blobs: StagedBlobs, descriptor: Descriptor) -> Iterator[bytes]:
    """Yield a staged blob's bytes, hashed as they pass.

    Raises:
        DigestError: its size or digest is no longer the verified one. Bytes were yielded before;
            the caller's stream must not have become whole by then.
    """
    hasher = hashlib.sha256()
    size = 0
    with blobs.open(descriptor.digest) as file:
        while chunk := file.read(CHUNK_SIZE):
            size += len(chunk)
            if size > descriptor.size:
                break
            hasher.update(chunk)
            yield chunk
    if size != descriptor.size or hasher.hexdigest() != descriptor.digest.hex:
        raise DigestError(
            "a blob in quarantine is no longer the one that was verified",
            where=str(descriptor.digest),
            expected=f"{descriptor.size} bytes, {descriptor.digest}",
            found=f"{size} bytes, sha256:{hasher.hexdigest()}",
        )


def read_layer(blobs: StagedBlobs, layer: Descriptor, diff_id: Digest) -> Iterator[bytes]:
    """Yield a staged layer's bytes, hashed as they pass, and inflated beside that.

    Raises:
        DigestError: as `read_blob`.
        DiffIdError, LimitError: it is not, once decompressed, what the image's config names.
    """
    check = DiffIdCheck(layer.digest, diff_id)
    try:
        for chunk in read_blob(blobs, layer):
            check.feed(chunk)
            yield chunk
        check.finish()
    finally:
        check.close()


def unique(descriptors: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """Return each blob once: an image may list a layer twice, a stream must not."""
    return tuple({descriptor.digest: descriptor for descriptor in descriptors}.values())


def diff_ids(manifest: ImageManifest, config: ImageConfig) -> Iterator[tuple[Descriptor, Digest]]:
    """Yield each layer once, with what it is once decompressed.

    Raises:
        OciError: the config names another number of layers.
        DiffIdError: it says two things about one layer.
    """
    if len(manifest.layers) != len(config.diff_ids):
        raise OciError(
            "an image's config names another number of layers than its manifest",
            where=str(manifest.descriptor.digest),
            expected=str(len(manifest.layers)),
            found=str(len(config.diff_ids)),
        )
    seen: dict[Digest, Digest] = {}
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        if layer.digest not in seen:
            seen[layer.digest] = diff_id
            yield layer, diff_id
        elif seen[layer.digest] != diff_id:
            raise DiffIdError(
                "an image's config says that one layer decompresses to two things",
                where=f"layer {layer.digest}",
                expected=str(seen[layer.digest]),
                found=str(diff_id),
            )
