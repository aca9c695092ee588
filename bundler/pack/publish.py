"""The archive appears whole under its name, or not at all.

Written beside as `NAME.part`, synced, renamed; `SHA256SUMS` follows. Whatever ends the run before
that, an error, a signal or a full disk, takes the part file away; what even that does not reach (a
killed process, a power cut) is overwritten by the next run and was never called a bundle.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.pack.writer import Written
from bundler.straight import StraightFile
from loader.digest import Digest
from loader.errors import (
    BusyError,
    FileTooLargeError,
    InternalError,
    LocalError,
    NoSpaceError,
    ReadOnlyError,
    UsageError,
)
from loader.limits import GIB

SUMS_NAME: Final = "SHA256SUMS"
_FAT: Final = frozenset({"msdos", "vfat"})
_FAT_FILE_SIZE_MAX: Final = 4 * GIB - 1
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OCTAL_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_SUMS_LINE: Final = re.compile(rb"(\\?)[0-9a-f]{64} [ *](.+)")
_MOUNTINFO: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """Where a file is going to lie."""

    kind: str
    """As the kernel calls it: `ext4`, `vfat`, `exfat`; empty where it does not say."""
    free_size: int
    file_size_max: int | None
    """The largest file it can hold, where that is little; None where it is no matter."""


def file_system_of(directory: Path) -> FileSystem:
    """Tell what file system a directory lies on, and what it has room for.

    Raises:
        LocalError: the directory is not there or cannot be looked at.
    """
    try:
        kind = _kind_of(directory)
        room = os.statvfs(directory)
    except OSError as e:
        raise _translated(e, directory) from e
    return FileSystem(
        kind=kind,
        free_size=room.f_bavail * room.f_frsize,
        file_size_max=_FAT_FILE_SIZE_MAX if kind in _FAT else None,
    )


class Publication:
    """An archive on its way: `write` it, then `commit` it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._file = StraightFile(descriptor)
        self.committed = False

    def close(self) -> None:
        """Wait until nothing is written any more; the descriptor may be closed then."""
        self._file.close()

    def write(self, data: bytes | memoryview, /) -> int:
        """Take bytes that are to stand behind those before, and tell how many of them: all.

        Raises:
            NoSpaceError, LocalError: the disk does not take them, or those before.
        """
        try:
            self._file.write(data)
        except OSError as e:
            raise _translated(e, self._path) from e
        return len(data)

    def commit(self, written: Written) -> None:
        """Give the archive its name, and write down its digest beside it.

        Raises:
            LocalError: the disk fails; what was under the name before is there still.
        """
        part = _part_of(self._path)
        try:
            self._file.finish()
            if os.fstat(self._descriptor).st_size != written.size:
                raise InternalError("the archive on disk is of another size than was written")
            os.fsync(self._descriptor)
            sums = self._path.with_name(SUMS_NAME)
            # Locked from before it is read: another pack into this folder adds its line as well.
            with _beside(sums) as descriptor:
                _write_all(descriptor, _sums_with(self._path, written.digest))
                part.replace(self._path)
                self.committed = True
                _part_of(sums).replace(sums)
            _sync_directory(self._path.parent)
        except OSError as e:
            raise _translated(e, self._path) from e


@contextmanager
def publish(path: Path, *, size_max: int) -> Iterator[Publication]:
    """Give an archive to write; what was not committed at the end of the block is gone.

    Args:
        path: its name. A file that is there already stays as it is until the new one is whole.
        size_max: how large it may become: whether there is room is said before anything is written.

    Raises:
        FileTooLargeError: the file system cannot hold a file of that size.
        NoSpaceError: there is not enough room.
        BusyError: another run is writing the same file.
        ReadOnlyError, LocalError: the directory cannot be written.
        UsageError: the name is that of the list of digests, which would wait for this very run.
    """
    sums = path.with_name(SUMS_NAME)
    # In any case: FAT does not tell them apart.
    if path.name.casefold() in {sums.name.casefold(), _part_of(sums).name.casefold()}:
        raise UsageError(
            "this name is taken: the archive's digest is written there", where=str(path)
        )
    _expect_room(path.parent, size_max)
    descriptor = -1
    publication: Publication | None = None
    try:
        descriptor = _part_of_archive(path)
        publication = Publication(path, descriptor)
        yield publication
    finally:
        # Removed while locked: nobody else can have begun to write to it.
        if descriptor >= 0:
            if publication is not None:
                publication.close()
            if publication is None or not publication.committed:
                with suppress(OSError):
                    _part_of(path).unlink()
            os.close(descriptor)


