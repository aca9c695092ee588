"""Quarantine: layers wait here, on the host's own disk, until the whole bundle was read.

A folder per run, which nobody else may enter, with one file per layer, named by its digest and by
nothing that stands in an archive. Nothing in it outlives the run: it is removed at every exit, and
what a killed run left is removed by the next, so nothing here is ever synced to disk or trusted for
being there. Whoever reads a blob hashes it again.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, Self, TypeVar, cast

from loader._seal import SEAL
from loader.errors import DigestError, MissingError, NoSpaceError, shown
from loader.limits import MIB
from loader.places import local_error, open_private_folder
from loader.witness import Admitted, Staged

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.bundle import Member

MARGIN_SIZE: Final = 64 * MIB
"""Bytes that must stay free behind the layers: for the ledger, and for everybody else."""
FILE_OVERHEAD: Final = 8192
"""Bytes that a file may take beyond its size: a last block half filled, and its entry."""
T = TypeVar("T")
R = TypeVar("R")
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class StagedBundle(Generic[T]):
    """What was admitted, with its layers in quarantine. `open` is all that a runtime gets."""

    __slots__ = ("_area", "_documents", "_sizes", "admitted")

    def __init__(
        self,
        admitted: T,
        area: Area,
        *,
        sizes: Mapping[Digest, int],
        documents: Callable[[Digest], bytes | None],
    ) -> None:
        self.admitted = admitted
        self._area = area
        self._sizes = sizes
        self._documents = documents

    def open(self, digest: Digest) -> BinaryIO:
        """Return a blob, opened for reading at its first byte: a layer, or a small member.

        Raises:
            MissingError: it is not there.
            DigestError: it is not as long as it was when it was staged.
        """
        if digest in self._sizes:
            return self._area.open_blob(digest, size=self._sizes[digest])
        raw = self._documents(digest)
        if raw is None:
            raise MissingError("a blob is not in quarantine", where=str(digest))
        return io.BytesIO(raw)


def derive(staged: Staged[StagedBundle[T]], make: Callable[[StagedBundle[T]], R]) -> Staged[R]:
    """Return what is made from a staged bundle and nothing else: as staged as the bundle is."""
    return Staged(make(staged.value), SEAL)


class Area:
    """The quarantine of one run. Use it as a context manager; it is gone after the block."""

    __slots__ = ("_fd", "_folder", "_name", "path")

    def __init__(self, folder: int, fd: int, *, name: str, path: Path) -> None:
        self._folder = folder
        self._fd = fd
        self._name = name
        self.path = path
        """The run's own folder: for files without a name."""

    @classmethod
    def open(cls, quarantine: Path) -> Self:
        """Remove what dead runs left, and make a folder for this one.

        The caller holds the lock of the state folder, so every other run is a dead one.

        Raises:
            StatePermissionError: somebody else could have written there.
            LocalError: it cannot be made.
        """
        folder = open_private_folder(quarantine, create=True)
        name = f"run-{os.getpid()}-{secrets.token_hex(8)}"
        where = shown(str(quarantine))
        try:
            for left in os.listdir(folder):  # noqa: PTH208 - of the folder that is open
                _remove(folder, left)
            os.mkdir(name, 0o700, dir_fd=folder)
            fd = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
            )
        except OSError as e:
            os.close(folder)
            raise local_error(e, what="quarantine cannot be made", where=where) from e
        return cls(folder, fd, name=name, path=quarantine / name)

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
        """Remove the run's folder and everything in it."""
        if self._fd < 0:
            return
        # What stays because the disk fails is removed by the next run; nothing was written through
        # these folders, so an error of theirs says nothing about what was done.
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1
        with contextlib.suppress(OSError):
            _remove(self._folder, self._name)
        with contextlib.suppress(OSError):
            os.close(self._folder)

    def expect_space(self, members: Iterable[Member], *, beside: int = 0) -> None:
        """Check, before the first layer is read, that all of them fit.

        Args:
            members: the layers.
            beside: bytes of evidence that are kept on the same disk when all went well.

        Raises:
            NoSpaceError: they do not.
            LocalError: the file system does not say.
        """
        try:
            status = os.fstatvfs(self._fd)
        except OSError as e:
            raise local_error(e, what="free space cannot be told", where=self._where) from e
        sizes = [member.size for member in members]
        need = sum(sizes) + len(sizes) * FILE_OVERHEAD + MARGIN_SIZE + beside
        free = status.f_bavail * status.f_frsize
        # A file system that does not count inodes says none.
        inodes = status.f_favail if status.f_files else len(sizes) + 1
        if need > free or len(sizes) >= inodes:
            raise NoSpaceError(
                "the layers do not fit into quarantine",
                where=self._where,
                expected=f"{need} bytes and {len(sizes) + 1} files",
                found=f"{free} bytes and {inodes} files free",
                hint="make room, or pack fewer images into one bundle",
            )

    def stage(
        self,
        admitted: Admitted[T],
        layers: Iterable[tuple[Member, Iterable[bytes | memoryview]]],
        *,
        expected: Iterable[Member],
        documents: Callable[[Digest], bytes | None],
        finish: Callable[[], None],
    ) -> Staged[StagedBundle[T]]:
        """Write every layer, hear from the archive's end that all was in the profile, and vouch.

        Args:
            admitted: what may be loaded once its bytes are here.
            layers: each layer with its chunks, which raise at their end where the digest differs.
            expected: the layers that the verified statement announces.
            documents: gives the small members, whose digests were compared when they were read.
            finish: reads the archive's end, and raises where it ends otherwise.

        Raises:
            RefusedError: whatever reading raises.
            DigestError: fewer layers, or a layer of another size, than announced.
            LocalError: the disk fails.
        """
        sizes: dict[Digest, int] = {}
        for member, chunks in layers:
            self._write(member, chunks)
            sizes[member.digest] = member.size
        finish()
        if sizes != {member.digest: member.size for member in expected}:
            raise DigestError("the staged layers are not those of the statement")
        return Staged(StagedBundle(admitted.value, self, sizes=sizes, documents=documents), SEAL)

    def open_blob(self, digest: Digest, *, size: int) -> BinaryIO:
        """Return a staged layer; see `StagedBundle.open`."""
        try:
            fd = os.open(digest.hex, _READ_FLAGS, dir_fd=self._fd)
        except FileNotFoundError as e:
            raise MissingError("a blob is not in quarantine", where=str(digest)) from e
        except OSError as e:
            raise local_error(e, what="quarantine cannot be read", where=self._where) from e
        file = cast("BinaryIO", os.fdopen(fd, "rb", buffering=0))
        if os.fstat(fd).st_size != size:
            file.close()
            raise DigestError(
                "a blob in quarantine is no longer the one that was verified",
                where=str(digest),
                expected=f"{size} bytes",
            )
        return file

    @property
    def _where(self) -> str:
        return shown(str(self.path.parent))

    def _write(self, member: Member, chunks: Iterable[bytes | memoryview]) -> None:
        written = 0
        try:
            fd = os.open(member.digest.hex, _FILE_FLAGS, 0o600, dir_fd=self._fd)
        except OSError as e:
            raise local_error(e, what="a layer cannot be staged", where=self._where) from e
        try:
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    count = self._write_some(fd, rest)
                    written += count
                    rest = rest[count:]
        finally:
            os.close(fd)
        if written != member.size:
            raise DigestError(
                "a layer is of another size than the statement says",
                where=member.name,
                expected=f"{member.size} bytes",
                found=f"{written} bytes",
            )

    def _write_some(self, fd: int, data: memoryview) -> int:
        try:
            return os.write(fd, data)
        except OSError as e:
            raise local_error(e, what="a layer cannot be staged", where=self._where) from e


def _remove(folder: int, name: str) -> None:
    """Remove a file or a folder, following no link on the way."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as e:
        if e.errno not in {errno.EISDIR, errno.EPERM}:
            raise
        shutil.rmtree(name, dir_fd=folder)
