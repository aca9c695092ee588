"""`oci:DIR`, an OCI image layout: no daemon, no client, no root.

All selected platforms are written under one name, with the index as it was signed. Nobody unpacks
here, so whether layers are the ones that configs name is checked on the way. What is in the layout
already stays; a blob that is there is hashed again, and written anew where it is not what its name
says.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rfc8785

from loader.digest import Digest
from loader.errors import FormatError, RuntimeLoadError, RuntimeMismatchError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.bundle import LAYOUT_INDEX_NAME, REFERENCE_ANNOTATION
from loader.model.descriptor import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, Descriptor
from loader.model.image import ImageIndex, ImageManifest, parse_manifest
from loader.runtime.archive import CONTAINERD_NAME_ANNOTATION
from loader.runtime.asking import put_back_unless_done
from loader.runtime.base import Discarded, Receipt, Undo, expect_named, settle_name
from loader.runtime.blobs import diff_ids, read_blob, read_layer, unique
from loader.runtime.layout_folder import LayoutFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loader.model.strictjson import JsonValue
    from loader.runtime.base import Expected, LoadRequest, PlatformParts
    from loader.witness import Staged

NAME: Final = "oci"
_DOCUMENT_TYPES: Final = INDEX_MEDIA_TYPES | MANIFEST_MEDIA_TYPES
_DOCUMENT_SIZE_MAX: Final = DEFAULT_LIMITS.document_size_max


class OciLayout:
    """An OCI image layout in a folder."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The word on the command line."""
        return NAME

    def close(self) -> None:
        """Hold nothing."""

    def probe(self) -> str:
        """Say what is there, and write nothing; see `Runtime.probe`."""
        return f"{LayoutFolder.check(self._path)} {self._path}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Write the image and give it its name; see `Runtime.load`."""
        request = image.value
        name = request.reference.tagged
        top = request.graph.top.descriptor
        with LayoutFolder.open(self._path) as folder:
            before = folder.entries()
            current = _target(before, name)
            settle_name(request, current=current, wanted=str(top.digest), runtime=NAME)
            added: list[str] = []
            renamed = current != str(top.digest)
            old = [entry for entry in before if _named(entry) == name]
            naming = {name: _encoded(old)} if renamed else {}
            if not renamed and _is_whole(folder, request):
                return self._receipt(request, _compare(folder, request, name))

            def put_back() -> None:
                _restore(folder, Undo(names=naming, brought=tuple(added), made=folder.made))

            with put_back_unless_done(put_back, runtime=NAME):
                for digest, chunks in _blobs(folder, request):
                    folder.add(digest, chunks)
                    added.append(str(digest))
                if naming:
                    folder.publish([*_others(before, name), _entry(top, name)])
                read_back = _compare(folder, request, name)
        notes = () if current is None or not renamed else (f"{name} pointed to {current} before",)
        return self._receipt(
            request,
            read_back,
            notes=notes,
            undo=Undo(names=naming, brought=tuple(added), made=folder.made),
        )

    @staticmethod
    def _receipt(
        request: LoadRequest,
        read_back: tuple[tuple[str, str], ...],
        *,
        notes: tuple[str, ...] = (),
        undo: Undo | None = None,
    ) -> Receipt:
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=request.graph.top.descriptor.digest,
            what="already-there" if undo is None else "loaded",
            read_back=read_back,
            notes=notes,
            undo=undo or Undo(),
        )

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Compare the index, and hash every blob; see `Runtime.compare`."""
        name = image.reference.tagged
        with LayoutFolder.look(self._path) as folder:
            found = None if folder is None else _target(folder.entries(), name)
            expect_named(found, name=name, runtime=NAME)
            if folder is None:
                return ()
            if found == str(image.graph.top.descriptor.digest):
                _expect_whole(folder, image)
            return (*_compare(folder, image, name), ("every blob", "as its name says"))

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove blobs that no entry of the index leads to; see `Runtime.discard`."""
        opened = LayoutFolder.open(self._path) if really else LayoutFolder.look(self._path)
        with opened as folder:
            if folder is None:
                return tuple(Discarded(item=item, what="gone") for item in items)
            reached = _reached(folder, folder.entries())
            return tuple(_discarded(folder, item, reached, really=really) for item in items)

    def undo(self, receipt: Receipt) -> None:
        """Put back what `load` changed; see `Runtime.undo`."""
        with LayoutFolder.open(self._path) as folder:
            _restore(folder, receipt.undo)


def _is_whole(folder: LayoutFolder, request: Expected) -> bool:
    """Tell whether every blob that is asked for is there; each is hashed."""
    return _missing(folder, request) is None


def _expect_whole(folder: LayoutFolder, image: Expected) -> None:
    changed = _missing(folder, image)
    if changed is not None:
        raise RuntimeMismatchError(
            "a blob of the layout is gone, or not what its name says",
            where=str(changed),
            expected=str(changed),
        )


def _missing(folder: LayoutFolder, request: Expected) -> Digest | None:
    """Return the first blob that is not there, or is something else; each is hashed."""
    wanted = [index.descriptor for index in request.graph.indexes]
    for kept in request.selection:
        wanted += (kept.manifest.descriptor, *kept.manifest.blobs)
    blobs = unique(tuple(wanted))
    return next((b.digest for b in blobs if not folder.holds(b.digest, b.size)), None)


