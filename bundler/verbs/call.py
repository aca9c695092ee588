"""One command line, and the world it was given in; options that several verbs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

PROGRAM: Final = "airlock"
Clock: TypeAlias = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, and all that a verb may know of the world around: nothing else reads it."""

    arguments: argparse.Namespace
    environment: Mapping[str, str]
    clock: Clock


class Parser(argparse.ArgumentParser):
    """Errors in our words; no abbreviations, so that a new option never changes an old script."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            SystemExit: always, with the status of a usage error.
        """
        if message.endswith("COMMAND"):  # somebody looks around
            self.print_help(sys.stderr)
        else:
            self.print_usage(sys.stderr)
        print(f"airlock: error[usage.arguments]: {message}", file=sys.stderr)
        raise SystemExit(2)


def declare_registries(parser: argparse.ArgumentParser) -> None:
    """Add how registries are spoken to (docs/registries.md)."""
    remote = parser.add_argument_group("registries")
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
        "-j", "--jobs", type=int, default=4, metavar="N", help="transfers at a time (default: 4)"
    )
    remote.add_argument("--cache", type=Path, metavar="DIR", help="where downloads are kept")


def declare_notary(parser: argparse.ArgumentParser) -> None:
    """Add where content trust is taken from (docs/content-trust.md)."""
    trust = parser.add_argument_group("content trust")
    source = trust.add_mutually_exclusive_group()
    source.add_argument(
        "--notary-server",
        metavar="URL",
        help="ask this Notary server (default: where docker would, DOCKER_CONTENT_TRUST_SERVER)",
    )
    source.add_argument(
        "--notary-cache",
        type=Path,
        metavar="DIR",
        help="take it from ~/.docker/trust, ~/.notary, or what `trust fetch` wrote",
    )
