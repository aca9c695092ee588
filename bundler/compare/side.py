"""One side of a comparison: an image's platforms, each with config and layers that can be read.

Where the bytes come from (a layout, an archive, a registry, a bundle) is behind `LayerSource.open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from loader.digest import Digest
from loader.graph import ImageGraph
from loader.model.image import ImageConfig, ImageManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """One layer, as its side has it."""

    diff_id: Digest
    """What the config says that it unpacks to; compared when it is read."""
    blob: Digest | None
    """None in a docker archive, which names files instead."""
    media_type: str
    size: int
    """Bytes of it as it is kept, compressed or not."""
    open: Callable[[], Iterator[bytes]]
    """Gives the bytes; whoever reads them to the end compares `blob`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """What a platform runs."""

    platform: str
    manifest: ImageManifest | None
    """None in a docker archive of docker 24 and before: `docker save` kept no manifest."""
    config: ImageConfig
    layers: tuple[LayerSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An image to compare."""

    name: str
    digest: Digest | None
    """The top document's; None where there is none."""
    platforms: tuple[PlatformImage, ...]
    statements: tuple[bytes, ...] = ()
    """In-toto statements about it, unverified; empty where nobody asked for them."""


def side_of(
    name: str,
    graph: ImageGraph,
    read: Callable[[Digest, int], Iterator[bytes]],
    *,
    statements: Iterable[bytes] = (),
) -> Side:
    """Return an image of the OCI kind as a side; `read` gives a blob by digest and size."""
    return Side(
        name=name,
        digest=graph.entry.image.digest,
        statements=tuple(statements),
        platforms=tuple(
            PlatformImage(
                platform=str(kept.platform),
                manifest=kept.manifest,
                config=kept.config,
                layers=tuple(
                    LayerSource(
                        diff_id=diff_id,
                        blob=layer.digest,
                        media_type=layer.media_type,
                        size=layer.size,
                        open=_opener(read, layer.digest, layer.size),
                    )
                    for layer, diff_id in zip(
                        kept.manifest.layers, kept.config.diff_ids, strict=True
                    )
                ),
            )
            for kept in graph.kept
            if kept.config is not None
        ),
    )


def _opener(
    read: Callable[[Digest, int], Iterator[bytes]], digest: Digest, size: int
) -> Callable[[], Iterator[bytes]]:
    return lambda: read(digest, size)
