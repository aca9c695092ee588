"""What the loader sends on standard input: a plan, then blobs; each hashed as it arrives.

A frame is its length in four bytes, big-endian, then JSON. A blob is a frame with digest and size,
then so many bytes as they are:

    {"schema":1,"image":…,"mounts":…,"current":…}   the plan: what is to be published
    {"digest":"sha256:…","size":…} BYTES            documents and blobs, any number
    {"end":true}                                    nothing comes behind it

The loader has verified all of it. It is hashed here nevertheless: what this program puts into a
registry has the digest that it is put under, whoever started it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO, Final

from bundler.errors import RemoteTruncatedError
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import FormatError, TruncatedError, UnsupportedVersionError
from loader.limits import MIB
from loader.model import strictjson
from loader.model.bundle import ImageEntry
from loader.model.descriptor import Descriptor, MediaType
from loader.model.fields import Fields

SCHEMA: Final = 1
FRAME_SIZE_MAX: Final = 16 * MIB
_LENGTH_SIZE: Final = 4
_PIECE: Final = 1 * MIB
_COUNT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be published."""

    image: ImageEntry
    """Under its source's name; where it goes is said on the command line."""
    mounts: dict[Digest, str]
    """Blobs that were read back from a repository of the registry in this run of the loader."""
    current: Digest | None
    """What the tag pointed to when the loader decided that it may be set."""


def take_in(stream: BinaryIO, store: ContentStore) -> Plan:
    """Read the plan, and bring all blobs that follow it into the store.

    Raises:
        FormatError: it is not the protocol, or a blob is not the one announced.
        LocalError: the disk.
    """
    plan = _plan(_frame(stream))
    for _ in range(_COUNT_MAX):
        fields = _frame(stream)
        if fields.has("end"):
            if stream.read(1):
                raise FormatError("something behind the end", where="standard input")
            return plan
        blob = Descriptor(
            media_type=MediaType("application/octet-stream"),
            digest=fields.digest("digest"),
            size=fields.integer("size"),
        )
        with contextlib.closing(_chunks(stream, blob.size)) as chunks:
            store.fill(blob, lambda _, chunks=chunks: chunks, where="standard input")  # type: ignore[misc]
            for _piece in chunks:  # the store had it: its bytes are passed over
                pass
    raise FormatError("too many blobs", where="standard input", expected=f"at most {_COUNT_MAX}")


def _plan(fields: Fields) -> Plan:
    if fields.integer("schema") != SCHEMA:
        raise UnsupportedVersionError(
            "the loader speaks another version of the protocol",
            where="standard input",
            expected=str(SCHEMA),
            hint="airlock-loader and airlock-push belong together: install both of one release",
        )
    fields.only("schema", "image", "mounts", "current")
    mounts = fields.text_map("mounts", count_max=_COUNT_MAX)
    return Plan(
        image=ImageEntry.parse(fields.fields("image")),
        mounts={Digest.parse(key, where="mounts"): value for key, value in mounts.items()},
        current=fields.digest("current") if fields.has("current") else None,
    )


def _frame(stream: BinaryIO) -> Fields:
    size = int.from_bytes(_exactly(stream, _LENGTH_SIZE), "big")
    if size > FRAME_SIZE_MAX:
        raise FormatError("a frame is too large", where="standard input")
    raw = _exactly(stream, size)
    return Fields(strictjson.parse_object(raw, what="a frame", size_max=FRAME_SIZE_MAX), "")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    raw = stream.read(size)
    if len(raw) != size:
        raise TruncatedError("standard input ends too early", expected=f"{size} bytes")
    return raw


def _chunks(stream: BinaryIO, size: int) -> Generator[bytes]:
    while size:
        chunk = stream.read(min(size, _PIECE))
        if not chunk:
            raise RemoteTruncatedError("standard input ends within a blob")
        size -= len(chunk)
        yield chunk
