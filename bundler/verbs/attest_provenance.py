"""`attest-provenance`: from which repository, workflow, branch and commit an image was built."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries

if TYPE_CHECKING:
    import argparse

    from bundler.checking.provenance import Asked
    from bundler.preflight import FarSide
    from bundler.verbs.call import Call

HELP: Final = "from which repository, workflow, branch and commit an image was built"
DESCRIPTION: Final = (
    "Verify the SLSA provenance of an image, and list what it claims, each with what says so: the "
    "certificate that the builder got, the statement that it signed, or both. What is asked for is "
    "compared by equality. By default the builder is slsa-github-generator at a release (level 3)."
)
_LEVEL: Final = 3


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("subject", metavar="IMAGE|BUNDLE")
    asked = parser.add_argument_group("what must be so")
    asked.add_argument(
        "--repository", required=True, metavar="OWNER/REPO", help="the source's repository"
    )
    asked.add_argument(
        "--workflow", metavar="PATH", help="what asked for it: .github/workflows/release.yml"
    )
    asked.add_argument("--branch", metavar="NAME", help="branch that it was built from")
    asked.add_argument("--commit", metavar="SHA", help="commit that it was built from, in full")
    asked.add_argument("--tag", metavar="NAME", help="tag that it was built from")
    asked.add_argument("--builder-id", metavar="URL[@REF]", help="another builder")
    asked.add_argument(
        "--level",
        type=int,
        choices=(1, 2, 3),
        default=_LEVEL,
        help="SLSA build level that it must come to (default 3); at 2, the repository's own "
        "workflows may be the builder (GitHub's attestations)",
    )
    parser.add_argument(
        "--trusted-root",
        default="sigstore",
        metavar="FILE|NAME",
        help="authorities and logs to judge by (default: sigstore, the public ones)",
    )
    parser.add_argument("--json", action="store_true", help="schema airlock-attest-provenance/1")
    parser.add_argument("--no-progress", action="store_true", help="no bars")
    declare_registries(parser)


def run(call: Call) -> int:
    """Collect, judge, and list the claims."""
    from bundler.checking import as_text, provenance  # noqa: PLC0415  (what only a run needs)
    from bundler.checking.subject import opened  # noqa: PLC0415
    from bundler.checking.verdict import judged  # noqa: PLC0415
    from bundler.progress import calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    asked = _asked(options)
    far_side = _far_side(options, asked)
    bars = False if options.no_progress or options.json else None
    with (
        calm_meter(sys.stderr, bars=bars) as shown_by,
        opened(
            options.subject,
            Reach.make(options, environment=call.environment),
            now=now,
            meter=shown_by,
            names_matter=False,
        ) as subject,
    ):
        verdict = judged(subject, far_side, now=now)
    if options.json:
        print(json.dumps(provenance.document(verdict, asked), indent=2, sort_keys=True))
        return verdict.exit_status
    if verdict.error is None:
        print("\n".join(provenance.claim_lines(verdict, asked)))
        print("VERIFIED")
    else:
        print("\n".join(as_text.lines(verdict)))
    return verdict.exit_status


def _asked(options: argparse.Namespace) -> Asked:
    from bundler.checking.provenance import Asked  # noqa: PLC0415

    return Asked(
        repository=options.repository,
        workflow=options.workflow or "",
        branch=options.branch or "",
        commit=options.commit or "",
        tag=options.tag or "",
        builder_id=options.builder_id or "",
        level=options.level,
    )


def _far_side(options: argparse.Namespace, asked: Asked) -> FarSide:
    from bundler.checking import flags, provenance  # noqa: PLC0415

    root = flags.file_or_name("trusted-root", options.trusted_root)
    requirement = asked.requirement() | {"trusted-root": root}
    names = {
        "source-uri": "repository",
        "source-branch": "branch",
        "source-commit": "commit",
        "source-tag": "tag",
    }
    return flags.read(provenance.policy_text(requirement), options, names=names)
