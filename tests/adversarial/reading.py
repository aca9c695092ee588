"""Read an archive to its end as the loader does, from a medium that may be slow or short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.errors import LimitError, MissingError
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import BundleStatement
from loader.model.descriptor import Descriptor, MediaType


class Medium:
    """Gives the bytes of a file in pieces of at most so many."""

    def __init__(self, data: bytes, *, piece: int = 2**30) -> None:
        self._data = memoryview(data)
        self._piece = piece

    def read(self, size: int, /) -> bytes:
        count = min(size, self._piece)
        data, self._data = bytes(self._data[:count]), self._data[count:]
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Everything that an archive held, by name."""

    format: str
    statement: BundleStatement
    signatures: tuple[bytes, ...]
    blobs: tuple[tuple[str, bytes], ...]
    bytes_read: int


def read_all(data: bytes, *, piece: int = 2**30, limits: Limits = DEFAULT_LIMITS) -> Read:
    """Read and compare every byte of an archive.

    Raises:
        RefusedError: it is no bundle, and nothing else is ever raised.
    """
    reader = ArchiveReader(Medium(data, piece=piece), limits=limits)
    sealed = reader.read_statement()
    statement = BundleStatement.parse(sealed.raw, limits=limits)
    with MetadataStore(Path("/nonexistent"), limits=limits) as store:
        reader.read_metadata(statement, store)
        blobs = list(_small(statement, store))
        blobs.extend((layer.member.name, b"".join(layer)) for layer in reader.layers(statement))
        reader.finish()
    return Read(
        format=reader.format,
        statement=statement,
        signatures=sealed.signatures,
        blobs=tuple(blobs),
        bytes_read=reader.bytes_read,
    )


def _small(statement: BundleStatement, store: MetadataStore) -> Iterator[tuple[str, bytes]]:
    for member in statement.metadata[2:]:
        assert member.digest in store
        described = Descriptor(
            media_type=MediaType("application/octet-stream"),
            digest=member.digest,
            size=member.size,
        )
        yield member.name, store.read(described, where=member.name, size_max=member.size)


class Blobs:
    """The small members of what was read, for the walk."""

    def __init__(self, read: Read) -> None:
        self._blobs = dict(read.blobs)

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        raw = self._blobs.get(f"blobs/sha256/{descriptor.digest.hex}")
        if raw is None:
            raise MissingError("not here", where=where)
        if descriptor.size > size_max:
            raise LimitError("too large", where=where)
        return descriptor.check(raw)
