"""Consistency paths out of tiles, against the tree that answers by the definitions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.errors import RemoteLogError
from bundler.rekor.tiles import TiledTree, tile_path
from tests.fakes.rekor_server import tile
from tests.fakes.sigworld.rekor import RekorV2


def log_of(size: int) -> RekorV2:
    log = RekorV2("log.example")
    log.grow(size - log.tree.size)
    return log


def tiled(log: RekorV2, asked: list[str] | None = None) -> TiledTree:
    def fetch(path: str) -> bytes:
        if asked is not None:
            asked.append(path)
        found = tile(log, path)
        assert found is not None, path
        return found

    return TiledTree(log.tree.size, fetch)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([7, 255, 256, 257, 300, 512, 515, 600]), st.data())
def test_a_path_is_that_of_the_definitions(size: int, data: st.DataObject) -> None:
    log = log_of(size)
    earlier = data.draw(st.integers(1, size))
    assert list(tiled(log).consistency(earlier)) == log.tree.consistency(earlier)


def test_each_tile_is_fetched_once() -> None:
    log = log_of(600)
    asked: list[str] = []
    tree = tiled(log, asked)
    for earlier in (3, 100, 256, 300, 599):
        tree.consistency(earlier)
    assert sorted(asked) == sorted(set(asked))
    assert set(asked) <= {"0/000", "0/001", "0/002.p/88", "1/000.p/2"}


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "0/000"),
        (0, 67, 3, "0/067.p/3"),
        (1, 999, 256, "1/999"),
        (0, 1000, 256, "0/x001/000"),
        (2, 1_234_067, 256, "2/x001/x234/067"),
        (0, 1_000_000, 1, "0/x001/x000/000.p/1"),
    ],
)
def test_where_a_tile_lies(level: int, number: int, width: int, path: str) -> None:
    """The example of the specification is the fifth."""
    assert tile_path(level, number, width) == path


@pytest.mark.parametrize("raw", [b"", b"x" * 31, b"x" * 32 * 255, b"x" * 32 * 257])
def test_what_is_no_tile(raw: bytes) -> None:
    with pytest.raises(RemoteLogError):
        TiledTree(600, lambda _: raw).consistency(300)
