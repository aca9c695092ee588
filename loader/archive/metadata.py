"""The small members, kept until the judge asks: in memory, beyond a bound in a nameless file.

Filled by the reader, which has compared each with the statement; what a blob's descriptor says is
compared again whenever it is read, because other documents of the bundle may describe the same blob
otherwise.
"""

from __future__ import annotations

import errno
import os
import tempfile
from typing import IO, TYPE_CHECKING, Final, Protocol, Self

from loader.errors import LimitError, LocalError, MissingError, NoSpaceError
from loader.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from loader.digest import Digest
    from loader.limits import Limits
    from loader.model.bundle import Member
    from loader.model.descriptor import Descriptor

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class MemberSink(Protocol):
    """Takes one member's bytes, in order."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def close(self) -> None:
        """Learn that these were all, and that they have the announced size and digest."""


class MetadataSink(Protocol):
    """Takes the small members, one after the other."""

    def add(self, member: Member) -> MemberSink:
        """Begin a member. It counts as there only once its sink was closed."""


class MetadataStore:
    """Keeps small members and gives them back: filled by the reader, read by the judge."""

    def __init__(self, directory: Path, *, limits: Limits = DEFAULT_LIMITS) -> None:
        """Begin empty.

        Args:
            directory: where the nameless file is made, if it comes to that. Nothing of it survives
                the process.
            limits: how much stays in memory.
        """
        self._memory_left = limits.metadata_memory_max
        self._kept: dict[Digest, bytes] = {}
        self._spilled: dict[Digest, tuple[int, int]] = {}
        self._file = _NamelessFile(directory)

    def add(self, member: Member) -> MemberSink:
        """Begin a member; see `MetadataSink`."""
        if member.size <= self._memory_left:
            self._memory_left -= member.size
            return _Kept(self._kept, member)
        return _Spilled(self._spilled, self._file, member)

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        """Return a blob with the size and digest of its descriptor.

        Raises:
            MissingError: it is not here.
            LimitError: it is larger than `size_max`.
            DigestError: it is of another size than the descriptor says.
            LocalError: our own disk fails.
        """
        if descriptor.size > size_max:
            raise LimitError(
                "a blob is too large for what it is used as",
                where=where,
                expected=f"at most {size_max} bytes",
                found=f"{descriptor.size} bytes",
            )
        raw = self._load(descriptor.digest, size_max=size_max)
        if raw is None:
            raise MissingError(
                "a blob is not among the bundle's small members",
                where=where,
                expected=str(descriptor.digest),
            )
        return descriptor.check(raw, what=where)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept or digest in self._spilled

    def close(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self._spilled.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self, digest: Digest, *, size_max: int) -> bytes | None:
        kept = self._kept.get(digest)
        if kept is not None:
            return kept
        offset, size = self._spilled.get(digest, (0, -1))
        # A descriptor may say less than the member has; one byte more than asked for shows that.
        return None if size < 0 else self._file.read(offset, min(size, size_max + 1))


class _Kept:
    """A member that goes to memory."""

    def __init__(self, kept: dict[Digest, bytes], member: Member) -> None:
        self._kept = kept
        self._digest = member.digest
        self._pieces: list[bytes] = []

    def write(self, data: bytes | memoryview, /) -> None:
        self._pieces.append(bytes(data))

    def close(self) -> None:
        self._kept[self._digest] = b"".join(self._pieces)


class _Spilled:
    """A member that goes to the nameless file."""

    def __init__(
        self, spilled: dict[Digest, tuple[int, int]], file: _NamelessFile, member: Member
    ) -> None:
        self._spilled = spilled
        self._file = file
        self._member = member
        self._offset = file.size

    def write(self, data: bytes | memoryview, /) -> None:
        self._file.append(data)

    def close(self) -> None:
        self._spilled[self._member.digest] = (self._offset, self._member.size)


class _NamelessFile:
    """A temporary file without a name: nothing of it outlives the process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[bytes] | None = None
        self.size = 0

    def append(self, data: bytes | memoryview) -> None:
        try:
            file = self._opened()
            rest = memoryview(data)
            while rest:
                count = os.pwrite(file.fileno(), rest, self.size)
                self.size += count
                rest = rest[count:]
        except OSError as e:
            raise self._translated(e, "written") from e

    def read(self, offset: int, size: int) -> bytes:
        try:
            file = self._opened()
            pieces: list[bytes] = []
            while size and (piece := os.pread(file.fileno(), size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
            return b"".join(pieces)
        except OSError as e:
            raise self._translated(e, "read") from e

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # Closed by `close`; with O_TMPFILE it never had a name that others could find.
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        return self._file

    def _translated(self, error: OSError, verb: str) -> LocalError:
        kind = NoSpaceError if error.errno in _NO_SPACE else LocalError
        return kind(
            f"the temporary file for small members cannot be {verb}",
            where=str(self._directory),
            found=str(error.strerror),
        )
