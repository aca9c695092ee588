"""How alike two images are, platform by platform, and where they first differ.

    identical      the same manifest digest: the same bytes, from there down
    same-content   other manifest bytes (compression, media types, annotations), the same files in
                   the same layers, and what is run is the same
    same-files     files alike but for their order, times and owners' names; or other build dates
    different      anything else; the first difference is named down to the file

A config's `diff_id`s are claims: where two layers are not the same blob, both are unpacked and
hashed.
What is run (`config`, architecture, os) is never waved through because the layers agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bundler.compare.causes import (
    cause_of_annotation,
    cause_of_compression,
    cause_of_config,
    cause_of_entry,
)
from bundler.compare.files import (
    Level,
    Progress,
    entry_differences,
    merged_tree,
    named_as,
    numbered,
    order_counts,
    read_layer,
)
from bundler.compare.layer_tar import TarEntry
from bundler.compare.side import LayerSource, PlatformImage, Side
from loader.digest import Digest
from loader.errors import JsonError, shown
from loader.model import strictjson
from loader.model.strictjson import JsonObject, JsonValue

LEVELS: Final[tuple[Level, ...]] = ("identical", "same-content", "same-files", "different")
DIFFERENCES_MAX: Final = 1000
"""Differences of one platform that are listed; what is behind is counted."""
_RUN: Final = ("config", "architecture", "os", "os.version", "os.features", "variant")
_SETS: Final = frozenset({"Volumes", "ExposedPorts", "Labels"})
"""What of `config` is a map with free keys: a key counts, whatever it holds."""
_BUILT: Final = "org.opencontainers.image.created"
_TEXT_MAX: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same."""

    level: Level
    path: tuple[str, ...]
    """From the platform down: `layer 3/7 (RUN …)`, `var/lib/dpkg/status`, `content`."""
    a: str
    b: str
    cause: str = ""
    """Where it mostly comes from."""

    @property
    def place(self) -> str:
        """The path, as people read it."""
        return " › ".join(self.path)  # noqa: RUF001

    def __str__(self) -> str:
        return f"{self.place}: {self.a} ≠ {self.b}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformVerdict:
    """How alike two images are for one platform."""

    platform: str
    level: Level
    differences: tuple[Difference, ...]
    """In order; the first of the verdict's level is the one to look at."""
    more: int = 0
    """Differences that are not listed."""

    @property
    def first(self) -> Difference | None:
        """The first difference that makes it no better than it is."""
        return next((one for one in self.differences if one.level == self.level), None)


def compare_sides(
    a: Side,
    b: Side,
    *,
    progress: Progress,
    platforms: Iterable[str] = (),
    semantic: bool = False,
) -> tuple[PlatformVerdict, ...]:
    """Compare two images platform by platform.

    Args:
        a: one image.
        b: the other.
        progress: is told of layers that are read.
        platforms: those to look at; none means all that either has.
        semantic: leave out history and build dates, and how files are spread over layers: what
            counts is the tree of files that a container sees.

    Raises:
        FormatError: a layer is malformed, or not what its image says.
        RemoteError: a registry.
    """
    ours = {one.platform: one for one in a.platforms}
    theirs = {one.platform: one for one in b.platforms}
    names = list(platforms) or list(dict.fromkeys((*ours, *theirs)))
    found = []
    for name in names:
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            found.append(_absent(name, a=one is not None, b=other is not None))
        else:
            found.append(_Pair(one, other, progress, semantic=semantic).verdict())
    return tuple(found)


def worst(verdicts: Iterable[PlatformVerdict]) -> Level:
    """Return the lowest rung that any platform stands on."""
    return max((one.level for one in verdicts), key=LEVELS.index, default="different")


def _absent(name: str, *, a: bool, b: bool) -> PlatformVerdict:
    words = {True: "there", False: "not there"}
    one = Difference(
        level="different",
        path=(name,),
        a=words[a],
        b=words[b],
        cause="built or packed for fewer platforms: --platform compares those that both have",
    )
    return PlatformVerdict(platform=name, level="different", differences=(one,))


