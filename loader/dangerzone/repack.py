"""A Dangerzone archive becomes a bundle of ours, which nobody has judged yet (DZ-2, DZ-5).

    archive ─records→ blobs in a nameless file ─layout→ one image and its signatures ─→ bundle

The medium is read once. What comes out is read by the line like every other bundle, so that
everything is verified before a runtime is asked, and the received archive is given to nobody: it is
unpacked, and what the image and its evidence consist of is packed anew.

Dangerzone's own reader loads first, takes the log index of unverified signatures, and ignores the
key it was given (dangerzone/updater/signatures.py at 08ebaae2); none of that has a place here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from loader.archive import format as tar
from loader.dangerzone.layout import DOCUMENTS, MANIFEST_NAME, Layout
from loader.dangerzone.records import Records
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    DigestError,
    FormatError,
    LimitError,
    MissingError,
    NoSpaceError,
    shown,
)
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model.bundle import (
    LAYOUT_BYTES,
    LAYOUT_INDEX_NAME,
    LAYOUT_NAME,
    STATEMENT_NAME,
    BundleStatement,
    layout_index,
)
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest, parse_manifest
from loader.places import local_error
from loader.source import BundleFile

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.bundle import ImageEntry
    from loader.source import Medium, Opening

_CHUNK: Final = 1 * MIB
_MARGIN_SIZE: Final = 64 * MIB
_CREATED: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""A Dangerzone archive does not say when it was made, and nothing depends on it."""


