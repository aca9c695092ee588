"""`airlock`: the command line of the connected side; the only place that reads its clock."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from loader.errors import AirlockError, UsageError
from loader.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERSION_PACKAGE: Final = "airlock-bundle"
_INTERNAL: Final = 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (docs/errors.md)."""
    options = _parser().parse_args(arguments)
    Interrupts.watch()
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except AirlockError as e:
        return _explain(e)
    except Exception:  # noqa: BLE001  (the one catch-all: a bug is still a refusal)
        traceback.print_exc()
        return _INTERNAL


def _explain(error: AirlockError) -> int:
    print(f"airlock: error[{error.code}]: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_status


class _Parser(argparse.ArgumentParser):
    """Errors in our words; no abbreviations, so that a new option never changes an old script."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"airlock: error[usage.arguments]: {message}", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="airlock",
        description="Collect signed container images with all that speaks for them, and seal them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_pack(commands)
    _add_inspect(commands)
    _add_verify_bundle(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415  (slow, and only wanted here)

        print(f"airlock {version(VERSION_PACKAGE)}")
        parser.exit()


def _add_pack(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pack = commands.add_parser(
        "pack",
        allow_abbrev=False,
        help="collect images and evidence, judge them, seal one archive",
        description="Collect images and everything that speaks for them, judge it as the far side "
        "will, and seal one archive. What the far side would refuse is not sealed.",
    )
    pack.set_defaults(run=_pack)
    what = pack.add_argument_group("what")
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
    sealed = pack.add_argument_group("the bundle")
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
    remote = pack.add_argument_group("registries")
    remote.add_argument(
        "--plain-http", action="append", default=[], metavar="HOST", help="speak to it without TLS"
    )
    remote.add_argument(
        "--ca-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="trust this authority too",
    )
    remote.add_argument(
        "--referrers-by-tag",
        action="append",
        default=[],
        metavar="HOST",
        help="its referrers API is broken",
    )
    remote.add_argument(
        "-j", "--jobs", type=int, default=4, metavar="N", help="downloads at a time (default: 4)"
    )
    remote.add_argument("--cache", type=Path, metavar="DIR", help="where downloads are kept")
    logs = pack.add_argument_group("transparency logs")
    logs.add_argument(
        "--rekor-url",
        metavar="URL",
        help="ask this address for proofs, not the one that the trusted root has for the log",
    )
    logs.add_argument(
        "--no-log-proofs",
        action="store_true",
        help="leave promises of logs as they are: ask for no proofs",
    )
    shown_as = pack.add_argument_group("output")
    shown_as.add_argument(
        "--json", action="store_true", help="the result as JSON on standard output"
    )
    shown_as.add_argument(
        "--no-progress", action="store_true", help="no bars, whatever the terminal"
    )


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        allow_abbrev=False,
        help="what a bundle says that it holds (not verified)",
        description="Tell what is inside, without reading a layer. Nothing of it is verified.",
    )
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("bundle", type=Path, metavar="BUNDLE")
    inspect.add_argument("--json", action="store_true", help="schema airlock-inspect/1")


def _add_verify_bundle(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify-bundle",
        allow_abbrev=False,
        add_help=False,
        help="the command-line protocol of sigstore-conformance",
    )
    verify.set_defaults(run=_verify_bundle)
    verify.add_argument("rest", nargs=argparse.REMAINDER)


def _inspect(options: argparse.Namespace) -> int:
    from bundler import inspect  # noqa: PLC0415  (start-up loads what the verb needs)
    from loader.source import BundleFile  # noqa: PLC0415

    bundle: Path = options.bundle
    with BundleFile.open(bundle) as source:
        statement, sealed = inspect.read(source)
    if options.json:
        print(json.dumps(inspect.as_json(statement, sealed), indent=2, sort_keys=True))
    else:
        print("\n".join(inspect.as_text(statement, sealed)))
    return 0


def _verify_bundle(options: argparse.Namespace) -> int:
    from loader.verify.conformance import verify_bundle_main  # noqa: PLC0415

    return verify_bundle_main(options.rest)


def _pack(options: argparse.Namespace) -> int:
    from bundler.pack import run  # noqa: PLC0415  (start-up loads what the verb needs)
    from bundler.pack.order import PackOrder  # noqa: PLC0415
    from bundler.progress import meter  # noqa: PLC0415

    order = PackOrder.make(options, environment=os.environ, now=datetime.now(UTC))
    bars = False if options.no_progress or options.json else None
    with meter(sys.stderr, bars=bars) as shown_by:
        packed = run.pack(order, meter=shown_by, passphrase=_passphrase)
    if options.json:
        print(json.dumps(packed.as_json(), indent=2, sort_keys=True))
    else:
        print("\n".join(packed.as_text()))
    return 0


def _passphrase() -> bytes:
    for name in ("AIRLOCK_PASSPHRASE", "COSIGN_PASSWORD"):
        if name in os.environ:
            return os.environ[name].encode()
    if not sys.stdin.isatty():
        raise UsageError(
            "the signing key wants a passphrase", hint="set AIRLOCK_PASSPHRASE, or use a terminal"
        )
    return getpass.getpass("Passphrase of the signing key: ").encode()


if __name__ == "__main__":
    sys.exit(main())
