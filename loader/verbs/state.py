"""`state recover`: the one way out of a damaged memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.errors import UsageError
from loader.verbs.call import Parser
from loader.verbs.saying import print_out

if TYPE_CHECKING:
    import argparse

    from loader.state.recover import Damage
    from loader.verbs.call import Call

HELP: Final = "recover a damaged memory"
REASON_LENGTH_MAX: Final = 500


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    recover = commands.add_parser(
        "recover", help="say what is wrong with this host's memory; with a reason, mend it"
    )
    recover.add_argument(
        "--reason",
        metavar="REASON",
        help="mend it, keep every floor that is left, and write this down",
    )
    recover.set_defaults(state=_recover)


def run(call: Call) -> int:
    """Do what the second word says."""
    status: int = call.arguments.state(call)
    return status


def expect_reason(reason: str, *, option: str) -> str:
    """Return a reason that can be read years later.

    Raises:
        UsageError: it is empty, too long, or cannot be seen.
    """
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX or not reason.isprintable():
        raise UsageError(
            f"{option} wants a reason that can be read years later",
            expected=f"1 to {REASON_LENGTH_MAX} printable characters",
        )
    return reason


def _recover(call: Call) -> int:
    from loader import VERSION  # noqa: PLC0415
    from loader.errors import StateError  # noqa: PLC0415
    from loader.report import plain  # noqa: PLC0415
    from loader.state.lock import StateFolder  # noqa: PLC0415
    from loader.state.recover import diagnose, recover  # noqa: PLC0415
    from loader.verbs.signing import signing  # noqa: PLC0415

    reason: str | None = call.arguments.reason
    if reason is not None:
        expect_reason(reason, option="--reason")
    at = call.clock()
    if not call.places.state.exists():
        print_out("NOTHING TO RECOVER: nothing was ever loaded on this host\n")
        return 0
    with signing(call) as signer, StateFolder.lock(call.places, verb="recover", at=at) as folder:
        damage = diagnose(folder, signer=signer)
        lines = _words(damage)
        if not damage.findings:
            print_out("".join(f"{plain(line)}\n" for line in lines))
            return 0
        if reason is None:
            print_out("".join(f"{plain(line)}\n" for line in lines))
            raise StateError(
                "this host's memory is damaged",
                where=str(call.places.state),
                found=f"{len(damage.findings)} findings",
                hint="copy the folder away as it is, find out why, then "
                "airlock-loader state recover --reason REASON",
            )
        done = recover(folder, damage, reason=reason, at=at, loader=VERSION, signer=signer)
        lines += [f"  done     {one}" for one in done if not one.startswith("found: ")]
        lines.append("RECOVERED: airlock-loader status says what is known now")
        print_out("".join(f"{plain(line)}\n" for line in lines))
    return 0


def _words(damage: Damage) -> list[str]:
    if not damage.findings:
        return ["NOTHING TO RECOVER: ledger, second copy and key are whole and fit together"]
    lines = [f"  BAD      {finding}" for finding in damage.findings]
    plan = list(damage.plan())
    if not plan:
        lines.append("  nothing is left that floors could be recovered from")
    return lines + [f"  plan     {one}" for one in plan]
