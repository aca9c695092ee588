"""What a person reads: a verdict on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from loader.errors import AirlockError, InternalError, MemoryLimitError, OutputError, shown


def print_out(text: str) -> None:
    """Write to standard output, all of it.

    Raises:
        OutputError: it is full, or nobody reads it any more.
    """
    try:
        sys.stdout.write(text)
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
