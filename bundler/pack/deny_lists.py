"""Signed deny lists that a bundle carries, as `airlock deny add` wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import FormatError, UsageError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor
from loader.model.sigstore_bundle import SigstoreBundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bundler.store import ContentStore

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


def carried_lists(paths: Sequence[Path], store: ContentStore) -> tuple[TrustEntry, ...]:
    """Put deny lists into the store and return what the statement says of them.

    Raises:
        UsageError: one cannot be read, or is no signed statement.
    """
    blobs: dict[Digest, Descriptor] = {}
    for path in paths:
        where = shown(str(path))[1:-1]
        try:
            with path.open("rb") as file:
                raw = file.read(DEFAULT_LIMITS.document_size_max + 1)
            SigstoreBundle.parse(raw, where=where)
        except OSError as e:
            raise UsageError(
                "the deny list cannot be read", where=where, found=e.strerror or ""
            ) from e
        except FormatError as e:
            raise UsageError(
                "not a signed deny list", where=where, expected=e.expected, found=e.message
            ) from e
        store.put(raw)
        blobs[Digest.of(raw)] = Descriptor.make(MEDIA_TYPE, raw)
    if not blobs:
        return ()
    ordered = tuple(blob for _, blob in sorted(blobs.items()))
    return (TrustEntry(anchor="deny-list", kind="deny-list", blobs=ordered),)
