"""`airlock-loader`: the only place that reads arguments, clock, environment and working directory.

A verb is a module of `loader.verbs`. What is not needed is not imported: `--version` and a usage
error load neither cryptography nor SQLite.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from loader import VERSION
from loader.errors import AirlockError, OutputError
from loader.verbs import (
    audit,
    doctor,
    history,
    load,
    load_archive,
    policy,
    prune,
    state,
    status,
    trust,
    upgrade,
    verify,
    verify_blob,
    verify_bundle,
    verify_local,
    watch,
    why,
)
from loader.verbs.call import PROGRAM, Call, Parser, path
from loader.verbs.saying import bug, say_error

if TYPE_CHECKING:
    import argparse

    from loader.verbs.call import Clock


def _clock() -> datetime:
    return datetime.now(UTC)


def main(argv: Sequence[str] | None = None, *, clock: Clock = _clock) -> int:
    """Run one command and return its exit status (DESIGN §10)."""
    # What is left at the end goes with the process: nobody has to look through it first.
    atexit.register(gc.freeze)
    try:
        _settle_standard_files()
        words = sys.argv[1:] if argv is None else list(argv)
        if words[:1] == ["verify-bundle"]:
            # A protocol with options of its own, which argparse would take for ours.
            return verify_bundle.verify(words[1:])
        arguments = command_line().parse_args(words)
        run: Callable[[Call], int] = arguments.run
        return run(Call(arguments=arguments, environment=os.environ, clock=clock))
    except AirlockError as e:
        return say_error(e)
    except Exception as e:  # noqa: BLE001 - the one place: whatever it is, it is a refusal
        return say_error(bug(e))


def _settle_standard_files() -> None:
    """Refuse to run where nobody could hear the verdict.

    A closed standard file is dangerous in itself: the next file that is opened takes its number,
    and a message would be written into the ledger.

    Raises:
        OutputError: standard output is closed.
    """
    closed = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            closed.append(fd)
    if 2 in closed:  # noqa: PLR2004
        # Python has none then, and would print to standard output, behind the verdict.
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if 1 in closed:
        raise OutputError("standard output is closed", expected="somewhere to write the verdict")


# --- the command line -----------------------------------------------------------------------------


class _Verb(Protocol):
    """What a module of `loader.verbs` has."""

    HELP: str

    def declare(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, call: Call) -> int: ...


_VERBS: Final[dict[str, _Verb]] = {
    "verify": verify,
    "load": load,
    "load-archive": load_archive,
    "watch": watch,
    "upgrade": upgrade,
    "verify-blob": verify_blob,
    "verify-bundle": verify_bundle,
    "verify-local": verify_local,
    "status": status,
    "history": history,
    "why": why,
    "audit": audit,
    "prune": prune,
    "policy": policy,
    "state": state,
    "trust": trust,
    "doctor": doctor,
}


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line; docs/commands.md is made from it."""
    parser = Parser(
        prog=PROGRAM,
        description="Verify signed container images behind an air gap, and load them.",
        epilog="Exit statuses and error codes: docs/errors.md.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    parser.add_argument(
        "--root",
        type=path,
        metavar="DIR",
        help="keep policy, anchors, ledger and quarantine below DIR",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, verb in _VERBS.items():
        one = commands.add_parser(name, help=verb.HELP)
        verb.declare(one)
        one.set_defaults(run=verb.run)
    return parser
