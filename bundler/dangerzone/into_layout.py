"""Puts signatures into an OCI layout in a folder, where cosign's tags keep them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from bundler.dangerzone.signatures import SignatureFolders
from loader.errors import FormatError, LocalError
from loader.limits import MIB
from loader.model import strictjson
from loader.model.bundle import LAYOUT_INDEX_NAME, LAYOUT_NAME, REFERENCE_ANNOTATION
from loader.model.descriptor import OCI_INDEX
from loader.model.fields import Fields
from loader.model.strictjson import JsonObject, JsonValue

_INDEX_SIZE_MAX: Final = 64 * MIB
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


def attach(folders: SignatureFolders, layout: Path) -> tuple[str, ...]:
    """Attach every signature; return the tags. A layout that is not there is made.

    Raises:
        FormatError: the layout is malformed, or has another manifest under one of the tags.
        LocalError: it cannot be written.
    """
    try:
        return _attach(folders, layout)
    except OSError as e:
        raise LocalError(
            "the layout cannot be written", where=str(layout), found=e.strerror or ""
        ) from e


def _attach(folders: SignatureFolders, layout: Path) -> tuple[str, ...]:
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    index_path = layout / LAYOUT_INDEX_NAME
    entries: list[JsonValue] = []
    document: JsonObject = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    if index_path.exists():
        with index_path.open("rb") as file:
            raw = file.read(_INDEX_SIZE_MAX + 1)
        document = strictjson.parse_object(
            raw, what=str(index_path), size_max=_INDEX_SIZE_MAX, numbers="any"
        )
        entries = Fields(document, str(index_path)).items("manifests", count_max=100_000)
    else:
        (layout / LAYOUT_NAME).write_bytes(_LAYOUT)
    named = {name: entry for entry in entries if (name := _name(entry))}
    tags: list[str] = []
    for folder in folders.folders:
        tag = f"sha256-{folder.subject.hex}.sig"
        entry = folder.manifest.plain() | {"annotations": {REFERENCE_ANNOTATION: tag}}
        there = named.get(tag)
        if isinstance(there, dict) and there.get("digest") != str(folder.manifest.digest):
            raise FormatError(
                "the layout has other signatures under this tag",
                where=f"{index_path} {tag}",
                expected=str(folder.manifest.digest),
                found=str(there.get("digest")),
                hint="airlock pack --signatures DIR counts both",
            )
        for digest, raw_blob in folder.blobs.items():
            _write(blobs / digest.hex, raw_blob)
        if there is None:
            named[tag] = entry
            entries.append(entry)
        tags.append(tag)
    _write(index_path, json.dumps({**document, "manifests": entries}).encode())
    return tuple(dict.fromkeys(tags))


def _name(entry: JsonValue) -> str | None:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    name = annotations.get(REFERENCE_ANNOTATION) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _write(path: Path, raw: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