def _blobs(folder: LayoutFolder, request: LoadRequest) -> Iterator[tuple[Digest, Iterator[bytes]]]:
    """Yield what is not there yet, layers first, the top document last."""
    done: set[Digest] = set()
    for kept in request.selection:
        for blob, chunks in _platform_blobs(request, kept):
            if blob.digest in done:
                continue
            done.add(blob.digest)
            if folder.holds(blob.digest, blob.size):
                # Read nevertheless: whoever put it there may not have looked at its diff_id.
                collections.deque(chunks, maxlen=0)
            else:
                yield blob.digest, chunks
    for index in reversed(request.graph.indexes):
        if not folder.holds(index.descriptor.digest, index.descriptor.size):
            yield index.descriptor.digest, iter((index.raw,))


def _platform_blobs(
    request: LoadRequest, kept: PlatformParts
) -> Iterator[tuple[Descriptor, Iterator[bytes]]]:
    manifest = kept.manifest
    if kept.config is not None:
        for layer, diff_id in diff_ids(manifest, kept.config):
            yield layer, read_layer(request.blobs, layer, diff_id)
        yield manifest.config, iter((kept.config.raw,))
    else:
        for blob in manifest.blobs:
            yield blob, read_blob(request.blobs, blob)
    yield manifest.descriptor, iter((manifest.raw,))


def _compare(folder: LayoutFolder, request: Expected, name: str) -> tuple[tuple[str, str], ...]:
    """Read the index and the documents again; layers were hashed as they were written."""
    top = request.graph.top
    found = _target(folder.entries(), name)
    if found != str(top.descriptor.digest):
        raise RuntimeMismatchError(
            "the layout's index names something else now",
            where=name,
            expected=str(top.descriptor.digest),
            found=str(found),
        )
    for document in (top, *request.graph.indexes, *(kept.manifest for kept in request.selection)):
        digest = document.descriptor.digest
        if folder.read(digest, size_max=_DOCUMENT_SIZE_MAX) != document.raw:
            raise RuntimeMismatchError(
                "the layout does not give back what was written", where=str(digest)
            )
    return ((f"name {name}", found),)


def _entry(top: Descriptor, name: str) -> JsonValue:
    return top.plain() | {
        "annotations": {REFERENCE_ANNOTATION: name, CONTAINERD_NAME_ANNOTATION: name}
    }


def _named(entry: JsonValue) -> str | None:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    name = annotations.get(REFERENCE_ANNOTATION) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _others(entries: list[JsonValue], name: str) -> list[JsonValue]:
    return [entry for entry in entries if _named(entry) != name]


def _target(entries: list[JsonValue], name: str) -> str | None:
    """Return the digest that a name points to; two entries of one name point nowhere good."""
    found = [
        str(entry.get("digest"))
        for entry in entries
        if isinstance(entry, dict) and _named(entry) == name
    ]
    return " and ".join(found) if found else None


def _restore(folder: LayoutFolder, undo: Undo) -> None:
    """Name again what was named before, and remove the blobs that nothing leads to any more."""
    entries = folder.entries()
    for name, before in undo.names.items():
        entries = _others(entries, name)
        if before is not None:
            entries.extend(_decoded(before))
    if undo.names:
        folder.publish(entries)
    reached = _reached(folder, entries)
    if reached is not None:
        for text in set(undo.brought) - reached:
            folder.remove(Digest.parse(text))
    if undo.made:
        folder.dismantle()


def _discarded(
    folder: LayoutFolder, item: str, reached: frozenset[str] | None, *, really: bool
) -> Discarded:
    digest = Digest.parse(item)
    if reached is None:
        return Discarded(item=item, what="kept", why="what the index leads to cannot be told")
    if item in reached:
        return Discarded(item=item, what="kept", why="the index leads to it")
    if not folder.has(digest):
        return Discarded(item=item, what="gone")
    if really:
        folder.remove(digest)
    return Discarded(item=item, what="removed" if really else "to-remove")


def _encoded(entries: list[JsonValue]) -> str | None:
    return rfc8785.dumps(entries).decode() if entries else None


def _decoded(text: str) -> list[JsonValue]:
    raw = text.encode()
    entries = strictjson.parse(raw, what="entries of the layout's index", size_max=len(raw))
    return entries if isinstance(entries, list) else []


def _reached(folder: LayoutFolder, entries: list[JsonValue]) -> frozenset[str] | None:
    """Return every blob that these entries lead to; None where that cannot be told.

    What others keep in the layout may be of kinds that we do not read: then nothing is removed.
    """
    found: set[str] = set()
    try:
        waiting = [Descriptor.parse(entry, where=LAYOUT_INDEX_NAME) for entry in entries]
        while waiting:
            descriptor = waiting.pop()
            known = str(descriptor.digest) in found
            found.add(str(descriptor.digest))
            if known or descriptor.media_type not in _DOCUMENT_TYPES:
                continue
            raw = folder.read(descriptor.digest, size_max=_DOCUMENT_SIZE_MAX)
            if raw is None:
                # An index lists platforms that nobody brought; they lead nowhere.
                continue
            document = parse_manifest(raw, descriptor, where=str(descriptor.digest))
            match document:
                case ImageIndex():
                    waiting.extend(document.manifests)
                case ImageManifest():
                    waiting.extend(document.blobs)
    except (FormatError, RuntimeLoadError):
        return None
    return frozenset(found)
