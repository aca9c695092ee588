"""A folder of trust material, as `airlock trust fetch` writes it, read as a bundle's blobs are.

1.root.json  timestamp.json  targets/…         one TUF repository
tuf/REPOSITORY/metadata/root.json  2.root.json  targets/releases.json      Notary repositories,
                                               as the caches of docker and notary have them too
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from loader.digest import Digest
from loader.errors import InputError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor
from loader.places import local_error, read_small_file
from loader.trust.anchors import label_of

FOLDER_COUNT_MAX: Final = 4096
"""Files of a folder that is imported; a bundle carries 1,024 of one repository."""
_NOTARY: Final = "tuf"
_METADATA: Final = "metadata"


class TrustFolder:
    """The files of a folder, each with what it was when the folder was listed."""

    __slots__ = ("_by_digest", "_folder")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_digest: dict[Digest, Path] = {}

    def entries(self, anchor: str) -> tuple[TrustEntry, ...]:
        """Return what a statement would say of it, if all of it is of one anchor.

        Raises:
            InputError: it holds too many files.
            LocalError: it cannot be read.
        """
        label = label_of(anchor)
        tuf: dict[str, Descriptor] = {}
        notary: dict[str, dict[str, Descriptor]] = {}
        for path in self._files():
            parts = path.relative_to(self._folder).parts
            if parts[0] == _NOTARY and _METADATA in parts and path.suffix == ".json":
                at = parts.index(_METADATA)
                gun, name = "/".join(parts[1:at]), "/".join(parts[at + 1 :])
                notary.setdefault(gun, {})[name] = self._listed(path)
            elif path.suffix == ".json" or parts[0] == "targets":
                tuf["/".join(parts)] = self._listed(path)
        found = [
            _entry(label, "notary", gun, files)
            for gun, files in notary.items()
            if gun and "root.json" in files
        ]
        # A cache of docker has other files beside its repositories.
        return tuple(found) or (_entry(label, "tuf", label, tuf),)

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return a file, if it is still what it was."""
        del where
        raw = read_small_file(
            self._by_digest[descriptor.digest], size_max=size_max, what="trust material"
        )
        return descriptor.check(raw, what="a file of trust material")

    def _files(self) -> list[Path]:
        found: list[Path] = []
        try:
            for position, path in enumerate(sorted(self._folder.rglob("*"))):
                if position >= FOLDER_COUNT_MAX:
                    raise InputError("too many files in the folder", where=shown(self._folder))
                if not path.is_symlink() and path.is_file():
                    found.append(path)
        except OSError as e:
            raise local_error(e, what="the folder cannot be read", where=shown(self._folder)) from e
        return found

    def _listed(self, path: Path) -> Descriptor:
        raw = read_small_file(
            path, size_max=DEFAULT_LIMITS.tuf_target_size_max, what="trust material"
        )
        descriptor = Descriptor.make("application/octet-stream", raw)
        self._by_digest[descriptor.digest] = path
        return descriptor


def _entry(label: str, kind: str, repository: str, files: dict[str, Descriptor]) -> TrustEntry:
    return TrustEntry(
        anchor=label,
        kind="notary" if kind == "notary" else "tuf",
        blobs=tuple(files.values()),
        repository=repository,
        names=tuple(files),
    )
