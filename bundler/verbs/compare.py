"""`compare`: are two images the same, and if not, where do they first differ."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries

if TYPE_CHECKING:
    from bundler.verbs.call import Call

HELP: Final = "compare two images bit for bit, and name the first difference"
DESCRIPTION: Final = (
    "Compare two images, platform by platform: identical (status 0), the same content or the same "
    "files in other bytes (3), different (1). Each may be a folder or archive with an OCI layout, "
    "a docker archive, a Dangerzone archive, a bundle, or an image of a registry."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a path (PATH#NAME where several images are in it), or registry/repository:tag",
        )
    parser.add_argument(
        "-p",
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH[/VARIANT]",
        help="compare only this platform (again for more)",
    )
    parser.add_argument(
        "--semantic",
        action="store_true",
        help="leave out history, build dates, and how files are spread over layers",
    )
    parser.add_argument("--explain", action="store_true", help="list every difference")
    parser.add_argument(
        "--rebuild-hints",
        action="store_true",
        help="say what annotations, labels and provenance tell of how they were built",
    )
    declare_registries(parser)
    parser.add_argument("--json", action="store_true", help="schema airlock-compare/1")
    parser.add_argument("--no-progress", action="store_true", help="no bars, whatever the terminal")


def run(call: Call) -> int:
    """Open both, compare, say it."""
    from bundler.compare.hints import hints_of  # noqa: PLC0415  (start-up loads what the verb needs)
    from bundler.compare.ladder import compare_sides  # noqa: PLC0415
    from bundler.compare.opening import Opening, opened  # noqa: PLC0415
    from bundler.compare.report import Compared  # noqa: PLC0415
    from bundler.progress import Collecting, calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from loader.errors import FormatError, UsageError  # noqa: PLC0415
    from loader.model.descriptor import Platform  # noqa: PLC0415

    options = call.arguments
    try:
        platforms = tuple(Platform.parse(text) for text in options.platform)
    except FormatError as e:
        raise UsageError(e.message, where="--platform", expected=e.expected, found=e.found) from e
    opening = Opening(
        reach=Reach.make(options, environment=call.environment),
        platforms=platforms,
        cancelled=threading.Event(),
        evidence=options.rebuild_hints,
    )
    bars = False if options.no_progress or options.json else None
    with (
        calm_meter(sys.stderr, bars=bars) as shown_by,
        opened(options.a, opening) as a,
        opened(options.b, opening) as b,
    ):
        progress = Collecting(shown_by, "compare")
        compared = Compared(
            a=a,
            b=b,
            verdicts=compare_sides(a, b, progress=progress, semantic=options.semantic),
            hints=(hints_of(a), hints_of(b)) if options.rebuild_hints else None,
        )
        progress.end()
    if options.json:
        print(json.dumps(compared.as_json(), indent=2, sort_keys=True))
    else:
        print("\n".join(compared.as_text(explain=options.explain)))
    return compared.exit_status
