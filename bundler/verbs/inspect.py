"""`inspect`: what a bundle says that it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "what a bundle says that it holds (not verified)"
DESCRIPTION: Final = "Tell what is inside, without reading a layer. Nothing of it is verified."


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--json", action="store_true", help="schema airlock-inspect/1")


def run(call: Call) -> int:
    """Read the statement and its signatures, and nothing behind them."""
    from bundler import inspect  # noqa: PLC0415  (start-up loads what the verb needs)
    from loader.source import BundleFile  # noqa: PLC0415

    bundle: Path = call.arguments.bundle
    with BundleFile.open(bundle) as source:
        statement, sealed = inspect.read(source)
    if call.arguments.json:
        print(json.dumps(inspect.as_json(statement, sealed), indent=2, sort_keys=True))
    else:
        print("\n".join(inspect.as_text(statement, sealed)))
    return 0
