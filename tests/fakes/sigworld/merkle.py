"""A Merkle tree that keeps every leaf and answers by the definitions (RFC 6962 §2.1).

Written from the recursive definitions, not from the index arithmetic that verifiers use: the two
ways to the same hash must not share a mistake. Slow, and small enough to read.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache


def leaf_hash(body: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


@lru_cache(maxsize=4096)
def _head(hashes: tuple[bytes, ...]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    half = _split(len(hashes))
    return node_hash(_head(hashes[:half]), _head(hashes[half:]))


def _path(index: int, hashes: tuple[bytes, ...]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    half = _split(len(hashes))
    if index < half:
        return [*_path(index, hashes[:half]), _head(hashes[half:])]
    return [*_path(index - half, hashes[half:]), _head(hashes[:half])]


def _subproof(old: int, hashes: tuple[bytes, ...], *, whole: bool) -> list[bytes]:
    if old == len(hashes):
        return [] if whole else [_head(hashes)]
    half = _split(len(hashes))
    if old <= half:
        return [*_subproof(old, hashes[:half], whole=whole), _head(hashes[half:])]
    return [*_subproof(old - half, hashes[half:], whole=False), _head(hashes[:half])]


class MerkleTree:
    """Leaves in order; heads and proofs for any size the tree ever had."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self._hashes: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self.leaves)

    def append(self, body: bytes) -> int:
        """Add a leaf and return its index."""
        self.leaves.append(body)
        self._hashes.append(leaf_hash(body))
        return self.size - 1

    def head(self, size: int | None = None) -> bytes:
        """The root hash of the first ``size`` leaves."""
        return _head(self._first(size))

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of a leaf in the tree of that size, leaf side first."""
        hashes = self._first(size)
        if not 0 <= index < len(hashes):
            msg = f"leaf {index} is not in a tree of {len(hashes)}"
            raise IndexError(msg)
        return _path(index, hashes)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the tree of size ``old`` is a prefix of that of size ``new``."""
        hashes = self._first(new)
        if not 0 < old <= len(hashes):
            msg = f"no consistency proof from {old} to {len(hashes)}"
            raise IndexError(msg)
        return _subproof(old, hashes, whole=True)

    def _first(self, size: int | None) -> tuple[bytes, ...]:
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            msg = f"the tree has {self.size} leaves, not {size}"
            raise IndexError(msg)
        return tuple(self._hashes[:size])
