"""What a verb is, and verbs below a verb: `airlock policy init`. Declared and run in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bundler.verbs.call import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from bundler.verbs.call import Call


class Verb(Protocol):
    """What a module of `bundler.verbs` has."""

    HELP: str
    DESCRIPTION: str

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Add its options."""
        ...

    def run(self, call: Call) -> int:
        """Run it, and return the exit status."""
        ...


def declare_below(parser: argparse.ArgumentParser, verbs: Mapping[str, Verb]) -> None:
    """Add these verbs below a verb, one of which must be named."""
    below = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, verb in verbs.items():
        one = below.add_parser(name, help=verb.HELP, description=verb.DESCRIPTION)
        verb.declare(one)
        one.set_defaults(below=verb.run)


def run_below(call: Call) -> int:
    """Run the one that was named."""
    return int(call.arguments.below(call))
