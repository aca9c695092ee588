"""`promote`: from registry to registry, verified before and after, tags last."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries

if TYPE_CHECKING:
    from bundler.verbs.call import Call

HELP: Final = "copy a release to another registry, verified there and here, and tag it"
DESCRIPTION: Final = (
    "Verify an image in its registry, copy it with all that speaks for it, byte for byte, verify "
    "it again from what the destination gives back, and only then set tags. After a failure, run "
    "it again."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("source", metavar="SRC", help="registry/repository:tag or @digest")
    parser.add_argument("destination", metavar="DST", help="registry/repository[:tag]")
    parser.add_argument(
        "--policy", type=Path, required=True, metavar="FILE", help="what must be said of the image"
    )
    tags = parser.add_argument_group("tags")
    tags.add_argument("--semver", metavar="1.2.3", help="the version that this release is")
    tags.add_argument(
        "--tags",
        metavar="LIST",
        help="a preset (semver, complytime, metadata-action), or tags with commas between: "
        "{version}, {major}.{minor}, {major}, latest, sha-{commit}, sha-{commit7}, any word",
    )
    tags.add_argument("--commit", metavar="SHA", help="for sha- tags: what the image does not say")
    tags.add_argument(
        "--move",
        action="append",
        default=[],
        metavar="TAG",
        help="this tag may go on from where it points, though nobody knows the version there",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; status 1 where something is to be done",
    )
    how.add_argument("--deep", action="store_true", help="read every layer back, too")
    how.add_argument(
        "--repair-referrers-tag",
        action="store_true",
        help="replace an image that sits under a referrers tag (cosign copy left it there)",
    )
    declare_registries(parser)
    shown_as = parser.add_argument_group("output")
    shown_as.add_argument("--json", action="store_true", help="schema airlock-promote/1")
    shown_as.add_argument(
        "--no-progress", action="store_true", help="no bars, whatever the terminal"
    )


def run(call: Call) -> int:
    """Verify, copy, verify, tag."""
    from bundler.progress import meter  # noqa: PLC0415  (start-up loads what the verb needs)
    from bundler.promote import run as promote_run  # noqa: PLC0415
    from bundler.promote.order import PromoteOrder  # noqa: PLC0415

    options = call.arguments
    order = PromoteOrder.make(options, environment=call.environment, now=call.clock())
    bars = False if options.no_progress or options.json else None
    with meter(sys.stderr, bars=bars) as shown_by:
        promoted = promote_run.promote(order, meter=shown_by)
    if options.json:
        print(json.dumps(promoted.as_json(), indent=2, sort_keys=True))
    else:
        print("\n".join(promoted.as_text()))
    return promoted.exit_status
