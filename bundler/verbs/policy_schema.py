"""`policy schema`: the JSON schema of a policy, for editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "print the JSON schema of a policy, for editors"
DESCRIPTION: Final = (
    "Print the JSON schema of a policy file. Name it in the first line of a policy for editors "
    "that know taplo: #:schema ./airlock-policy.schema.json"
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Take no options."""
    del parser


def run(call: Call) -> int:
    """Print it."""
    from bundler.policies.schema import policy_schema  # noqa: PLC0415  (start-up loads what it needs)

    del call
    print(json.dumps(policy_schema(), indent=2))
    return 0
