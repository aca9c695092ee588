"""`trust key-id`: what Notary and docker call a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "what Notary and docker call a key"
DESCRIPTION: Final = (
    "Print the ids of a key: as it is written, which metadata and pins name, and of the bare key, "
    "which `notary key list` and the names of docker's private key files show; and the SHA-256 of "
    "the public key, which Airlock shows keys by."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="a certificate or key, PEM or DER"
    )


def run(call: Call) -> int:
    """Print both ids of each file."""
    from bundler.notary.key_file import key_ids_of  # noqa: PLC0415  (what only a run needs)

    for path in call.arguments.files:
        ids = key_ids_of(path)
        print(f"{path}")
        print(f"  sha256        {ids.fingerprint}")
        print(f"  TUF id        {ids.tuf_id}")
        print(f"  canonical id  {ids.canonical_id}")
    return 0