class _Pair:
    """Two images of one platform."""

    def __init__(
        self, a: PlatformImage, b: PlatformImage, progress: Progress, *, semantic: bool
    ) -> None:
        self._a = a
        self._b = b
        self._progress = progress
        self._semantic = semantic
        self._found: list[Difference] = []
        self._more = 0
        self._level: Level = "identical"

    def verdict(self) -> PlatformVerdict:
        """Return how alike they are."""
        a, b = self._a, self._b
        same = (
            a.manifest is not None
            and b.manifest is not None
            and a.manifest.descriptor.digest == b.manifest.descriptor.digest
        )
        if not same:
            self._manifests()
            self._configs()
            self._layers()
            self._otherwise_written()
        return PlatformVerdict(
            platform=a.platform,
            level=self._level,
            differences=tuple(self._found),
            more=self._more,
        )

    def _note(
        self, level: Level, path: tuple[str, ...], a: object, b: object, cause: str = ""
    ) -> None:
        if LEVELS.index(level) > LEVELS.index(self._level):
            self._level = level
        if len(self._found) >= DIFFERENCES_MAX:
            self._more += 1
            return
        self._found.append(
            Difference(
                level=level,
                path=(self._a.platform, *path),
                a=_shown(a),
                b=_shown(b),
                cause=cause,
            )
        )

    # --- manifests and configs ----------------------------------------------------------------

    def _manifests(self) -> None:
        a, b = self._a.manifest, self._b.manifest
        if a is None or b is None:
            self._note(
                "same-content",
                ("manifest",),
                "none" if a is None else a.descriptor.digest,
                "none" if b is None else b.descriptor.digest,
                "a docker archive has no manifest",
            )
            return
        if a.descriptor.media_type != b.descriptor.media_type:
            self._note(
                "same-content",
                ("manifest", "media type"),
                a.descriptor.media_type,
                b.descriptor.media_type,
                "Docker's format and OCI's",
            )
        for key in sorted(a.annotations.keys() | b.annotations.keys()):
            if a.annotations.get(key) != b.annotations.get(key):
                self._note(
                    "same-content",
                    ("manifest", "annotations", shown(key).strip("'")),
                    a.annotations.get(key, "none"),
                    b.annotations.get(key, "none"),
                    cause_of_annotation(key),
                )

    def _otherwise_written(self) -> None:
        """Name the manifests where nothing in them, or below, explains why they differ."""
        a, b = self._a.manifest, self._b.manifest
        if a is not None and b is not None and not self._found:
            self._note(
                "same-content",
                ("manifest",),
                a.descriptor.digest,
                b.descriptor.digest,
                "what --semantic leaves out"
                if self._semantic
                else "the same values, written otherwise",
            )

    def _configs(self) -> None:
        a, b = (_json(one.config.raw) for one in (self._a, self._b))
        if self._a.config.descriptor.digest == self._b.config.descriptor.digest:
            return
        before = len(self._found)
        others = {key for key in a.keys() | b.keys() if key not in {*_RUN, "rootfs"}}
        # Runtimes do not look at letter case: `Config` is a config too.
        run = {key for key in others if key.casefold() in {*_RUN, "rootfs"}}
        for key in (*_RUN, *sorted(run)):
            for path, one, other in _json_differences(a.get(key), b.get(key), (key,)):
                is_date = path[-1] == _BUILT
                if is_date and self._semantic:
                    continue
                self._note(
                    "same-files" if is_date else "different",
                    ("config", *path),
                    one,
                    other,
                    cause_of_config(path),
                )
        if self._semantic:
            return
        for key in sorted(others - run):
            for path, one, other in _json_differences(a.get(key), b.get(key), (key,)):
                self._note("same-files", ("config", *path), one, other, cause_of_config(path))
        if len(self._found) == before and self._a.config.diff_ids == self._b.config.diff_ids:
            self._note(
                "same-content",
                ("config",),
                self._a.config.descriptor.digest,
                self._b.config.descriptor.digest,
                "the same values, written otherwise",
            )

    # --- layers -------------------------------------------------------------------------------

    def _layers(self) -> None:
        a, b = self._a.layers, self._b.layers
        if self._semantic:
            self._trees()
            return
        if len(a) != len(b):
            self._note(
                "different",
                ("layers",),
                len(a),
                len(b),
                "another build file, or squashed: --semantic compares what a container sees",
            )
        count = max(len(a), len(b))
        lines = _history(self._a), _history(self._b)
        for position, (one, other) in enumerate(zip(a, b, strict=False)):
            said = lines[0][position] or lines[1][position]
            place = f"layer {position + 1}/{count}" + (f" ({said})" if said else "")
            self._layer(one, other, place)

    def _layer(self, a: LayerSource, b: LayerSource, place: str) -> None:
        if a.blob is not None and a.blob == b.blob and a.diff_id == b.diff_id:
            return
        ours, theirs = (read_layer(one, place, self._progress) for one in (a, b))
        if a.diff_id == b.diff_id:
            self._note(
                "same-content",
                (place, "blob"),
                a.blob or "a plain tar",
                b.blob or "a plain tar",
                cause_of_compression(ours.head, theirs.head),
            )
            return
        before = len(self._found) + self._more
        self._entries(ours.entries, theirs.entries, place)
        if len(self._found) + self._more == before:
            self._note(
                "same-files",
                (place, "tar"),
                a.diff_id,
                b.diff_id,
                "the same entries, written by another tar: header format or padding",
            )

    def _entries(
        self, ours: tuple[TarEntry, ...], theirs: tuple[TarEntry, ...], place: str
    ) -> None:
        a, b = numbered(ours), numbered(theirs)
        if list(a) != list(b) and a.keys() == b.keys():
            position = next(n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
            counts = order_counts(ours) or order_counts(theirs)
            self._note(
                "different" if counts else "same-files",
                (place, "order"),
                named_as(list(a)[position]),
                named_as(list(b)[position]),
                "a name comes twice, or a link before its file: the order decides what they hold"
                if counts
                else "files in another order: sort what goes into the layer",
            )
        self._files(a, b, (place,))

    def _files(
        self, a: Mapping[str, TarEntry], b: Mapping[str, TarEntry], place: tuple[str, ...]
    ) -> None:
        for name in dict.fromkeys((*a, *b)):
            one, other = a.get(name), b.get(name)
            path = (*place, named_as(name))
            if one is None or other is None:
                there = one or other
                words = there.kind if there is not None else ""
                self._note(
                    "different",
                    path,
                    words if one else "not there",
                    words if other else "not there",
                    cause_of_entry(name, "presence", one, other),
                )
                continue
            for what, x, y, level in entry_differences(one, other):
                self._note(level, (*path, what), x, y, cause_of_entry(name, what, one, other))

    def _trees(self) -> None:
        """Compare what a container sees: all layers, one upon the other."""
        if [one.blob for one in self._a.layers] == [one.blob for one in self._b.layers] and all(
            one.blob is not None for one in self._a.layers
        ):
            return
        a, b = (merged_tree(one.layers, self._progress) for one in (self._a, self._b))
        before = len(self._found) + self._more
        self._files(a, b, ("files",))
        if len(self._found) + self._more == before:
            self._note("same-files", ("layers",), len(self._a.layers), len(self._b.layers))


def _history(image: PlatformImage) -> list[str]:
    """Return the line of history that made each layer, as far as the config tells."""
    raw = _json(image.config.raw).get("history")
    lines = []
    for item in raw if isinstance(raw, list) else []:
        if isinstance(item, dict) and item.get("empty_layer") is not True:
            text = " ".join(str(item.get("created_by") or item.get("comment") or "").split())
            lines.append(shown(text, limit=60).strip("'\""))
    count = len(image.layers)
    return lines if len(lines) == count else [""] * count


def _json(raw: bytes) -> JsonObject:
    """Return a config, of which no two readers make different things.

    Raises:
        JsonError: a runtime would take two keys for one.
    """
    document = strictjson.parse_object(
        raw, what="a config", size_max=len(raw), keys="exact", numbers="any"
    )
    config = document.get("config")
    for one in (document, config if isinstance(config, dict) else {}):
        if len({key.casefold() for key in one}) != len(one):
            raise JsonError("a config has keys that differ only in case", found=shown(sorted(one)))
    return document


def _json_differences(
    a: JsonValue, b: JsonValue, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if path[1:] and path[-1] in _SETS and not a.get(key) and not b.get(key):
                if (key in a) != (key in b):
                    words = {True: "there", False: "none"}
                    yield (*path, shown(key).strip("'")), words[key in a], words[key in b]
                continue
            yield from _json_differences(a.get(key), b.get(key), (*path, shown(key).strip("'")))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for position, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _json_differences(one, other, (*path, str(position)))
    elif a != b and not (not a and not b):  # null, absent and empty run alike
        yield path, "none" if a is None else a, "none" if b is None else b


def _shown(value: object) -> str:
    if isinstance(value, Digest):
        return str(value)
    return shown(str(value), limit=_TEXT_MAX).strip("'")
