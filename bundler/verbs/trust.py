"""`trust`: trust material fetched, shown and named; nothing here decides what a host trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from bundler.verbs import trust_fetch, trust_inspect, trust_key_id
from bundler.verbs.call import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from bundler.verbs.call import Call

HELP: Final = "fetch, inspect and name trust material"
DESCRIPTION: Final = (
    "Work on trust material. What a host trusts is pinned there, by a person; nothing here does."
)


class _Verb(Protocol):
    HELP: str
    DESCRIPTION: str

    def declare(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, call: Call) -> int: ...


_VERBS: Final[Mapping[str, _Verb]] = {
    "fetch": trust_fetch,
    "inspect": trust_inspect,
    "key-id": trust_key_id,
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the verbs below."""
    below = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, verb in _VERBS.items():
        one = below.add_parser(name, help=verb.HELP, description=verb.DESCRIPTION)
        verb.declare(one)
        one.set_defaults(below=verb.run)


def run(call: Call) -> int:
    """Run the verb below."""
    return int(call.arguments.below(call))
