"""Inclusion and consistency (RFC 9162 §2.1): every tree up to 40 leaves, and every wrong step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import ConsistencyError, InclusionError
from loader.model.entry import InclusionProof
from loader.verify.merkle import leaf_hash, node_hash, verify_consistency, verify_inclusion
from tests.fakes.sigworld.merkle import MerkleTree

# The tree that every implementation of RFC 6962 is tried on (certificate-transparency, 2013).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZE = 40


def head(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(head(leaves[:split]), head(leaves[split:]))


@pytest.fixture(scope="module")
def tree() -> MerkleTree:
    grown = MerkleTree()
    for number in range(SIZE):
        grown.append(b"leaf %d" % number)
    return grown


def proof_of(tree: MerkleTree, index: int, size: int) -> InclusionProof:
    return InclusionProof(
        log_index=index,
        tree_size=size,
        root_hash=tree.head(size),
        hashes=tuple(tree.inclusion(index, size)),
        checkpoint=None,
    )


def test_the_published_tree() -> None:
    for size, root in enumerate(ROOTS, start=1):
        assert head(LEAVES[:size]).hex() == root
    tree = MerkleTree()
    for leaf in LEAVES:
        tree.append(leaf)
    for size in range(1, len(LEAVES) + 1):
        for index in range(size):
            verify_inclusion(
                proof_of(tree, index, size),
                leaf=LEAVES[index],
                root_hash=bytes.fromhex(ROOTS[size - 1]),
            )


def test_every_leaf_of_every_tree(tree: MerkleTree) -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            verify_inclusion(
                proof_of(tree, index, size), leaf=tree.leaves[index], root_hash=tree.head(size)
            )


def _wrong(proof: InclusionProof, **changes: object) -> InclusionProof:
    values = {name: getattr(proof, name) for name in InclusionProof.__slots__}
    return InclusionProof(**(values | changes))


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 7), (6, 7), (13, 32), (31, 33), (39, 40)])
def test_wrong_inclusion(tree: MerkleTree, index: int, size: int) -> None:
    """A060."""
    good = proof_of(tree, index, size)
    leaf, root = tree.leaves[index], tree.head(size)
    extra = b"\x00" * 32
    wrong = [
        (_wrong(good, hashes=(*good.hashes, extra)), leaf, root),
        (_wrong(good, hashes=(extra, *good.hashes)), leaf, root),
        (_wrong(good, log_index=size), leaf, root),
        (_wrong(good, log_index=-1), leaf, root),
        (_wrong(good, tree_size=0), leaf, root),
        (_wrong(good, tree_size=index), leaf, root),
        (_wrong(good, tree_size=4 * size), leaf, root),
        (good, leaf + b"x", root),
        (good, leaf, tree.head(size - 1) if size > 1 else extra),
        # A node is no leaf: the prefix keeps them apart.
        (_wrong(good, hashes=good.hashes[1:]), leaf, root) if good.hashes else (good, b"", root),
    ]
    for position in range(len(good.hashes)):
        flipped = bytes([good.hashes[position][0] ^ 1]) + good.hashes[position][1:]
        hashes = (*good.hashes[:position], flipped, *good.hashes[position + 1 :])
        wrong.append((_wrong(good, hashes=hashes), leaf, root))
    others = [other for other in range(size) if other != index]
    wrong += [(_wrong(good, log_index=other), leaf, root) for other in others]
    for proof, of, under in wrong:
        with pytest.raises(InclusionError):
            verify_inclusion(proof, leaf=of, root_hash=under)


def test_a_node_passed_off_as_a_leaf(tree: MerkleTree) -> None:
    left, right = (leaf_hash(leaf) for leaf in tree.leaves[:2])
    proof = _wrong(proof_of(tree, 0, 4), tree_size=2, hashes=tuple(tree.inclusion(0, 4)[1:]))
    with pytest.raises(InclusionError):
        verify_inclusion(proof, leaf=left + right, root_hash=tree.head(4))
    assert hashlib.sha256(b"\x01" + left + right).digest() == node_hash(left, right)


def test_consistency_of_every_pair(tree: MerkleTree) -> None:
    for later in range(1, SIZE + 1):
        for size in range(1, later + 1):
            verify_consistency(
                size=size,
                root_hash=tree.head(size),
                later_size=later,
                later_root_hash=tree.head(later),
                path=[] if size == later else tree.consistency(size, later),
            )


@pytest.mark.parametrize(("size", "later"), [(1, 2), (3, 7), (4, 8), (6, 8), (7, 40), (32, 33)])
def test_wrong_consistency(tree: MerkleTree, size: int, later: int) -> None:
    good = {
        "size": size,
        "root_hash": tree.head(size),
        "later_size": later,
        "later_root_hash": tree.head(later),
        "path": tree.consistency(size, later),
    }
    path = tree.consistency(size, later)
    fork = bytes([tree.head(size)[0] ^ 1]) + tree.head(size)[1:]
    changes: tuple[dict[str, object], ...] = (
        {"size": 0},
        {"size": -1},
        {"size": later + 1},
        {"later_size": size},
        {"root_hash": fork},
        {"later_root_hash": fork},
        {"path": []},
        {"path": [*path, fork]},
        {"path": path[:-1]},
        {"path": [fork, *path[1:]]},
    )
    for change in changes:
        with pytest.raises(ConsistencyError):
            verify_consistency(**{**good, **change})  # type: ignore[arg-type]


def test_equal_sizes(tree: MerkleTree) -> None:
    root = tree.head(5)
    for path, other in (([root], root), ([], tree.head(6))):
        with pytest.raises(ConsistencyError):
            verify_consistency(
                size=5, root_hash=root, later_size=5, later_root_hash=other, path=path
            )


@given(
    index=st.integers(-2, 2**64),
    size=st.integers(-2, 2**64),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=64),
)
def test_any_proof_ends(index: int, size: int, hashes: list[bytes]) -> None:
    proof = InclusionProof(
        log_index=index, tree_size=size, root_hash=b"", hashes=tuple(hashes), checkpoint=None
    )
    with pytest.raises(InclusionError):
        verify_inclusion(proof, leaf=b"x", root_hash=b"\x00" * 32)


@given(
    size=st.integers(-2, 2**64),
    later=st.integers(-2, 2**64),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=130),
)
def test_any_consistency_ends(size: int, later: int, hashes: list[bytes]) -> None:
    with pytest.raises(ConsistencyError):
        verify_consistency(
            size=size,
            root_hash=b"\x00" * 32,
            later_size=later,
            later_root_hash=b"\x01" * 32,
            path=hashes,
        )