def repacked(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Opening:
    """Return how an archive is opened as a bundle: unpacked into a nameless file first."""

    @contextlib.contextmanager
    def opened(scratch: Path) -> Iterator[Medium]:
        with BundleFile.open(path) as source, _Blobs.open(scratch, size=source.size) as blobs:
            try:
                documents = _unpacked(source, blobs, limits=limits)
                statement = _statement(documents, blobs, limits=limits)
            except FormatError as e:
                try:
                    source.expect_whole()
                except AirlockError as partial:
                    raise partial from e
                raise
            yield _Repacked(source, blobs, statement)

    return opened


class _Blobs:
    """Blobs in one nameless file: nothing of it has a name, or outlives this process."""

    def __init__(self, file: IO[bytes], *, scratch: Path) -> None:
        self._file = file
        self._scratch = scratch
        self._places: dict[Digest, tuple[int, int]] = {}
        self._end = 0

    @classmethod
    @contextlib.contextmanager
    def open(cls, scratch: Path, *, size: int) -> Iterator[Self]:
        """Open an empty file, where there is room for the archive twice: here and in quarantine."""
        try:
            status = os.statvfs(scratch)
            free = status.f_bavail * status.f_frsize
            if free < 2 * size + _MARGIN_SIZE:
                raise NoSpaceError(
                    "the archive does not fit beside what it is packed into",
                    where=shown(str(scratch)),
                    expected=f"{2 * size + _MARGIN_SIZE} bytes",
                    found=f"{free} bytes free",
                )
            file = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115 - closed below
        except OSError as e:
            raise local_error(e, what="the archive cannot be unpacked", where=str(scratch)) from e
        with file:
            yield cls(file, scratch=scratch)

    def fill(self, digest: Digest, size: int, pieces: Iterator[bytes]) -> None:
        """Keep a blob.

        Raises:
            DigestError: it is not the one that its name says.
            LocalError: the disk fails.
        """
        hashed = hashlib.sha256()
        start = self._end
        for piece in pieces:
            hashed.update(piece)
            rest = memoryview(piece)
            while rest:
                try:
                    count = os.pwrite(self._file.fileno(), rest, self._end)
                except OSError as e:
                    where = shown(str(self._scratch))
                    raise local_error(e, what="the archive cannot be unpacked", where=where) from e
                self._end += count
                rest = rest[count:]
        if hashed.hexdigest() != digest.hex:
            raise DigestError(
                "a blob is not the one that its name says",
                where=f"./blobs/sha256/{digest.hex}",
                found=f"sha256:{hashed.hexdigest()}",
            )
        self._places[digest] = (start, size)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._places

    def size(self, digest: Digest) -> int:
        """Return how long a blob is.

        Raises:
            MissingError: it is not in the archive.
        """
        if digest not in self._places:
            raise MissingError("a blob is not in the archive", where=str(digest))
        return self._places[digest][1]

    def piece(self, digest: Digest, offset: int, size: int) -> bytes:
        """Return a part of a blob."""
        start, _ = self._places[digest]
        try:
            return os.pread(self._file.fileno(), size, start + offset)
        except OSError as e:
            where = shown(str(self._scratch))
            raise local_error(e, what="what was unpacked cannot be read", where=where) from e

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return a document; see `BlobSource`."""
        size = self.size(descriptor.digest)
        if size > size_max:
            raise LimitError(
                "a blob is too large for what it is used as",
                where=where,
                expected=f"at most {size_max} bytes",
                found=f"{size} bytes",
            )
        raw = b""
        while len(raw) < size and (more := self.piece(descriptor.digest, len(raw), size)):
            raw += more
        return descriptor.check(raw, what=where)


def _unpacked(source: BundleFile, blobs: _Blobs, *, limits: Limits) -> dict[str, bytes]:
    """Read the archive to its last byte; return the documents that are no blobs."""
    records = Records(source.read)
    documents: dict[str, bytes] = {}
    count = 0
    while (record := records.next()) is not None:
        count += 1
        if count > limits.member_count_max:
            raise LimitError("too many members", expected=f"at most {limits.member_count_max}")
        pieces = records.content(record.size, chunk=_CHUNK)
        if record.name in DOCUMENTS:
            if record.size > limits.document_size_max:
                raise LimitError(
                    "a document is too large",
                    where=record.name,
                    expected=f"at most {limits.document_size_max} bytes",
                    found=f"{record.size} bytes",
                )
            documents[record.name] = b"".join(pieces)
        else:
            digest = Digest.parse(f"sha256:{record.name.rpartition('/')[2]}")
            blobs.fill(digest, record.size, pieces)
    missing = [name for name in DOCUMENTS if name not in documents]
    if missing:
        raise MissingError(
            "this is no archive that dangerzone-image prepare-archive wrote"
            if MANIFEST_NAME in missing
            else "a document is not in the archive",
            where=", ".join(missing),
            hint="an archive of Airlock's own is loaded with: airlock-loader load",
        )
    return documents


def _statement(documents: dict[str, bytes], blobs: _Blobs, *, limits: Limits) -> BundleStatement:
    """Return the statement of the bundle that holds the image, what speaks of it, and no more."""
    entry = Layout.parse(documents, limits=limits).entry(blobs, limits=limits)
    graph = read_graph(entry, blobs, limits=limits)
    metadata = {d.digest: d for d in graph.metadata}
    for item in entry.evidence:
        metadata[item.manifest.digest] = item.manifest
        metadata |= {d.digest: d for d in _parts(item.manifest, blobs, limits=limits)}
    layers = [layer for layer in graph.layers if layer.digest not in metadata]
    for blob in (*metadata.values(), *layers):
        if blobs.size(blob.digest) != blob.size:
            raise DigestError(
                "a blob has another size than its descriptor says",
                where=str(blob.digest),
                expected=f"{blob.size} bytes",
                found=f"{blobs.size(blob.digest)} bytes",
            )
    return BundleStatement.make(
        created=_CREATED,
        channel=None,
        sequence=None,
        expires=None,
        images=[entry],
        trust=[],
        metadata=[metadata[digest] for digest in sorted(metadata)],
        layers=layers,
    )


def _parts(manifest: Descriptor, blobs: _Blobs, *, limits: Limits) -> tuple[Descriptor, ...]:
    where = f"evidence {manifest.digest.short}"
    raw = blobs.read(manifest, where=where, size_max=limits.document_size_max)
    parsed = parse_manifest(raw, manifest, where=where, limits=limits)
    return parsed.blobs if isinstance(parsed, ImageManifest) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """Bytes of the bundle: literal ones, or a blob's."""

    literal: bytes = b""
    blob: Digest | None = None
    size: int = 0


class _Repacked:
    """The bundle as the line reads it, put together as it is read."""

    def __init__(self, source: BundleFile, blobs: _Blobs, statement: BundleStatement) -> None:
        self._source = source
        self._blobs = blobs
        self._segments = list(_segments(statement, statement.images))
        self.size = sum(segment.size for segment in self._segments)
        self.position = 0
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; see `BundleFile`."""
        while self._segments:
            segment = self._segments[0]
            if self._at == segment.size:
                self._segments.pop(0)
                self._at = 0
                continue
            count = min(size, segment.size - self._at)
            piece = (
                segment.literal[self._at : self._at + count]
                if segment.blob is None
                else self._blobs.piece(segment.blob, self._at, count)
            )
            self._at += len(piece)
            self.position += len(piece)
            return piece
        return b""

    def expect_whole(self) -> None:
        """See `BundleFile`."""
        self._source.expect_whole()


def _segments(statement: BundleStatement, images: Sequence[ImageEntry]) -> Iterator[_Segment]:
    """Yield the archive `airlock-bundle` version 1, not compressed (docs/format.md)."""
    derived = {LAYOUT_NAME: LAYOUT_BYTES, LAYOUT_INDEX_NAME: layout_index(images)}
    yield from _literal(STATEMENT_NAME, statement.raw)
    for member in statement.members:
        if member.name in derived:
            yield from _literal(member.name, derived[member.name])
        else:
            header = tar.encode(tar.Header(name=member.name, size=member.size))
            yield _Segment(literal=header, size=len(header))
            if member.size:
                yield _Segment(blob=member.digest, size=member.size)
            yield _zeros(tar.padded(member.size) - member.size)
    sizes = [len(statement.raw), *(member.size for member in statement.members)]
    written = sum(tar.BLOCK_SIZE + tar.padded(size) for size in sizes)
    yield _zeros(tar.archive_size(sizes) - written)


def _literal(name: str, raw: bytes) -> Iterator[_Segment]:
    whole = tar.encode(tar.Header(name=name, size=len(raw))) + raw
    yield _Segment(literal=whole, size=len(whole))
    yield _zeros(tar.padded(len(raw)) - len(raw))


def _zeros(size: int) -> _Segment:
    return _Segment(literal=bytes(size), size=size)
