"""`upgrade`: one look into a folder of bundles, with the outcomes of `dangerzone-image upgrade`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from loader.verbs import watch
from loader.verbs.call import NoForce, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.verbs.call import Call
    from loader.watch.cycle import Event

HELP: Final = "load the newest acceptable bundle of a folder, once, and say whether it was newer"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", type=path, metavar="DIR")
    parser.add_argument(
        "--into", metavar="TARGET", help="as for load; else [watch] into of config.toml"
    )
    parser.add_argument("--policy", type=path, metavar="FILE", help="instead of this host's policy")
    parser.add_argument("--json", action="store_true", help="as watch --json")
    parser.add_argument("--force", action=NoForce, nargs=0, help=argparse.SUPPRESS)
    parser.set_defaults(once=True, dry_run=False)


def run(call: Call) -> int:
    """Look once; the last line says what came of it."""
    return watch.look(call, summary=outcome)


def outcome(events: Sequence[Event]) -> str:
    """Return the outcome in the words of `dangerzone-image upgrade`."""
    loaded = [event for event in events if event.what == "loaded"]
    if loaded:
        return "upgraded" if any(event.moved for event in loaded) else "already up to date"
    if any(event.what in {"refused", "failed", "left"} for event in events):
        return "not upgraded"
    if any(event.what == "current" or event.code == "loaded" for event in events):
        return "already up to date"
    return "nothing to upgrade to"
