"""`verify-blob`: a file, and a Sigstore bundle about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader import blob_options
from loader.verbs.call import path
from loader.verbs.saying import print_out, say_error

if TYPE_CHECKING:
    import argparse

    from loader.verbs.call import Call

HELP: Final = blob_options.HELP


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options: a policy's keys with dashes before them."""
    blob_options.declare(parser, path)


def run(call: Call) -> int:
    """Judge the file as a policy's requirement would."""
    from loader import confine  # noqa: PLC0415

    how = confine.cut_off().how
    from loader.blob_report import run_blob  # noqa: PLC0415

    text, error = run_blob(call.arguments, call.places, how=how)
    print_out(text)
    return 0 if error is None else say_error(error)
