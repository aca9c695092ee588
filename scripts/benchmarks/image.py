"""A large image, made on the fly from the files of this machine: real programs and libraries.

The same on the same machine: files in the order of their names, without times and owners. Layers
have the sizes that images have, and compress as images do; random bytes would favour whoever does
not decompress, zeros whoever does.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, cast

import zstandard
from isal import isal_zlib

from tests.fakes.content import ContentStore, Stream, encode
from tests.fakes.images import Image, Layer, image

MB: Final = 1_000_000
SHARES: Final = (0.05, 0.35, 0.3, 0.2, 0.1)
"""Of the image, a layer each: a base, dependencies, the program."""
ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
_TREES: Final = ("/usr/lib", "/usr/bin", "/usr/share", "/usr/sbin", "/usr/libexec")
_FILE_SIZE_MAX: Final = 16 << 20
_CHUNK: Final = 1 << 20
_GZIP: Final = 31
_LEVEL: Final = 2
PEER_NAME: Final = "peer.example/acme/app:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BigImage:
    """The image in a store, and its layers as files."""

    image: Image
    store: ContentStore
    platform: str
    layers: tuple[Layer, ...]
    packed: tuple[Path, ...]
    plain: tuple[Path, ...]

    @property
    def packed_size(self) -> int:
        """Bytes of all layers, as the registry has them."""
        return sum(path.stat().st_size for path in self.packed)

    @property
    def plain_size(self) -> int:
        """Bytes of all layers, decompressed."""
        return sum(path.stat().st_size for path in self.plain)


def make(folder: Path, *, size: int) -> BigImage:
    """Make an image whose layers have about `size` bytes of gzip together."""
    store = ContentStore()
    files = _files()
    layers, packed, plain = [], [], []
    for number, share in enumerate(SHARES):
        paths = folder / f"{number}.tar.gz", folder / f"{number}.tar"
        layers.append(_layer(files, int(size * share), *paths))
        packed.append(paths[0])
        plain.append(paths[1])
    platform = f"linux/{ARCHITECTURE}"
    return BigImage(
        image=image(store, layers, platform=platform, tag="1"),
        store=store,
        platform=platform,
        layers=tuple(layers),
        packed=tuple(packed),
        plain=tuple(plain),
    )


def file_stream(path: Path, digest: str) -> Stream:
    """Return a file as the fakes take large blobs."""

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return Stream(chunks, path.stat().st_size, digest)


class _Sink:
    """What `tarfile` writes a layer to: plain and packed, each hashed on its way."""

    def __init__(self, packed: BinaryIO, plain: BinaryIO) -> None:
        self._packed, self._plain = packed, plain
        self._packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
        self.packed_digest, self.plain_digest = hashlib.sha256(), hashlib.sha256()
        self.packed_size = 0

    def write(self, data: bytes) -> int:
        self._plain.write(data)
        self.plain_digest.update(data)
        self._put(self._packer.compress(data))
        return len(data)

    def finish(self) -> None:
        self._put(self._packer.flush())

    def _put(self, packed: bytes) -> None:
        self._packed.write(packed)
        self.packed_digest.update(packed)
        self.packed_size += len(packed)


def _layer(files: Iterator[tuple[str, Path]], size: int, packed: Path, plain: Path) -> Layer:
    with packed.open("wb") as packed_file, plain.open("wb") as plain_file:
        sink = _Sink(packed_file, plain_file)
        with tarfile.open(
            fileobj=cast("BinaryIO", sink), mode="w|", bufsize=_CHUNK, format=tarfile.GNU_FORMAT
        ) as archive:
            while sink.packed_size < size:
                name, path = next(files)
                # Read whole: a file that somebody changes now must still fit its record.
                content = path.read_bytes()
                record = tarfile.TarInfo(name)
                record.size = len(content)
                record.mode = stat.S_IMODE(path.stat().st_mode) & 0o755
                archive.addfile(record, BytesIO(content))
        sink.finish()
    digest = f"sha256:{sink.packed_digest.hexdigest()}"
    return Layer(file_stream(packed, digest), f"sha256:{sink.plain_digest.hexdigest()}", "gzip")


def _files() -> Iterator[tuple[str, Path]]:
    """Yield this machine's files, and once through, begin again under another name."""
    again = 0
    while True:
        found = False
        for tree in _TREES:
            for parent, folders, names in os.walk(tree):
                folders.sort()
                for name in sorted(names):
                    path = Path(parent, name)
                    if _usable(path):
                        found = True
                        yield f"{again or ''}{path}".lstrip("/"), path
        if not found:
            raise SystemExit("no files here to make an image of")
        again += 1


def _usable(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and 0 < status.st_size <= _FILE_SIZE_MAX
        and len(str(path)) < tarfile.LENGTH_NAME - 2
        and os.access(path, os.R_OK)
    )


# --- what peers load ------------------------------------------------------------------------------


def write_docker_archive(big: BigImage, path: Path) -> None:
    """Write what `docker save | zstd` makes of the image: layers are not compressed in it."""
    config = big.store.read(big.image.manifest["config"]["digest"])
    names = [f"{number}/layer.tar" for number in range(len(big.plain))]
    entry = {"Config": "config.json", "RepoTags": [PEER_NAME], "Layers": names}
    _write_archive(
        path,
        [
            *zip(names, big.plain, strict=True),
            ("config.json", config),
            ("manifest.json", encode([entry])),
        ],
    )


def write_oci_archive(big: BigImage, path: Path) -> None:
    """Write what `ctr images export | zstd` makes of it: an OCI layout with layers as they came."""
    manifest = big.image.manifest
    layers = [_blob_name(layer["digest"]) for layer in manifest["layers"]]
    pointed = big.store.describe(big.image.digest) | {
        "annotations": {
            "io.containerd.image.name": PEER_NAME,
            "org.opencontainers.image.ref.name": PEER_NAME,
        }
    }
    documents = [big.image.digest, manifest["config"]["digest"]]
    _write_archive(
        path,
        [
            *zip(layers, big.packed, strict=True),
            *((_blob_name(digest), big.store.read(digest)) for digest in documents),
            ("oci-layout", encode({"imageLayoutVersion": "1.0.0"})),
            ("index.json", encode({"schemaVersion": 2, "manifests": [pointed]})),
        ],
    )


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _write_archive(path: Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    packer = zstandard.ZstdCompressor(level=3, threads=-1)
    with (
        path.open("wb") as file,
        packer.stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, content in members:
            record = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                record.size = len(content)
                archive.addfile(record, BytesIO(content))
            else:
                record.size = content.stat().st_size
                with content.open("rb") as source:
                    archive.addfile(record, source)
