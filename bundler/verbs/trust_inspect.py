"""`trust inspect`: what content trust says, as `docker trust inspect --pretty` shows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "show content trust in a bundle or a cache"
DESCRIPTION: Final = (
    "Show signed tags, signers and administrative keys of Notary repositories in a bundle or in a "
    "cache (~/.docker/trust, ~/.notary, what `trust fetch` wrote), and until when each role is "
    "good. All of it is verified: from the pinned root with --notary-root, else from the "
    "repository's own, which says nothing of whose it is."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("source", type=Path, metavar="BUNDLE|FOLDER")
    parser.add_argument(
        "references",
        nargs="*",
        metavar="REPOSITORY[:TAG]",
        help="which, by its full name: docker.io/library/alpine (default: all)",
    )
    parser.add_argument(
        "--notary-root",
        metavar="ID|FILE",
        help="where trust begins: a root key's id, a certificate, a root.json, trust_pinning",
    )
    parser.add_argument("--json", action="store_true", help="schema airlock-content-trust/1")


def run(call: Call) -> int:
    """Verify and show."""
    from bundler.notary.inspect import Inspection  # noqa: PLC0415  (what only a run needs)
    from bundler.notary.sources import read_pins, read_source, verify  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    tags = dict(_split(text) for text in options.references)
    pins = None if options.notary_root is None else read_pins(options.notary_root)
    documents = []
    for captured in read_source(options.source, tuple(tags)):
        trust = verify(captured, pins)
        tag = tags.get(captured.gun, "")
        remote = f"{captured.gun}:{tag}" if tag else captured.gun
        pinned = "" if pins is None else trust.pinned
        found = Inspection.of(trust, now=now, pinned=pinned, tag=tag)
        if options.json:
            documents.append(found.as_json(remote))
        else:
            print("\n".join(found.as_text(remote)))
        for note in captured.notes:
            print(f"note: {captured.gun}: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps(documents, indent=2, sort_keys=True))
    return 0


def _split(text: str) -> tuple[str, str]:
    """Return repository and tag; a colon in the registry's part is a port's."""
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, "")
