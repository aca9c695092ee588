"""The files of one Notary repository, by the names that they have there, as they are carried.

    root.json  N.root.json  timestamp.json  snapshot.json  targets.json  targets/ROLE.json

That is also the layout of the caches of Notary and docker (`tuf/GUN/metadata/`), which keep no
older roots. Nothing is verified here; the judge does that, and so does `trust inspect`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.store import ContentStore
from loader.errors import LocalError, UsageError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor
from loader.model.notary_roles import BASE_ROLES, is_role

MEDIA_TYPE: Final = "application/vnd.airlock.notary.metadata.v1+json"
_TUF: Final = "tuf"
_METADATA: Final = "metadata"
_SUFFIX: Final = ".json"
_OLD_ROOT: Final = re.compile(r"[1-9][0-9]{0,8}\.root", re.ASCII)
_DEPTH_MAX: Final = 24
_REPOSITORY_COUNT_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A repository's files by their names without `.json`: `root`, `2.root`, `targets/releases`."""

    gun: str
    files: Mapping[str, bytes]
    origin: str
    """Where they are from, in words."""
    notes: tuple[str, ...] = ()
    """What is missing that may be missed."""

    def carried(self, anchor: str, store: ContentStore) -> TrustEntry:
        """Put the files into a store, and return what a bundle's statement says of them."""
        names = sorted(self.files)
        for name in names:
            store.put(self.files[name])
        return TrustEntry(
            anchor=anchor,
            kind="notary",
            blobs=tuple(Descriptor.make(MEDIA_TYPE, self.files[name]) for name in names),
            repository=self.gun,
            names=tuple(name + _SUFFIX for name in names),
        )

    def write(self, folder: Path) -> Path:
        """Write the files as a cache that Notary, docker and this program read; return where.

        Raises:
            LocalError: it cannot be written.
        """
        target = folder / _TUF / self.gun / _METADATA
        try:
            for name, raw in sorted(self.files.items()):
                path = target / (name + _SUFFIX)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(path.name + ".part")
                part.write_bytes(raw)
                part.replace(path)
        except OSError as e:
            raise LocalError(
                "trust material cannot be written", where=str(target), found=e.strerror or ""
            ) from e
        return target


def is_file_name(name: str) -> bool:
    """Tell whether a file without its `.json` is one of a repository's metadata."""
    return is_role(name) or _OLD_ROOT.fullmatch(name) is not None


def read_cache(folder: Path, gun: str) -> Captured:
    """Read a repository from a cache: docker's, Notary's, or what `trust fetch` wrote.

    Raises:
        UsageError: the cache does not hold it, or cannot be read.
    """
    target = _metadata_folder(folder, gun)
    files: dict[str, bytes] = {}
    size_left = DEFAULT_LIMITS.notary_repository_size_max
    for path in _files_below(target):
        name = str(path.relative_to(target)).removesuffix(_SUFFIX)
        if path.suffix == _SUFFIX and is_file_name(name):
            files[name] = raw = _read(path, size_max=size_left)
            size_left -= len(raw)
    missing = [role for role in BASE_ROLES if role not in files]
    if missing:
        raise UsageError(
            "the cache holds no whole repository",
            where=str(target),
            expected=", ".join(f"{role}{_SUFFIX}" for role in BASE_ROLES),
            found="no " + ", ".join(role + _SUFFIX for role in missing),
        )
    notes = () if any("." in name for name in files) else (_NO_HISTORY,)
    return Captured(gun=gun, files=files, origin=str(target), notes=notes)


_NO_HISTORY: Final = (
    "older roots are not in this cache: hosts that pin a root key which was rotated away need them "
    "from a server"
)


def repositories_in(folder: Path) -> tuple[str, ...]:
    """Return the names of the repositories that a cache holds.

    Raises:
        UsageError: it is no such cache.
    """
    top = folder / _TUF
    found: list[str] = []
    for path, folders, _ in os.walk(top):
        if len(Path(path).relative_to(top).parts) > _DEPTH_MAX:
            folders.clear()
        elif _METADATA in folders and (Path(path) / _METADATA / "root.json").is_file():
            found.append(str(Path(path).relative_to(top)))
            folders.remove(_METADATA)
        if len(found) > _REPOSITORY_COUNT_MAX:
            break
    if not found:
        raise UsageError(
            "no cache of Notary metadata", where=str(folder), expected="tuf/REPOSITORY/metadata/"
        )
    return tuple(sorted(found))


def _metadata_folder(folder: Path, gun: str) -> Path:
    """Return where a cache keeps a repository; the folder may be the repository's own."""
    if ".." in gun.split("/") or gun.startswith("/"):
        raise UsageError("not a repository's name", found=shown(gun))
    if (folder / "root.json").is_file():
        return folder
    return folder / _TUF / gun / _METADATA


def _files_below(folder: Path) -> Iterator[Path]:
    names: list[Path] = []
    for path, folders, files in os.walk(folder):
        if len(Path(path).relative_to(folder).parts) > _DEPTH_MAX:
            folders.clear()
        names += (Path(path) / name for name in files)
        if len(names) > _REPOSITORY_COUNT_MAX:
            break
    return iter(sorted(names))


def _read(path: Path, *, size_max: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            raw = file.read(size_max + 1) if regular else b""
    except OSError as e:
        raise UsageError("a file cannot be read", where=str(path), found=e.strerror or "") from e
    if not regular or len(raw) > size_max:
        raise UsageError(
            "a file of a cache is none, or too large",
            where=str(path),
            expected=f"at most {size_max} bytes",
        )
    return raw
