"""`status`: what this host has, knows, and was told last."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, UsageError
from loader.verbs.call import declare_policy
from loader.verbs.saying import print_out, say_error

if TYPE_CHECKING:
    import argparse

    from loader.run import Host
    from loader.verbs.call import Call

HELP: Final = "what this host has, knows, and was told last"
_DAYS_MAX: Final = 36_500


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    declare_policy(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--nagios", action="store_true", help="one line, and the exit status of a plug-in"
    )
    parser.add_argument(
        "--max-age",
        type=int,
        metavar="DAYS",
        help="with --nagios: critical where nothing was let in for so long",
    )


def run(call: Call) -> int:
    """Read memory, policy and anchors; write nothing.

    Raises:
        UsageError: an age that is none, or without `--nagios`.
    """
    from loader import status  # noqa: PLC0415

    days: int | None = call.arguments.max_age
    if days is not None and (not call.arguments.nagios or not 0 < days <= _DAYS_MAX):
        raise UsageError(
            "--max-age goes with --nagios", expected=f"1 to {_DAYS_MAX} days", found=str(days)
        )
    found = status.examine(call.places, _host(call), now=call.clock())
    if call.arguments.nagios:
        max_age = None if days is None else timedelta(days=days)
        level, line = status.nagios(found, max_age=max_age)
        print_out(line)
        return status.NAGIOS[level]
    print_out(status.as_json(found) if call.arguments.json else status.as_text(found))
    return 0 if found.error is None else say_error(found.error)


def _host(call: Call) -> Host | AirlockError:
    from loader.verbs.judged import open_host  # noqa: PLC0415

    try:
        return open_host(call)[0]
    except AirlockError as e:
        return e
