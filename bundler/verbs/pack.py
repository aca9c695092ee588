"""`pack`: collect images and all that speaks for them, judge it, and seal one archive."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_notary, declare_registries
from loader.errors import UsageError

if TYPE_CHECKING:
    from bundler.verbs.call import Call

HELP: Final = "collect images and evidence, judge them, seal one archive"
DESCRIPTION: Final = (
    "Collect images and everything that speaks for them, judge it as the far side will, and seal "
    "one archive. What the far side would refuse is not sealed."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    what = parser.add_argument_group("what")
    what.add_argument(
        "references",
        nargs="*",
        metavar="IMAGE",
        help="registry/repository:tag or @digest, oci:DIR[:REF], oci-archive:FILE[:REF]",
    )
    what.add_argument("-i", "--images", type=Path, metavar="FILE", help="one reference a line")
    what.add_argument("-f", "--file", type=Path, metavar="FILE", help="a bundle.toml")
    what.add_argument(
        "-p",
        "--platform",
        action="append",
        metavar="OS/ARCH[/VARIANT]",
        help="keep only this platform (again for more); the index itself always stays whole",
    )
    what.add_argument("--policy", type=Path, metavar="FILE", help="what the far side accepts")
    what.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill {NAME} in the policy (again for more)",
    )
    what.add_argument(
        "--signatures",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="ghcr-signer's folders: evidence beside the registries' own (again for more)",
    )
    what.add_argument(
        "--deny-list",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="carry this signed deny list (again for more); see `airlock deny add`",
    )
    sealed = parser.add_argument_group("the bundle")
    sealed.add_argument("-o", "--output", type=Path, metavar="FILE", help="NAME.tar.zst")
    sealed.add_argument("--channel", metavar="NAME", help="the stream of bundles it belongs to")
    order = sealed.add_mutually_exclusive_group()
    order.add_argument("--sequence", type=int, metavar="N", help="its number in the channel")
    order.add_argument(
        "--after",
        type=Path,
        metavar="BUNDLE",
        help="the same channel as this one, and its successor",
    )
    sealed.add_argument("--expires", metavar="30d", help="refuse to load it after so long")
    sealed.add_argument(
        "--sign-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="sign the statement with this PEM key, or one of cosign's (again for more)",
    )
    sealed.add_argument(
        "--propose-policy",
        type=Path,
        metavar="DIR",
        help="carry a policy that `airlock policy propose` wrote there",
    )
    sealed.add_argument("--plain", action="store_true", help="do not compress: NAME.tar")
    lock = sealed.add_mutually_exclusive_group()
    lock.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="write every digest here (default: beside the bundle)",
    )
    lock.add_argument(
        "--locked", type=Path, metavar="FILE", help="pack exactly what this airlock.lock pins"
    )
    declare_registries(parser)
    logs = parser.add_argument_group("transparency logs")
    logs.add_argument(
        "--rekor-url",
        metavar="URL",
        help="ask this address for proofs, not the one that the trusted root has for the log",
    )
    logs.add_argument(
        "--no-log-proofs",
        action="store_true",
        help="ask no log: leave promises as they are, and do not show how logs grew",
    )
    declare_notary(parser)
    tuf = parser.add_argument_group("TUF repositories")
    tuf.add_argument(
        "--tuf",
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="carry the repository of this anchor from a URL, a tuf-on-ci or cache folder (again "
        "for more); `sigstore` and `github` alone are their own ones",
    )
    shown_as = parser.add_argument_group("output")
    shown_as.add_argument(
        "--json", action="store_true", help="the result as JSON on standard output"
    )
    shown_as.add_argument(
        "--no-progress", action="store_true", help="no bars, whatever the terminal"
    )


def run(call: Call) -> int:
    """Collect, judge, seal."""
    from bundler.pack import run as pack_run  # noqa: PLC0415  (start-up loads what the verb needs)
    from bundler.pack.order import PackOrder  # noqa: PLC0415
    from bundler.progress import meter  # noqa: PLC0415

    options = call.arguments
    order = PackOrder.make(options, environment=call.environment, now=call.clock())
    bars = False if options.no_progress or options.json else None
    with meter(sys.stderr, bars=bars) as shown_by:
        packed = pack_run.pack(
            order, meter=shown_by, passphrase=lambda: passphrase(call.environment)
        )
    if options.json:
        print(json.dumps(packed.as_json(), indent=2, sort_keys=True))
    else:
        print("\n".join(packed.as_text()))
    return 0


def passphrase(environment: Mapping[str, str]) -> bytes:
    """Return what opens a signing key: from the environment, or from whoever sits there.

    Raises:
        UsageError: nobody sits there.
    """
    for name in ("AIRLOCK_PASSPHRASE", "COSIGN_PASSWORD"):
        if name in environment:
            return environment[name].encode()
    if not sys.stdin.isatty():
        raise UsageError(
            "the signing key wants a passphrase", hint="set AIRLOCK_PASSPHRASE, or use a terminal"
        )
    return getpass.getpass("Passphrase of the signing key: ").encode()
