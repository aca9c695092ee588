"""`policy test`: what a policy would make of a bundle or an image, without loading anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_notary, declare_registries

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bundler.checking.verdict import Verdict
    from bundler.verbs.call import Call
    from loader.policy.model import Policy

HELP: Final = "try a policy on a bundle or an image, without loading"
DESCRIPTION: Final = (
    "Show which rule matches which image, which evidence each requirement would use, and why the "
    "rest does not count. The judge is the far side's; what that host accepted before, and what "
    "its runtime has, is not looked at."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("subject", metavar="BUNDLE|IMAGE")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", required=True, help="the policy to try"
    )
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill {NAME} in the policy (again for more)",
    )
    parser.add_argument("--json", action="store_true", help="schema airlock-policy-test/1")
    parser.add_argument("--no-progress", action="store_true", help="no bars")
    declare_registries(parser)
    declare_notary(parser)


def run(call: Call) -> int:
    """Judge, and say of each rule what it is about and what it uses."""
    from bundler.checking import as_json  # noqa: PLC0415  (start-up loads what the verb needs)
    from bundler.checking.subject import opened  # noqa: PLC0415
    from bundler.checking.verdict import judged  # noqa: PLC0415
    from bundler.notary.wanted import WantedTrust  # noqa: PLC0415
    from bundler.preflight import FarSide  # noqa: PLC0415
    from bundler.progress import calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from loader.policy.variables import read_variables  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    far_side = FarSide.open(options.policy, read_variables(options.var))
    reach = Reach.make(options, environment=call.environment)
    bars = False if options.no_progress or options.json else None
    with (
        calm_meter(sys.stderr, bars=bars) as shown_by,
        opened(
            options.subject,
            reach,
            now=now,
            meter=shown_by,
            wanted_trust=WantedTrust.of(far_side, options, reach),
        ) as subject,
    ):
        verdict = judged(subject, far_side, now=now)
    if options.json:
        print(json.dumps(as_json.document(verdict, far_side.policy), indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(verdict, far_side.policy)))
    return verdict.exit_status


def _lines(verdict: Verdict, policy: Policy) -> Iterator[str]:
    from bundler.checking import as_text  # noqa: PLC0415

    yield f"policy {policy.where} ({policy.digest})"
    for warning in policy.warnings:
        yield f"  warning  {warning}"
    for rule in policy.rules:
        here = [
            str(entry.reference)
            for entry in verdict.subject.statement.images
            if rule.match.matches(entry.reference)
        ]
        yield f"  {rule.where}  match {rule.match}: {', '.join(here) or 'matches no image here'}"
    yield from as_text.lines(verdict, explain=True)
