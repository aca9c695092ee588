"""The archive, front to back, once: statement, small members, layers, end (docs/format.md).

Stands between the open file and the model. Trusts nothing, interprets next to nothing: from the
statement on, name, size and digest of every byte are known before it is read, and what comes is
compared. Opens nothing and seeks nowhere; memory does not grow with the archive. Every step can be
taken once and in order. After an error the reader stays in it: no later call can be talked into
going on behind a broken place.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from loader.archive import format as tar
from loader.archive.frames import Frames
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    DigestError,
    FormatError,
    InputError,
    InternalError,
    LimitError,
    MemberOrderError,
    MissingError,
    TarError,
    TrailingDataError,
    TruncatedError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, KIB
from loader.model.bundle import STATEMENT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.archive.metadata import MetadataSink
    from loader.limits import Limits
    from loader.model.bundle import BundleStatement, Member

READ_SIZE: Final = 256 * KIB
"""Bytes asked of the medium at once, and handed on at once: they stay in the processor's cache
while hashed."""
FIRST_READ_SIZE: Final = 64 * KIB
"""The same before the layers: a bundle that is refused by its statement costs the medium little."""
_LOOK_AHEAD_MAX: Final = 64 * 1024 * KIB
_ZERO_BLOCK: Final = bytes(tar.BLOCK_SIZE)

Step = Literal["statement", "metadata", "layers", "finish", "done"]


class Source(Protocol):
    """The medium: one file, opened once by somebody else."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many: fewer are allowed, none mean the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedStatement:
    """The statement's bytes and what claims to sign them: not believed yet, nor parsed."""

    raw: bytes
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStream:
    """A layer on its way: its bytes, whose digest is compared when the last of them was taken."""

    member: Member
    chunks: Iterator[memoryview]

    def __iter__(self) -> Iterator[memoryview]:
        return self.chunks


