"""The archive, written once, front to back: what `loader.archive` reads, the same bytes everywhere.

`tarfile` writes the records and `zstandard` the frames; the reader has code of its own for both, so
what one side does wrong the other refuses. Nothing of the machine gets in: no clock, no user, no
umask, no number of cores. Every blob is hashed on its way, and one that is not what the statement
says ends the run.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final, Literal, Protocol

import zstandard

from loader.archive import format as tar
from loader.digest import Digest
from loader.errors import DigestError, LimitError
from loader.limits import KIB, MIB
from loader.model.bundle import (
    LAYOUT_BYTES,
    LAYOUT_INDEX_NAME,
    LAYOUT_NAME,
    STATEMENT_NAME,
    BundleStatement,
    Member,
    layout_index,
)

Format = Literal["zstd", "plain"]
Effort = Literal["small", "layer", "stored"]

FRAME_SIZE: Final = 4 * MIB
"""Bytes of the tar in one frame: few enough to compress in one call without copies, which makes
frames of incompressible layers nearly free (measured: 6 GB/s; 0.8 GB/s as one long stream)."""
COPY_SIZE: Final = 1 * MIB
_IN_FLIGHT_MAX: Final = 3
_THREAD_SIZE_MIN: Final = 32 * KIB
"""Below this, handing bytes to another thread costs more than hashing them."""

_COMPRESSED_STARTS: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh")
"""gzip, zstd, xz, bzip2: layers that do not get smaller."""
_START_SIZE: Final = max(map(len, _COMPRESSED_STARTS))


def _parameters(level: int, *, window_log: int) -> zstandard.ZstdCompressionParameters:
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=window_log,
        write_checksum=True,
        write_content_size=True,
        write_dict_id=False,
        threads=0,
    )


_PARAMETERS: Final = {
    # Read first, and mostly text that repeats itself: worth some effort.
    "small": _parameters(9, window_log=22),
    "layer": _parameters(3, window_log=21),
    # Hardly any search: blocks that do not shrink are stored raw. A small window spares the reader.
    "stored": _parameters(-50, window_log=17),
}


class Writable(Protocol):
    """Where an archive goes."""

    def write(self, data: memoryview, /) -> int:
        """Take bytes, perhaps not all of them, and tell how many."""


class Progress(Protocol):
    """Whoever shows how far the writer is."""

    def advance(self, size: int, /) -> None:
        """Learn that so many more bytes of the tar were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: the archive's own size and SHA-256, for `SHA256SUMS`."""

    size: int
    digest: Digest


def write_archive(
    statement: BundleStatement,
    signatures: Sequence[bytes],
    open_blob: Callable[[Digest], BinaryIO],
    out: Writable,
    *,
    format: Format = "zstd",  # noqa: A002  # the reader's word for it
    progress: Progress | None = None,
) -> Written:
    """Write the archive of a statement to `out`, which need not be able to seek.

    Args:
        statement: what to write.
        signatures: of exactly `statement.raw`, as Sigstore bundles.
        open_blob: gives a blob's bytes from their beginning; closed here.
        out: where to; neither flushed nor closed here.
        format: `plain` for guards that refuse compression.
        progress: told of bytes of the tar.

    Raises:
        DigestError: a blob is not what the statement says.
        LimitError: more signatures than the format has names for.
    """
    if len(signatures) > tar.SIGNATURE_COUNT_MAX:
        raise LimitError(
            "too many signatures",
            expected=f"at most {tar.SIGNATURE_COUNT_MAX}",
            found=str(len(signatures)),
        )
    with _hashing() as whole, _hashing() as blobs, ThreadPoolExecutor(2) as pool:
        target = _Target(out, whole)
        records = _Records(target, pool if format == "zstd" else None, progress)
        archive = tarfile.TarFile(
            # Mode "w" asks for its file's place and never moves it; "w|" would copy every byte
            # more.
            mode="w",
            fileobj=records,  # type: ignore[arg-type]  # `write` and `tell` are all that it uses
            format=tarfile.GNU_FORMAT,
            copybufsize=COPY_SIZE,
        )
        _add(archive, STATEMENT_NAME, BytesIO(statement.raw), len(statement.raw))
        for number, signature in enumerate(signatures, start=1):
            _add(archive, tar.signature_name(number), BytesIO(signature), len(signature))
        records.cut()
        for member in statement.metadata:
            with _open(member, statement, open_blob) as source:
                checked = _Checked(source, member, blobs)
                _add(archive, member.name, checked, member.size)
                checked.finish()
        records.cut()
        for member in statement.layers:
            with open_blob(member.digest) as source:
                checked = _Checked(source, member, blobs)
                records.effort = "stored" if checked.is_compressed else "layer"
                _add(archive, member.name, checked, member.size)
                checked.finish()
        archive.close()
        records.finish()
        return Written(size=target.size, digest=whole.digest())


def size_max(
    statement: BundleStatement,
    signatures: Sequence[bytes],
    *,
    format: Format = "zstd",  # noqa: A002  # the reader's word for it
) -> int:
    """Return how large the archive may become: what does not shrink grows by a few bytes."""
    size = tar.archive_size(
        [
            len(statement.raw),
            *map(len, signatures),
            *(member.size for member in statement.members),
        ]
    )
    return size if format == "plain" else size + size // 256 + 4096


