"""What an acceptance rested on, kept on the host's own disk: statements, signatures, small members.

A later look judges again from it, under the policy and deny lists of that day, with no archive at
hand. Every file is named by its digest and hashed whenever it is read: nothing here is believed for
being here, and a record of the ledger says which statement and which signatures belong to it. It is
written before the record that names it; what no record names is garbage, which `prune` removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from loader.digest import Digest
from loader.errors import DigestError, LimitError, MissingError, shown
from loader.places import expect_private, open_private_folder, state_error

if TYPE_CHECKING:
    from loader.model.descriptor import Descriptor

_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PART: Final = ".part"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


class EvidenceStore:
    """The folder, open. Use it as a context manager. Whoever writes holds the state folder's lock.

    A `BlobSource`: `read` gives a blob with the digest and size that were asked for.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self:
        """Open the folder.

        Raises:
            MissingError: it is not there, and is not to be made.
            StatePermissionError: somebody else could have written there.
            LocalError: it cannot be made or opened.
        """
        try:
            return cls(open_private_folder(path, create=create), path)
        except FileNotFoundError as e:
            raise MissingError("no evidence is kept on this host", where=shown(str(path))) from e

    def close(self) -> None:
        """Let go of the folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, blobs: Iterable[tuple[Digest, bytes]]) -> tuple[Digest, ...]:
        """Write what is not there yet, and return what that was; durable once this returns.

        All are written before the first is synced: the disk's own journal then takes them at once.

        Raises:
            LocalError: the disk fails, or is full; what was written is named by no record.
        """
        new: dict[Digest, None] = {}
        try:
            for digest, raw in blobs:
                if digest in new or self._holds(digest):
                    continue
                fd = os.open(f"{digest.hex}{_PART}", _WRITE, 0o600, dir_fd=self._fd)
                with os.fdopen(fd, "wb", buffering=0) as file:
                    rest = memoryview(raw)
                    while rest:
                        rest = rest[file.write(rest) :]
                new[digest] = None
            for digest in new:
                fd = os.open(f"{digest.hex}{_PART}", _READ, dir_fd=self._fd)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
                self._rename(digest)
            if new:
                os.fsync(self._fd)
        except OSError as e:
            raise state_error(e, what="evidence cannot be kept", where=self._where) from e
        return tuple(new)

    def _rename(self, digest: Digest) -> None:
        os.rename(f"{digest.hex}{_PART}", digest.hex, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """See `BlobSource`."""
        if descriptor.size > size_max:
            raise LimitError(
                "a blob is too large for what it is used as",
                where=where,
                expected=f"at most {size_max} bytes",
                found=f"{descriptor.size} bytes",
            )
        return descriptor.check(
            self.bytes_of(descriptor.digest, size_max=descriptor.size), what=where
        )

    def bytes_of(self, digest: Digest, *, size_max: int) -> bytes:
        """Return a blob by its digest alone.

        Raises:
            MissingError: it is not kept.
            DigestError: what stands there is something else.
            LocalError: it cannot be read, or others could have written it.
        """
        where = self._where
        try:
            fd = os.open(digest.hex, _READ, dir_fd=self._fd)
            with os.fdopen(fd, "rb") as file:
                expect_private(os.fstat(fd), where=where)
                raw = file.read(size_max + 1)
        except FileNotFoundError as e:
            raise MissingError(
                "evidence that was kept is gone", where=where, expected=str(digest)
            ) from e
        except OSError as e:
            raise state_error(e, what="evidence cannot be read", where=where) from e
        if Digest.of(raw) != digest:
            raise DigestError(
                "evidence that was kept was changed",
                where=where,
                expected=str(digest),
                found=f"more than {size_max} bytes" if len(raw) > size_max else str(Digest.of(raw)),
            )
        return raw

    def sizes(self) -> dict[Digest, int]:
        """Return everything that is kept, with its size in bytes.

        Raises:
            LocalError: the folder cannot be read.
        """
        return {
            Digest(name): status.st_size
            for name, status in self._entries()
            if _NAME.fullmatch(name) is not None and stat.S_ISREG(status.st_mode)
        }

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove these, and what a run that died had not finished.

        Raises:
            LocalError: the disk fails.
        """
        try:
            for digest in digests:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(digest.hex, dir_fd=self._fd)
            for name, _ in self._entries():
                if name.endswith(_PART):
                    os.unlink(name, dir_fd=self._fd)
            os.fsync(self._fd)
        except OSError as e:
            raise state_error(e, what="evidence cannot be removed", where=self._where) from e

    def _holds(self, digest: Digest) -> bool:
        """Tell whether this very blob is there: it is read and hashed, whatever its name says."""
        try:
            fd = os.open(digest.hex, _READ, dir_fd=self._fd)
        except OSError:
            return False
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return False
            hasher = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return hasher.hexdigest() == digest.hex

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        try:
            for name in os.listdir(self._fd):  # noqa: PTH208 - a descriptor
                yield name, os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError as e:
            raise state_error(e, what="evidence cannot be listed", where=self._where) from e

    @property
    def _where(self) -> str:
        return shown(str(self._path))
