"""`deny add`: sign that something is denied, for bundles to carry."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import Parser
from loader.errors import FormatError, UsageError, shown

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call
    from loader.model.deny_list import ListedDenial

HELP: Final = "sign that a digest, an identity or a key is denied"
DESCRIPTION: Final = "Sign deny lists, for bundles to carry: `airlock pack --deny-list FILE`."
_ADD: Final = (
    "Write a signed in-toto statement that denies one thing. Hosts whose policy names its signer "
    "under [deny-list] apply it to the very bundle that brings it, and to all that follow."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the verb below."""
    below = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    add = below.add_parser("add", help=HELP, description=_ADD)
    what = add.add_argument_group("what is denied")
    what.add_argument(
        "--digest", metavar="sha256:…", help="an image, or a platform's manifest or configuration"
    )
    what.add_argument("--identity", metavar="TEXT", help="whom a certificate names")
    what.add_argument("--issuer", metavar="URL", help="only as this issuer vouched for it")
    what.add_argument("--key", type=Path, metavar="FILE", help="a public key, PEM or DER")
    what.add_argument(
        "--before", metavar="DAY", help="only what was signed before that day, 2026-12-31"
    )
    what.add_argument("--image", metavar="GLOB", help="only images with such names")
    what.add_argument("--reason", required=True, metavar="TEXT", help="why")
    add.add_argument(
        "--sign-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="sign it with this PEM key, or one of cosign's",
    )
    add.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def run(call: Call) -> int:
    """Sign the list, and say what it denies."""
    from bundler.sign import Signer  # noqa: PLC0415  (what only a run needs)
    from bundler.verbs.pack import passphrase  # noqa: PLC0415
    from loader.model.deny_list import write_deny_list  # noqa: PLC0415

    options = call.arguments
    denied = _denied(options)
    signer = Signer.open(options.sign_key, passphrase=lambda: passphrase(call.environment))
    raw = signer.sign_statement(write_deny_list((denied,)))
    try:
        # A list that is there already may have been sent: nothing takes its place.
        with options.output.open("xb") as file:
            file.write(raw)
    except OSError as e:
        raise UsageError(
            "the list cannot be written",
            where=shown(str(options.output))[1:-1],
            found=e.strerror or "",
        ) from e
    said = ", ".join(f"{name} {value}" for name, value in sorted(denied.plain().items()))
    print(f"{options.output}: {said}; signed by sha256:{signer.fingerprint}")
    print("carry it: airlock pack --deny-list FILE", file=sys.stderr)
    return 0


def _denied(options: argparse.Namespace) -> ListedDenial:
    """Return what the options deny.

    Raises:
        UsageError: nothing, or several things at once.
    """
    from loader.model.deny_list import ListedDenial  # noqa: PLC0415
    from loader.model.fields import Fields  # noqa: PLC0415
    from loader.policy.patterns import Glob  # noqa: PLC0415
    from loader.trust.keys import PublicKey  # noqa: PLC0415

    document = {
        name: value
        for name, value in (
            ("digest", options.digest),
            ("identity", options.identity),
            ("issuer", options.issuer),
            ("before", None if options.before is None else _day(options.before)),
            ("image", options.image),
            ("reason", options.reason),
        )
        if value is not None
    }
    if options.key is not None:
        try:
            raw = options.key.read_bytes()
        except OSError as e:
            raise UsageError("the key cannot be read", where="--key", found=e.strerror or "") from e
        document["key"] = f"sha256:{PublicKey.parse(raw, name='--key').fingerprint}"
    if options.image is not None:
        Glob.parse(options.image, where="--image")
    try:
        return ListedDenial.parse(Fields(document, "-"))
    except FormatError as e:
        raise UsageError(
            e.message,
            where=e.where.replace("-.", "--"),
            expected=e.expected or "--digest, --identity, --key, or --before alone",
            found=e.found,
        ) from e


def _day(text: str) -> str:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as e:
        raise UsageError(
            "not a day", where="--before", expected="2026-12-31", found=shown(text)
        ) from e
    return day.strftime("%Y-%m-%dT00:00:00Z")