def _open(
    member: Member, statement: BundleStatement, open_blob: Callable[[Digest], BinaryIO]
) -> BinaryIO:
    match member.name:
        case name if name == LAYOUT_NAME:
            return BytesIO(LAYOUT_BYTES)
        case name if name == LAYOUT_INDEX_NAME:
            return BytesIO(layout_index(statement.images))
        case _:
            return open_blob(member.digest)


def _add(archive: tarfile.TarFile, name: str, source: BinaryIO | _Checked, size: int) -> None:
    # A new TarInfo has mode 0644, owner 0 without a name, and time 0: what the format says.
    record = tarfile.TarInfo(name)
    record.size = size
    archive.addfile(record, source)  # type: ignore[arg-type]  # `read` is all that it uses


class _HashThread:
    """SHA-256 on a thread of its own, which `hashlib` lets run beside the rest."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._hashed = hashlib.sha256()
        self._pending: deque[Future[None]] = deque()

    def update(self, data: bytes) -> None:
        if len(data) < _THREAD_SIZE_MIN and not self._pending:
            self._hashed.update(data)
            return
        self._pending.append(self._pool.submit(self._hashed.update, data))
        if len(self._pending) > _IN_FLIGHT_MAX:
            self._pending.popleft().result()

    def digest(self) -> Digest:
        """Return the digest of all since the last call, and begin anew."""
        while self._pending:
            self._pending.popleft().result()
        found = Digest(self._hashed.hexdigest())
        self._hashed = hashlib.sha256()
        return found


@contextmanager
def _hashing() -> Iterator[_HashThread]:
    with ThreadPoolExecutor(1) as pool:
        yield _HashThread(pool)


class _Checked:
    """A blob on its way into the archive: exactly the announced bytes, or an error."""

    def __init__(self, source: BinaryIO, member: Member, hashed: _HashThread) -> None:
        self._source = source
        self._member = member
        self._hashed = hashed
        self._start = self._exactly(min(member.size, _START_SIZE))

    @property
    def is_compressed(self) -> bool:
        return self._start.startswith(_COMPRESSED_STARTS)

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes; `tarfile` asks for the announced size and no more."""
        start, self._start = self._start[:size], self._start[size:]
        data = self._exactly(size - len(start))
        data = start + data if start else data
        self._hashed.update(data)
        return data

    def _exactly(self, size: int) -> bytes:
        # A raw file may return less than it is asked for; copied once, however many pieces.
        pieces: list[bytes] = []
        while size:
            piece = self._source.read(size)
            if not piece:
                raise self._wrong("an earlier end")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Compare the digest, and that nothing is left."""
        found = self._hashed.digest()
        if found != self._member.digest:
            raise self._wrong(str(found))
        if self._source.read(1):
            raise self._wrong("more bytes behind them")

    def _wrong(self, found: str) -> DigestError:
        return DigestError(
            "a blob is not what the statement says",
            where=self._member.name,
            expected=f"{self._member.size} bytes with {self._member.digest}",
            found=found,
        )


class _Target:
    """Where the archive's bytes go, counted and hashed."""

    def __init__(self, out: Writable, hashed: _HashThread) -> None:
        self._out = out
        self._hashed = hashed
        self.size = 0

    def write(self, data: bytes) -> None:
        self._hashed.update(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            # A raw file may take less than it is given, and says so.
            rest = rest[self._out.write(rest) :]


class _Records:
    """What `tarfile` writes to: cuts the tar into frames and compresses them, or passes it on."""

    def __init__(
        self, target: _Target, pool: ThreadPoolExecutor | None, progress: Progress | None
    ) -> None:
        self._target = target
        self._pool = pool
        self._progress = progress
        self._position = 0
        self._frame = bytearray(FRAME_SIZE)
        self._frame_size = 0
        self._frame_effort: Effort = "small"
        self._pending: deque[Future[bytes]] = deque()
        self.effort: Effort = "small"
        """What the bytes that come next are worth."""

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes) -> int:
        self._position += len(data)
        if self._progress is not None:
            self._progress.advance(len(data))
        if self._pool is None:
            self._target.write(data)
            return len(data)
        rest = memoryview(data)
        while rest:
            piece = rest[: FRAME_SIZE - self._frame_size]
            rest = rest[len(piece) :]
            if not self._frame_size or self.effort == "layer":
                self._frame_effort = self.effort
            self._frame[self._frame_size : self._frame_size + len(piece)] = piece
            self._frame_size += len(piece)
            if self._frame_size == FRAME_SIZE:
                self.cut()
        return len(data)

    def cut(self) -> None:
        """End the frame here, if one has begun."""
        if self._pool is None or not self._frame_size:
            return
        content = memoryview(self._frame)[: self._frame_size]
        self._frame_size = 0
        if self._frame_effort == "stored":
            # Faster than handing it to a thread, whose memory would be fetched anew each time.
            self._drain(0)
            self._target.write(_compress(content, "stored"))
        else:
            self._drain(_IN_FLIGHT_MAX)
            self._pending.append(
                self._pool.submit(_compress, content.tobytes(), self._frame_effort)
            )

    def finish(self) -> None:
        """Write what is left."""
        self.cut()
        self._drain(0)

    def _drain(self, left: int) -> None:
        while len(self._pending) > left:
            self._target.write(self._pending.popleft().result())


def _compress(content: bytes | memoryview, effort: Effort) -> bytes:
    # A compressor of its own each time: none may be used by two threads, none remembers anything.
    return zstandard.ZstdCompressor(compression_params=_PARAMETERS[effort]).compress(content)
