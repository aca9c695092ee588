"""`airlock`: the command line of the connected side; the only place that reads its clock.

A verb is a module of `bundler.verbs`.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

from bundler.verbs import (
    attest_provenance,
    attestation,
    compare,
    deny,
    diff,
    inspect,
    pack,
    policy,
    prepare_archive,
    promote,
    resolve,
    signatures,
    trust,
    verify,
    verify_bundle,
)
from bundler.verbs.call import PROGRAM, Call, Parser
from loader.errors import AirlockError, PolicyError
from loader.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bundler.verbs.below import Verb
    from bundler.verbs.call import Clock

VERSION_PACKAGE: Final = "airlock-bundle"
_INTERNAL: Final = 70
_UNREAD: Final = 20
"""As for any output that could not be written."""
_GC_THRESHOLD: Final = 50_000
"""New objects between two looks for cycles. A run imports hundreds of modules, all of which stay:
to look through them at every 700 objects, and again at the end, was a sixth of a start."""
_REASONS_MAX: Final = 100


_VERBS: Final[dict[str, Verb]] = {
    "pack": pack,
    "inspect": inspect,
    "verify": verify,
    "attest-provenance": attest_provenance,
    "attestation": attestation,
    "deny": deny,
    "policy": policy,
    "resolve": resolve,
    "trust": trust,
    "prepare-archive": prepare_archive,
    "signatures": signatures,
    "promote": promote,
    "compare": compare,
    "diff": diff,
    "verify-bundle": verify_bundle,
}


def _clock() -> datetime:
    return datetime.now(UTC)


def main(arguments: Sequence[str] | None = None, *, clock: Clock = _clock) -> int:
    """Run one command and return its exit status (docs/errors.md)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["verify-bundle"]:
        # A protocol with options of its own, which argparse would take for ours.
        return verify_bundle.verify(words[1:])
    options = command_line().parse_args(words)
    gc.set_threshold(_GC_THRESHOLD)
    atexit.register(gc.freeze)
    Interrupts.watch()
    run: Callable[[Call], int] = options.run
    try:
        status = run(Call(arguments=options, environment=os.environ, clock=clock))
        sys.stdout.flush()
    except AirlockError as e:
        return _explain(e)
    except BrokenPipeError:
        return _unread()
    except Exception:  # noqa: BLE001  (the one catch-all: a bug is still a refusal)
        traceback.print_exc()
        return _INTERNAL
    return status


def _unread() -> int:
    """Return the status of a run whose output nobody reads to its end: `airlock … | head`."""
    # What is left in the buffer would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _UNREAD


def _explain(error: AirlockError) -> int:
    print(f"airlock: error[{error.code}]: {error}", file=sys.stderr)
    reasons = list(_reasons(error))
    for line in reasons:
        print("".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in line), file=sys.stderr)
    if error.hint and not reasons:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_status


def _reasons(error: AirlockError) -> Iterator[str]:
    """Yield the lines of each reason, where there are several, with how to mend it."""
    from loader.policy.facts import Judgement  # noqa: PLC0415  (only a refusal needs it)
    from loader.report_claims import reason_lines  # noqa: PLC0415

    judgement = error.judgement if isinstance(error, PolicyError) else None
    if isinstance(judgement, Judgement) and len(judgement.problems) > 1:
        for place, problem in judgement.problems[:_REASONS_MAX]:
            yield from reason_lines(place, problem)


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line; docs/commands.md is made from it."""
    parser = Parser(
        prog=PROGRAM,
        description="Collect signed container images with all that speaks for them, and seal them.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, verb in _VERBS.items():
        one = commands.add_parser(name, help=verb.HELP, description=verb.DESCRIPTION)
        verb.declare(one)
        one.set_defaults(run=verb.run)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415  (slow, and only wanted here)

        print(f"airlock {version(VERSION_PACKAGE)}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
