"""Signature folders of ghcr-signer: evidence that no registry has yet, or none any more (DZ-9).

    SIGNATURES/DATE/HEX/IMAGE           repository@sha256:HEX
                        MANIFEST        the manifest at the tag sha256-HEX.sig
                        PAYLOAD_BLOB    its one layer: what was signed
                        CONFIG_BLOB     its config
                        LATEST          empty: the tag `latest` is to move here

(ghcr-signer.py, prepare_signature, at 07f7635.) A folder is taken as a whole or not at all; whether
its signature holds is for the judge to say, like that of every other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from bundler.errors import SourceError
from bundler.registry.client import Document, Referrers, Repository
from loader.digest import Digest
from loader.errors import FormatError, OciError, shown
from loader.limits import KIB, MIB
from loader.model.bundle import Store
from loader.model.descriptor import OCI_MANIFEST, Descriptor
from loader.model.image import ImageManifest
from loader.model.reference import Reference
from loader.model.simplesigning import SimpleSigning

FOLDER_COUNT_MAX: Final = 10_000
_DEPTH_MAX: Final = 2
_IMAGE_SIZE_MAX: Final = 4 * KIB
_BLOB_SIZE_MAX: Final = 1 * MIB
_NAMES: Final = ("IMAGE", "MANIFEST", "PAYLOAD_BLOB", "CONFIG_BLOB")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureFolder:
    """One digest's folder, whole."""

    path: Path
    reference: Reference
    """Repository and digest."""
    manifest: Descriptor
    blobs: Mapping[Digest, bytes]
    """The manifest, and the two blobs that it names."""
    latest: bool

    @property
    def subject(self) -> Digest:
        """What was signed."""
        if self.reference.digest is None:
            raise OciError("a signature of no digest", where=str(self.path))
        return self.reference.digest

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a folder holds.

        What becomes true: IMAGE names the digest that the folder is called by; MANIFEST is an image
        manifest with one layer, PAYLOAD_BLOB, and a config, CONFIG_BLOB; the payload speaks of the
        same digest and repository.

        Raises:
            FormatError: any of that does not hold.
            SourceError: a file cannot be read.
        """
        where = shown(str(path))[1:-1]
        image, raw, payload, config = (
            _read(path / name, size_max=_IMAGE_SIZE_MAX if name == "IMAGE" else _BLOB_SIZE_MAX)
            for name in _NAMES
        )
        reference = Reference.parse(
            image.decode("ascii", "replace").strip(), where=f"{where}/IMAGE"
        )
        if reference.digest is None or reference.digest.hex != path.name:
            raise OciError(
                "IMAGE names another digest than its folder",
                where=where,
                expected=f"sha256:{path.name}",
                found=str(reference.digest),
            )
        descriptor = Descriptor.make(OCI_MANIFEST, raw)
        manifest = ImageManifest.parse(raw, descriptor, where=f"{where}/MANIFEST")
        if len(manifest.layers) != 1:
            raise OciError(
                "not one signature", where=where, expected="1", found=str(len(manifest.layers))
            )
        manifest.layers[0].check(payload, what=f"{where}/PAYLOAD_BLOB")
        manifest.config.check(config, what=f"{where}/CONFIG_BLOB")
        said = SimpleSigning.parse(payload, where=f"{where}/PAYLOAD_BLOB")
        if said.digest != reference.digest or said.docker_reference != reference.name:
            raise OciError(
                "what was signed is another image than IMAGE names",
                where=where,
                expected=f"{reference.name}@{reference.digest}",
                found=shown(f"{said.docker_reference}@{said.digest}"),
            )
        return cls(
            path=path,
            reference=reference,
            manifest=descriptor,
            blobs={
                descriptor.digest: raw,
                manifest.layers[0].digest: payload,
                manifest.config.digest: config,
            },
            latest=(path / "LATEST").is_file(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureFolders:
    """All folders of a run, by what they speak of."""

    folders: tuple[SignatureFolder, ...] = ()
    _by_subject: dict[Digest, list[SignatureFolder]] = field(default_factory=dict)

    @classmethod
    def read(cls, *paths: Path) -> Self:
        """Read folders: one digest's, one date's, or all dates'.

        Raises:
            FormatError: one of them is not whole, or there is none.
            SourceError: one cannot be read, or there are too many.
        """
        found: list[SignatureFolder] = []
        for path in paths:
            before = len(found)
            for folder in _folders(path, depth=_DEPTH_MAX):
                if len(found) == FOLDER_COUNT_MAX:
                    raise SourceError("too many signature folders", where=str(path))
                found.append(SignatureFolder.read(folder))
            if len(found) == before:
                raise SourceError(
                    "no signature folder here",
                    where=str(path),
                    expected="DIGEST/MANIFEST, as ghcr-signer prepares it",
                )
        folders = cls(folders=tuple(found))
        for one in found:
            folders._by_subject.setdefault(one.subject, []).append(one)
        return folders

    def about(self, subject: Digest) -> tuple[SignatureFolder, ...]:
        """Return the folders that speak of a digest."""
        return tuple(self._by_subject.get(subject, ()))

    @property
    def blobs(self) -> dict[Digest, bytes]:
        """Every manifest and blob."""
        return {d: raw for folder in self.folders for d, raw in folder.blobs.items()}

    @property
    def tags(self) -> dict[str, Digest]:
        """What LATEST asks for: each repository's `latest`, by the newest date that has one."""
        return {
            f"{folder.reference.name}:latest": folder.subject
            for folder in sorted(self.folders, key=lambda one: one.path.parent.name)
            if folder.latest
        }


