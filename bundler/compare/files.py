"""The files of layers: read with their digest, laid upon each other, and compared one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from bundler.compare.layer_tar import TarEntry, read_entries
from bundler.compare.side import LayerSource
from bundler.compare.tree import Tree
from loader.errors import DiffIdError, shown
from loader.inflate import Inflater
from loader.limits import DEFAULT_LIMITS

HEAD_SIZE: Final = 10
"""A gzip header without a name (RFC 1952 §2.3)."""

Level = Literal["identical", "same-content", "same-files", "different"]


class Progress(Protocol):
    """Who is told how many bytes of layers are to be read, and were."""

    def expect(self, size: int, /) -> None:
        """So many more are to come."""

    def advance(self, size: int, /) -> None:
        """So many more were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLayer:
    """A layer that was read to its end."""

    entries: tuple[TarEntry, ...]
    head: bytes
    """How its bytes begin: a compressor leaves its marks there."""


def read_layer(layer: LayerSource, place: str, progress: Progress) -> ReadLayer:
    """Return a layer's entries, and establish that it is the one its config names.

    Raises:
        DiffIdError: it is another.
        FormatError: it is malformed.
    """
    progress.expect(layer.size)
    head = b""

    def chunks() -> Iterator[bytes]:
        nonlocal head
        for chunk in layer.open():
            if len(head) < HEAD_SIZE:
                head += chunk[: HEAD_SIZE - len(head)]
            progress.advance(len(chunk))
            yield chunk

    inflater = Inflater(
        layer.blob or layer.diff_id, size_max=DEFAULT_LIMITS.layer_expanded_size_max
    )
    entries = read_entries(inflater.inflate(chunks()), where=place)
    if inflater.digest != layer.diff_id:
        raise DiffIdError(
            "a layer is not the one that its image's config names",
            where=place,
            expected=str(layer.diff_id),
            found=str(inflater.digest),
        )
    return ReadLayer(entries=entries, head=head)


def merged_tree(layers: tuple[LayerSource, ...], progress: Progress) -> dict[str, TarEntry]:
    """Return what a container sees of layers that lie upon each other.

    Raises:
        DiffIdError: one is another than its config names.
        FormatError: one is malformed, or there are too many files.
    """
    tree = Tree()
    for position, layer in enumerate(layers):
        place = f"layer {position + 1}/{len(layers)}"
        tree.lay(read_layer(layer, place, progress).entries, where=place)
    return tree.files()


def numbered(entries: Iterable[TarEntry]) -> dict[str, TarEntry]:
    """Return entries by name; one that comes again is kept apart, by a NUL that no name has."""
    found: dict[str, TarEntry] = {}
    count: Counter[str] = Counter()
    for entry in entries:
        count[entry.name] += 1
        again = count[entry.name]
        found[entry.name if again == 1 else f"{entry.name}\0{again}"] = entry
    return found


def named_as(key: str) -> str:
    """Return the name behind a key of `numbered`, as people read it."""
    name, _, again = key.partition("\0")
    return shown(name).strip("'") + (f" (time {again})" if again else "")


def order_counts(entries: Iterable[TarEntry]) -> bool:
    """Tell whether another order would unpack to something else."""
    before: set[str] = set()
    for entry in entries:
        linked = entry.link.removeprefix("./").strip("/") if entry.kind == "hard link" else None
        if entry.name in before or (linked is not None and linked not in before):
            return True
        before.add(entry.name)
    return False


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
