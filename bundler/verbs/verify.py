"""`verify`: who signed an image or a bundle, with the flags of cosign or under a policy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.checking import flag_options
from bundler.verbs.call import declare_notary, declare_registries
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
    flag_options.declare_type(parser)
    flag_options.declare(parser)
    flag_options.declare_provenance(parser)
    declare_registries(parser)
    declare_notary(parser)
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
    from bundler.checking import as_text, flags, provenance  # noqa: PLC0415  (only a run needs it)
    from bundler.checking.subject import opened  # noqa: PLC0415
    from bundler.checking.verdict import judged  # noqa: PLC0415
    from bundler.notary.wanted import WantedTrust  # noqa: PLC0415
    from bundler.progress import calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from loader.policy.rules import without_image_words  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    as_json = _as_json(options)
    far_side, of_slsa = _far_side(options)
    reach = Reach.make(options, environment=call.environment)
    bars = False if options.no_progress or as_json else None
    with (
        calm_meter(sys.stderr, bars=bars) as shown_by,
        opened(
            options.subject,
            reach,
            now=now,
            meter=shown_by,
            names_matter=options.policy is not None,
            digest_required=options.require_digest,
            wanted_trust=WantedTrust.of(far_side, options, reach),
        ) as subject,
    ):
        verdict = judged(subject, far_side, now=now)
        documents = _documents(verdict, options, of_slsa=of_slsa) if as_json else []
    for warning in far_side.policy.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    images = [entry.reference for entry in subject.statement.images]
    for words in without_image_words(far_side.policy.rules, images):
        print(f"note: {words}", file=sys.stderr)
    if as_json and verdict.error is None:
        print("\n".join(json.dumps(one) for one in documents))
    else:
        stream = sys.stderr if as_json else sys.stdout
        print("\n".join(as_text.lines(verdict, explain=options.explain)), file=stream)
        if of_slsa and verdict.error is None:
            print("\n".join(provenance.slsa_verifier_lines(verdict)))
    hint = flags.advice(options, verdict.error)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return verdict.exit_status


def _far_side(options: argparse.Namespace) -> tuple[FarSide, bool]:
    """Return what is judged by, and whether it is provenance as slsa-verifier asks for it.

    Raises:
        UsageError: flags that contradict one another.
    """
    from bundler.checking import flags, provenance  # noqa: PLC0415

    asked = provenance.asked_by(options)
    if options.policy is not None and options.type is not None:
        raise UsageError("a policy says which attestations there must be", where="--type")
    if asked is None:
        return flags.far_side_of(options), False
    if options.policy is not None or options.type is not None:
        raise UsageError(
            "a policy, or a type, beside what is asked of the provenance", where="--source-uri"
        )
    who = flags.speaker(options) if flag_options.are_given(options) else None
    requirement = asked.requirement(who)
    if who is None:
        requirement |= {"trusted-root": flags.root_of(options)}
    return flags.read(provenance.policy_text(requirement), options), True


def _documents(verdict: Verdict, options: argparse.Namespace, *, of_slsa: bool) -> list[JsonValue]:
    """Return what cosign prints, a document a line: an array of signatures, or envelopes."""
    from bundler.checking import as_cosign  # noqa: PLC0415
    from bundler.checking.verdict import counted  # noqa: PLC0415

    if options.type is not None or of_slsa:
        return list(as_cosign.envelopes(counted(verdict)))
    return [as_cosign.signatures(counted(verdict))]


def _as_json(options: argparse.Namespace) -> bool:
    if options.json and options.output == "text":
        raise UsageError("--json together with --output text")
    return bool(options.json) or options.output == "json"