def replace_document(path: Path, raw: bytes) -> None:
    """Give a small file other contents: whole, or as it was; one run after the other.

    Raises:
        LocalError: the disk fails, or the directory cannot be written.
    """
    try:
        with _beside(path) as descriptor:
            _write_all(descriptor, raw)
            _part_of(path).replace(path)
    except OSError as e:
        raise _translated(e, path) from e


@contextmanager
def _beside(path: Path) -> Iterator[int]:
    """Give a locked file beside one, to be renamed to it; what was not renamed is gone at the end.

    Whoever else writes the same one is waited for: that takes a moment.
    """
    part = _part_of(path)
    descriptor = _open_part(part, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        if _is_at(descriptor, part):
            with suppress(OSError):
                part.unlink()
        os.close(descriptor)


def _write_all(descriptor: int, raw: bytes) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(raw)
        file.flush()
        os.fsync(descriptor)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _expect_room(directory: Path, size_max: int) -> None:
    place = file_system_of(directory)
    if place.file_size_max is not None and size_max > place.file_size_max:
        raise FileTooLargeError(
            f"a file on {place.kind} (FAT) holds at most 4 GiB",
            where=str(directory),
            expected=f"at most {place.file_size_max} bytes",
            found=f"up to {size_max} bytes",
            hint="format the medium as exFAT or ext4, or write to another disk",
        )
    if size_max > place.free_size:
        raise NoSpaceError(
            "not enough room for the bundle",
            where=str(directory),
            expected=f"{size_max} bytes",
            found=f"{place.free_size} bytes free",
        )


def _part_of_archive(path: Path) -> int:
    part = _part_of(path)
    try:
        return _open_part(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise BusyError("another run is writing this file", where=str(part)) from e
    except OSError as e:
        raise _translated(e, part) from e


def _open_part(part: Path, how: int) -> int:
    """Open a part file, empty, and lock it: it may be left over from a run that was killed."""
    while True:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, how)
            if _is_at(descriptor, part):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever held it has renamed or removed it in the meantime.
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _sums_with(path: Path, digest: Digest) -> bytes:
    """Return `SHA256SUMS` with this archive's line in it."""
    sums = path.parent / SUMS_NAME
    name = os.fsencode(path.name)
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    line = mark + digest.hex.encode() + b"  " + escaped
    kept: list[bytes] = []
    with suppress(FileNotFoundError):
        for other in sums.read_bytes().split(b"\n"):
            match = _SUMS_LINE.fullmatch(other)
            if other and (match is None or match.groups() != (mark, escaped)):
                kept.append(other)
    return b"".join(row + b"\n" for row in sorted([*kept, line]))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as e:
        # Some file systems (FUSE, network) know no such thing; the rename is done all the same.
        if e.errno not in {errno.EINVAL, errno.EROFS, errno.ENOSYS}:
            raise
    finally:
        os.close(descriptor)


def _kind_of(directory: Path) -> str:
    """Return the kind of file system a directory lies on (proc(5), mountinfo)."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    resolved = os.fsencode(directory.resolve(strict=True))
    by_device = by_place = b""
    longest = -1
    for row in _MOUNTINFO.read_bytes().splitlines() if _MOUNTINFO.exists() else ():
        fields, _, rest = row.partition(b" - ")
        parts = fields.split(b" ")
        kind = rest.split(b" ")[0]
        point = _OCTAL_ESCAPE.sub(lambda m: bytes([int(m[1], 8)]), parts[4])
        if parts[2] == number:
            by_device = kind
        inside = point in {b"/", resolved} or resolved.startswith(point + b"/")
        if inside and len(point) >= longest:
            longest, by_place = len(point), kind
    # Subvolumes and layered file systems have device numbers that no mount names.
    return (by_device or by_place).decode("ascii", "replace")


def _translated(error: OSError, path: Path) -> LocalError:
    if error.errno in _NO_SPACE:
        return NoSpaceError("the disk is full", where=str(path), found=str(error.strerror))
    if error.errno == errno.EFBIG:
        return FileTooLargeError(
            "the file system holds no larger file", where=str(path), found=str(error.strerror)
        )
    if error.errno == errno.EROFS:
        return ReadOnlyError("the medium is read-only", where=str(path), found=str(error.strerror))
    return LocalError("the bundle cannot be written", where=str(path), found=str(error.strerror))
