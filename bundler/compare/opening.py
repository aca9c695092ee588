"""From what a user writes to a side: layouts, archives of three kinds, bundles, registries.

A path is looked at, not guessed from its name: a folder is a layout; a file is what its first bytes
and its members say. `#NAME` behind a path chooses among several images.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from bundler.compare.docker_archive import MANIFEST_NAME, DockerArchive
from bundler.compare.hints import statements_of
from bundler.compare.side import Side, side_of
from bundler.errors import SourceError
from bundler.evidence import Finder
from bundler.reach import Reach
from bundler.registry.client import Document, Repository
from bundler.registry.layout import FolderFiles, LayoutRepository, TarFiles
from bundler.registry.streams import checked
from bundler.resolve import ResolvedImage, resolve, top_of
from bundler.sources import parse_reference
from bundler.store import ContentStore, Fetch
from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.digest import Digest
from loader.errors import DigestError, InputError, MissingError, shown
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model.bundle import (
    LAYOUT_NAME,
    BundleStatement,
    EvidenceEntry,
    ImageEntry,
    blob_name,
)
from loader.model.descriptor import Descriptor, MediaType, Platform
from loader.model.reference import Reference
from loader.source import BundleFile

_KINDS: Final = ("oci", "oci-archive", "docker-archive", "dangerzone", "bundle")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_STATEMENT: Final = b"airlock.json\0"
_NAMELESS: Final = Reference.parse("localhost/nameless:latest")
_PIECE: Final = 1 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What it takes to open a side."""

    reach: Reach
    platforms: tuple[Platform, ...]
    cancelled: threading.Event
    evidence: bool = False
    """Whether to look for what is said of how it was built."""


@contextmanager
def opened(text: str, opening: Opening) -> Iterator[Side]:
    """Give the image that `text` names, until the end of the block.

    Raises:
        SourceError: it names nothing, or several images.
        FormatError: it is malformed.
        RemoteError: a registry.
        LocalError: this machine.
    """
    kind, rest = _kind_of(text)
    path_text, _, wanted = rest.partition("#")
    with ExitStack() as stack:
        folder = stack.enter_context(_scratch(opening.reach.cache))
        if kind == "registry":
            yield stack.enter_context(_registry(rest, opening, folder))
            return
        path = Path(path_text)
        match kind:
            case "oci":
                yield stack.enter_context(_layout(FolderFiles(path), text, wanted, opening, folder))
            case "oci-archive" | "dangerzone":
                yield stack.enter_context(_layout(TarFiles(path), text, wanted, opening, folder))
            case "docker-archive":
                file = stack.enter_context(_regular(path))
                yield DockerArchive(file, name=text).side(wanted)
            case _:
                yield stack.enter_context(_bundle(path, text, wanted, opening, folder))


