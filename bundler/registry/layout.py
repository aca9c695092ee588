"""OCI image layouts, in a folder or in a tar, asked as if they were repositories.

Tools differ in how they keep evidence there, and all of these are found:

    regctl                    tags `sha256-HEX`, `sha256-HEX.sig` as `...image.ref.name`
    oras-go                   referrers without tag in `index.json`: their `subject` says it
    olareg                    an index marked `org.olareg.referrer.subject`
    cosign save, Dangerzone   `kind` annotations: one image, and `sigs`, `atts`, `sboms` of it

A blob that nothing refers to is not part of a layout, whatever it says of itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from bundler.errors import SourceError
from bundler.registry.client import Document, Referrers
from bundler.registry.tar_index import index_tar
from loader.digest import Digest
from loader.errors import (
    DigestError,
    FormatError,
    InputError,
    LimitError,
    MissingError,
    OciError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model import strictjson
from loader.model.bundle import LAYOUT_INDEX_NAME, LAYOUT_NAME, Store, blob_name
from loader.model.descriptor import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    MediaType,
)
from loader.model.fields import Fields
from loader.model.image import ImageIndex, ImageManifest

_CHUNK: Final = 1 * MIB
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME: Final = "io.containerd.image.name"
_OLAREG_SUBJECT: Final = "org.olareg.referrer.subject"
_COSIGN: Final = "dev.cosignproject.cosign/"
_COSIGN_IMAGES: Final = frozenset({f"{_COSIGN}image", f"{_COSIGN}imageIndex"})
_COSIGN_KINDS: Final[dict[Store, str]] = {
    "signature-tag": f"{_COSIGN}sigs",
    "attestation-tag": f"{_COSIGN}atts",
    "sbom-tag": f"{_COSIGN}sboms",
}
_LAYOUT_VERSION: Final = "1.0.0"


class Files(Protocol):
    """The files of a layout, by their names in it."""

    def open(self, name: str) -> tuple[BinaryIO, int, int] | None:
        """Return an open file, where in it this one begins, and its size; None if not there."""

    def close(self) -> None:
        """Close what is open."""


class FolderFiles:
    """A layout's folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> tuple[BinaryIO, int, int] | None:
        """Open a regular file; links and pipes are refused, not followed or waited for."""
        path = self._root / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:
            raise InputError(
                "a file of a layout cannot be read", where=str(path), found=e.strerror or ""
            ) from e
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise InputError("not a regular file", where=str(path))
        return os.fdopen(fd, "rb", buffering=0), 0, status.st_size

    def close(self) -> None:
        """Nothing stays open between two files."""


class TarFiles:
    """A layout in a tar, opened once."""

    def __init__(self, path: Path) -> None:
        opened = FolderFiles(path.parent.resolve()).open(path.name)
        if opened is None:
            raise InputError("the archive is not there", where=str(path))
        self._file = opened[0]
        try:
            self._places = index_tar(self._file)
        except BaseException:
            self._file.close()
            raise

    def open(self, name: str) -> tuple[BinaryIO, int, int] | None:
        """Return a second handle on the same open file."""
        place = self._places.get(name)
        if place is None:
            return None
        file = os.fdopen(os.dup(self._file.fileno()), "rb", buffering=0)
        return file, place.offset, place.size

    def close(self) -> None:
        """Close the archive."""
        self._file.close()


