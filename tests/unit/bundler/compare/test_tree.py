"""What a container sees of layers: whiteouts, hard links, links on the way."""

from __future__ import annotations

import pytest

from bundler.compare.layer_tar import TarEntry
from bundler.compare.tree import Tree
from loader.errors import LimitError, PathError


def file(name: str, content: str = "") -> TarEntry:
    return TarEntry(name=name, kind="file", mode=0o644, uid=0, gid=0, content=content)


def folder(name: str) -> TarEntry:
    return TarEntry(name=name, kind="folder", mode=0o755, uid=0, gid=0)


def link(name: str, target: str, kind: str = "symbolic link") -> TarEntry:
    return TarEntry(name=name, kind=kind, mode=0o777, uid=0, gid=0, link=target)


def tree(*layers: list[TarEntry]) -> dict[str, str]:
    found = Tree()
    for position, layer in enumerate(layers):
        found.lay(layer, where=f"layer {position + 1}")
    return {
        name: one.content or (f"-> {one.link}" if one.link else one.kind)
        for name, one in found.files().items()
    }


CASES = {
    "a later layer wins": (
        [[file("a", "1")], [file("a", "2")]],
        {"a": "2"},
    ),
    "a whiteout takes a file away": ([[file("a", "1")], [file(".wh.a")]], {}),
    "a whiteout takes a folder away with what is in it": (
        [[folder("d"), file("d/a", "1")], [file(".wh.d")]],
        {},
    ),
    "an opaque folder hides what lies below, and keeps its own": (
        [[folder("d"), file("d/a", "1")], [file("d/b", "2"), file("d/.wh..wh..opq")]],
        {"d": "folder", "d/b": "2"},
    ),
    "an opaque root hides all": ([[file("a", "1")], [file(".wh..wh..opq"), file("b", "2")]],
                                 {"b": "2"}),
    "a whiteout leaves its own layer's file": (
        [[file("a", "1")], [file("a", "2"), file(".wh.a")]],
        {"a": "2"},
    ),
    "a whiteout of nothing": ([[file("b", "1")], [file("x/y/.wh.a")]], {"b": "1"}),
    "a file where a folder was": (
        [[folder("d"), file("d/a", "1")], [file("d", "2")]],
        {"d": "2"},
    ),
    "a folder where a file was, opaque below": (
        [[file("d", "1")], [folder("d"), folder("d/e"), file("d/e/.wh..wh..opq")]],
        {"d": "folder", "d/e": "folder"},
    ),
    "a folder that changes keeps what is in it": (
        [[folder("d"), file("d/a", "1")], [folder("d")]],
        {"d": "folder", "d/a": "1"},
    ),
    "a hard link is the file, whatever becomes of its name": (
        [[file("a", "1"), link("b", "a", "hard link")], [file("a", "2")]],
        {"a": "2", "b": "1"},
    ),
    "a hard link to a file of a lower layer": (
        [[file("a", "1")], [link("b", "/a", "hard link")]],
        {"a": "1", "b": "1"},
    ),
    "a hard link to nothing stays one": ([[link("b", "a", "hard link")]], {"b": "-> a"}),
    "what lies below a link is where the link leads": (
        [[link("lib", "usr/lib"), folder("usr/lib")], [file("lib/x", "1")]],
        {"lib": "-> usr/lib", "usr/lib": "folder", "usr/lib/x": "1"},
    ),
    "... which may leave the root only by name": (
        [[link("a", "/../../b")], [file("a/x", "1")]],
        {"a": "-> /../../b", "b/x": "1"},
    ),
    "... and the last one written wins, by whatever name": (
        [[link("dir", "/etc")], [file("etc/passwd", "good")], [file("dir/passwd", "evil")]],
        {"dir": "-> /etc", "etc/passwd": "evil"},
    ),
    "a link itself is replaced, not followed": (
        [[link("a", "b"), file("b", "1")], [file("a", "2")]],
        {"a": "2", "b": "1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_layers_lie_upon_each_other(case: str) -> None:
    layers, expected = CASES[case]
    assert tree(*layers) == expected


@pytest.mark.parametrize(
    "layers",
    [
        [[link("a", "b"), link("b", "a")], [file("a/x")]],
        [[link("a", "a/a/a")], [file("a/x")]],
        [[link("a", ".")], [file("a", "1"), file("a/x")]],
        [[file("a", "1")], [file("a/x", "2")]],
    ],
    ids=["a circle", "a link into itself", "below a file", "below a file of a lower layer"],
)
def test_a_way_that_leads_nowhere_is_an_error(layers: list[list[TarEntry]]) -> None:
    with pytest.raises(PathError):
        tree(*layers)


def test_whiteouts_cost_what_they_take_away() -> None:
    """Looking through all that is there, for each of them, would take hours."""
    many = 100_000
    found = Tree()
    found.lay((file(f"d/{n}") for n in range(many)), where="1")
    found.lay((file(f"d/.wh.{n}") for n in range(many)), where="2")
    assert found.files() == {}


def test_files_are_counted_and_those_that_went_are_not() -> None:
    found = Tree(count_max=10)
    for _ in range(5):
        found.lay([file(".wh.d"), *(file(f"d/{n}") for n in range(9))], where="layer")
    with pytest.raises(LimitError, match="too many files"):
        found.lay([file("one-more")], where="layer")
