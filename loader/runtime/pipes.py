"""Frames over pipes between the loader and its launcher.

A frame is its length in four bytes, big-endian, then that many bytes. Each side bounds what it
takes: the launcher, because the loader parses hostile bytes and could have been turned; the loader,
because a client's output passes through here.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final

_LENGTH_SIZE: Final = 4
_SKIP_SIZE: Final = 65_536


class PipeClosedError(Exception):
    """The other side is gone."""


class PipeStalledError(Exception):
    """The other side took or gave nothing for too long."""


def write_frame(fd: int, frame: bytes) -> None:
    """Write one frame to a blocking pipe.

    Raises:
        PipeClosedError: nobody reads it any more.
    """
    rest = memoryview(len(frame).to_bytes(_LENGTH_SIZE, "big") + frame)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError as e:
        raise PipeClosedError from e


def read_frame(fd: int, *, size_max: int, deadline: float | None = None) -> bytes:
    """Return one frame.

    Args:
        fd: a blocking pipe.
        size_max: bytes; a longer frame ends the conversation.
        deadline: on the monotonic clock; None waits for as long as the other side lives.

    Raises:
        PipeClosedError: the other side ended, also in the middle of a frame, or announced too much.
        PipeStalledError: the deadline passed.
    """
    size = int.from_bytes(_read_exactly(fd, _LENGTH_SIZE, deadline=deadline), "big")
    if size > size_max:
        raise PipeClosedError
    return _read_exactly(fd, size, deadline=deadline)


def skip_past(fd: int, mark: bytes, *, deadline: float) -> None:
    """Read and forget everything up to a mark that nothing else can hold and nothing follows.

    Raises:
        PipeClosedError: the other side ended.
        PipeStalledError: the deadline passed.
    """
    tail = b""
    while not tail.endswith(mark):
        if not wait(fd, select.POLLIN, deadline=deadline):
            raise PipeStalledError
        part = os.read(fd, _SKIP_SIZE)
        if not part:
            raise PipeClosedError
        tail = (tail + part)[-len(mark) :]


def _read_exactly(fd: int, size: int, *, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        if not wait(fd, select.POLLIN, deadline=deadline):
            raise PipeStalledError
        part = os.read(fd, missing)
        if not part:
            raise PipeClosedError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def write_within(fd: int, chunk: bytes | memoryview, *, seconds: float) -> None:
    """Write all of a chunk to a non-blocking pipe whose reader may stall.

    Args:
        fd: opened with O_NONBLOCK.
        chunk: what is to be written.
        seconds: how long the reader may take nothing at all.

    Raises:
        PipeClosedError: nobody reads it any more.
        PipeStalledError: nothing was taken for that long.
    """
    rest = memoryview(chunk)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            if not wait(fd, select.POLLOUT, deadline=time.monotonic() + seconds):
                raise PipeStalledError from None
        except BrokenPipeError as e:
            raise PipeClosedError from e


def wait(fd: int, events: int, *, deadline: float | None) -> bool:
    """Wait until a pipe is ready or its other side gone; tell whether that came in time."""
    poll = select.poll()
    poll.register(fd, events)
    if deadline is None:
        return bool(poll.poll())
    milliseconds = max(0, int((deadline - time.monotonic()) * 1000))
    return bool(poll.poll(milliseconds))
