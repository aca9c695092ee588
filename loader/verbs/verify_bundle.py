"""`verify-bundle`: the command-line protocol of sigstore-conformance, and nothing beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from loader.verbs.call import Call

HELP: Final = "verify one Sigstore bundle: the protocol of sigstore-conformance"


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: `cli` hands the words to `verify` before anybody parses them."""
    parser.epilog = "verify-bundle --help"


def run(call: Call) -> int:
    """Be called without a word."""
    del call
    return verify(())


def verify(words: Sequence[str]) -> int:
    """Drive the verifier as sigstore-conformance does; return the exit status."""
    from loader import confine  # noqa: PLC0415

    confine.cut_off()
    from loader.verify.conformance import verify_bundle_main  # noqa: PLC0415

    return verify_bundle_main(words)
