"""One command line, and the world it was given in; words that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from loader.errors import UsageError, shown

if TYPE_CHECKING:
    from loader.places import Places

PROGRAM: Final = "airlock-loader"
Clock: TypeAlias = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, and all that a verb may know of the world around: nothing else reads it."""

    arguments: argparse.Namespace
    environment: Mapping[str, str]
    clock: Clock

    @property
    def places(self) -> Places:
        """Where this host keeps policy, anchors, ledger and quarantine."""
        from loader.places import Places  # noqa: PLC0415

        root: Path | None = self.arguments.root
        return Places.of_this_user() if root is None else Places.under(root.absolute())


class Parser(argparse.ArgumentParser):
    """Errors in our words; no abbreviations, so that a new option never changes an old script."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(shown(message)[1:-1], hint=f"{PROGRAM} --help")


class NoForce(argparse.Action):
    """`--force`, which there is not."""

    def __call__(self, *_: object) -> NoReturn:
        """Say what there is instead.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "there is no --force: nothing lets unverified bytes in",
            hint="where going back is meant: --allow-downgrade REASON; every other exception is a "
            "line in the policy",
        )


def path(text: str) -> Path:
    """Return an argument that names a file.

    Raises:
        ArgumentTypeError: no file can have this name.
    """
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not a path")
    return Path(text)


def declare_bundle(parser: argparse.ArgumentParser) -> None:
    """Add what every verb takes that judges a bundle."""
    parser.add_argument("bundle", type=path, metavar="BUNDLE")
    declare_policy(parser)
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument(
        "--explain", action="store_true", help="show every piece of evidence, and why it counts"
    )


def declare_policy(parser: argparse.ArgumentParser) -> None:
    """Add what says by which policy something is judged."""
    parser.add_argument("--policy", type=path, metavar="FILE", help="instead of this host's policy")
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill {NAME} in the policy (again for more)",
    )
