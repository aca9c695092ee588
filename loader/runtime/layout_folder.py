"""An OCI image layout on disk: blobs are written whole or not at all, `index.json` in one step.

Everything goes through descriptors of the folder that was opened first, never through a path again:
a link put in place of `blobs` leads nowhere. A blob is written under a name of its own, synced, and
moved to its digest; `index.json` comes last. Whatever interrupts this, the layout is the old one or
the new one, with at most blobs that no index names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import rfc8785

from loader.digest import Digest
from loader.errors import (
    BusyError,
    FormatError,
    NoSpaceError,
    ReadOnlyError,
    RuntimeLoadError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model import strictjson
from loader.model.bundle import LAYOUT_BYTES, LAYOUT_INDEX_NAME, LAYOUT_NAME
from loader.model.descriptor import OCI_INDEX

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject, JsonValue

_LAYOUT_INDEX_SIZE_MAX: Final = 32 * MIB
_PART: Final = ".airlock-part"
"""Suffix of what is not whole yet; what a run that died left behind is removed by the next."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_SIZE: Final = 1 * MIB


class LayoutFolder:
    """A layout, open and locked. Use it as a context manager."""

    __slots__ = ("_blobs", "_path", "_top", "made")

    def __init__(self, path: Path, *, top: int, blobs: int, made: bool) -> None:
        self._path = path
        self.made = made
        self._top = top
        self._blobs = blobs

    @classmethod
    def check(cls, path: Path) -> str:
        """Say what is at this path, without changing anything.

        Raises:
            RuntimeLoadError: something that is neither a layout nor an empty folder.
        """
        with translated(path):
            if not os.path.lexists(path):
                if not path.absolute().parent.is_dir():
                    raise RuntimeLoadError(
                        "the folder that the layout is to stand in is not there",
                        where=str(path.absolute().parent),
                    )
                return "new layout"
            names = {entry.name for entry in path.iterdir()}
        if names and LAYOUT_NAME not in names:
            raise RuntimeLoadError(
                "a folder that is no OCI image layout is not written into",
                where=str(path),
                expected=f"nothing, an empty folder, or one with {LAYOUT_NAME}",
                found=shown(sorted(names)[:5]),
            )
        return "layout" if names else "new layout"

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the layout for writing, and make it where it is not there yet.

        Raises:
            RuntimeLoadError: something else is there, or it cannot be written.
            BusyError: another loader writes into it.
        """
        with contextlib.ExitStack() as stack, translated(path):
            cls.check(path)
            made = False
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o755)
                made = True
            top = os.open(path, _FOLDER)
            stack.callback(_let_go, top)
            try:
                fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise BusyError("another loader writes into the layout", where=str(path)) from e
            folder = top
            for name in ("blobs", "sha256"):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, mode=0o755, dir_fd=folder)
                folder = os.open(name, _FOLDER, dir_fd=folder)
                stack.callback(_let_go, folder)
            layout = cls(path, top=top, blobs=folder, made=made)
            layout._sweep()
            layout._begin()
            yield layout

    @classmethod
    @contextlib.contextmanager
    def look(cls, path: Path) -> Iterator[Self | None]:
        """Open the layout for reading; None where there is none. Nothing is changed.

        Raises:
            RuntimeLoadError: something else is there, or it cannot be read.
        """
        with contextlib.ExitStack() as stack, translated(path):
            try:
                top = os.open(path, _FOLDER)
                stack.callback(_let_go, top)
                blobs = os.open("blobs/sha256", _FOLDER, dir_fd=top)
            except FileNotFoundError:
                yield None
                return
            stack.callback(_let_go, blobs)
            yield cls(path, top=top, blobs=blobs, made=False)

    def _begin(self) -> None:
        """Make it a layout, or find that it is one of the version we know."""
        found = self._read(LAYOUT_NAME, size_max=4096)
        if found is None:
            self._replace(LAYOUT_NAME, LAYOUT_BYTES)
            return
        document = self._parse(found, what=LAYOUT_NAME)
        if document.get("imageLayoutVersion") != "1.0.0":
            raise RuntimeLoadError(
                "an OCI image layout of another version",
                where=str(self._path / LAYOUT_NAME),
                expected="1.0.0",
                found=shown(document.get("imageLayoutVersion")),
            )

    def _sweep(self) -> None:
        for folder in (self._top, self._blobs):
            for name in os.listdir(folder):  # noqa: PTH208 - a descriptor, not a path
                if name.endswith(_PART):
                    os.unlink(name, dir_fd=folder)

    def entries(self) -> list[JsonValue]:
        """Return the descriptors of `index.json`, as they stand there.

        Raises:
            RuntimeLoadError: it cannot be understood; nothing is written over it.
        """
        found = self._read(LAYOUT_INDEX_NAME, size_max=_LAYOUT_INDEX_SIZE_MAX)
        if found is None:
            return []
        manifests = self._parse(found, what=LAYOUT_INDEX_NAME).get("manifests", [])
        if not isinstance(manifests, list):
            raise RuntimeLoadError(
                "the layout's index cannot be understood",
                where=str(self._path / LAYOUT_INDEX_NAME),
                expected="a list of manifests",
            )
        return manifests

    def publish(self, entries: list[JsonValue]) -> None:
        """Replace the descriptors of `index.json`; its other fields stay as they are."""
        found = self._read(LAYOUT_INDEX_NAME, size_max=_LAYOUT_INDEX_SIZE_MAX)
        document: JsonObject = {"schemaVersion": 2, "mediaType": OCI_INDEX}
        if found is not None:
            document = self._parse(found, what=LAYOUT_INDEX_NAME)
        os.fsync(self._blobs)
        self._replace(LAYOUT_INDEX_NAME, rfc8785.dumps(document | {"manifests": entries}))

    def holds(self, digest: Digest, size: int) -> bool:
        """Tell whether this very blob is there: it is read and hashed, whatever its name says."""
        try:
            fd = os.open(digest.hex, _READ, dir_fd=self._blobs)
        except OSError:
            return False
        hasher = hashlib.sha256()
        with os.fdopen(fd, "rb") as file:
            if os.fstat(fd).st_size != size:
                return False
            while chunk := file.read(_READ_SIZE):
                hasher.update(chunk)
        return hasher.hexdigest() == digest.hex

    def read(self, digest: Digest, *, size_max: int) -> bytes | None:
        """Return a small blob, or None where it is not there or not what its name says."""
        raw = self._read(digest.hex, size_max=size_max, folder=self._blobs)
        return None if raw is None or Digest.of(raw) != digest else raw

    def add(self, digest: Digest, chunks: Iterable[bytes]) -> None:
        """Write a blob. Where `chunks` raises, because they are not its bytes, nothing is there."""
        with translated(self._path):
            self._write(self._blobs, digest.hex, chunks)

    def has(self, digest: Digest) -> bool:
        """Tell whether a blob of this name is there, whatever is in it."""
        with translated(self._path):
            try:
                os.stat(digest.hex, dir_fd=self._blobs, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def remove(self, digest: Digest) -> None:
        """Remove a blob; it may be gone already."""
        with translated(self._path), contextlib.suppress(FileNotFoundError):
            os.unlink(digest.hex, dir_fd=self._blobs)

    def dismantle(self) -> None:
        """Remove the layout that we made, if nothing is in it any more."""
        with translated(self._path):
            if os.listdir(self._blobs) or self.entries():  # noqa: PTH208 - a descriptor
                return
            for name in (LAYOUT_INDEX_NAME, LAYOUT_NAME):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._top)
            with contextlib.suppress(OSError):
                # Somebody put something in meanwhile: it stays.
                os.rmdir("blobs/sha256", dir_fd=self._top)
                os.rmdir("blobs", dir_fd=self._top)
                self._path.rmdir()

    def _replace(self, name: str, raw: bytes) -> None:
        with translated(self._path):
            self._write(self._top, name, (raw,))
            os.fsync(self._top)

    @staticmethod
    def _write(folder: int, name: str, chunks: Iterable[bytes]) -> None:
        part = f"{name}{_PART}"
        fd = os.open(part, _CREATE, 0o644, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                for chunk in chunks:
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fsync(fd)
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise

    def _read(self, name: str, *, size_max: int, folder: int | None = None) -> bytes | None:
        with translated(self._path):
            try:
                fd = os.open(name, _READ, dir_fd=self._top if folder is None else folder)
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                raw = file.read(size_max + 1)
        if len(raw) > size_max:
            raise RuntimeLoadError(
                "a file of the layout is too large",
                where=str(self._path / name),
                expected=f"at most {size_max} bytes",
            )
        return raw

    def _parse(self, raw: bytes, *, what: str) -> JsonObject:
        try:
            return strictjson.parse_object(
                raw, what=what, size_max=_LAYOUT_INDEX_SIZE_MAX, limits=DEFAULT_LIMITS
            )
        except FormatError as e:
            raise RuntimeLoadError(
                "a file of the layout cannot be understood",
                where=str(self._path / what),
                found=str(e),
            ) from e


def _let_go(folder: int) -> None:
    """Close a folder. Nothing was written through it: what the system says then changes nothing.

    An error here would come behind the last moment at which what was done is put back.
    """
    with contextlib.suppress(OSError):
        os.close(folder)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an operating system's complaint about the layout into one of ours.

    Raises:
        NoSpaceError, ReadOnlyError, RuntimeLoadError: by what it is.
    """
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError("the layout's disk is full", where=str(path)) from e
        if e.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise ReadOnlyError(
                "the layout cannot be written", where=str(path), found=shown(e.strerror)
            ) from e
        raise RuntimeLoadError(
            "the layout cannot be used", where=str(path), found=shown(e.strerror)
        ) from e
