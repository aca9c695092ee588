"""One of cosign's tags, where the destination has signatures of its own under it: none is lost.

What tells one signature from another is its layer with its annotations: the same payload may be
signed many times. Where neither side has all of the other's, a manifest with both is written under
the tag, as `cosign sign` itself does when it adds one; ours stays beside it under its digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from bundler.errors import EvidenceTakenError
from bundler.registry.client import Document
from bundler.registry.publication import Attachment
from loader.errors import FormatError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from loader.model.image import ImageManifest, parse_manifest
from loader.model.strictjson import JsonObject, JsonValue

_NEVER = "0001-01-01T00:00:00Z"


def signatures_in(document: Document, *, where: str) -> frozenset[tuple[str, ...]]:
    """Return what is signed under a tag.

    Raises:
        EvidenceTakenError: what sits there is nothing of cosign's; it is not overwritten.
    """
    try:
        manifest = parse_manifest(document.raw, document.descriptor, where=where)
    except FormatError as e:
        raise _taken(where, str(e)) from e
    if not isinstance(manifest, ImageManifest):
        raise _taken(where, "an image index")
    return frozenset(signatures_of(manifest))


def signatures_of(manifest: ImageManifest) -> Iterator[tuple[str, ...]]:
    """Yield what tells a manifest's signatures apart."""
    for layer in manifest.layers:
        notes = sorted(layer.annotations.items())
        yield (str(layer.digest), *(f"{name}={value}" for name, value in notes))


def united(theirs: Document, ours: Attachment) -> tuple[bytes, Document]:
    """Return a manifest with the signatures of both, and its config: theirs first."""
    layers = [*_layers(theirs.raw)]
    known = {json.dumps(layer, sort_keys=True) for layer in layers}
    layers += [
        layer
        for layer in _layers(ours.document.raw)
        if json.dumps(layer, sort_keys=True) not in known
    ]
    digests: list[JsonValue] = [layer.get("digest") for layer in layers if isinstance(layer, dict)]
    config = _encoded(
        {
            "architecture": "",
            "created": _NEVER,
            "history": [{"created": _NEVER} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": digests},
            "config": {},
        }
    )
    raw = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor.make(OCI_CONFIG, config).plain(),
            "layers": layers,
        }
    )
    return config, Document(descriptor=Descriptor.make(OCI_MANIFEST, raw), raw=raw)


def _layers(raw: bytes) -> list[JsonValue]:
    document = strictjson.parse_object(
        raw, what="a manifest", size_max=DEFAULT_LIMITS.document_size_max
    )
    found = document.get("layers")
    return found if isinstance(found, list) else []


def _encoded(document: JsonObject) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _taken(where: str, found: str) -> EvidenceTakenError:
    return EvidenceTakenError(
        "what is under a tag of cosign's is no evidence, and is not overwritten",
        where=where,
        expected="an image manifest with signatures",
        found=shown(found),
    )
