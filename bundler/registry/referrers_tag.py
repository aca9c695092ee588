"""The referrers tag `sha256-HEX`: an index of what speaks of a subject, where there is no API.

OCI distribution-spec 1.1, "Referrers Tag Schema": read, merge, write. What others listed stays,
field for field; what we add has its artifact type and annotations, which clients filter by.
go-containerregistry lists referrers without either: such entries are completed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from bundler.errors import RemoteReferrersTagError
from bundler.registry.client import Document
from bundler.registry.publication import Attachment
from loader.digest import Digest
from loader.errors import FormatError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.descriptor import OCI_INDEX, Descriptor
from loader.model.image import ImageIndex, parse_manifest
from loader.model.strictjson import JsonObject, JsonValue


def tag_of(subject: Digest) -> str:
    """Return the referrers tag of a subject."""
    return f"sha256-{subject.hex}"


def listed_in(
    document: Document | None, subject: Digest, *, where: str
) -> dict[Digest, Descriptor]:
    """Return what a referrers tag lists; nothing where it is not there.

    Raises:
        RemoteReferrersTagError: the image itself, or something else, sits under the tag.
    """
    if document is None:
        return {}
    found = ""
    try:
        index = parse_manifest(document.raw, document.descriptor, where=where)
    except FormatError as e:
        found = str(e)
    else:
        if isinstance(index, ImageIndex) and document.descriptor.digest != subject:
            return {entry.digest: entry for entry in index.manifests}
        found = "the image itself" if document.descriptor.digest == subject else "an image"
    raise RemoteReferrersTagError(
        "something else than a list of referrers sits under the referrers tag",
        where=where,
        expected="an image index of referrers",
        found=found,
        hint="`cosign copy` leaves the image there; --repair-referrers-tag replaces it by the list",
    )


def merged(document: Document | None, attachments: Sequence[Attachment]) -> Document:
    """Return the list with these referrers in it, and everything that it has."""
    entries: list[JsonValue] = []
    rest: JsonObject = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    if document is not None:
        whole = strictjson.parse_object(
            document.raw, what="a list of referrers", size_max=DEFAULT_LIMITS.document_size_max
        )
        old = whole.pop("manifests")
        entries = list(old) if isinstance(old, list) else []
        rest = whole | {"mediaType": OCI_INDEX}
    ours = {str(one.document.descriptor.digest): one for one in attachments}
    for position, entry in enumerate(entries):
        one = ours.pop(str(entry.get("digest")), None) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and one is not None:
            entries[position] = _entry(one) | entry
    entries += [_entry(one) for one in ours.values()]
    raw = json.dumps({**rest, "manifests": entries}, separators=(",", ":")).encode()
    return Document(descriptor=Descriptor.make(OCI_INDEX, raw), raw=raw)


def _entry(one: Attachment) -> JsonObject:
    """Describe a referrer as the API would: its type is the artifact's, or else its config's."""
    entry = one.document.descriptor.plain()
    kind = one.manifest.artifact_type or one.manifest.config.media_type
    entry["artifactType"] = kind
    if one.manifest.annotations:
        entry["annotations"] = dict(one.manifest.annotations)
    return entry
