"""`doctor`: what this host has and lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.verbs.saying import print_out

if TYPE_CHECKING:
    import argparse

    from loader.verbs.call import Call

HELP: Final = "say what this host has and lacks"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(call: Call) -> int:
    """Look at programs, folders and the C library; change nothing."""
    from loader import doctor  # noqa: PLC0415

    findings = doctor.examine(call.places, environment=call.environment, now=call.clock())
    print_out(doctor.as_json(findings) if call.arguments.json else doctor.as_text(findings))
    return doctor.exit_status(findings)
