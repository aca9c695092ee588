"""Writes archives that `dangerzone-image load-archive` reads, as `prepare-archive` does.

Dangerzone saves one platform's image with `cosign save`, keeps the index as dangerzone.json, leaves
the image alone in index.json, and packs the folder with `tarfile` under `./`
(dangerzone/updater/signatures.py at 08ebaae2). Written here straight from the content store, and
always in the same bytes: members by name, no times, no owners.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from bundler.pack.writer import Written
from loader.digest import Digest
from loader.errors import MissingError
from loader.graph import ImageGraph
from loader.limits import MIB
from loader.model.bundle import ImageEntry
from loader.model.descriptor import Descriptor

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_KIND: Final = "dev.cosignproject.cosign/"
_KINDS: Final = {"signature-tag": f"{_KIND}sigs", "attestation-tag": f"{_KIND}atts"}
_LAYOUT: Final = b'{"imageLayoutVersion": "1.0.0"}'
_CHUNK: Final = 1 * MIB
_RECORD_SIZE: Final = tarfile.RECORDSIZE

Write = Callable[[bytes], object]


def one_platform(entry: ImageEntry) -> ImageEntry:
    """Return the image of the one platform that was kept, with what speaks of its own manifest.

    Dangerzone compares each signature's digest with that of the image in the archive: one over the
    index, which covers the platform too, is none to it.

    Raises:
        MissingError: nobody signed that manifest.
    """
    [kept] = entry.platforms
    evidence = tuple(
        item
        for item in entry.evidence
        if item.subject == kept.manifest.digest and item.store in _KINDS
    )
    if not any(item.store == "signature-tag" for item in evidence):
        raise MissingError(
            "nobody signed this platform's own manifest",
            where=f"{entry.reference.name}@{kept.manifest.digest}",
            expected="a signature at its tag sha256-DIGEST.sig",
            found="signatures of the index alone" if entry.evidence else "no signature",
            hint="Dangerzone takes no signature of the index for that of a platform; airlock pack "
            "carries both",
        )
    reference = type(entry.reference)(
        registry=entry.reference.registry,
        repository=entry.reference.repository,
        tag=entry.reference.tag,
        digest=kept.manifest.digest if not entry.reference.tag else None,
    )
    return ImageEntry(
        reference=reference, image=kept.manifest, platforms=(kept,), evidence=evidence
    )


def indexes(entry: ImageEntry) -> tuple[bytes, bytes]:
    """Return dangerzone.json and index.json: what `cosign save` lists, and of that the image."""
    image = _entry(entry.image, f"{_KIND}image")
    listed = [image, *(_entry(item.manifest, _KINDS[item.store]) for item in entry.evidence)]
    return _index(listed), _index([image])


def _entry(descriptor: Descriptor, kind: str) -> dict[str, object]:
    return {**descriptor.plain(), "annotations": {"kind": kind}}


def _index(manifests: Sequence[dict[str, object]]) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    ).encode()


def write(
    entry: ImageEntry,
    blobs: Iterable[Descriptor],
    open_blob: Callable[[Digest], BinaryIO],
    out: Write,
) -> Written:
    """Write the archive.

    Args:
        entry: what `one_platform` returned.
        blobs: everything that the image and its evidence consist of, each once.
        open_blob: gives one of them, verified.
        out: takes the archive's bytes.

    Raises:
        AirlockError: whatever `open_blob` and `out` raise.
    """
    taken = _Taken(out)
    with tarfile.open(fileobj=taken, mode="w|", format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for folder in (".", "./blobs", "./blobs/sha256"):
            archive.addfile(_info(folder, folder=True))
        for blob in sorted(blobs, key=lambda one: one.digest):
            with open_blob(blob.digest) as file:
                archive.addfile(_info(f"./blobs/sha256/{blob.digest.hex}", size=blob.size), file)
        whole, images = indexes(entry)
        documents = (("dangerzone.json", whole), ("index.json", images), ("oci-layout", _LAYOUT))
        for name, raw in documents:
            archive.addfile(_info(f"./{name}", size=len(raw)), _Bytes(raw))
    return Written(size=taken.size, digest=Digest(taken.hashed.hexdigest()))


def size_max(blobs: Iterable[Descriptor], entry: ImageEntry) -> int:
    """Return how large the archive becomes."""
    sizes = [blob.size for blob in blobs] + [len(raw) for raw in (*indexes(entry), _LAYOUT)]
    blocks = sum(512 + -(-size // 512) * 512 for size in sizes) + 3 * 512 + 1024
    return -(-blocks // _RECORD_SIZE) * _RECORD_SIZE


def parts(graph: ImageGraph, evidence: Iterator[Descriptor]) -> tuple[Descriptor, ...]:
    """Return every blob of an image and of its evidence, each once."""
    found = {blob.digest: blob for blob in (*graph.metadata, *graph.layers, *evidence)}
    return tuple(found.values())


def _info(name: str, *, size: int = 0, folder: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o755 if folder else 0o644
    info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return info


class _Taken:
    """A file as `tarfile` wants one: counts and hashes what goes by."""

    def __init__(self, out: Write) -> None:
        self._out = out
        self.size = 0
        self.hashed = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._out(data)
        self.size += len(data)
        self.hashed.update(data)
        return len(data)


class _Bytes:
    """A few bytes as a file to read."""

    def __init__(self, raw: bytes) -> None:
        self._rest = raw

    def read(self, size: int = -1) -> bytes:
        piece = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(piece) :]
        return piece