class ArchiveReader:
    """Reads one archive of exactly the format's profile."""

    def __init__(self, source: Source, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._stream = _Stream(source, limits=limits)
        self._limits = limits
        self._next: Step = "statement"
        self._ahead: tar.Header | None = None
        self._raw = b""
        self._failure: AirlockError | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the medium so far."""
        return self._stream.bytes_read

    @property
    def format(self) -> Literal["zstd", "plain", ""]:
        """How the archive is stored; empty before its first bytes were read."""
        return self._stream.format

    def read_statement(self) -> SealedStatement:
        """Return the statement and its signatures. Of what follows, one record header is read.

        Raises:
            FormatError: they are not there in the format's way.
            InputError: the medium fails.
        """
        with self._step("statement", then="metadata"):
            header = self._header()
            if header.name != STATEMENT_NAME:
                raise MemberOrderError(
                    "the first member is another one",
                    where=self._stream.where,
                    expected=STATEMENT_NAME,
                    found=header.name,
                )
            self._raw = self._document(header, size_max=self._limits.statement_size_max)
            signatures: list[bytes] = []
            header = self._header()
            while header.name.startswith("airlock."):
                expected = tar.signature_name(len(signatures) + 1)
                if header.name != expected or len(signatures) == tar.SIGNATURE_COUNT_MAX:
                    raise MemberOrderError(
                        "a signature of the statement out of order",
                        where=self._stream.where,
                        expected=expected,
                        found=header.name,
                    )
                size_max = self._limits.statement_signature_size_max
                signatures.append(self._document(header, size_max=size_max))
                header = self._header()
            self._ahead = header
            return SealedStatement(raw=self._raw, signatures=tuple(signatures))

    def read_metadata(self, statement: BundleStatement, sink: MetadataSink) -> None:
        """Pass the small members on, each compared with the statement by name, size and digest.

        `oci-layout` and `index.json` are compared like all others and passed on to nobody: they
        follow from the statement.

        Raises:
            FormatError: a member is not the announced one, or is too large.
            InputError: the medium fails.
        """
        with self._step("metadata", then="layers", statement=statement):
            self._limit_metadata(statement)
            for position, member in enumerate(statement.metadata):
                self._announced(member, statement=statement)
                taker = sink.add(member) if position > 1 else None
                for chunk in self._content(member):
                    if taker is not None:
                        taker.write(chunk)
                if taker is not None:
                    taker.close()
            self._stream.read_size = READ_SIZE

    def layers(self, statement: BundleStatement) -> Iterator[LayerStream]:
        """Yield the layers. Each must be taken to its end before the next.

        Raises:
            FormatError: a member is not the announced one; a layer's bytes are not the announced
                ones, which shows only at its end.
            InputError: the medium fails.
        """
        with self._step("layers", then="finish", statement=statement):
            for member in statement.layers:
                self._announced(member, statement=statement)
                taken = _Taken()
                yield LayerStream(member=member, chunks=self._layer(member, taken))
                if not taken.whole:
                    raise InternalError("a layer was not taken to its end", where=member.name)

    def finish(self) -> None:
        """Take the end of the archive: zeros to a whole record, and nothing behind them.

        Raises:
            FormatError: it ends otherwise.
            InputError: the medium fails.
        """
        with self._step("finish", then="done"):
            self._end()

    @contextlib.contextmanager
    def _step(
        self, step: Step, *, then: Step, statement: BundleStatement | None = None
    ) -> Iterator[None]:
        """Take a step in its turn; what fails once stays failed."""
        if self._failure is not None:
            raise self._failure
        if self._next != step or (statement is not None and statement.raw != self._raw):
            raise InternalError(
                "the archive's steps were taken out of order",
                expected=self._next,
                found=step,
            )
        try:
            yield
        except AirlockError as e:
            self._failure = e
            raise
        self._next = then

    def _header(self, *, due: tar.Header | None = None) -> tar.Header:
        """Return the next header; the end of the archive is none.

        The one that is due has only one form, so equal bytes need no reading.
        """
        if self._ahead is not None:
            header, self._ahead = self._ahead, None
            return header
        where = self._stream.where
        block = self._stream.exactly(tar.BLOCK_SIZE)
        if due is not None and block == tar.encode(due):
            return due
        if block == _ZERO_BLOCK:
            raise MissingError(
                "the archive ends where a member is due",
                where=where,
                expected="a statement, its signatures and oci-layout" if due is None else due.name,
            )
        return tar.decode(block, where=where)

    def _document(self, header: tar.Header, *, size_max: int) -> bytes:
        if header.size > size_max:
            raise LimitError(
                "a document is too large",
                where=header.name,
                expected=f"at most {size_max} bytes",
                found=f"{header.size} bytes",
            )
        raw = self._stream.exactly(header.size)
        self._padding(header.size, where=header.name)
        return raw

    def _announced(self, member: Member, *, statement: BundleStatement) -> None:
        """Read the header of the announced member, and no other."""
        header = self._header(due=tar.Header(name=member.name, size=member.size))
        if header.name != member.name:
            raise self._misplaced(header, member, statement=statement)
        if header.size != member.size:
            raise DigestError(
                "a member is of another size than the statement says",
                where=member.name,
                expected=f"{member.size} bytes",
                found=f"{header.size} bytes",
            )

    def _misplaced(
        self, header: tar.Header, member: Member, *, statement: BundleStatement
    ) -> FormatError:
        """Tell a missing member from a misplaced one, by a look at the next header."""
        announced = {m.name: m.size for m in statement.members}
        if header.name not in announced:
            return MemberOrderError(
                "a member that the statement does not announce",
                where=self._stream.where,
                expected=member.name,
                found=header.name,
            )
        with contextlib.suppress(FormatError):
            if header.size <= min(announced[header.name], _LOOK_AHEAD_MAX):
                for _ in self._stream.pieces(header.stored_size):
                    pass
                if self._header().name == member.name:
                    return MemberOrderError(
                        "members stand in another order than the statement's",
                        where=self._stream.where,
                        expected=member.name,
                        found=header.name,
                    )
        return MissingError(
            "a member that the statement announces is not where it is due",
            where=self._stream.where,
            expected=member.name,
            found=header.name,
        )

    def _limit_metadata(self, statement: BundleStatement) -> None:
        total = sum(member.size for member in statement.metadata)
        largest = max(member.size for member in statement.metadata)
        if total > self._limits.metadata_size_max or largest > self._limits.evidence_size_max:
            raise LimitError(
                "small members are too large",
                where=STATEMENT_NAME,
                expected=f"at most {self._limits.evidence_size_max} bytes each and "
                f"{self._limits.metadata_size_max} together",
                found=f"{largest} and {total}",
            )

    def _content(self, member: Member) -> Iterator[memoryview]:
        """Yield a member's bytes, and compare their digest at the end."""
        hashed = hashlib.sha256()
        for piece in self._stream.pieces(member.size):
            hashed.update(piece)
            yield piece
        found = Digest(hashed.hexdigest())
        if found != member.digest:
            raise DigestError(
                "a member is not the one that the statement announces",
                where=member.name,
                expected=str(member.digest),
                found=str(found),
            )
        self._padding(member.size, where=member.name)

    def _layer(self, member: Member, taken: _Taken) -> Iterator[memoryview]:
        try:
            yield from self._content(member)
        except AirlockError as e:
            self._failure = e
            raise
        taken.whole = True

    def _padding(self, size: int, *, where: str) -> None:
        padding = self._stream.exactly(tar.padded(size) - size)
        if padding.strip(b"\0"):
            raise TarError("bytes that are not zero fill a block", where=f"behind {where}")

    def _end(self) -> None:
        where = self._stream.where
        block = self._ahead is None and self._stream.exactly(tar.BLOCK_SIZE)
        if block != _ZERO_BLOCK:
            found = self._ahead or tar.decode(block or b"", where=where)
            raise MemberOrderError(
                "a member behind the last that the statement announces",
                where=where,
                expected="the end of the archive",
                found=found.name,
            )
        rest = tar.END_SIZE - tar.BLOCK_SIZE
        length = self._stream.position + rest
        rest += -length % tar.RECORD_SIZE
        if self._stream.exactly(rest).strip(b"\0"):
            raise TrailingDataError("bytes behind the last member that are not zero", where=where)
        if not self._stream.at_end():
            raise TrailingDataError("bytes behind the end of the archive", where=self._stream.where)


class _Taken:
    """Whether a layer was taken to its end."""

    whole = False


class _Stream:
    """The thin driver: asks the medium for bytes, and gives those of the tar."""

    def __init__(self, source: Source, *, limits: Limits) -> None:
        self._source = source
        self._frames = Frames(limits=limits)
        self._buffer = memoryview(b"")
        self.read_size = FIRST_READ_SIZE
        self.bytes_read = 0
        self.position = 0
        """Bytes of the tar that were handed on."""

    @property
    def format(self) -> Literal["zstd", "plain", ""]:
        return self._frames.format

    @property
    def where(self) -> str:
        """The place, in bytes of the tar: the same for an archive and its plain form."""
        return f"byte {self.position} of the tar"

    def exactly(self, size: int) -> bytes:
        """Return so many bytes.

        Raises:
            TruncatedError: there are fewer.
        """
        if size <= len(self._buffer):
            self.position += size
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            return bytes(piece)
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield so many bytes in pieces.

        Raises:
            TruncatedError: there are fewer.
        """
        while size:
            if not self._buffer and not self._fill():
                raise TruncatedError(
                    "the archive ends too early",
                    where=self.where,
                    expected=f"{size} more bytes",
                )
            piece = self._buffer[:size]
            self._buffer = self._buffer[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def at_end(self) -> bool:
        """Tell whether there is nothing more, neither in the tar nor in the file."""
        self._frames.close()
        return not self._buffer and not self._fill()

    def _fill(self) -> bool:
        while (piece := self._frames.take(self.read_size)) is None:
            try:
                data = self._source.read(self.read_size)
            except OSError as e:
                raise InputError(
                    "the medium cannot be read", where=self._frames.where, found=shown(e.strerror)
                ) from e
            self.bytes_read += len(data)
            self._frames.receive(data)
        self._buffer = piece
        return bool(piece)
