"""`policy`: policies proposed, tried, imported and described; each writes or judges, none loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from bundler.verbs import policy_import, policy_init, policy_propose, policy_schema, policy_test
from bundler.verbs.call import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from bundler.verbs.call import Call

HELP: Final = "propose, try, import and describe policies"
DESCRIPTION: Final = "Work on policies. What comes out is for a person to read and sign off."


class _Verb(Protocol):
    HELP: str
    DESCRIPTION: str

    def declare(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, call: Call) -> int: ...


_VERBS: Final[Mapping[str, _Verb]] = {
    "init": policy_init,
    "test": policy_test,
    "import": policy_import,
    "propose": policy_propose,
    "schema": policy_schema,
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
