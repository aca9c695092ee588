"""One fact: an entry is in a log's tree; one tree continues another (RFC 9162 §2.1).

Nothing here is signed: the root hashes come from checkpoints that are verified already.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from loader.errors import ConsistencyError, InclusionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.model.entry import InclusionProof

HASH_SIZE: Final = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf; its prefix keeps it apart from every node (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(proof: InclusionProof, *, leaf: bytes, root_hash: bytes) -> None:
    """Check that a log entry is in the tree with the given head (RFC 9162 §2.1.3.2).

    Args:
        proof: leaf index (0-based), tree size (leaves), audit path of 32-byte nodes, leaf first.
        leaf: entry body exactly as logged; hashed here with the 0x00 prefix.
        root_hash: 32 bytes, from a checkpoint that is already verified.

    Raises:
        InclusionError: the path's length is wrong for this index and size, or the heads differ.
    """
    index, last = proof.log_index, proof.tree_size - 1
    if not 0 <= index <= last:
        raise InclusionError(
            "an inclusion proof for a leaf outside the tree",
            expected=f"0 to {last}",
            found=str(index),
        )
    found = leaf_hash(leaf)
    for node in proof.hashes:
        if last == 0:
            raise InclusionError("an inclusion proof with hashes left over")
        if index & 1 or index == last:
            found = node_hash(node, found)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            found = node_hash(found, node)
        index >>= 1
        last >>= 1
    if last != 0:
        raise InclusionError("an inclusion proof that ends below the root")
    if found != root_hash:
        raise InclusionError(
            "an inclusion proof that leads to another root",
            expected=root_hash.hex(),
            found=found.hex(),
        )


def verify_consistency(
    *, size: int, root_hash: bytes, later_size: int, later_root_hash: bytes, path: Sequence[bytes]
) -> None:
    """Check that a tree is the beginning of a later one (RFC 9162 §2.1.4.2).

    Args:
        size: leaves of the earlier tree, at least 1: an empty tree begins every other, and a
            proof about it would prove nothing.
        root_hash: head of the earlier tree, from a verified checkpoint.
        later_size: leaves of the later tree.
        later_root_hash: head of the later tree, from a verified checkpoint.
        path: 32-byte nodes, as the log gave them.

    Raises:
        ConsistencyError: it is not, or the path's length is wrong for these sizes.
    """
    if not 1 <= size <= later_size:
        raise ConsistencyError("sizes that do not follow each other", found=f"{size}, {later_size}")
    if size == later_size:
        if path or root_hash != later_root_hash:
            raise ConsistencyError("two different trees of the same size", found=str(size))
        return
    if not path:
        raise ConsistencyError("an empty consistency proof")
    # A complete earlier tree is itself a node of the later one; the log leaves it out of the path.
    nodes = [root_hash, *path] if size & (size - 1) == 0 else list(path)
    if _replay(size - 1, later_size - 1, nodes) != (root_hash, later_root_hash):
        raise ConsistencyError("a consistency proof that leads to other roots")


def _replay(index: int, last: int, nodes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the two heads that a consistency path leads to (RFC 9162 §2.1.4.2, steps 3 to 6)."""
    while index & 1:
        index >>= 1
        last >>= 1
    earlier = later = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise ConsistencyError("a consistency proof with hashes left over")
        if index & 1 or index == last:
            earlier, later = node_hash(node, earlier), node_hash(node, later)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            later = node_hash(later, node)
        index >>= 1
        last >>= 1
    if last != 0:
        raise ConsistencyError("a consistency proof that ends below the root")
    return earlier, later
