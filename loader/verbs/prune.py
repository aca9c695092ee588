"""`prune`: remove what loads brought and nothing needs any more; by default only the plan."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, MissingError, UnconfirmedCommitError
from loader.verbs.saying import print_out, say_error
from loader.verbs.signing import signing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from loader.model.strictjson import JsonObject
    from loader.prune import Evidence, InRuntime
    from loader.state.record import Record
    from loader.verbs.call import Call

HELP: Final = "plan what nothing needs any more; with --yes, remove it"
SCHEMA: Final = "airlock-prune/1"
_WORDS: Final = {"removed": "removed", "to-remove": "remove", "gone": "gone", "kept": "keep"}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dry-run", action="store_true", help="only the plan: the default")
    form.add_argument("--yes", action="store_true", help="remove it, and write it down")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(call: Call) -> int:
    """Plan; with `--yes`, remove and record."""
    from loader.state.history import reading  # noqa: PLC0415
    from loader.state.ledger import look  # noqa: PLC0415

    if not call.places.ledger.exists():
        look(call.places)  # refuses, where there was one
        print_out(_json((), None) if call.arguments.json else "NOTHING WAS LOADED on this host\n")
        return 0
    if call.arguments.yes:
        # First of all it opens the ledger as a load does: that brings a run that died to its end.
        found, evidence, error = _go_and_record(call)
    else:
        look(call.places)  # refuses a memory that is damaged, or was put back
        with reading(call.places) as ledger:
            records = tuple(ledger.records())
        found, evidence, error = _go(call, records, begin=None)
    if call.arguments.json:
        print_out(_json(found, evidence))
    else:
        print_out(_text(found, evidence, really=call.arguments.yes))
    return 0 if error is None else say_error(error)


def _go_and_record(
    call: Call,
) -> tuple[Sequence[InRuntime], Evidence | None, AirlockError | None]:
    from loader import VERSION  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415
    from loader.state.ledger import Ledger  # noqa: PLC0415
    from loader.state.lock import StateFolder  # noqa: PLC0415
    from loader.state.record import Attempt, Failure  # noqa: PLC0415

    at = call.clock()
    with (
        signing(call) as signer,
        StateFolder.lock(call.places, verb="prune", at=at) as folder,
        Ledger.open(folder, at=at, loader=VERSION, signer=signer) as ledger,
    ):
        # Once more under the lock: a load may have finished in between.
        with reading(call.places) as reader:
            records = tuple(reader.records())
        attempt = Attempt(verb="prune", outcome="begun", at=at, loader=VERSION)

        begun = False

        def begin(plan: tuple[str, ...]) -> None:
            # Before anything goes: a run that dies has said what may be missing since.
            nonlocal begun
            ledger.append(replace(attempt, notes=plan))
            begun = True

        try:
            found, evidence, error = _go(call, records, begin=begin)
        except UnconfirmedCommitError:
            raise  # its record is there
        except AirlockError as e:
            failure = Failure(code=e.code, message=e.message, where=e.where)
            with contextlib.suppress(AirlockError):
                ledger.append(replace(attempt, outcome="failed", failure=failure))
            raise
        if begun:
            notes = _notes(found, evidence, "removed")
            ledger.append(replace(attempt, outcome="done", notes=notes))
    return found, evidence, error


def _notes(found: Sequence[InRuntime], evidence: Evidence | None, what: str) -> tuple[str, ...]:
    """Return for the record what is to go; or what is gone, and which runtime could not say."""
    notes = [
        f"{one.target}: {_WORDS[what]} {item.item}"
        for one in found
        for item in one.items
        if item.what == what
    ]
    if evidence is not None and evidence.digests:
        notes.append(
            f"{_WORDS[what]} {len(evidence.digests)} pieces of evidence, {evidence.size} bytes"
        )
    if what == "removed":
        notes += [f"{one.target}: {one.problem}" for one in found if one.problem is not None]
    return tuple(notes)


def _go(
    call: Call,
    records: tuple[Record, ...],
    *,
    begin: Callable[[tuple[str, ...]], None] | None,
) -> tuple[Sequence[InRuntime], Evidence | None, AirlockError | None]:
    """Plan; where `begin` is given, write the plan down with it, and remove."""
    from loader.limits import DEFAULT_LIMITS  # noqa: PLC0415
    from loader.prune import discard, superseded, unneeded_evidence  # noqa: PLC0415
    from loader.state.evidence import EvidenceStore  # noqa: PLC0415
    from loader.verbs.verify_local import open_runtimes  # noqa: PLC0415

    items = superseded(records)
    with contextlib.ExitStack() as stack:
        runtimes = open_runtimes(items, call.environment, stack)
        from loader import confine  # noqa: PLC0415

        confine.cut_off()
        found = discard(items, runtimes, really=False)
        store: EvidenceStore | None = None
        evidence: Evidence | None = None
        with contextlib.suppress(MissingError):  # none was ever kept
            store = stack.enter_context(EvidenceStore.open(call.places.evidence, create=False))
            evidence = unneeded_evidence(records, store, limits=DEFAULT_LIMITS)
        if begin is not None:
            plan = _notes(found, evidence, "to-remove")
            if plan:
                begin(plan)
                found = discard(items, runtimes, really=True)
            if store is not None and evidence is not None:
                store.remove(evidence.digests)  # and what a run that died had not finished
    problems = [one.problem for one in found if one.problem is not None]
    if evidence is not None and evidence.problem is not None:
        problems.append(evidence.problem)
    return found, evidence, problems[0] if problems else None


def _text(found: Sequence[InRuntime], evidence: Evidence | None, *, really: bool) -> str:
    from loader.report import plain  # noqa: PLC0415

    return "".join(f"{plain(line)}\n" for line in _lines(found, evidence, really=really))


def _lines(found: Sequence[InRuntime], evidence: Evidence | None, *, really: bool) -> Iterator[str]:
    from loader.progress import sized  # noqa: PLC0415

    count = 0
    for one in found:
        yield one.target
        if one.problem is not None:
            yield f"  unknown  {one.problem}"
        for item in one.items:
            if item.what == "gone":
                continue
            count += item.what in {"removed", "to-remove"}
            yield f"  {_WORDS[item.what]:8} {item.item}" + (f": {item.why}" if item.why else "")
    if evidence is not None:
        word = "removed" if really else "remove"
        yield "kept evidence"
        if evidence.problem is not None:
            yield f"  unknown  {evidence.problem}"
        yield f"  {word:8} {len(evidence.digests)} pieces, {sized(evidence.size)}"
        yield f"  keep     {evidence.kept} pieces, which images that are held rest on"
        count += len(evidence.digests)
    if really:
        yield "PRUNED"
    elif count:
        yield "A PLAN: nothing was removed; airlock-loader prune --yes does"
    else:
        yield "NOTHING TO PRUNE"


def _json(found: Sequence[InRuntime], evidence: Evidence | None) -> str:
    from loader.report import error_plain  # noqa: PLC0415

    document: JsonObject = {
        "schema": SCHEMA,
        "targets": [
            {
                "target": one.target,
                "items": [{"item": i.item, "what": i.what, "why": i.why} for i in one.items],
                "problem": error_plain(one.problem),
            }
            for one in found
        ],
        "evidence": None
        if evidence is None
        else {
            "digests": [str(digest) for digest in evidence.digests],
            "size": evidence.size,
            "kept": evidence.kept,
            "problem": error_plain(evidence.problem),
        },
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"
