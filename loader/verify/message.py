"""What a signature is over: bytes at hand, or a file of which only digests are left."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from loader.digest import Digest

HashName = Literal["sha256", "sha384", "sha512"]
HASH_NAMES: Final[tuple[HashName, ...]] = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The bytes that were signed, or some of their digests."""

    parts: tuple[bytes, ...] | None = field(default=None, repr=False)
    """What it is made of, one after the other; None where only digests are left. An envelope's
    encoding is a few bytes before a payload of megabytes, which need not be copied."""
    digests: Mapping[HashName, bytes]

    @classmethod
    def of(cls, *parts: bytes) -> Message:
        """Return a message that is at hand."""
        return cls(parts=parts, digests={"sha256": _hash("sha256", parts)})

    @classmethod
    def of_digest(cls, digest: Digest) -> Message:
        """Return a message of which only the SHA-256 is known: not enough for every key."""
        return cls(digests={"sha256": digest.raw})

    @classmethod
    def of_chunks(cls, chunks: Iterable[bytes]) -> Message:
        """Return a file of any size, read once. Ed25519 wants the bytes themselves: not enough."""
        running = [(name, hashlib.new(name)) for name in HASH_NAMES]
        for chunk in chunks:
            for _, state in running:
                state.update(chunk)
        return cls(digests={name: state.digest() for name, state in running})

    @property
    def raw(self) -> bytes | None:
        """The bytes, put together; None where they are not there."""
        return None if self.parts is None else b"".join(self.parts)

    def digest(self, name: HashName) -> bytes | None:
        """Return a digest; None where neither it nor the bytes are there."""
        known = self.digests.get(name)
        if known is None and self.parts is not None:
            return _hash(name, self.parts)
        return known


def _hash(name: HashName, parts: tuple[bytes, ...]) -> bytes:
    state = hashlib.new(name)
    for part in parts:
        state.update(part)
    return state.digest()