def _regular(path: Path) -> BinaryIO:
    """Open a regular file; a pipe that nobody writes to would be waited for, for ever.

    Raises:
        InputError: it is not there, or none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise InputError(
            "the archive cannot be opened", where=shown(str(path)), found=e.strerror or ""
        ) from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(
            "the archive cannot be opened", where=shown(str(path)), expected="a regular file"
        )
    return os.fdopen(fd, "rb", buffering=0)


def _kind_of(text: str) -> tuple[str, str]:
    for kind in _KINDS:
        if text.startswith(f"{kind}:"):
            return kind, text.removeprefix(f"{kind}:")
    path = Path(text.partition("#")[0])
    if path.is_dir():
        return "oci", text
    if path.is_file():
        return _kind_of_file(path), text
    if text.startswith((".", "/")) or text.endswith((".tar", ".tar.zst")):
        raise SourceError("there is no such file or folder", found=shown(text))
    return "registry", text


def _kind_of_file(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(512)
            if head.startswith((_ZSTD, _STATEMENT)):
                return "bundle"
            names = DockerArchive(file, name=str(path))
            if names.has(LAYOUT_NAME):
                return "oci-archive"
            if names.has(MANIFEST_NAME):
                return "docker-archive"
            raise SourceError(
                "a tar that holds no image",
                where=shown(str(path)),
                expected=f"{LAYOUT_NAME} (a layout) or {MANIFEST_NAME} (docker save)",
            )
    except OSError as e:
        raise InputError("a file cannot be read", where=str(path), found=e.strerror or "") from e


# --- registries and layouts -----------------------------------------------------------------------


@contextmanager
def _registry(text: str, opening: Opening, folder: Path) -> Iterator[Side]:
    reference = parse_reference(text)
    with opening.reach.registries(opening.cancelled) as registries:
        repository = registries.repository(reference)
        document = top_of(repository, reference)
        yield _resolved(text, document, reference, repository, opening, folder)


@contextmanager
def _layout(
    files: FolderFiles | TarFiles, text: str, wanted: str, opening: Opening, folder: Path
) -> Iterator[Side]:
    try:
        layout = LayoutRepository(files, text)
        chosen: str | Digest | None = wanted or None
        if wanted.startswith("sha256:"):
            chosen = Digest.parse(wanted, where=text)
        document, _ = layout.choose(chosen)
        yield _resolved(text, document, _NAMELESS, layout, opening, folder)
    finally:
        files.close()


def _resolved(
    text: str,
    document: Document,
    reference: Reference,
    repository: Repository,
    opening: Opening,
    folder: Path,
) -> Side:
    store = ContentStore(folder, cancelled=opening.cancelled)
    image = resolve(document, reference, repository, store, platforms=opening.platforms)
    for config in image.configs:
        store.fill(config, _fetch(repository, config), where=text)
    entry = ImageEntry(
        reference=replace(reference, digest=None) if reference.tag else reference,
        image=image.image,
        platforms=image.platforms,
        evidence=tuple(_evidence(image, repository, store)) if opening.evidence else (),
    )
    graph = read_graph(entry, store)

    def read(digest: Digest, size: int) -> Iterator[bytes]:
        descriptor = Descriptor(media_type=MediaType("x/y"), digest=digest, size=size)
        return checked(repository.blob(descriptor, 0), descriptor, offset=0, where=text)

    said = statements_of(entry, graph, store) if opening.evidence else ()
    return side_of(text, graph, read, statements=said)


def _evidence(
    image: ResolvedImage, repository: Repository, store: ContentStore
) -> Iterator[EvidenceEntry]:
    """Yield what speaks of an image, once it is in the store."""
    finder = Finder(repository, store)
    found = [finder.about(subject) for subject in image.subjects]
    found += [finder.attestation(one, subject) for one, subject in image.attestations]
    for piece in (piece for one in found for piece in one.pieces):
        if piece.size > DEFAULT_LIMITS.image_evidence_size_max:
            continue  # nothing that says how something was built
        for blob in piece.manifest.blobs:
            store.fill(blob, _fetch(repository, blob), where=repository.name)
        yield piece.entry


def _fetch(repository: Repository, blob: Descriptor) -> Fetch:
    return lambda offset: repository.blob(blob, offset)


# --- bundles --------------------------------------------------------------------------------------


@contextmanager
def _bundle(path: Path, text: str, wanted: str, opening: Opening, folder: Path) -> Iterator[Side]:
    with BundleFile.open(path) as source, MetadataStore(folder) as blobs:
        reader = ArchiveReader(source)
        statement = BundleStatement.parse(reader.read_statement().raw)
        reader.read_metadata(statement, blobs)
        entry = _entry_of(statement, wanted, text)
        if opening.platforms:
            kept = tuple(
                one
                for one in entry.platforms
                if any(_asked_for(one.platform, platform) for platform in opening.platforms)
            )
            entry = replace(entry, platforms=kept)
            if not kept:
                raise SourceError(
                    "the bundle has none of the platforms asked for",
                    where=text,
                    expected=", ".join(map(str, opening.platforms)),
                )
        graph = read_graph(replace(entry, evidence=()), blobs)
        layers = {layer.digest for layer in graph.layers}
        said = statements_of(entry, graph, blobs) if opening.evidence else ()
        yield side_of(text, graph, _spooled(reader, statement, layers, folder), statements=said)


def _asked_for(found: Platform, wanted: Platform) -> bool:
    same = (found.os, found.architecture) == (wanted.os, wanted.architecture)
    return same and wanted.variant in {"", found.variant}


def _entry_of(statement: BundleStatement, wanted: str, text: str) -> ImageEntry:
    found = [
        entry
        for entry in statement.images
        if not wanted
        or wanted in {str(entry.reference), entry.reference.tagged, str(entry.image.digest)}
    ]
    if len({entry.image.digest for entry in found}) != 1:
        known = [str(entry.reference) for entry in statement.images]
        raise SourceError(
            "several images, and no name says which" if found else "no such image in the bundle",
            where=text,
            expected=f"one of: {', '.join(known[:20])}",
            found=shown(wanted),
            hint="write BUNDLE#registry/repository:tag",
        )
    return found[0]


def _spooled(
    reader: ArchiveReader, statement: BundleStatement, wanted: set[Digest], folder: Path
) -> Callable[[Digest, int], Iterator[bytes]]:
    """Return who gives a bundle's layers: an archive is read once, so they wait on the disk."""
    done: list[bool] = []

    def spool() -> None:
        if done:
            return
        done.append(True)
        names = {blob_name(digest): digest for digest in wanted}
        for stream in reader.layers(statement):
            if stream.member.name not in names:
                for _ in stream:
                    pass
                continue
            with (folder / names[stream.member.name].hex).open("wb") as file:
                for chunk in stream:
                    file.write(chunk)
        reader.finish()

    def read(digest: Digest, size: int) -> Iterator[bytes]:
        spool()
        return _file_chunks(folder / digest.hex, digest, size)

    return read


def _file_chunks(path: Path, digest: Digest, size: int) -> Iterator[bytes]:
    sha256, found = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                sha256.update(piece)
                found += len(piece)
                yield piece
    except FileNotFoundError as e:
        raise MissingError("a layer is not in the bundle", found=str(digest)) from e
    if (sha256.hexdigest(), found) != (digest.hex, size):
        raise DigestError("a layer changed on this disk", where=str(path), expected=str(digest))


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="compare-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
