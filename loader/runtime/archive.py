"""Fresh streams for runtimes: one format each, one image each, made from verified blobs alone.

The member that makes an archive mean something (`manifest.json`, `index.json`) comes last, after
every blob before it was hashed once more on its way out. A stream that is cut, or given up because
a blob changed in quarantine, is thus nothing that any runtime imports (docs/runtimes.md has what
was measured). No stream carries a name but for containerd, which cannot import without one and gets
the name that holds the digest; others are given when the runtime has said what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import rfc8785

from loader.model.bundle import LAYOUT_BYTES, LAYOUT_INDEX_NAME, LAYOUT_NAME, blob_name
from loader.model.descriptor import OCI_INDEX
from loader.runtime.blobs import diff_ids, read_blob, read_layer, unique
from loader.runtime.expand import expand, expanded_size

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.descriptor import Descriptor
    from loader.model.image import ImageConfig, ImageIndex, ImageManifest
    from loader.model.strictjson import JsonObject
    from loader.runtime.base import PlatformImage, StagedBlobs

_BLOCK: Final = 512
_RECORD: Final = 20 * _BLOCK
_OCTAL_SIZE_MAX: Final = 8**11 - 1
"""Beyond 8 GiB a size is written in base 256, as GNU tar and Go's archive/tar do."""
CONTAINERD_NAME_ANNOTATION: Final = "io.containerd.image.name"
DOCKER_MANIFEST_NAME: Final = "manifest.json"


class TarStream:
    """Writes members one behind the other, as GNU tar would; knows how much padding is due."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        self._written = 0

    def member(self, name: str, raw: bytes) -> Iterator[bytes]:
        """Yield a small member."""
        yield from self.stream(name, len(raw), iter((raw,)))

    def stream(self, name: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield a member of a known size; `chunks` must add up to it."""
        yield _header(name, size)
        yield from chunks
        padding = -size % _BLOCK
        self._written += _BLOCK + size + padding
        if padding:
            yield bytes(padding)

    def end(self) -> Iterator[bytes]:
        """Yield two empty blocks and fill the last record."""
        self._written += 2 * _BLOCK
        yield bytes(2 * _BLOCK + -self._written % _RECORD)


def _header(name: str, size: int) -> bytes:
    """Return the header block of a regular file (GNU format, mode 0644, everything else zero)."""
    if size <= _OCTAL_SIZE_MAX:
        size_field = b"%011o\0" % size
    else:
        size_field = b"\x80" + size.to_bytes(11, "big")
    block = bytearray(_BLOCK)
    for offset, value in (
        (0, name.encode("ascii")),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size_field),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar  \0"),
    ):
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def docker_archive(
    image: PlatformImage, blobs: StagedBlobs, *, gzip: Literal["expand", "keep"]
) -> Iterator[bytes]:
    """Yield what `docker load` reads: the image's layers, its config, and no name.

    Args:
        image: the platform.
        blobs: where its layers lie.
        gzip: what becomes of layers of gzip. Those of zstd are always decompressed.

    Raises:
        SizeGuessError: a layer of gzip cannot be sent decompressed.
        DigestError, DiffIdError, LimitError: see `expand`.
    """
    tar = TarStream()
    names: dict[Digest, str] = {}
    for layer, diff_id in diff_ids(image.manifest, image.config):
        size = expanded_size(blobs, layer, gzip=gzip)
        name = blob_name(layer.digest if size is None else diff_id)
        if name not in names.values():
            if size is None:
                yield from tar.stream(name, layer.size, read_blob(blobs, layer))
            else:
                yield from tar.stream(name, size, expand(blobs, layer, diff_id, size=size))
        names[layer.digest] = name
    config = image.config
    yield from tar.member(blob_name(config.descriptor.digest), config.raw)
    entry = {
        "Config": blob_name(config.descriptor.digest),
        "RepoTags": [],
        "Layers": [names[layer.digest] for layer in image.manifest.layers],
    }
    yield from tar.member(DOCKER_MANIFEST_NAME, rfc8785.dumps([entry]))
    yield from tar.end()


def podman_archive(image: PlatformImage, blobs: StagedBlobs) -> Iterator[bytes]:
    """Yield what `podman load` reads: an OCI layout of one manifest, byte for byte, without a name.

    podman does not compare layers with the config's diff_ids, so that is done here.
    """
    tar = TarStream()
    for layer, diff_id in diff_ids(image.manifest, image.config):
        chunks = read_layer(blobs, layer, diff_id)
        yield from tar.stream(blob_name(layer.digest), layer.size, chunks)
    yield from _documents(tar, (image.config, image.manifest))
    yield from _layout_end(tar, image.manifest.descriptor.plain())


def named_archive(image: PlatformImage, blobs: StagedBlobs, *, name: str) -> Iterator[bytes]:
    """Yield what a folder of images holds: one manifest, byte for byte, under its name.

    Who imports it may want every platform that an index lists, so there is none in it.
    """
    tar = TarStream()
    for layer, diff_id in diff_ids(image.manifest, image.config):
        chunks = read_layer(blobs, layer, diff_id)
        yield from tar.stream(blob_name(layer.digest), layer.size, chunks)
    yield from _documents(tar, (image.config, image.manifest))
    yield from tar.member(LAYOUT_NAME, LAYOUT_BYTES)
    index = rfc8785.dumps(named_index(image.manifest.descriptor, name=name))
    yield from tar.member(LAYOUT_INDEX_NAME, index)
    yield from tar.end()


def named_index(manifest: Descriptor, *, name: str) -> JsonObject:
    """Return the index of such an archive."""
    entry = manifest.plain() | {"annotations": {CONTAINERD_NAME_ANNOTATION: name}}
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}


def containerd_archive(
    top: ImageIndex | ImageManifest,
    indexes: tuple[ImageIndex, ...],
    image: PlatformImage,
    blobs: StagedBlobs,
    *,
    name: str,
) -> Iterator[bytes]:
    """Yield what `ctr images import` reads: the index as it was signed, one platform, one name."""
    tar = TarStream()
    for layer in unique(image.manifest.layers):
        yield from tar.stream(blob_name(layer.digest), layer.size, read_blob(blobs, layer))
    yield from _documents(tar, (image.config, image.manifest, *indexes))
    entry = top.descriptor.plain() | {"annotations": {CONTAINERD_NAME_ANNOTATION: name}}
    yield from _layout_end(tar, entry)


def _documents(
    tar: TarStream, documents: tuple[ImageConfig | ImageManifest | ImageIndex, ...]
) -> Iterator[bytes]:
    for document in documents:
        yield from tar.member(blob_name(document.descriptor.digest), document.raw)


def _layout_end(tar: TarStream, entry: JsonObject) -> Iterator[bytes]:
    yield from tar.member(LAYOUT_NAME, LAYOUT_BYTES)
    index: JsonObject = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    yield from tar.member(LAYOUT_INDEX_NAME, rfc8785.dumps(index))
    yield from tar.end()
