"""The content store: blobs on disk by digest, filled only through a size and digest check.

    ROOT/blobs/sha256/HEX        whole, and once had this digest: hashed again before it is used
    ROOT/partial/HEX.part        as far as a download came; the next run goes on behind it

The store is a cache in the user's own folder. Several processes may fill it at once: who downloads
a blob holds a lock on its `.part` file, and the others wait and then find the blob there. A blob
becomes visible by a rename, after its last byte was hashed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, cast

from bundler.errors import (
    CancelledError,
    RemoteDigestError,
    RemoteProtocolError,
    RemoteTruncatedError,
)
from bundler.straight import StraightFile, StraightReader
from loader.digest import Digest
from loader.errors import LimitError, LocalError, MissingError, NoSpaceError, ReadOnlyError
from loader.limits import MIB
from loader.model.descriptor import Descriptor

STRAIGHT_SIZE_MIN: Final = 16 * MIB
"""Bytes from which on a blob goes past the page cache; below, a thread of its own is the cost."""
_CHUNK: Final = 1 * MIB
_LOCK_POLL_SECONDS: Final = 0.1

Fetch: TypeAlias = Callable[[int], Generator[bytes]]
"""Whoever can give a blob's bytes from an offset on; closed as soon as it is done with."""
Give: TypeAlias = Callable[[int, bytes], None]
"""Takes a piece of a blob and where it begins, as it arrives: not known to be right yet."""
Advance: TypeAlias = Callable[[int], None]
"""Is told that so many more bytes arrived; fewer, where some have to come again."""


def untold(_size: int) -> None:
    """Nobody asks how much arrived."""


def ungiven(_offset: int, _piece: bytes) -> None:
    """Nobody reads it as it arrives."""


class ContentStore:
    """Blobs by digest in one folder; a `BlobSource` for the judge."""

    def __init__(self, root: Path, *, cancelled: threading.Event | None = None) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._partial = root / "partial"
        self._cancelled = cancelled or threading.Event()
        self._known: dict[Digest, tuple[int, int, int]] = {}
        """What was hashed in this run, with the file's identity then."""
        self._straight: set[Digest] = set()
        """What was written past the page cache in this run, and is not in it."""
        with _local_errors(root):
            for folder in (self._blobs, self._partial):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: Digest) -> Path:
        """Return where the blob is, if it is there."""
        return self._blobs / digest.hex

    def holds(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there; its bytes are hashed again, once a run.

        A file of another size or digest is removed: it is damage of the disk, or of an intruder.
        """
        path = self.path(descriptor.digest)
        try:
            with _local_errors(path), _open_plain(path) as file:
                identity = _identity(file)
                if self._known.get(descriptor.digest) == identity:
                    return identity[1] == descriptor.size
                found, size = self._digest_of(file)
        except FileNotFoundError:
            return False
        if found != descriptor.digest:
            path.unlink(missing_ok=True)
            return False
        self._known[descriptor.digest] = identity
        return size == descriptor.size

    def put(self, raw: bytes) -> Digest:
        """Keep these bytes, which are in memory, under their digest."""
        digest = Digest.of(raw)
        path = self.path(digest)
        if digest in self._known and path.exists():
            return digest
        with self._locked(digest) as (part, _), _local_errors(path):
            part.truncate(0)
            part.write(raw)
            part.flush()
            self._publish(part, digest)
        return digest

    def fill(
        self,
        descriptor: Descriptor,
        fetch: Fetch,
        *,
        where: str,
        advance: Advance = untold,
        give: Give = ungiven,
    ) -> None:
        """Make sure that the blob is there: from an earlier run, or by `fetch`.

        A `.part` file is gone on with: its bytes are hashed again and the rest is asked for. When
        such a mixture has the wrong digest, it is taken away and everything fetched once more,
        before anybody is accused.

        Raises:
            RemoteDigestError: the bytes are others than announced, from the first to the last.
            RemoteError: as `fetch`.
            LocalError: the disk.
        """
        if self.holds(descriptor):
            advance(descriptor.size)
            return
        with self._locked(descriptor.digest) as (part, resumed):
            if self.holds(descriptor):  # whoever had the lock before us has filled it
                advance(descriptor.size)
                self._part_path(descriptor.digest).unlink(missing_ok=True)
                return
            filling = _Filling(
                part,
                self._part_path(descriptor.digest),
                descriptor,
                where=where,
                advance=advance,
                give=give,
                stop=self._check,
            )
            if not filling.attempt(fetch) and (not resumed or not filling.attempt(fetch)):
                raise RemoteDigestError(
                    "a blob has another digest than the one asked for",
                    where=where,
                    expected=str(descriptor.digest),
                    found=str(filling.found),
                    hint="the registry, or something on the way to it, changes what it serves",
                )
            with _local_errors(self.path(descriptor.digest)):
                self._publish(part, descriptor.digest)
            if descriptor.size >= STRAIGHT_SIZE_MIN:
                self._straight.add(descriptor.digest)

    def open(self, digest: Digest) -> BinaryIO:
        """Return the blob, open for reading. Who passes its bytes on hashes them again.

        Raises:
            MissingError: it is not there.
        """
        file = self._open(digest)
        if digest not in self._straight:
            return file
        with file:
            return cast("BinaryIO", StraightReader(os.dup(file.fileno())))

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return a small blob; see `loader.model.bundle.BlobSource`.

        Raises:
            MissingError: it is not there.
            LimitError: it is larger than `size_max`.
            DigestError: its size or digest is another.
        """
        if descriptor.size > size_max:
            raise LimitError(
                "a document is too large",
                where=where,
                expected=f"at most {size_max} bytes",
                found=f"{descriptor.size} bytes",
            )
        with _local_errors(self.path(descriptor.digest)), self._open(descriptor.digest) as file:
            return descriptor.check(file.read(descriptor.size + 1), what=where)

    def _open(self, digest: Digest) -> BinaryIO:
        try:
            return _open_plain(self.path(digest))
        except FileNotFoundError as e:
            raise MissingError("a blob is not in the store", found=str(digest)) from e

    def _part_path(self, digest: Digest) -> Path:
        return self._partial / f"{digest.hex}.part"

    def _digest_of(self, file: BinaryIO) -> tuple[Digest, int]:
        sha256, size = hashlib.sha256(), 0
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):  # type: ignore[attr-defined]  # an unbuffered file
            self._check()
            sha256.update(view[:count])
            size += count
        return Digest(sha256.hexdigest()), size

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise CancelledError("stopped")

    @contextlib.contextmanager
    def _locked(self, digest: Digest) -> Iterator[tuple[BinaryIO, bool]]:
        """Give the blob's `.part` file, locked, and whether there is something in it."""
        path = self._part_path(digest)
        while True:
            with _local_errors(path):
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                part = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
            with part:
                while not _lock(part):
                    if self._cancelled.wait(_LOCK_POLL_SECONDS):
                        raise CancelledError("stopped")
                if _is_at(part, path):
                    yield part, os.fstat(part.fileno()).st_size > 0
                    return
            # Whoever held the lock has finished the file and renamed it away: look again.

    def _publish(self, part: BinaryIO, digest: Digest) -> None:
        self._part_path(digest).rename(self.path(digest))
        self._known[digest] = _identity(part)


