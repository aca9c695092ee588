"""`diff`: what changed from one bundle to the next."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bundler.verbs.call import Call

HELP: Final = "what changed from one bundle to another (not verified)"
DESCRIPTION: Final = (
    "Tell what a bundle has that another had not: images, tags that moved, signers, evidence, "
    "trust. Status 1 where they differ. This is what they say of themselves; no layer is read."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("--json", action="store_true", help="schema airlock-diff/1")


def run(call: Call) -> int:
    """Read both, and say what is not the same."""
    from bundler.compare import bundles  # noqa: PLC0415  (start-up loads what the verb needs)

    old, new = (bundles.read_bundle(path) for path in (call.arguments.old, call.arguments.new))
    found = bundles.changes(old, new)
    if call.arguments.json:
        print(json.dumps(bundles.as_json(old, new), indent=2, sort_keys=True))
    else:
        print("\n".join(bundles.as_text(old, new)))
    return 1 if found else 0
