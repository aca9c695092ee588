"""`verify-local`: what runtimes have now, judged again under today's policy, with no archive."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, MissingRecordError, UsageError, shown
from loader.verbs.call import declare_policy
from loader.verbs.saying import print_out, say_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from loader.places import Places
    from loader.recheck import Held, Recheck
    from loader.run import Host
    from loader.runtime.base import Runtime
    from loader.state.evidence import EvidenceStore
    from loader.state.ledger import Look
    from loader.state.record import Attempt
    from loader.verbs.call import Call

HELP: Final = "judge what was loaded again, and compare what runtimes have now"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="a name, or any digest it has")
    parser.add_argument("--all", action="store_true", help="everything that this host let in")
    declare_policy(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(call: Call) -> int:
    """Judge and compare; change nothing.

    Raises:
        UsageError: neither an image nor `--all`, or both.
        MissingRecordError: no record lets the image in.
    """
    if (call.arguments.image is None) != call.arguments.all:
        raise UsageError("which image?", expected="IMAGE or --all", hint="one of the two")
    held, seen = _held(call)
    with contextlib.ExitStack() as stack:
        runtimes = open_runtimes((one.target for one in held), call.environment, stack)
        from loader import confine  # noqa: PLC0415

        confine.cut_off()
        # Behind the fork of the launchers, which need none of this.
        from loader.recheck import recheck  # noqa: PLC0415
        from loader.recheck_report import as_json, as_text, first_error, last_line  # noqa: PLC0415
        from loader.verbs.judged import open_host  # noqa: PLC0415

        def host_for(attempt: Attempt) -> Host:
            return open_host(call, earlier=dict(attempt.variables))[0]

        store = _evidence(call.places, stack)
        found: list[Recheck] = []
        for one in recheck(held, host_for, runtimes, store, seen=seen):
            found.append(one)
            if not call.arguments.json:
                print_out(as_text(one))  # at once: a layout of many images takes its time
        print_out(as_json(found) if call.arguments.json else last_line(found))
        error = first_error(found)
        return 0 if error is None else say_error(error)


def _held(call: Call) -> tuple[Sequence[Held], Look]:
    from loader.recheck import held_images  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415
    from loader.state.ledger import look  # noqa: PLC0415

    wanted: str | None = call.arguments.image
    seen = look(call.places)  # refuses a memory that is damaged, or was put back
    with reading(call.places) as ledger:
        held = held_images(ledger.records())
    if wanted is None:
        return held, seen
    chosen = [one for one in held if one.image.is_known_as(wanted)]
    if not chosen:
        raise MissingRecordError(
            "no record lets this image in",
            where=shown(str(call.places.ledger)),
            found=shown(wanted),
            hint="what a runtime has and no record names, somebody else brought; load its bundle",
        )
    return chosen, seen


def open_runtimes(
    targets: Iterable[str], environment: Mapping[str, str], stack: contextlib.ExitStack
) -> dict[str, Runtime | AirlockError]:
    """Open each target that something was loaded into; one that is not there hides no other."""
    from loader.runtime.target_keys import target_of  # noqa: PLC0415
    from loader.runtime.targets import open_target  # noqa: PLC0415

    found: dict[str, Runtime | AirlockError] = {}
    for key in dict.fromkeys(targets):
        try:
            target, settled = target_of(key, environment)
            found[key] = stack.enter_context(open_target(target, settled))
        except AirlockError as e:
            found[key] = e
    return found


def _evidence(places: Places, stack: contextlib.ExitStack) -> EvidenceStore | AirlockError:
    from loader.errors import KeptEvidenceError, MissingError  # noqa: PLC0415
    from loader.state.evidence import EvidenceStore  # noqa: PLC0415

    try:
        return stack.enter_context(EvidenceStore.open(places.evidence, create=False))
    except MissingError as e:
        return KeptEvidenceError(
            e.message,
            where=e.where,
            hint="load the bundles once more: that keeps their evidence again",
        )
    except AirlockError as e:
        return e
