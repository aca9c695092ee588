"""`load`: judge a bundle, then hand its images to a runtime."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, InterruptedLoadError, UsageError, shown
from loader.verbs.call import NoForce, declare_bundle
from loader.verbs.judged import judged
from loader.verbs.signing import signing

if TYPE_CHECKING:
    from loader.run import Wish
    from loader.runtime.base import Runtime
    from loader.runtime.targets import Target
    from loader.source import Opening
    from loader.verbs.call import Call
    from loader.verbs.judged import JudgedRun

HELP: Final = "judge a bundle, then load its images"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    declare_bundle(parser)
    parser.add_argument(
        "--into",
        required=True,
        metavar="TARGET",
        help="oci:DIR, docker, podman, containerd[:NAMESPACE], registry:HOST/PREFIX, k3s, rke2, "
        "k0s or images:DIR",
    )
    parser.add_argument(
        "-p", "--platform", metavar="OS/ARCH", help="this platform of each image, not the host's"
    )
    parser.add_argument(
        "--allow-downgrade",
        metavar="REASON",
        help="let something older in; the reason is recorded and shown ever after",
    )
    parser.add_argument(
        "--client-files",
        type=Path,
        metavar="DIR",
        help="with registry: files for what pulls there (podman, containerd, Kubernetes)",
    )
    parser.add_argument("--force", action=NoForce, nargs=0, help=argparse.SUPPRESS)


def run(call: Call) -> int:
    """Judge, load, commit; or refuse and change nothing."""
    from loader.source import BundleFile  # noqa: PLC0415

    return loaded(call, BundleFile.opening)


def loaded(call: Call, opening: Callable[[Path], Opening]) -> int:
    """Load what `opening` makes of the path that was given."""
    from loader.runtime.targets import open_target, parse_target  # noqa: PLC0415

    def go(judging: JudgedRun) -> None:
        target = parse_target(call.arguments.into)
        if target.runtime != "registry" and getattr(call.arguments, "client_files", None):
            raise UsageError(
                "files for clients say where a registry is",
                where="--client-files",
                expected="--into registry:HOST/PREFIX",
            )
        judging.wish = wish = _wish(call, target)
        with signing(call) as judging.signer, open_target(target, call.environment) as runtime:
            hand_in(judging, runtime, wish)

    def hand_in(judging: JudgedRun, runtime: Runtime, wish: Wish) -> None:
        judging.cut_off()
        # Behind the fork of the launcher, which needs none of this.
        from loader import pipeline  # noqa: PLC0415
        from loader.progress import progress_on  # noqa: PLC0415

        pipeline.load(
            opening(call.arguments.bundle),
            judging.open_host(),
            runtime,
            wish,
            judging.trace,
            progress=progress_on(sys.stderr),
            interrupts=judging.interrupts,
        )
        write_files(judging)

    def write_files(judging: JudgedRun) -> None:
        folder: Path | None = getattr(call.arguments, "client_files", None)
        host = judging.host
        if folder is None or host is None:
            return
        from loader.client_files.write import write_client_files  # noqa: PLC0415
        from loader.runtime.relocation import Destination  # noqa: PLC0415

        judging.trace.warnings.extend(
            write_client_files(
                folder,
                Destination.parse(parse_target(call.arguments.into).argument),
                [(receipt.reference, receipt.digest) for receipt in judging.trace.receipts],
                policy=host.policy,
                trust=host.trust,
            )
        )

    return judged(call, "load", go)


def _wish(call: Call, target: Target) -> Wish:
    from loader.model.descriptor import Platform  # noqa: PLC0415
    from loader.run import Wish  # noqa: PLC0415
    from loader.runtime.targets import host_platform, target_key  # noqa: PLC0415

    asked: str | None = call.arguments.platform
    if asked is None and not target.takes_all_platforms:
        asked = host_platform()
    try:
        platform = None if asked is None else Platform.parse(asked)
    except InterruptedLoadError:
        raise
    except AirlockError as e:
        raise UsageError("not a platform", where="--platform", found=shown(asked)) from e
    return Wish(
        target=target_key(target, call.environment),
        platform=platform,
        allow_downgrade=call.arguments.allow_downgrade,
    )
