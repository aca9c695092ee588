"""`audit verify` and `audit export`: whether the ledger is what this host wrote."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, UsageError, shown
from loader.verbs.call import Parser, path
from loader.verbs.saying import print_out, say_error

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.state.audit import Audit, Noted
    from loader.trust.keys import PublicKey
    from loader.verbs.call import Call

HELP: Final = "whether the ledger is what this host wrote; or all of it as JSON lines"
_NOTED: Final = re.compile(r"([0-9]{1,18}):(sha256:[0-9a-f]{64})", re.ASCII)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the two commands and their options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    verify = commands.add_parser("verify", help="follow the chain from its first record")
    verify.add_argument(
        "export",
        type=path,
        nargs="?",
        metavar="EXPORT",
        help="what `audit export` wrote, instead of this host's ledger",
    )
    verify.add_argument(
        "--key",
        metavar="sha256:…",
        action="append",
        help="the host's key, as it was noted before; again for one that came after it",
    )
    verify.add_argument(
        "--noted", metavar="N:sha256:…", help="a head of the chain that was noted before"
    )
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(audit=_verify)
    export = commands.add_parser("export", help="print every record as a line of JSON")
    export.set_defaults(audit=_export)


def run(call: Call) -> int:
    """Verify or export; write nothing."""
    status: int = call.arguments.audit(call)
    return status


def _verify(call: Call) -> int:
    from loader.ledger_report import audit_error, audit_json, audit_text  # noqa: PLC0415

    export: Path | None = call.arguments.export
    where = shown(str(export or call.places.ledger))[1:-1]
    found = _audit(call, noted=_noted(call.arguments.noted))
    if call.arguments.json:
        print_out(audit_json(found, where=where))
    else:
        print_out(audit_text(found, where=where, pinned=bool(call.arguments.key)))
    error = audit_error(found, where=where)
    return 0 if error is None else say_error(error)


def _audit(call: Call, *, noted: Noted | None) -> Audit:
    from loader.state.audit import audit, audit_rows  # noqa: PLC0415
    from loader.state.export import Export  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415

    if call.arguments.export is None:
        with reading(call.places) as ledger:
            return audit(ledger, keys=_pinned(call, ledger.keys()), noted=noted)
    export = Export(call.arguments.export)
    try:
        keys = _pinned(call, export.keys())
        return audit_rows(export.rows(), keys, noted=noted)
    finally:
        export.close()


def _pinned(call: Call, keys: dict[Digest, PublicKey]) -> dict[Digest, PublicKey]:
    """Return the keys that count: those that were noted, or all where none was."""
    from loader.digest import Digest  # noqa: PLC0415

    noted: list[str] = call.arguments.key or []
    try:
        wanted = {Digest.parse(text) for text in noted}
    except AirlockError as e:
        raise UsageError("not a key's SHA-256", where="--key", found=e.found) from e
    return {key_id: key for key_id, key in keys.items() if not wanted or key_id in wanted}


def _noted(text: str | None) -> Noted | None:
    from loader.digest import Digest  # noqa: PLC0415
    from loader.state.audit import Noted  # noqa: PLC0415

    if text is None:
        return None
    match = _NOTED.fullmatch(text)
    if match is None:
        raise UsageError(
            "not a head of the chain",
            where="--noted",
            expected="N:sha256:…, as `audit verify` prints it",
            found=shown(text),
        )
    return Noted(number=int(match.group(1)), hash=Digest.parse(match.group(2)))


def _export(call: Call) -> int:
    from loader.state.export import export_lines  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415

    with reading(call.places) as ledger:
        for line in export_lines(ledger):
            print_out(f"{line}\n")
    return 0