class LayoutRepository:
    """An OCI layout; see `bundler.registry.client.Repository`."""

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self._name = name
        marker = self._read(LAYOUT_NAME, DEFAULT_LIMITS.document_size_max)
        raw = self._read(LAYOUT_INDEX_NAME, DEFAULT_LIMITS.document_size_max)
        if marker is None or raw is None:
            raise SourceError(
                "not an OCI image layout",
                where=name,
                expected="oci-layout and index.json",
                hint="`docker save` of docker 24 and before writes no layout: use skopeo copy",
            )
        version = Fields(
            strictjson.parse_object(marker, what=LAYOUT_NAME, size_max=len(marker)), LAYOUT_NAME
        ).text("imageLayoutVersion")
        if version != _LAYOUT_VERSION:
            raise OciError(
                "a layout of another version",
                where=name,
                expected=_LAYOUT_VERSION,
                found=shown(version),
            )
        self._index = ImageIndex.parse(
            raw, Descriptor.make(OCI_INDEX, raw), where=LAYOUT_INDEX_NAME
        )

    @property
    def name(self) -> str:
        """What the user called it."""
        return self._name

    def close(self) -> None:
        """Close the layout's files."""
        self._files.close()

    # --- choosing an image --------------------------------------------------------------------

    def choose(self, wanted: str | Digest | None) -> tuple[Document, str]:
        """Return the image of this name or digest, or the only one; and the name it has here.

        Raises:
            SourceError: there is none, or several.
            MissingError, DigestError: it is listed, and not there as described.
        """
        if isinstance(wanted, Digest):
            found = [entry for entry in self._index.manifests if entry.digest == wanted]
        elif wanted:
            found = [entry for entry in self._index.manifests if wanted in _names(entry)]
        else:
            found = list(self._images())
        by_digest = {entry.digest: entry for entry in reversed(found)}
        if len(by_digest) != 1:
            known = sorted({name for entry in self._images() for name in _names(entry)})
            raise SourceError(
                "several images, and no name says which" if by_digest else "no such image",
                where=self._name,
                expected=f"one of: {', '.join(shown(name) for name in known[:20])}",
                found=shown(str(wanted or "")),
                hint="write oci:DIR:NAME, or oci:DIR@sha256:...",
            )
        entry = next(iter(by_digest.values()))
        raw = self._blob_bytes(entry)
        if raw is None:
            raise MissingError(
                "an image is listed and not there", where=self._name, found=str(entry.digest)
            )
        described = Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size)
        full = entry.annotations.get(_CONTAINERD_NAME) or entry.annotations.get(_REF_NAME, "")
        return Document(descriptor=described, raw=raw), full

    def _images(self) -> Iterator[Descriptor]:
        """Yield what looks like an image: named ones, or else those that nothing contains."""
        named = [
            entry
            for entry in self._index.manifests
            if any(not _is_digest_tag(name) for name in _names(entry))
        ]
        if named:
            yield from named
            return
        below = {child for entry in self._index.manifests for child in self._children(entry)}
        for entry in self._index.manifests:
            kind = entry.annotations.get("kind", "")
            if entry.digest in below or (kind and kind not in _COSIGN_IMAGES):
                continue
            if _OLAREG_SUBJECT in entry.annotations or _names(entry):
                continue
            if entry.digest not in self._with_subject:
                yield entry

    def _children(self, entry: Descriptor) -> Iterator[Digest]:
        if entry.media_type not in INDEX_MEDIA_TYPES:
            return
        raw = self._blob_bytes(entry)
        if raw is not None:
            for child in ImageIndex.parse(raw, entry, where=str(entry.digest)).manifests:
                yield child.digest

    # --- Repository ---------------------------------------------------------------------------

    def tagged(self, tag: str) -> Document | None:
        """Return what carries this name in `index.json`; see `Repository`."""
        found = {
            entry.digest: entry
            for entry in self._index.manifests
            if any(name == tag or name.endswith(f":{tag}") for name in _names(entry))
        }
        if len(found) > 1:
            raise OciError("a name stands for two things", where=self._name, found=shown(tag))
        for entry in found.values():
            raw = self._blob_bytes(entry)
            if raw is None:
                raise MissingError(
                    "something is listed and not there", where=self._name, found=str(entry.digest)
                )
            described = Descriptor(
                media_type=entry.media_type, digest=entry.digest, size=entry.size
            )
            return Document(descriptor=described, raw=raw)
        return None

    def document(self, digest: Digest) -> Document | None:
        """Return the manifest or index of this digest; see `Repository`."""
        raw = self._read(blob_name(digest), DEFAULT_LIMITS.document_size_max)
        if raw is None:
            return None
        found = Digest.of(raw)
        if found != digest:
            raise DigestError(
                "a blob of a layout has another digest",
                where=self._name,
                expected=str(digest),
                found=str(found),
            )
        media_type = _media_type(raw, where=f"{self._name} {digest}")
        return Document(
            descriptor=Descriptor(media_type=media_type, digest=digest, size=len(raw)), raw=raw
        )

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes]:
        """Yield a blob's bytes; see `Repository`."""
        opened = self._files.open(blob_name(descriptor.digest))
        if opened is None:
            raise MissingError(
                "a blob is not in the layout", where=self._name, found=str(descriptor.digest)
            )
        file, begin, size = opened
        with file:
            if size != descriptor.size:
                raise DigestError(
                    "a blob of a layout has another size",
                    where=f"{self._name} {descriptor.digest}",
                    expected=f"{descriptor.size} bytes",
                    found=f"{size} bytes",
                )
            while offset < size:
                # Not the file's own position: handles on one open archive share that.
                chunk = os.pread(file.fileno(), min(_CHUNK, size - offset), begin + offset)
                if not chunk:
                    raise InputError("a file became shorter while it was read", where=self._name)
                offset += len(chunk)
                yield chunk

    def referrers(self, subject: Digest) -> Referrers:
        """Return what `index.json` holds that says `subject` of itself; see `Repository`."""
        found = [
            entry
            for entry in self._index.manifests
            if self._with_subject.get(entry.digest) == subject
        ]
        for entry in self._index.manifests:
            if entry.annotations.get(_OLAREG_SUBJECT) == str(subject):
                raw = self._blob_bytes(entry)
                if raw is not None:
                    found += ImageIndex.parse(raw, entry, where=str(entry.digest)).manifests
        return Referrers(descriptors=tuple(found))

    def kept_beside(self, subject: Digest, store: Store) -> tuple[Descriptor, ...]:
        """Return what `cosign save` put beside its one image; see `Repository`."""
        images = {
            entry.digest
            for entry in self._index.manifests
            if entry.annotations.get("kind") in _COSIGN_IMAGES
        }
        if images != {subject} or store not in _COSIGN_KINDS:
            return ()
        kind = _COSIGN_KINDS[store]
        return tuple(e for e in self._index.manifests if e.annotations.get("kind") == kind)

    # --- reading ------------------------------------------------------------------------------

    @cached_property
    def _with_subject(self) -> dict[Digest, Digest]:
        """The subject of each manifest that `index.json` lists and that has one."""
        found: dict[Digest, Digest] = {}
        for entry in self._index.manifests:
            if entry.media_type not in MANIFEST_MEDIA_TYPES:
                continue
            raw = self._blob_bytes(entry)
            if raw is None:
                continue
            try:
                manifest = ImageManifest.parse(raw, entry, where=str(entry.digest))
            except FormatError:
                continue  # nothing that could be read as evidence either
            if manifest.subject is not None:
                found[entry.digest] = manifest.subject.digest
        return found

    def _blob_bytes(self, entry: Descriptor) -> bytes | None:
        raw = self._read(blob_name(entry.digest), DEFAULT_LIMITS.document_size_max)
        return None if raw is None else entry.check(raw, what=f"{self._name} {entry.digest}")

    def _read(self, name: str, size_max: int) -> bytes | None:
        opened = self._files.open(name)
        if opened is None:
            return None
        file, begin, size = opened
        with file:
            if size > size_max:
                raise LimitError(
                    "a document is too large",
                    where=f"{self._name} {name}",
                    expected=f"at most {size_max} bytes",
                    found=f"{size} bytes",
                )
            return os.pread(file.fileno(), size, begin)


def _names(entry: Descriptor) -> tuple[str, ...]:
    found = (entry.annotations.get(key) for key in (_REF_NAME, _CONTAINERD_NAME))
    return tuple(name for name in found if name)


def _is_digest_tag(name: str) -> bool:
    return name.rpartition(":")[2].startswith("sha256-")


def _media_type(raw: bytes, *, where: str) -> MediaType:
    """Return what a document says that it is; without that, what its shape says."""
    fields = Fields(strictjson.parse_object(raw, what=where, size_max=len(raw)), where)
    if fields.has("mediaType"):
        return MediaType(fields.text("mediaType", length_max=255))
    return OCI_INDEX if fields.has("manifests") else OCI_MANIFEST
