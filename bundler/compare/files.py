"""The files of layers: read with their digest, laid upon each other, and compared one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

from bundler.compare.layer_tar import TarEntry, read_entries
from bundler.compare.side import LayerSource
from loader.errors import DiffIdError
from loader.inflate import Inflater
from loader.limits import DEFAULT_LIMITS

Level = Literal["identical", "same-content", "same-files", "different"]


def read_layer(layer: LayerSource, place: str) -> tuple[TarEntry, ...]:
    """Return a layer's entries, and establish that it is the one its config names.

    Raises:
        DiffIdError: it is another.
        FormatError: it is malformed.
    """
    inflater = Inflater(
        layer.blob or layer.diff_id, size_max=DEFAULT_LIMITS.layer_expanded_size_max
    )
    entries = read_entries(inflater.inflate(layer.open()), where=place)
    if inflater.digest != layer.diff_id:
        raise DiffIdError(
            "a layer is not the one that its image's config names",
            where=place,
            expected=str(layer.diff_id),
            found=str(inflater.digest),
        )
    return entries


def merged_tree(layers: tuple[LayerSource, ...]) -> dict[str, TarEntry]:
    """Return what is seen of layers that lie upon each other (image-spec layer.md, whiteouts)."""
    tree: dict[str, TarEntry] = {}
    for position, layer in enumerate(layers):
        entries = read_layer(layer, f"layer {position + 1}/{len(layers)}")
        for entry in entries:
            folder, _, last = entry.name.rpartition("/")
            if last == ".wh..wh..opq":
                _remove_below(tree, folder)
            elif last.startswith(".wh."):
                gone = f"{folder}/{last[4:]}" if folder else last[4:]
                tree.pop(gone, None)
                _remove_below(tree, gone)
        for entry in entries:
            if not entry.name.rpartition("/")[2].startswith(".wh."):
                before = tree.get(entry.name)
                if before is not None and before.kind == "folder" != entry.kind:
                    _remove_below(tree, entry.name)
                tree[entry.name] = entry
    return tree


def _remove_below(tree: dict[str, TarEntry], folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    for name in [name for name in tree if name.startswith(prefix)]:
        del tree[name]


def entry_differences(a: TarEntry, b: TarEntry) -> Iterator[tuple[str, str, str, Level]]:
    """Yield in what respects two entries of one name differ, and what each says."""
    if a.kind != b.kind:
        yield "kind", a.kind, b.kind, "different"
        return
    for what, level, said in _RESPECTS:
        if said(a) != said(b):
            yield what, said(a), said(b), level


def _names(entry: TarEntry) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in entry.xattrs) or "none"


_RESPECTS: Final[tuple[tuple[str, Level, Callable[[TarEntry], str]], ...]] = (
    ("content", "different", lambda one: f"sha256 {one.content} ({one.size} bytes)"),
    ("link", "different", lambda one: one.link),
    ("mode", "different", lambda one: f"{one.mode:04o}"),
    ("owner", "different", lambda one: f"{one.uid}:{one.gid}"),
    ("device", "different", lambda one: f"{one.device[0]}:{one.device[1]}"),
    ("extended attributes", "different", _names),
    ("mtime", "same-files", lambda one: one.mtime),
    ("owner's name", "same-files", lambda one: ":".join(one.owner)),
    ("further records", "same-files", lambda one: str(dict(one.others))),
)
"""What of an entry counts for a container, and what only a builder leaves."""