NO_SIGNATURES: Final = SignatureFolders()


class WithSignatures:
    """A repository, and signature folders beside it."""

    def __init__(self, inner: Repository, folders: SignatureFolders) -> None:
        self._inner = inner
        self._folders = folders
        self._blobs = folders.blobs

    @property
    def name(self) -> str:
        """See `Repository`."""
        return self._inner.name

    def tagged(self, tag: str) -> Document | None:
        """See `Repository`."""
        return self._inner.tagged(tag)

    def document(self, digest: Digest) -> Document | None:
        """See `Repository`."""
        raw = self._blobs.get(digest)
        if raw is not None:
            return Document(descriptor=Descriptor.make(OCI_MANIFEST, raw), raw=raw)
        return self._inner.document(digest)

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes]:
        """See `Repository`."""
        raw = self._blobs.get(descriptor.digest)
        if raw is None:
            yield from self._inner.blob(descriptor, offset)
        else:
            yield raw[offset:]

    def referrers(self, subject: Digest) -> Referrers:
        """See `Repository`."""
        return self._inner.referrers(subject)

    def kept_beside(self, subject: Digest, store: Store) -> tuple[Descriptor, ...]:
        """See `Repository`; with the folders' signatures of this subject."""
        beside = self._inner.kept_beside(subject, store)
        if store != "signature-tag":
            return beside
        ours = {folder.manifest.digest: folder.manifest for folder in self._folders.about(subject)}
        known = {descriptor.digest for descriptor in beside}
        return (*beside, *(one for digest, one in ours.items() if digest not in known))


def _folders(path: Path, *, depth: int) -> Iterator[Path]:
    try:
        if (path / "MANIFEST").is_file():
            yield path
            return
        children = sorted(child for child in path.iterdir() if child.is_dir())
    except OSError as e:
        raise SourceError(
            "signature folders cannot be read", where=str(path), found=e.strerror or ""
        ) from e
    if depth:
        for child in children:
            yield from _folders(child, depth=depth - 1)
    elif children:
        raise SourceError("folders nested too deeply", where=str(path))


def _read(path: Path, *, size_max: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SourceError("not a regular file", where=str(path))
            raw = file.read(size_max + 1)
    except OSError as e:
        raise SourceError("a file cannot be read", where=str(path), found=e.strerror or "") from e
    if len(raw) > size_max:
        raise FormatError("a file is too large", where=str(path), expected=f"{size_max} bytes")
    return raw
