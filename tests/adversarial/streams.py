"""A bundle that is never anywhere whole: its one large layer is made while it is read."""

from __future__ import annotations

import hashlib

from loader.digest import Digest
from loader.model.bundle import BundleStatement
from loader.model.descriptor import Descriptor, MediaType
from tests.adversarial.golden import tiny
from tests.adversarial.pieces import BLOCK, END, RECORD, record

CHUNK = bytes(256 * 1024)


class Endless:
    """A plain archive with one more layer, of so many zeros; a `Source`."""

    def __init__(self, size: int) -> None:
        digest = hashlib.sha256()
        for _ in range(size // len(CHUNK)):
            digest.update(CHUNK)
        layer = Descriptor(
            media_type=MediaType("application/octet-stream"),
            digest=Digest(digest.hexdigest()),
            size=size,
        )
        bundle = tiny()
        statement = BundleStatement.make(
            created=bundle.created,
            channel=None,
            sequence=None,
            expires=None,
            images=bundle.images,
            trust=(),
            metadata=bundle.metadata,
            layers=(*bundle.layers, layer),
        )
        golden = bundle.archive(form="plain")
        first = record(b"airlock.json", statement.raw)
        old = BLOCK + -(-len(bundle.statement.raw) // BLOCK) * BLOCK
        # Behind the members stands the end, which is zeros; so may be the last block's filling.
        members = golden[old:].rstrip(b"\0")
        members += bytes(-len(members) % BLOCK)
        name = f"blobs/sha256/{layer.digest.hex}".encode()
        header = record(name, b"").with_field("size", b"%011o\0" % size)
        before = first.raw + members + header.raw
        length = len(before) + size + len(END)
        self._parts: list[bytes | int] = [before, size, END + bytes(-length % RECORD)]
        self.given = 0

    def read(self, size: int, /) -> bytes:
        while self._parts:
            part = self._parts[0]
            if isinstance(part, int):
                count = min(size, part, len(CHUNK))
                self._parts[0] = part - count
                data = CHUNK[:count]
            else:
                data, self._parts[0] = part[:size], part[size:]
            if data:
                self.given += len(data)
                return data
            self._parts.pop(0)
        return b""
