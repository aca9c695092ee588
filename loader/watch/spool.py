"""The drop folder: opened once, looked at by name and status, never by what is in its files.

A stick or a folder that others copy into. Whoever can write there can put anything there, so every
name is somebody else's: only regular files with a bundle's ending count, links and what else there
is are passed by, and nothing is opened by a path that could lead out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from loader.errors import BeingWrittenError, SpoolError, shown

if TYPE_CHECKING:
    from loader.config import FileSystems

ENTRY_COUNT_MAX: Final = 50_000
"""Names that one cycle looks at; a folder with more is said to have them."""
ENDINGS: Final = (".tar.zst", ".tar")
_IGNORED_STARTS: Final = (".", "._", "~")
"""What file managers and macOS leave on sticks (T41), and what is hidden on purpose."""
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MADE_UP: Final = ("fuse", "nfs", "cifs", "smb3", "9p", "ceph", "afs", "glusterfs")
"""File systems whose answers come from another machine or another program (CASES A128). A block
device that a program drives (`fuseblk`: NTFS, older exFAT) is a stick like any other."""

Unsuited = Literal["a link", "no regular file", "several names (hard links)"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFile:
    """One file that may be a bundle."""

    name: str
    """As the folder has it; bytes that are no UTF-8 are surrogates. Shown through `shown`."""
    identity: str
    """Device, inode, size and times: what another file, or other contents, cannot have."""
    size: int
    modified_at: float
    """By whoever wrote it, in seconds since 1970."""
    unsuited: Unsuited | None = None
    fault: str = ""
    """Why the medium cannot tell of it; then it has no identity, and nothing is remembered."""

    @property
    def shown(self) -> str:
        """Its name, as a journal survives it."""
        return shown(self.name)[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one look at the folder found."""

    files: tuple[SpoolFile, ...]
    ignored: int
    """Names that are none of ours."""
    more: bool
    """Whether there were more names than one cycle looks at."""


class Spool:
    """The open folder. Use it as a context manager."""

    __slots__ = ("_fd", "path")

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    @classmethod
    def open(cls, path: Path, *, file_systems: FileSystems = "local") -> Self:
        """Open a folder that only root, this user, or nobody at all may change.

        A medium that is mounted read-only may belong to anybody: nobody can change it.

        Raises:
            SpoolError: it is not there, a link, somebody else's, writable by others without the
                sticky bit, or on a file system that another machine or program answers for.
        """
        where = shown(str(path))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as e:
            link = e.errno in {errno.ELOOP, errno.ENOTDIR}
            raise SpoolError(
                "the folder to watch is not a folder" if link else "the folder cannot be opened",
                where=where,
                expected="a folder, not a link",
                found=e.strerror or "",
            ) from e
        try:
            _expect_ours(fd, where=where)
            if file_systems == "local":
                _expect_local(fd, where=where)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, path)

    @property
    def fd(self) -> int:
        """The open folder."""
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        self._fd = -1

    def list(self) -> Listing:
        """Look at every name once, in the order of their bytes.

        Raises:
            SpoolError: the medium fails or was taken out.
        """
        names: list[str] = []
        more = False
        try:
            with os.scandir(self._fd) as entries:
                for entry in entries:
                    if len(names) == ENTRY_COUNT_MAX:
                        more = True
                        break
                    names.append(entry.name)
        except OSError as e:
            raise SpoolError(
                "the folder cannot be read", where=shown(str(self.path)), found=e.strerror or ""
            ) from e
        ours = [name for name in names if is_bundle_name(name)]
        files = [file for name in sorted(ours, key=os.fsencode) for file in self._look_at(name)]
        return Listing(files=tuple(files), ignored=len(names) - len(files), more=more)

    def _look_at(self, name: str) -> Iterator[SpoolFile]:
        try:
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as e:
            # One damaged record of a stick must not hide all that is beside it.
            fault = e.strerror or str(e)
            yield SpoolFile(name=name, identity="", size=0, modified_at=0.0, fault=fault)
            return
        if not stat.S_ISDIR(status.st_mode):
            yield SpoolFile(
                name=name,
                identity=identity_of(status),
                size=status.st_size,
                modified_at=status.st_mtime,
                unsuited=_unsuited(status),
            )


def expect_closed(file: SpoolFile, folder: int) -> None:
    """Refuse to look at a file that somebody has open to write to it, where the system says so.

    A read lease is granted only where nobody does (fcntl(2)); it is let go of at once. Where it may
    not be asked for (somebody else's file, a file system without leases), nobody is said to: a file
    that is still copied is then noticed by being cut short.

    Raises:
        BeingWrittenError: somebody has.
    """
    try:
        fd = os.open(file.name, _FLAGS, dir_fd=folder)
    except OSError:
        return
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as e:
        if e.errno in {errno.EAGAIN, errno.EBUSY}:
            raise BeingWrittenError("somebody is still writing it") from e
    finally:
        os.close(fd)


def is_bundle_name(name: str) -> bool:
    """Tell whether a name is one that a bundle may have: `.part`, `~` and hidden ones are not."""
    return name.lower().endswith(ENDINGS) and not name.startswith(_IGNORED_STARTS)


def identity_of(status: os.stat_result) -> str:
    """Return what tells this file, as it is now, from every other."""
    numbers = (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return "-".join(f"{number:x}" for number in numbers)


def _unsuited(status: os.stat_result) -> Unsuited | None:
    if stat.S_ISLNK(status.st_mode):
        return "a link"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    # Somebody who may not read a file can still give it a second name (CASES A126): what it holds
    # would be quoted in the refusal.
    return "several names (hard links)" if status.st_nlink > 1 else None


def _expect_ours(fd: int, *, where: str) -> None:
    status, system = os.fstat(fd), os.fstatvfs(fd)
    if system.f_flag & os.ST_RDONLY:
        return
    if status.st_uid not in {0, os.geteuid()}:
        raise SpoolError(
            "the folder to watch belongs to somebody else",
            where=where,
            expected=f"user {os.geteuid()} or root",
            found=f"user {status.st_uid}",
        )
    if status.st_mode & _WRITABLE and not status.st_mode & stat.S_ISVTX:
        raise SpoolError(
            "others may rename and remove what is in the folder to watch",
            where=where,
            expected="writable by its owner alone, or the sticky bit",
            found=f"mode {stat.S_IMODE(status.st_mode):04o}",
            hint="chmod go-w, or chmod +t where others are to drop files there",
        )


def _expect_local(fd: int, *, where: str) -> None:
    kind = _kind_of_file_system(os.fstat(fd).st_dev)
    if any(kind == one or kind.startswith(f"{one}.") for one in _MADE_UP) or kind == "nfs4":
        raise SpoolError(
            "the folder to watch is on a file system that another program or machine answers for",
            where=where,
            found=kind,
            hint='if that is meant: [watch] file-systems = "any" in config.toml',
        )


def _kind_of_file_system(device: int) -> str:
    """Return the file system's kind, from the kernel's table of mounts; empty where it has none."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), Path("/proc/self/mountinfo").open("rb") as table:
        for line in table:
            fields, _, further = line.decode("utf-8", "surrogateescape").partition(" - ")
            words = fields.split()
            if len(words) > 2 and words[2] == wanted:  # noqa: PLR2004
                return further.split()[0] if further.split() else ""
    return ""
