"""What a bundle says that it holds. Nothing here is verified, and no layer is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from loader.archive.reader import ArchiveReader
from loader.model.bundle import BundleStatement
from loader.model.fields import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.archive.reader import SealedStatement, Source
    from loader.model.bundle import ImageEntry
    from loader.model.strictjson import JsonObject

SCHEMA: Final = "airlock-inspect/1"
NOT_VERIFIED: Final = "NOT VERIFIED: this is what the bundle says of itself"


def read(source: Source) -> tuple[BundleStatement, SealedStatement]:
    """Read the statement of a bundle and its signatures, and nothing behind them.

    Raises:
        RefusedError: it is not a bundle.
    """
    sealed = ArchiveReader(source).read_statement()
    return BundleStatement.parse(sealed.raw), sealed


def as_json(statement: BundleStatement, sealed: SealedStatement) -> JsonObject:
    """Return the document of schema `airlock-inspect/1`."""
    return {
        "schema": SCHEMA,
        "verified": False,
        "digest": str(statement.digest),
        "created": format_instant(statement.created),
        "channel": statement.channel,
        "sequence": statement.sequence,
        "expires": None if statement.expires is None else format_instant(statement.expires),
        "signatures": len(sealed.signatures),
        "images": [_image(entry) for entry in statement.images],
        "trust": [
            {"anchor": entry.anchor, "kind": entry.kind, "repository": entry.repository or None}
            for entry in statement.trust
        ],
        "members": len(statement.members),
        "metadata_bytes": sum(member.size for member in statement.metadata),
        "layer_bytes": sum(member.size for member in statement.layers),
    }


def _image(entry: ImageEntry) -> JsonObject:
    return {
        "reference": str(entry.reference),
        "digest": str(entry.image.digest),
        "media_type": entry.image.media_type,
        "platforms": [
            {"platform": str(kept.platform), "digest": str(kept.manifest.digest)}
            for kept in entry.platforms
        ],
        "evidence": [
            {
                "store": item.store,
                "subject": str(item.subject),
                "manifest": str(item.manifest.digest),
            }
            for item in entry.evidence
        ],
    }


def as_text(statement: BundleStatement, sealed: SealedStatement) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield NOT_VERIFIED
    yield f"bundle     {statement.digest}"
    yield f"created    {format_instant(statement.created)}"
    if statement.channel is not None:
        yield f"channel    {statement.channel}, sequence {statement.sequence}"
    if statement.expires is not None:
        yield f"expires    {format_instant(statement.expires)}"
    yield f"signatures {len(sealed.signatures) or 'none'}"
    for entry in statement.images:
        yield ""
        yield f"image      {entry.reference}"
        yield f"  digest   {entry.image.digest}"
        platforms = ", ".join(str(kept.platform) for kept in entry.platforms)
        yield f"  carries  {platforms or 'an artifact'}"
        stores = Counter(item.store for item in entry.evidence)
        evidence = ", ".join(f"{count} {store}" for store, count in sorted(stores.items()))
        yield f"  evidence {evidence or 'none'}"
    yield ""
    if statement.trust:
        names = ", ".join(
            f"{entry.anchor} ({' of '.join(filter(None, (entry.kind, entry.repository)))})"
            for entry in statement.trust
        )
        yield f"trust      {names}: used only if it matches or chains to an anchor of the host"
    layer_bytes = sum(member.size for member in statement.layers)
    yield f"holds      {len(statement.members)} members, {in_words(layer_bytes)} of layers"


def in_words(size: int) -> str:
    """Write a number of bytes for people, in decimal units as media are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004  (the step between decimal units)
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
