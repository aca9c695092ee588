"""Blobs on their way from one registry to another: hashed as they pass, never kept.

The last piece is let go only when the digest of all is right: a registry that takes whatever it
gets would else have something under a digest that is not its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from bundler.errors import RemoteDigestError
from bundler.registry.client import Repository
from bundler.registry.writer import Read
from bundler.store import ContentStore
from loader.limits import MIB
from loader.model.descriptor import Descriptor

_CHUNK = 1 * MIB


def blob_reader(source: Repository, store: ContentStore) -> Callable[[Descriptor], Read]:
    """Return who gives a blob's bytes: from the store where it has them, else from the source."""

    def read(descriptor: Descriptor) -> Read:
        def from_offset(offset: int) -> Iterator[bytes]:
            if store.holds(descriptor):
                chunks: Generator[bytes] = _stored(store, descriptor)
            else:
                chunks = source.blob(descriptor, 0)
            return checked(chunks, descriptor, offset=offset, where=source.name)

        return from_offset

    return read


def checked(
    chunks: Generator[bytes], descriptor: Descriptor, *, offset: int, where: str
) -> Iterator[bytes]:
    """Yield a blob from an offset on; its beginning is hashed too, so the whole is what it must be.

    Raises:
        RemoteDigestError: it is not; the last piece was kept back.
    """
    sha256 = hashlib.sha256()
    held = b""
    position = 0
    with closing(chunks):
        for chunk in chunks:
            sha256.update(chunk)
            wanted = chunk[max(0, offset - position) :]
            position += len(chunk)
            if wanted:
                if held:
                    yield held
                held = wanted
    if sha256.hexdigest() != descriptor.digest.hex:
        raise RemoteDigestError(
            "a blob has another digest than the one asked for",
            where=f"{where}@{descriptor.digest}",
            expected=str(descriptor.digest),
            found=f"sha256:{sha256.hexdigest()}",
        )
    if held:
        yield held


def _stored(store: ContentStore, descriptor: Descriptor) -> Generator[bytes]:
    with store.open(descriptor.digest) as file:
        while chunk := file.read(_CHUNK):
            yield chunk
