"""`trust`: trust material fetched, shown and named; nothing here decides what a host trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bundler.verbs import trust_fetch, trust_import, trust_inspect, trust_key_id
from bundler.verbs.below import declare_below, run_below

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from bundler.verbs.below import Verb
    from bundler.verbs.call import Call

HELP: Final = "fetch, inspect and name trust material"
DESCRIPTION: Final = (
    "Work on trust material. What a host trusts is pinned there, by a person; nothing here does."
)
_VERBS: Final[Mapping[str, Verb]] = {
    "fetch": trust_fetch,
    "import": trust_import,
    "inspect": trust_inspect,
    "key-id": trust_key_id,
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the verbs below."""
    declare_below(parser, _VERBS)


def run(call: Call) -> int:
    """Run the verb below."""
    return run_below(call)
