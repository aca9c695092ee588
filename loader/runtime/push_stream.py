"""What `airlock-push` gets on its standard input: questions, documents, blobs.

`bundler.push.intake` reads them. Made from verified values and staged blobs alone, and hashed once
more on the way out of quarantine. Layers are compared with the config's diff_ids, also those that
the registry has already: it unpacks nothing, so nobody else would.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rfc8785

from loader.errors import OciPlatformError
from loader.model.bundle import EvidenceEntry, ImageEntry, PlatformManifest
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest, parse_manifest
from loader.runtime.blobs import diff_ids, read_blob, read_layer, unique

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.reference import Reference
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.runtime.base import Expected, StagedBlobs

PROTOCOL = 2
"""Which questions there are, and how they are written; `airlock-push version` says its own."""
_LENGTH_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One image as it is handed to `airlock-push`."""

    entry: ImageEntry
    """Under its source's name, with the platforms that were selected."""
    top: Digest
    """What the tag will point to."""
    documents: Mapping[Digest, bytes]
    """Indexes, manifests and configs, by digest."""
    evidence: tuple[tuple[Descriptor, ImageManifest], ...]
    wanted: frozenset[Digest]
    """Everything that the registry must give back."""


def parcel_of(image: Expected, blobs: StagedBlobs | None) -> Parcel:
    """Return what is to be published of an image; its evidence only where `blobs` has it.

    Raises:
        OciPlatformError: several platforms are selected, and not all: no registry takes an index
            without its manifests.
    """
    here = {kept.manifest.descriptor.digest for kept in image.selection}
    here |= {index.descriptor.digest for index in image.graph.indexes}
    whole = all(
        listed.digest in here
        for index in image.graph.indexes
        for listed in index.platform_manifests
    )
    if not whole and len(image.selection) != 1:
        raise OciPlatformError(
            "a registry takes an index only with all the platforms that it lists",
            where=str(image.reference),
            found=", ".join(str(kept.platform) for kept in image.selection),
            hint="say one with --platform, or pack the image with all of them",
        )
    documents = {index.descriptor.digest: index.raw for index in image.graph.indexes}
    wanted = set(documents) if whole else set()
    for kept in image.selection:
        documents[kept.manifest.descriptor.digest] = kept.manifest.raw
        wanted |= {kept.manifest.descriptor.digest, *(b.digest for b in kept.manifest.blobs)}
        if kept.config is not None:
            documents[kept.config.descriptor.digest] = kept.config.raw
    about = set(documents)
    items = [e for e in image.evidence if e.subject in about and e.store != "supplement"]
    if not whole:
        items = [e for e in items if e.store != "buildkit"]
    evidence = tuple(_evidence(items, blobs)) if blobs is not None else ()
    for described, manifest in evidence:
        wanted |= {described.digest, *(blob.digest for blob in manifest.blobs)}
    top = image.graph.top.descriptor
    return Parcel(
        entry=ImageEntry(
            reference=image.reference,
            image=_bare(top),
            platforms=tuple(
                PlatformManifest(platform=kept.platform, manifest=_bare(kept.manifest.descriptor))
                for kept in image.selection
                if kept.platform is not None
            ),
            evidence=tuple(items) if blobs is not None else (),
        ),
        top=top.digest if whole else image.selection[0].manifest.descriptor.digest,
        documents=documents,
        evidence=evidence,
        wanted=frozenset(wanted),
    )


def _evidence(
    items: Iterable[EvidenceEntry], blobs: StagedBlobs
) -> Iterator[tuple[Descriptor, ImageManifest]]:
    for item in items:
        raw = b"".join(read_blob(blobs, item.manifest))
        where = f"evidence {item.manifest.digest.short}"
        manifest = parse_manifest(raw, item.manifest, where=where)
        if isinstance(manifest, ImageManifest):
            yield item.manifest, manifest


def question(call: str, name: Reference | str, *, digest: str | None = None) -> Iterator[bytes]:
    """Yield a question that is about a tag alone."""
    asked: dict[str, JsonValue] = {"call": call, "name": str(name)}
    if digest is not None:
        asked["digest"] = digest
    yield _frame(asked)


def looked_for(
    call: str, name: Reference, parcel: Parcel, *, anew: bool = False
) -> Iterator[bytes]:
    """Yield a look or a check: the image and its documents, no blobs.

    Args:
        call: which of the two.
        name: where in the registry.
        parcel: the image.
        anew: for a check, whether also that is read which was read before for another image.
    """
    yield from _opening({"call": call, "name": str(name), "anew": anew}, parcel)
    yield _frame({"end": True})


def pushed(
    name: Reference,
    parcel: Parcel,
    image: Expected,
    blobs: StagedBlobs,
    *,
    missing: Collection[str],
    current: str | None,
    checked: set[tuple[Digest, Digest]],
) -> Iterator[bytes]:
    """Yield a push: the image, its documents, and the blobs that are missing.

    Raises:
        DigestError: quarantine no longer holds what was verified.
        DiffIdError: a layer is not what its image's config says.
    """
    yield from _opening({"call": "push", "name": str(name), "current": current}, parcel)
    done: set[Digest] = set(parcel.documents)
    for _, manifest in parcel.evidence:
        yield from _plain(manifest, blobs, missing, done)
    for kept in image.selection:
        if kept.config is None:
            yield from _plain(kept.manifest, blobs, missing, done)
            continue
        for layer, diff_id in diff_ids(kept.manifest, kept.config):
            if layer.digest not in done and str(layer.digest) in missing:
                done.add(layer.digest)
                yield from _blob(layer, read_layer(blobs, layer, diff_id))
            elif (layer.digest, diff_id) not in checked:
                # Whoever put it there may not have looked at its diff_id.
                collections.deque(read_layer(blobs, layer, diff_id), maxlen=0)
            checked.add((layer.digest, diff_id))
    yield _frame({"end": True})


def _plain(
    manifest: ImageManifest, blobs: StagedBlobs, missing: Collection[str], done: set[Digest]
) -> Iterator[bytes]:
    """Yield the blobs of what is no container image."""
    for blob in unique(manifest.blobs):
        if blob.digest not in done and str(blob.digest) in missing:
            done.add(blob.digest)
            yield from _blob(blob, read_blob(blobs, blob))


def _opening(asked: JsonObject, parcel: Parcel) -> Iterator[bytes]:
    yield _frame({**asked, "image": parcel.entry.plain()})
    for digest, raw in parcel.documents.items():
        yield _frame({"digest": str(digest), "size": len(raw)})
        yield raw
    for described, manifest in parcel.evidence:
        yield _frame({"digest": str(described.digest), "size": described.size})
        yield manifest.raw


def _blob(blob: Descriptor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield _frame({"digest": str(blob.digest), "size": blob.size})
    yield from chunks


def _frame(document: JsonObject) -> bytes:
    raw = rfc8785.dumps(document)
    return len(raw).to_bytes(_LENGTH_SIZE, "big") + raw


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )
