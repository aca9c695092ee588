"""`attestation show`: what attestations say.

It is what `cosign verify-attestation | jq -r .payload | base64 -d` is used for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.checking import flag_options
from bundler.verbs.call import Parser, declare_registries
from loader.errors import NoEvidenceError, UsageError, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from bundler.checking.attestations import Attestation
    from bundler.checking.subject import Subject
    from bundler.checking.verdict import Verdict
    from bundler.preflight import FarSide
    from bundler.verbs.call import Call
    from loader.model.predicate_types import PredicateType

HELP: Final = "show what attestations say"
DESCRIPTION: Final = "Show what attestations say of an image."
_SHOW: Final = (
    "Print attestations of a type, byte for byte as they were signed. With the flags of "
    "cosign verify-attestation, or a policy, only what they verify; without, whatever is there, "
    "and standard error says that nobody verified it."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the verb below."""
    below = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    show = below.add_parser("show", help=HELP, description=_SHOW)
    show.add_argument("subject", metavar="IMAGE|BUNDLE")
    flag_options.declare_type(show)
    show.add_argument(
        "--predicate", action="store_true", help="the predicate alone, without the statement"
    )
    show.add_argument(
        "--redact",
        action="store_true",
        help="without the event that started the build, which may hold private data",
    )
    show.add_argument(
        "--json", action="store_true", help="schema airlock-attestation/1, a line each"
    )
    show.add_argument("--policy", type=Path, metavar="FILE", help="show what counts for it")
    show.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="fill it")
    show.add_argument("--no-progress", action="store_true", help="no bars")
    flag_options.declare(show)
    declare_registries(show)


def run(call: Call) -> int:
    """Collect, verify if there is somebody to verify by, and print."""
    from bundler.checking import as_text  # noqa: PLC0415  (what only a run needs)
    from bundler.checking.subject import opened  # noqa: PLC0415
    from bundler.checking.verdict import judged  # noqa: PLC0415
    from bundler.progress import calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    far_side = _far_side(options)
    bars = False if options.no_progress else None
    with (
        calm_meter(sys.stderr, bars=bars) as shown_by,
        opened(
            options.subject,
            Reach.make(options, environment=call.environment),
            now=now,
            meter=shown_by,
            names_matter=options.policy is not None,
        ) as subject,
    ):
        verdict = None if far_side is None else judged(subject, far_side, now=now)
        found = _found(options, subject, verdict)
    if verdict is not None and verdict.error is not None:
        print("\n".join(as_text.lines(verdict)), file=sys.stderr)
        return verdict.exit_status
    if options.type is None and far_side is None and not options.json:
        _list(found)
    else:
        _print(found, options)
    return 0


def _far_side(options: argparse.Namespace) -> FarSide | None:
    if options.policy is None and not flag_options.are_given(options):
        return None
    if options.policy is None and options.type is None:
        raise UsageError("which attestations?", expected="--type TYPE")
    from bundler.checking.flags import far_side_of  # noqa: PLC0415

    return far_side_of(options)


def _found(
    options: argparse.Namespace, subject: Subject, verdict: Verdict | None
) -> list[Attestation]:
    """Return what is shown: what counts, or whatever is there.

    Raises:
        NoEvidenceError: there is none of the type.
    """
    from bundler.checking import attestations  # noqa: PLC0415

    if verdict is not None and verdict.error is not None:
        return []
    wanted = _wanted(options)
    there = (
        attestations.all_there(subject, wanted)
        if verdict is None
        else attestations.verified_ones(verdict)
    )
    found = [one for one in there if wanted is None or wanted.matches(one.statement.predicate_type)]
    if not found:
        raise NoEvidenceError(
            "there is no such attestation",
            where=subject.text,
            expected=options.type or "an attestation of any type",
            found=_types(attestations.all_there(subject, None)),
        )
    return found


def _wanted(options: argparse.Namespace) -> PredicateType | None:
    from loader.model.predicate_types import PredicateType  # noqa: PLC0415

    if options.type is None:
        return None
    try:
        return PredicateType(flag_options.literal_type(options.type))
    except ValueError as e:
        raise UsageError(
            "not a type of attestations",
            where="--type",
            expected=f"a URI, or one of {', '.join(flag_options.TYPES)}",
            found=shown(options.type),
        ) from e


def _types(there: Iterable[Attestation]) -> str:
    kinds = dict.fromkeys(one.statement.predicate_type for one in there)
    return ", ".join(shown(kind) for kind in kinds) or "none"


def _list(found: Sequence[Attestation]) -> None:
    """Print which there are; what they say is printed for a type that is named."""
    for one in found:
        kind = shown(one.statement.predicate_type, limit=500)[1:-1]
        print(f"{kind}  {one.store} {one.manifest.short}, {len(one.statement.raw)} bytes")
    print(f"NOT VERIFIED: {len(found)} there; --type TYPE shows what they say", file=sys.stderr)


def _print(found: Sequence[Attestation], options: argparse.Namespace) -> None:
    from bundler.checking import attestations  # noqa: PLC0415

    for one in found:
        if options.json:
            text = attestations.compact(attestations.document(one, redact=options.redact))
            raw = text.encode()
        elif options.redact:
            whole = attestations.redacted_statement(one)
            raw = attestations.compact(whole["predicate"] if options.predicate else whole).encode()
        else:
            raw = one.predicate if options.predicate else one.statement.raw
        sys.stdout.buffer.write(
            (attestations.for_terminal(raw) if sys.stdout.isatty() else raw) + b"\n"
        )
        at = f" at {one.at}" if one.at else ""
        words = f"VERIFIED: said by {one.who}{at}" if one.who else "NOT VERIFIED: nobody was named"
        sys.stdout.flush()
        print(f"{words} ({one.store} {one.manifest.short})", file=sys.stderr)
