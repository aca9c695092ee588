"""The archive on its medium: opened once, read once, front to back, never written.

A stick that answers differently the second time gains nothing, because nobody asks it twice. What
was opened is what is judged, whatever its path leads to later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

from loader.errors import InputError, PartialInputError, shown

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class Medium(Protocol):
    """What the line reads a bundle from."""

    @property
    def size(self) -> int:
        """Bytes it had when it was opened."""

    @property
    def position(self) -> int:
        """Bytes read so far."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""

    def expect_whole(self) -> None:
        """Tell what is still being written from what is broken; see `BundleFile`."""


Opening: TypeAlias = Callable[[Path], AbstractContextManager[Medium]]
"""Opens a bundle's medium, once; told a private folder for what it may need beside it."""


class BundleFile:
    """One open archive; `read` is all that anybody gets of it."""

    __slots__ = ("_fd", "_name", "_opened", "_position")

    def __init__(self, fd: int, *, name: str, opened: os.stat_result) -> None:
        self._fd = fd
        self._name = name
        self._opened = opened
        self._position = 0

    @classmethod
    def opening(cls, path: Path) -> Opening:
        """Return how this file is opened, for when it is time."""
        return lambda _: cls.open(path)

    @classmethod
    def open(cls, path: Path, *, folder: int | None = None) -> Self:
        """Open a regular file: not a link, not a pipe, not a device.

        Args:
            path: the file.
            folder: an open folder that a relative path begins at, instead of the working directory.

        Raises:
            InputError: it is not there, not a regular file, or not readable.
        """
        name = shown(str(path))
        if str(path) == "-":
            raise InputError(
                "an archive is not read from standard input",
                expected="the path of a file",
                hint="a file can be opened once and looked at; a pipe cannot be told from a medium "
                "that is still being written",
            )
        try:
            fd = os.open(path, _FLAGS, dir_fd=folder)
        except OSError as e:
            link = e.errno == errno.ELOOP
            raise InputError(
                "the archive is a symbolic link" if link else "the archive cannot be opened",
                where=name,
                expected="a regular file",
                found="a link" if link else e.strerror or "",
                hint="give the path that it leads to" if link else "",
            ) from e
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            kind = next((words for test, words in _KINDS if test(status.st_mode)), "another")
            raise InputError(
                "the archive is not a regular file",
                where=name,
                expected="a regular file",
                found=kind,
            )
        with contextlib.suppress(OSError):
            # Only advice: a medium that does not know it is read all the same.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return cls(fd, name=name, opened=status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # A medium that was pulled out complains here once more, and hides what it said before.
            with contextlib.suppress(OSError):
                os.close(fd)

    @property
    def name(self) -> str:
        """Its path, as messages show it."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes it had when it was opened."""
        return self._opened.st_size

    @property
    def status(self) -> os.stat_result:
        """What it was when it was opened."""
        return self._opened

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer only where the medium gives fewer, none at the end.

        Raises:
            InputError: the medium failed or was taken out.
        """
        try:
            chunk = os.read(self._fd, size)
        except OSError as e:
            raise InputError(
                "the medium cannot be read",
                where=f"{self._name}, byte {self._position}",
                found=e.strerror or "",
                hint="was it taken out, or is it damaged? run it again, or make another copy",
            ) from e
        self._position += len(chunk)
        return chunk

    def expect_whole(self) -> None:
        """Tell a file that is still being written from one that is broken.

        Asked when an archive turns out to be malformed: nothing is held against it while somebody
        is copying it.

        Raises:
            PartialInputError: its size or times are not what they were when it was opened.
        """
        try:
            now = os.fstat(self._fd)
        except OSError as e:
            raise InputError(
                "the medium cannot be read", where=self._name, found=e.strerror or ""
            ) from e
        before = self._opened
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise PartialInputError(
                "the archive changed while it was read",
                where=self._name,
                expected=f"{before.st_size} bytes, as when it was opened",
                found=f"{now.st_size} bytes",
                hint="wait until it is copied, and run it again",
            )
