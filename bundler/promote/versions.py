"""What versions a repository has, and what an image says of itself.

An image's own word (its labels and annotations, which its digest covers) is asked last: a label may
be inherited from a base image. A tag with a version, on the same digest, says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bundler.promote.tags import Wish, in_line
from bundler.registry.client import Document
from bundler.registry.repository import RegistryRepository
from loader.digest import Digest
from loader.errors import FormatError
from loader.graph import ImageGraph
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.descriptor import Descriptor
from loader.model.fields import Fields
from loader.model.image import ImageIndex, parse_manifest

VERSION: Final = "org.opencontainers.image.version"
REVISION: Final = "org.opencontainers.image.revision"
_SIBLINGS_ASKED_MAX: Final = 32
"""Version tags that are asked for their digest, the newest first."""


def said_of(graph: ImageGraph, key: str) -> str:
    """Return what all platforms of an image say alike under a label or annotation; else nothing."""
    found = {
        kept.manifest.annotations.get(key)
        or _labels(b"" if kept.config is None else kept.config.raw).get(key, "")
        for kept in graph.kept
    }
    return found.pop() if len(found) == 1 else ""


def tags_of(
    reader: RegistryRepository, asked: Sequence[Wish]
) -> tuple[dict[str, Digest | None], dict[str, str]]:
    """Return the destination's tags, and which version those stand for that may move.

    Digests are looked up for the tags that were asked for.

    Raises:
        RemoteError: the registry.
    """
    moving = [wish for wish in asked if wish.line is not None]
    names = (reader.tags() or ()) if moving else ()
    present: dict[str, Digest | None] = dict.fromkeys(names)
    said: dict[str, str] = {}
    for wish in asked:
        document = reader.tagged(wish.tag)
        if document is None:
            present.pop(wish.tag, None)
            continue
        present[wish.tag] = document.descriptor.digest
        if wish.line is not None:
            said[wish.tag] = _sibling(reader, wish, document, names) or _under(reader, document)
    return present, said


def _sibling(
    reader: RegistryRepository, wish: Wish, document: Document, names: Sequence[str]
) -> str:
    versions = in_line(wish.line or (), names)
    newest = sorted(versions, key=lambda tag: versions[tag], reverse=True)
    for tag in newest[:_SIBLINGS_ASKED_MAX]:
        there = reader.tagged(tag)
        if there is not None and there.descriptor.digest == document.descriptor.digest:
            return tag
    return ""


def _under(reader: RegistryRepository, document: Document) -> str:
    """Return the version that an image says of itself, without believing it any more than that."""
    try:
        top = parse_manifest(document.raw, document.descriptor, where=reader.name)
        if isinstance(top, ImageIndex):
            if VERSION in top.annotations or not top.platform_manifests:
                return top.annotations.get(VERSION, "")
            below = reader.document(top.platform_manifests[0].digest)
            if below is None:
                return ""
            top = parse_manifest(below.raw, below.descriptor, where=reader.name)
            if isinstance(top, ImageIndex):
                return ""
        return top.annotations.get(VERSION) or _labels(_read(reader, top.config)).get(VERSION, "")
    except FormatError:
        return ""


def _read(reader: RegistryRepository, config: Descriptor) -> bytes:
    if config.size > DEFAULT_LIMITS.document_size_max:
        return b""
    raw = b"".join(reader.blob(config, 0))
    return config.check(raw)


def _labels(config: bytes) -> dict[str, str]:
    if not config:
        return {}
    try:
        fields = Fields(
            strictjson.parse_object(
                config, what="a config", size_max=len(config), keys="exact", numbers="any"
            ),
            "",
        )
        inner = fields.optional_fields("config")
        if inner is None or not inner.has("Labels"):
            return {}
        return dict(inner.text_map("Labels", count_max=DEFAULT_LIMITS.annotation_count_max))
    except FormatError:
        return {}
