"""Where a file of a TUF repository lies: on a server, in a git folder, in a client's cache.

    server, published site   [metadata/]N.root.json, timestamp.json, V.snapshot.json, V.ROLE.json;
                             targets/DIR/HASH.NAME
    tuf-on-ci's git folder   metadata/root_history/N.root.json, metadata/ROLE.json; targets/PATH
    a client's cache         root_history/N.root.json or root.json, ROLE.json; targets/PATH or PATH

Versions and hashes in names are taken from metadata that is not verified yet: they only say where
to look. Whoever replays the files decides what they are worth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, Protocol

from bundler.errors import RemoteNotFoundError
from loader.errors import FormatError, LimitError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.trust.tuf_replay import ROOT_FILE

_META: Final = ("metadata/", "")
_HASHES: Final = ("sha256", "sha512")
_SIZES: Final = {
    "timestamp.json": DEFAULT_LIMITS.tuf_timestamp_size_max,
    "snapshot.json": DEFAULT_LIMITS.tuf_snapshot_size_max,
}


class Reader(Protocol):
    """A place that may have a file under a relative path."""

    @property
    def origin(self) -> str:
        """The place, in words."""

    def read(self, path: str, *, size_max: int) -> bytes | None:
        """Return the file, or None where there is none.

        Raises:
            LimitError: it is larger.
        """


class LiveFiles:
    """A repository as whoever replays it asks for files: each is looked for once, and kept."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[str, bytes | None] = {}
        self._meta = self._find_meta()

    @property
    def names(self) -> Collection[str]:
        """Everything that is there; asked for a name, it looks."""
        return _Names(self)

    @property
    def files(self) -> dict[str, bytes]:
        """What was asked for and is there, by the name that a bundle gives it."""
        return {name: raw for name, raw in self._found.items() if raw is not None}

    @property
    def origin(self) -> str:
        """Where they are from."""
        return self._reader.origin

    def read(self, name: str, *, size_max: int) -> bytes:
        """Return one of them.

        Raises:
            LimitError: it is larger.
        """
        raw = self.look(name)
        if raw is None:
            raise RemoteNotFoundError("no such file in the TUF repository", where=name)
        if len(raw) > size_max:
            raise LimitError("a file of a TUF repository is too large", where=name)
        return raw

    def collect_roots(self, pinned: int) -> None:
        """Look for every root around the pinned one: newer ones, and older ones that hosts pin."""
        newer, older = pinned + 1, pinned
        while self.look(f"{newer}.root.json") is not None:
            newer += 1
        while older > 0 and self.look(f"{older}.root.json") is not None:
            older -= 1

    def look(self, name: str) -> bytes | None:
        """Return a file, or None where there is none."""
        if name not in self._found:
            self._found[name] = self._look(name)
        return self._found[name]

    def _look(self, name: str) -> bytes | None:
        match = ROOT_FILE.fullmatch(name)
        size_max = _SIZES.get(name, DEFAULT_LIMITS.tuf_targets_size_max)
        if match is not None:
            size_max = DEFAULT_LIMITS.tuf_root_size_max
        for path in dict.fromkeys(self._paths(name)):
            raw = self._reader.read(path, size_max=size_max)
            if raw is not None:
                return raw
        if match is not None:
            newest = self._reader.read(f"{self._meta}root.json", size_max=size_max)
            if newest is not None and _version(newest) == int(match.group(1)):
                return newest
        return None

    def _paths(self, name: str) -> Iterator[str]:
        if ROOT_FILE.fullmatch(name):
            yield f"{self._meta}{name}"
            yield f"{self._meta}root_history/{name}"
        elif name.startswith("targets/"):
            yield from self._target_paths(name.removeprefix("targets/"))
        elif name == "timestamp.json":
            yield f"{self._meta}{name}"
        else:
            by = "timestamp.json" if name == "snapshot.json" else "snapshot.json"
            version = _listed_version(self.look(by), name)
            if version is not None:
                yield f"{self._meta}{version}.{name}"
            yield f"{self._meta}{name}"

    def _target_paths(self, path: str) -> Iterator[str]:
        folder, slash, name = path.rpartition("/")
        roles = [raw for file, raw in self.files.items() if file.endswith(".json")]
        for hashed in dict.fromkeys(h for raw in roles for h in _target_hashes(raw, path)):
            yield f"targets/{folder}{slash}{hashed}.{name}"
        yield f"targets/{path}"
        yield path

    def _find_meta(self) -> str:
        for prefix in _META:
            size_max = _SIZES["timestamp.json"]
            raw = self._reader.read(f"{prefix}timestamp.json", size_max=size_max)
            if raw is not None:
                self._found["timestamp.json"] = raw
                return prefix
        raise RemoteNotFoundError(
            "no TUF repository there",
            where=self._reader.origin,
            expected="timestamp.json, or metadata/timestamp.json",
        )


class _Names(Collection[str]):
    def __init__(self, live: LiveFiles) -> None:
        self._live = live

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._live.look(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._live.files)

    def __len__(self) -> int:
        return len(self._live.files)


def _signed(raw: bytes | None) -> Fields | None:
    """Return what metadata says, believed for nothing but where to look next."""
    if raw is None:
        return None
    try:
        document = strictjson.parse_object(
            raw,
            what="TUF metadata",
            size_max=DEFAULT_LIMITS.tuf_targets_size_max,
            keys="exact",
        )
        return Fields(document, "").fields("signed")
    except FormatError:
        return None


def _version(raw: bytes) -> int | None:
    signed = _signed(raw)
    value = None if signed is None else signed.object.get("version")
    return value if isinstance(value, int) else None


def _listed_version(raw: bytes | None, name: str) -> int | None:
    signed = _signed(raw)
    try:
        return None if signed is None else signed.fields("meta").fields(name).integer("version")
    except FormatError:
        return None


def _target_hashes(raw: bytes, path: str) -> Iterator[str]:
    signed = _signed(raw)
    targets = None if signed is None else signed.object.get("targets")
    info = targets.get(path) if isinstance(targets, dict) else None
    hashes = info.get("hashes") if isinstance(info, dict) else None
    if isinstance(hashes, dict):
        for name in _HASHES:
            value = hashes.get(name)
            if isinstance(value, str) and value.isalnum():
                yield value
