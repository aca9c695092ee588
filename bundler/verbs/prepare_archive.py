"""`prepare-archive`: an archive that `dangerzone-image load-archive` reads, judged before."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries
from loader.errors import FormatError, UsageError

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "write an archive that Dangerzone's own load-archive reads"
DESCRIPTION: Final = (
    "Collect one platform of an image with its signatures, judge it as the far side will, and "
    "write what dangerzone-image prepare-archive writes. For everything else: airlock pack."
)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "image", metavar="IMAGE", help="registry/repository:tag or @digest, oci:DIR[:REF]"
    )
    parser.add_argument(
        "--policy", type=Path, required=True, metavar="FILE", help="policies/dangerzone.toml"
    )
    parser.add_argument("--arch", metavar="ARCH", help="amd64 or arm64 (default: this machine's)")
    parser.add_argument(
        "-o",
        "--output",
        default="dangerzone-{arch}.tar",
        metavar="FILE",
        help="{arch} stands for the architecture (default: dangerzone-{arch}.tar)",
    )
    parser.add_argument(
        "--signatures",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="ghcr-signer's folders: evidence beside the registry's own (again for more)",
    )
    declare_registries(parser)
    parser.add_argument("--no-progress", action="store_true", help="no bars")


def run(call: Call) -> int:
    """Collect, judge, write."""
    from bundler.dangerzone.prepare import prepare  # noqa: PLC0415
    from bundler.dangerzone.signatures import SignatureFolders  # noqa: PLC0415
    from bundler.progress import meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from bundler.sources import parse_source  # noqa: PLC0415
    from loader.model.descriptor import Platform  # noqa: PLC0415

    options = call.arguments
    arch = options.arch or _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    try:
        platform = Platform.parse(f"linux/{arch}")
    except FormatError as e:
        raise UsageError("not an architecture", where="--arch", found=e.found) from e
    with meter(sys.stderr, bars=False if options.no_progress else None) as shown_by:
        done = prepare(
            parse_source(options.image),
            platform,
            policy=options.policy,
            signatures=SignatureFolders.read(*options.signatures),
            reach=Reach.make(options, environment=call.environment),
            output=Path(options.output.replace("{arch}", arch)),
            now=call.clock(),
            meter=shown_by,
        )
    signatures = sum(item.store == "signature-tag" for item in done.entry.evidence)
    print(f"{done.path}: {done.size} bytes")
    print(f"  {done.entry.reference.name}@{done.entry.image.digest}  {platform}")
    print(f"  {signatures} signature manifest(s); the policy takes it")
    print(f"load it with: dangerzone-image load-archive {done.path}")
    print(f"or with:      airlock-loader load-archive {done.path} --into podman")
    return 0
