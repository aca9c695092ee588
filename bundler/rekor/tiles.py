"""A Merkle tree in tiles, as Rekor v2 serves it (C2SP tlog-tiles, v1.0).

A tile of level L holds up to 256 hashes, each of a complete subtree of 256**L leaves. Nothing here
is believed: what comes of it is a consistency path, which is verified like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bundler.errors import RemoteLogError
from loader.model.entry import HASH_SIZE
from loader.verify.merkle import node_hash

WIDTH_LOG: Final = 8
_WIDTH: Final = 1 << WIDTH_LOG


class TiledTree:
    """A tree of a size, whose tiles are fetched when they are needed, each once."""

    def __init__(self, size: int, fetch: Callable[[str], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def consistency(self, size: int) -> tuple[bytes, ...]:
        """Return the path from the tree of the first so many leaves (RFC 9162 §2.1.4.1).

        Raises:
            RemoteError: a tile cannot be had.
            RemoteLogError: a tile is not one.
        """
        return tuple(self._path(size, 0, self._size, whole=True))

    def _path(self, size: int, begin: int, end: int, *, whole: bool) -> list[bytes]:
        if size == end - begin:
            return [] if whole else [self._head(begin, end)]
        half = _split(end - begin)
        if size <= half:
            left = self._path(size, begin, begin + half, whole=whole)
            return [*left, self._head(begin + half, end)]
        right = self._path(size - half, begin + half, end, whole=False)
        return [*right, self._head(begin, begin + half)]

    def _head(self, begin: int, end: int) -> bytes:
        count = end - begin
        level = count.bit_length() - 1
        if count == 1 << level:
            return self._node(level, begin >> level)
        half = _split(count)
        return node_hash(self._head(begin, begin + half), self._head(begin + half, end))

    def _node(self, level: int, number: int) -> bytes:
        """Return the hash of a complete subtree, from the tile that holds what it is made of."""
        tile_level, rest = divmod(level, WIDTH_LOG)
        first = number << rest
        tile = self._tile(tile_level, first >> WIDTH_LOG)
        within = first & (_WIDTH - 1)
        hashes = list(tile[within : within + (1 << rest)])
        while len(hashes) > 1:
            hashes = [node_hash(*hashes[i : i + 2]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, number: int) -> tuple[bytes, ...]:
        if (level, number) not in self._tiles:
            have = (self._size >> (WIDTH_LOG * level)) - number * _WIDTH
            width = min(have, _WIDTH)
            path = tile_path(level, number, width)
            raw = self._fetch(path)
            if len(raw) != width * HASH_SIZE:
                raise RemoteLogError(
                    "not a tile of a log",
                    where=path,
                    expected=f"{width} hashes",
                    found=f"{len(raw)} bytes",
                )
            self._tiles[level, number] = tuple(
                raw[at : at + HASH_SIZE] for at in range(0, len(raw), HASH_SIZE)
            )
        return self._tiles[level, number]


def tile_path(level: int, number: int, width: int) -> str:
    """Return where a tile lies: numbers in groups of three digits, partial ones by their width."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    partial = "" if width == _WIDTH else f".p/{width}"
    return f"{level}/{'/'.join(groups)}{partial}"


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << ((count - 1).bit_length() - 1)