class _Filling:
    """One blob on its way into its `.part` file."""

    def __init__(
        self,
        part: BinaryIO,
        path: Path,
        descriptor: Descriptor,
        *,
        where: str,
        advance: Advance,
        give: Give,
        stop: Callable[[], None],
    ) -> None:
        self._part = part
        self._path = path
        self._descriptor = descriptor
        self._where = where
        self._advance = advance
        self._give = give
        self._stop = stop
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self._large: StraightFile | None = None
        self._is_false = False

    @property
    def found(self) -> Digest:
        """The digest of the bytes so far."""
        return Digest(self._sha256.hexdigest())

    def attempt(self, fetch: Fetch) -> bool:
        """Go on where the file ends; tell whether it now is the blob."""
        self._rehash()
        self._advance(self._offset)
        try:
            if self._offset < self._descriptor.size:
                with contextlib.closing(fetch(self._offset)) as chunks, self._straight():
                    for chunk in chunks:
                        self._take(chunk)
        except BaseException:
            if self._is_false:
                self._part.truncate(0)
            self._advance(-self._offset)
            raise
        if self._offset < self._descriptor.size:
            self._advance(-self._offset)
            raise RemoteTruncatedError(
                "a blob ends too early",
                where=self._where,
                expected=f"{self._descriptor.size} bytes",
                found=f"{self._offset} bytes",
            )
        if self.found == self._descriptor.digest:
            return True
        self._advance(-self._offset)
        self._part.truncate(0)
        return False

    @contextlib.contextmanager
    def _straight(self) -> Iterator[None]:
        """Have a large blob written past the page cache: it costs half of what a download does."""
        if self._descriptor.size - self._offset < STRAIGHT_SIZE_MIN:
            yield
            return
        self._large = large = StraightFile(self._part.fileno())
        try:
            yield
        finally:
            # What came before an error is where the next run goes on.
            self._large = None
            try:
                with _local_errors(self._path):
                    large.finish()
            finally:
                large.close()

    def _take(self, chunk: bytes) -> None:
        self._stop()
        if self._offset + len(chunk) > self._descriptor.size:
            # What is in the file may be a true beginning, but what follows it is not.
            self._is_false = True
            raise RemoteProtocolError(
                "a blob is longer than announced",
                where=self._where,
                expected=f"{self._descriptor.size} bytes",
            )
        with _local_errors(self._path):
            if self._large is not None:
                self._large.write(chunk)
            else:
                _write_all(self._part, chunk)
        self._sha256.update(chunk)
        self._give(self._offset, chunk)
        self._offset += len(chunk)
        self._advance(len(chunk))

    def _rehash(self) -> None:
        """Hash what an earlier run left; more than the blob has is no part of it."""
        self._sha256, self._offset = hashlib.sha256(), 0
        if os.fstat(self._part.fileno()).st_size > self._descriptor.size:
            self._part.truncate(0)
        self._part.seek(0)
        while chunk := self._part.read(_CHUNK):
            self._stop()
            self._sha256.update(chunk)
            self._offset += len(chunk)


def _write_all(file: BinaryIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(file.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _identity(file: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open_plain(path: Path) -> BinaryIO:
    """Open a file of the store; a link in its place is refused by the kernel."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)


@contextlib.contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    """Say what the disk lacks; `FileNotFoundError` is the caller's to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(
                "no space for the content store",
                where=str(path.parent),
                hint="free some, or name a larger folder with --cache",
            ) from e
        if e.errno == errno.EROFS:
            raise ReadOnlyError("the content store is read-only", where=str(path.parent)) from e
        raise LocalError(
            "the content store cannot be used", where=str(path), found=e.strerror or ""
        ) from e
