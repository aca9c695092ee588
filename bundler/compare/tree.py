"""What a container sees of an image: its layers laid upon each other, as runtimes lay them.

    whiteouts         take away what lower layers have, never what their own layer brings
    hard links        are the file that they link to at that moment; a later one changes nothing
    links on the way  are followed within the image: `lib/x` below `lib -> usr/lib` is `usr/lib/x`

So that two images which unpack alike are alike here, and no two that do not.
(image-spec layer.md; containerd's archive.Apply.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from bundler.compare.layer_tar import TarEntry
from loader.errors import LimitError, PathError, shown

NODE_COUNT_MAX: Final = 1_000_000
"""Files and folders of one image; each costs about a kilobyte. Images with CUDA have 300,000."""
_LINKS_MAX: Final = 40
"""Links followed on the way to one file, as Linux does."""
_STEPS_MAX: Final = 10_000_000
"""Folders walked through because a link leads there, for all files together: some seconds."""
_OPAQUE: Final = ".wh..wh..opq"
_WHITEOUT: Final = ".wh."


class _Node:
    """A file, or a folder with what is in it; one that no layer writes down has no entry."""

    __slots__ = ("below", "entry")

    def __init__(self) -> None:
        self.entry: TarEntry | None = None
        self.below: dict[str, _Node] = {}


class Tree:
    """Grows layer by layer."""

    def __init__(self, *, count_max: int = NODE_COUNT_MAX) -> None:
        self._top = _Node()
        self._count = 0
        self._count_max = count_max
        self._steps_left = _STEPS_MAX

    def lay(self, entries: Iterable[TarEntry], *, where: str) -> None:
        """Lay a layer upon what is there.

        Raises:
            PathError: links in a circle, or a file below something that is no folder.
            LimitError: too many files.
        """
        kept: list[TarEntry] = []
        for entry in entries:
            folder, _, last = entry.name.rpartition("/")
            if not last.startswith(_WHITEOUT):
                kept.append(entry)
            elif last == _OPAQUE:
                self._clear(self._find(folder, where, follow=True))
            else:
                parent = self._find(folder, where, follow=True)
                gone = None if parent is None else parent.below.pop(last[len(_WHITEOUT) :], None)
                if gone is not None:
                    self._count -= 1
                    self._clear(gone)
        for entry in kept:
            self._put(entry, where)

    def files(self) -> dict[str, TarEntry]:
        """Return everything that a layer wrote down, by where it lies."""
        found: dict[str, TarEntry] = {}
        waiting: list[tuple[str, _Node]] = [("", self._top)]
        while waiting:
            path, node = waiting.pop()
            if node.entry is not None:
                found[path or "."] = node.entry
            prefix = f"{path}/" if path else ""
            waiting += [(prefix + name, child) for name, child in reversed(node.below.items())]
        return found

    # --- one file -----------------------------------------------------------------------------

    def _put(self, entry: TarEntry, where: str) -> None:
        if entry.name == ".":
            self._top.entry = entry
            return
        folder, _, last = entry.name.rpartition("/")
        parent = self._walk(folder, where, make=True, follow=True)
        if entry.kind == "hard link":
            target = self._find(entry.link, where, follow=False)
            if target is not None and target.entry is not None:
                entry = replace(target.entry, name=entry.name)
        node = parent.below.get(last)
        if node is None:
            node = self._made(parent, last, where)
        elif entry.kind != "folder":
            self._clear(node)
        node.entry = entry

    def _find(self, path: str, where: str, *, follow: bool) -> _Node | None:
        """Return what is there; a link at the end of the way is followed if `follow`."""
        try:
            return self._walk(path, where, make=False, follow=follow)
        except KeyError:
            return None

    def _walk(self, path: str, where: str, *, make: bool, follow: bool) -> _Node:
        """Return what a path leads to.

        Raises:
            KeyError: nothing, and it is not to be made.
            PathError: links in a circle, or a file below something that is no folder.
        """
        way = [self._top]
        left = deque(_parts(path))
        links = 0
        while left:
            part = left.popleft()
            if part == "..":
                del way[max(1, len(way) - 1) :]
                continue
            child = way[-1].below.get(part)
            if child is None:
                if not make:
                    raise KeyError(path)
                child = self._made(way[-1], part, where)
            entry = child.entry
            if entry is None or entry.kind == "folder" or not (left or follow):
                way.append(child)
            elif entry.kind == "symbolic link":
                links += 1
                if links > _LINKS_MAX:
                    raise PathError("links in a circle", where=where, found=shown(path))
                left.extendleft(reversed(self._followed(entry.link, where)))
                if entry.link.startswith("/"):
                    del way[1:]
            elif make:
                raise PathError(
                    "a file below something that is no folder", where=where, found=shown(path)
                )
            else:
                raise KeyError(path)
        return way[-1]

    def _followed(self, target: str, where: str) -> list[str]:
        parts = _parts(target)
        self._steps_left -= len(parts)
        if self._steps_left < 0:
            raise LimitError("too many links on the way to files", where=where)
        return parts

    def _made(self, parent: _Node, name: str, where: str) -> _Node:
        self._count += 1
        if self._count > self._count_max:
            raise LimitError(
                "an image has too many files", where=where, expected=f"at most {self._count_max}"
            )
        node = parent.below[name] = _Node()
        return node

    def _clear(self, node: _Node | None) -> None:
        """Forget what is in a folder."""
        waiting = [] if node is None else [node]
        while waiting:
            one = waiting.pop()
            self._count -= len(one.below)
            waiting += one.below.values()
            one.below = {}


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
