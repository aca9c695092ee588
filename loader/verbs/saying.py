"""What a person reads: a verdict on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import traceback

from loader.errors import AirlockError, InternalError, MemoryLimitError, OutputError, shown


def print_out(text: str, *, patience: float | None = None) -> None:
    """Write to standard output, all of it.

    Args:
        text: what.
        patience: for how many seconds whoever reads may take nothing; None waits for ever.

    Raises:
        OutputError: it is full, or nobody reads it any more.
    """
    try:
        if patience is None:
            sys.stdout.write(text)
        else:
            _write_patiently(text.encode("ascii", "backslashreplace"), patience)
        sys.stdout.flush()
    except OSError as e:
        # What is still buffered must not fail a second time when Python ends.
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
        raise OutputError(
            "the verdict could not be written to standard output",
            found=e.strerror or "",
            hint="what was done is done: airlock-loader verify says it again",
        ) from e


def _write_patiently(raw: bytes, patience: float) -> None:
    """Write where somebody takes it in time.

    In pieces that a pipe takes whole once it says that it takes any (pipe(7)): the descriptor is
    shared with others, and is not ours to make non-blocking.

    Raises:
        OSError: it cannot be written, or not in time.
    """
    sys.stdout.flush()
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    while raw:
        if not poll.poll(patience * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
        raw = raw[os.write(output, raw[: select.PIPE_BUF]) :]


def say_error(error: AirlockError) -> int:
    """Say on standard error what ended a run otherwise than asked; return the exit status."""
    from loader.report import error_lines, plain  # noqa: PLC0415

    # Where nobody hears it, the exit status says it.
    with contextlib.suppress(OSError, AttributeError):
        for line in error_lines(error):
            print(line, file=sys.stderr)
        if isinstance(error, InternalError) and error.__cause__ is not None:
            for line in traceback.format_exception(error.__cause__):
                for part in line.splitlines():
                    print(plain(f"trace: {part}"), file=sys.stderr)
        sys.stderr.flush()
    return error.exit_status


def bug(e: Exception) -> AirlockError:
    """Return what an exception that nobody expected means for the operator."""
    if isinstance(e, MemoryError):
        error: AirlockError = MemoryLimitError(
            "this process was given no more memory", hint="256 MiB are enough for every bundle"
        )
    elif isinstance(e, OSError):
        from loader.places import local_error  # noqa: PLC0415

        name = shown(str(e.filename)) if e.filename is not None else ""
        error = local_error(e, what="the system refused something", where=name)
    else:
        error = InternalError(
            f"a bug in Airlock: {type(e).__name__}: {shown(str(e))}",
            hint="the bundle was not accepted; please report the lines below",
        )
    error.__cause__ = e
    return error
