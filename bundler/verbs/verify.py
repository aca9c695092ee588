"""`verify`: who signed an image or a bundle, with the flags of cosign or under a policy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.checking import flags
from bundler.verbs.call import declare_registries
from loader.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from bundler.checking.verdict import Verdict
    from bundler.preflight import FarSide
    from bundler.verbs.call import Call
    from loader.model.strictjson import JsonValue

HELP: Final = "verify an image or a bundle, with the flags of cosign or under a policy"
DESCRIPTION: Final = (
    "Verify what speaks for an image, wherever its evidence is kept, with the judge of the far "
    "side. The flags are those of cosign verify and mean the same, but for patterns: the whole "
    "text must match."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "subject",
        metavar="IMAGE|BUNDLE",
        help="registry/repository:tag or @digest, oci:DIR[:REF], or the file of a bundle",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="judge by this policy instead of flags"
    )
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill {NAME} in the policy (again for more)",
    )
    parser.add_argument(
        "--require-digest", action="store_true", help="take no image that is named by its tag"
    )
    flags.declare_type(parser)
    flags.declare(parser)
    declare_registries(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        help="text: claims (default); json: the array that cosign verify prints",
    )
    output.add_argument("--json", action="store_true", help="the same as --output json")
    output.add_argument(
        "--explain", action="store_true", help="list all evidence, and why it counts or does not"
    )
    output.add_argument("--no-progress", action="store_true", help="no bars")


def run(call: Call) -> int:
    """Collect, judge, and say what was found."""
    from bundler.checking import as_text  # noqa: PLC0415  (what only a run needs)
    from bundler.checking.subject import opened  # noqa: PLC0415
    from bundler.checking.verdict import judged  # noqa: PLC0415
    from bundler.progress import meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    as_json = _as_json(options)
    if options.policy is not None and options.type is not None:
        raise UsageError("a policy says which attestations there must be", where="--type")
    far_side = far_side_of(options)
    bars = False if options.no_progress or as_json else None
    with (
        meter(sys.stderr, bars=bars) as shown_by,
        opened(
            options.subject,
            Reach.make(options, environment=call.environment),
            now=now,
            meter=shown_by,
            names_matter=options.policy is not None,
            digest_required=options.require_digest,
        ) as subject,
    ):
        verdict = judged(subject, far_side, now=now)
        documents = _documents(verdict, options) if as_json and verdict.error is None else []
    warn(far_side)
    if as_json and verdict.error is None:
        print("\n".join(json.dumps(one) for one in documents))
    else:
        stream = sys.stderr if as_json else sys.stdout
        print("\n".join(as_text.lines(verdict, explain=options.explain)), file=stream)
    if verdict.error is not None and options.policy is None:
        hint = flags.advice(options, verdict.error)
        if hint:
            print(f"hint: {hint}", file=sys.stderr)
    return verdict.exit_status


def _documents(verdict: Verdict, options: argparse.Namespace) -> list[JsonValue]:
    """Return what cosign prints, a document a line: an array of signatures, or envelopes."""
    from bundler.checking import as_cosign  # noqa: PLC0415
    from bundler.checking.verdict import counted  # noqa: PLC0415

    if options.type is not None:
        return list(as_cosign.envelopes(counted(verdict)))
    return [as_cosign.signatures(counted(verdict))]


def _as_json(options: argparse.Namespace) -> bool:
    if options.json and options.output == "text":
        raise UsageError("--json together with --output text")
    return bool(options.json) or options.output == "json"


def far_side_of(options: argparse.Namespace) -> FarSide:
    """Return what is judged by.

    Raises:
        UsageError: both flags and a policy, or neither.
    """
    from bundler.preflight import FarSide  # noqa: PLC0415
    from loader.policy.variables import read_variables  # noqa: PLC0415

    variables = read_variables(options.var)
    if options.policy is None:
        if variables:
            raise UsageError("variables fill a policy, and there is none", where="--var")
        return flags.far_side(options)
    if options.policy.suffix in {".cue", ".rego"}:
        raise UsageError(
            "no CUE or Rego here",
            where="--policy",
            expected="a policy of ours (docs/policy.md)",
            hint="conditions on what an attestation says are `predicate = { ... }` there",
        )
    if flags.are_given(options):
        raise UsageError(
            "a policy says who must have signed; the flags are for verifying without one",
            where="--policy",
        )
    return FarSide.open(options.policy, variables)


def warn(far_side: FarSide) -> None:
    """Say on standard error what in a policy or in flags is allowed and perhaps not meant."""
    for warning in far_side.policy.warnings:
        print(f"warning: {warning}", file=sys.stderr)
