"""What the loader sends on standard input: questions, one after the other.

A frame is its length in four bytes, big-endian, then JSON. A question is a frame. If it is about an
image, the image's small documents and its blobs follow, each a frame with digest and size and then
so many bytes as they are, and an end:

    {"call":"named","name":…}                        what a tag points to; `remove` takes it away
    {"call":"point","name":…,"digest":…}             what it is to point to
    {"call":"look","name":…,"image":…}               the image as a bundle's statement writes it
    {"call":"check","name":…,"image":…,"anew":…}     `anew`: also what was read back before
    {"call":"push","name":…,"image":…,"current":…}   what the tag pointed to when that was decided
    {"digest":"sha256:…","size":…} BYTES             behind each of the last three, any number
    {"end":true}

The loader has verified all of it. It is hashed here nevertheless: what this program puts into a
registry has the digest that it is put under, whoever started it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, get_args

from bundler.errors import RemoteTruncatedError
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import FormatError, TruncatedError, shown
from loader.limits import MIB
from loader.model import strictjson
from loader.model.bundle import ImageEntry
from loader.model.descriptor import Descriptor, MediaType
from loader.model.fields import Fields
from loader.model.reference import Reference

PROTOCOL: Final = 2
"""Which questions there are, and how they are written. `airlock-push version` says it."""
FRAME_SIZE_MAX: Final = 16 * MIB
_LENGTH_SIZE: Final = 4
_PIECE: Final = 1 * MIB
_COUNT_MAX: Final = 100_000
_WHERE: Final = "standard input"

CallName = Literal["named", "look", "push", "check", "point", "remove"]
_CALLS: Final[dict[str, CallName]] = {name: name for name in get_args(CallName)}
_FURTHER: Final[dict[CallName, tuple[str, ...]]] = {
    "named": (),
    "remove": (),
    "point": ("digest",),
    "look": ("image", "anew"),
    "check": ("image", "anew"),
    "push": ("image", "current"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked."""

    call: CallName
    name: Reference
    """Where, in the registry."""
    image: ImageEntry | None = None
    """Under its source's name; its documents and blobs follow."""
    current: Digest | None = None
    """What the tag pointed to when the loader decided that it may be set."""
    digest: Digest | None = None
    """What the tag is to point to."""
    anew: bool = False
    """Whether also that is read which was read back before, for another image."""


def next_question(stream: BinaryIO) -> Question | None:
    """Read the next question; None where the stream ends instead.

    Raises:
        FormatError: it is not the protocol.
    """
    length = stream.read(_LENGTH_SIZE)
    if not length:
        return None
    fields = _frame(stream, length)
    call = _CALLS.get(fields.text("call"))
    if call is None:
        raise FormatError("not a question", where=_WHERE, found=shown(fields.text("call")))
    fields.only("call", "name", *_FURTHER[call])
    has_image = "image" in _FURTHER[call]
    return Question(
        call=call,
        name=Reference.parse(fields.text("name"), where=call),
        image=ImageEntry.parse(fields.fields("image")) if has_image else None,
        current=fields.digest("current") if fields.has("current") else None,
        digest=fields.digest("digest") if call == "point" else None,
        anew=fields.has("anew") and fields.value("anew") is True,
    )


def take_in(stream: BinaryIO, store: ContentStore) -> None:
    """Bring all documents and blobs that follow a question into the store.

    Raises:
        FormatError: it is not the protocol, or a blob is not the one announced.
        LocalError: the disk.
    """
    for _ in range(_COUNT_MAX):
        fields = _frame(stream, stream.read(_LENGTH_SIZE))
        if fields.has("end"):
            return
        blob = Descriptor(
            media_type=MediaType("application/octet-stream"),
            digest=fields.digest("digest"),
            size=fields.integer("size"),
        )
        with contextlib.closing(_chunks(stream, blob.size)) as chunks:
            store.fill(blob, lambda _, chunks=chunks: chunks, where=_WHERE)  # type: ignore[misc]
            for _piece in chunks:  # the store had it: its bytes are passed over
                pass
    raise FormatError("too many blobs", where=_WHERE, expected=f"at most {_COUNT_MAX}")


def _frame(stream: BinaryIO, length: bytes) -> Fields:
    if len(length) != _LENGTH_SIZE:
        raise TruncatedError(f"{_WHERE} ends too early", expected=f"{_LENGTH_SIZE} bytes")
    size = int.from_bytes(length, "big")
    if size > FRAME_SIZE_MAX:
        raise FormatError("a frame is too large", where=_WHERE)
    raw = stream.read(size)
    if len(raw) != size:
        raise TruncatedError(f"{_WHERE} ends too early", expected=f"{size} bytes")
    return Fields(strictjson.parse_object(raw, what="a frame", size_max=FRAME_SIZE_MAX), "")


def _chunks(stream: BinaryIO, size: int) -> Generator[bytes]:
    while size:
        chunk = stream.read(min(size, _PIECE))
        if not chunk:
            raise RemoteTruncatedError("standard input ends within a blob")
        size -= len(chunk)
        yield chunk
