"""`policy`: policies proposed, tried, imported and described; each writes or judges, none loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bundler.verbs import policy_import, policy_init, policy_propose, policy_schema, policy_test
from bundler.verbs.below import declare_below, run_below

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from bundler.verbs.below import Verb
    from bundler.verbs.call import Call

HELP: Final = "propose, try, import and describe policies"
DESCRIPTION: Final = "Work on policies. What comes out is for a person to read and sign off."
_VERBS: Final[Mapping[str, Verb]] = {
    "init": policy_init,
    "test": policy_test,
    "import": policy_import,
    "propose": policy_propose,
    "schema": policy_schema,
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the verbs below."""
    declare_below(parser, _VERBS)


def run(call: Call) -> int:
    """Run the verb below."""
    return run_below(call)
