"""What the collector asks of a place that holds images: a registry's repository, or an OCI layout.

Whoever implements this re-digests what it returns. A `Document`'s descriptor is made from its
bytes; blobs pass through the content store's own check.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

from loader.digest import Digest
from loader.model.bundle import Store
from loader.model.descriptor import Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or index: its bytes, and the descriptor that follows from them."""

    descriptor: Descriptor
    raw: bytes
    version: str = field(default="", compare=False)
    """What the registry calls it, for a write that must find it as it was (a strong ETag)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrers:
    """What an API or a layout lists as referring to a subject; hints, until each is opened."""

    descriptors: tuple[Descriptor, ...]
    unsupported: str = ""
    """Why there is no such list here; empty where there is one."""


class Repository(Protocol):
    """One repository of a registry, or one OCI layout."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def tagged(self, tag: str) -> Document | None:
        """Return what a tag points to now, or None where there is no such tag.

        Raises:
            RemoteError: anything but a plain "not found".
        """

    def document(self, digest: Digest) -> Document | None:
        """Return the manifest or index of this digest, or None where it is not there.

        Raises:
            RemoteDigestError: the bytes have another.
            RemoteError: anything but a plain "not found".
        """

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes]:
        """Yield a blob's bytes from `offset` on. Their digest is not known before the last.

        Raises:
            RemoteNotFoundError: it is not there.
            RemoteError: it does not come to its end.
        """

    def referrers(self, subject: Digest) -> Referrers:
        """Return what is listed as referring to `subject`, apart from its fallback tag.

        Raises:
            RemoteError: the list cannot be had, which is not the same as an empty one.
        """

    def kept_beside(self, subject: Digest, store: Store) -> tuple[Descriptor, ...]:
        """Return evidence that stands beside the subject without tag, where a layout has such."""
