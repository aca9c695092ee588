"""`state recover`, the one way out of a damaged memory; `state import-log-index`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, UsageError, shown
from loader.verbs.call import Parser, path
from loader.verbs.saying import print_out

if TYPE_CHECKING:
    import argparse

    from loader.state.recover import Damage
    from loader.verbs.call import Call

HELP: Final = "recover a damaged memory; take over another program's floor"
PUBLIC_LOG: Final = "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"
"""Id of rekor.sigstore.dev: SHA-256 of its public key. Dangerzone asks this one log."""
REASON_LENGTH_MAX: Final = 500
_INDEX: Final = re.compile(rb"\s*([0-9]{1,18})\s*")
_INDEX_SIZE_MAX: Final = 1024
_KEY_SIZE_MAX: Final = 16 * 1024


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    recover = commands.add_parser(
        "recover", help="say what is wrong with this host's memory; with a reason, mend it"
    )
    recover.add_argument(
        "--reason",
        metavar="REASON",
        help="mend it, keep every floor that is left, and write this down",
    )
    recover.set_defaults(state=_recover)
    imported = commands.add_parser(
        "import-log-index", help="take over the floor that Dangerzone kept for a log"
    )
    imported.add_argument("file", type=path, metavar="FILE", help="its `last_log_index`")
    imported.add_argument(
        "--key", type=path, required=True, metavar="FILE", help="the public key that signed"
    )
    imported.add_argument(
        "--log", default=PUBLIC_LOG, metavar="HEX", help="the log's id; else the public Rekor's"
    )
    imported.set_defaults(state=_import_log_index)


def run(call: Call) -> int:
    """Do what the second word says."""
    status: int = call.arguments.state(call)
    return status


def expect_reason(reason: str, *, option: str) -> str:
    """Return a reason that can be read years later.

    Raises:
        UsageError: it is empty, too long, or cannot be seen.
    """
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX or not reason.isprintable():
        raise UsageError(
            f"{option} wants a reason that can be read years later",
            expected=f"1 to {REASON_LENGTH_MAX} printable characters",
        )
    return reason


def _recover(call: Call) -> int:
    from loader import VERSION  # noqa: PLC0415
    from loader.errors import StateError  # noqa: PLC0415
    from loader.report import plain  # noqa: PLC0415
    from loader.state.lock import StateFolder  # noqa: PLC0415
    from loader.state.recover import diagnose, recover  # noqa: PLC0415
    from loader.verbs.signing import signing  # noqa: PLC0415

    reason: str | None = call.arguments.reason
    if reason is not None:
        expect_reason(reason, option="--reason")
    at = call.clock()
    if not call.places.state.exists():
        print_out("NOTHING TO RECOVER: nothing was ever loaded on this host\n")
        return 0
    with signing(call) as signer, StateFolder.lock(call.places, verb="recover", at=at) as folder:
        damage = diagnose(folder, signer=signer)
        lines = _words(damage)
        if not damage.findings:
            print_out("".join(f"{plain(line)}\n" for line in lines))
            return 0
        if reason is None:
            print_out("".join(f"{plain(line)}\n" for line in lines))
            raise StateError(
                "this host's memory is damaged",
                where=str(call.places.state),
                found=f"{len(damage.findings)} findings",
                hint="copy the folder away as it is, find out why, then "
                "airlock-loader state recover --reason REASON",
            )
        done = recover(folder, damage, reason=reason, at=at, loader=VERSION, signer=signer)
        lines += [f"  done     {one}" for one in done if not one.startswith("found: ")]
        lines.append("RECOVERED: airlock-loader status says what is known now")
        print_out("".join(f"{plain(line)}\n" for line in lines))
    return 0


def _words(damage: Damage) -> list[str]:
    if not damage.findings:
        return ["NOTHING TO RECOVER: ledger, second copy and key are whole and fit together"]
    lines = [f"  BAD      {finding}" for finding in damage.findings]
    plan = list(damage.plan())
    if not plan:
        lines.append("  nothing is left that floors could be recovered from")
    return lines + [f"  plan     {one}" for one in plan]


def _import_log_index(call: Call) -> int:
    """Raise the floor of a key in a log to what Dangerzone had seen (FORMATS §1.9)."""
    from loader import VERSION  # noqa: PLC0415
    from loader.model.fields import decode_hex  # noqa: PLC0415
    from loader.places import read_small_file  # noqa: PLC0415
    from loader.state.ledger import Ledger  # noqa: PLC0415
    from loader.state.lock import StateFolder  # noqa: PLC0415
    from loader.state.record import Attempt  # noqa: PLC0415
    from loader.trust.keys import PublicKey  # noqa: PLC0415
    from loader.verbs.signing import signing  # noqa: PLC0415

    arguments, at = call.arguments, call.clock()
    raw = read_small_file(arguments.file, size_max=_INDEX_SIZE_MAX, what="a log index")
    match = _INDEX.fullmatch(raw)
    if match is None:
        raise UsageError(
            "not what Dangerzone writes",
            where=shown(str(arguments.file)),
            expected="one number in decimal digits",
            found=shown(raw),
        )
    log_index = int(match.group(1))
    try:
        log = decode_hex(arguments.log, where="--log").hex()
    except AirlockError as e:
        raise UsageError("not a log's id", where="--log", found=e.found) from e
    raw = read_small_file(arguments.key, size_max=_KEY_SIZE_MAX, what="a key")
    signer = f"key:{PublicKey.parse(raw, name=shown(str(arguments.key))).fingerprint}"
    with (
        signing(call) as own,
        StateFolder.lock(call.places, verb="import-log-index", at=at) as folder,
        Ledger.open(folder, at=at, loader=VERSION, signer=own) as ledger,
    ):
        before = ledger.floors.logs.get((signer, log))
        if before is not None and before >= log_index:
            print_out(f"ALREADY THERE: the floor is {before}, no lower than {log_index}\n")
            return 0
        floors = ledger.floors.raised(
            time=None, channel=None, names={}, logs={(signer, log): log_index}
        )
        words = f"log index {log_index} or higher, for {signer} in the log {log}"
        attempt = Attempt(
            verb="import-log-index", outcome="done", at=at, loader=VERSION, notes=(words,)
        )
        ledger.append(attempt, floors=floors)
    print_out(
        f'IMPORTED: {words}\nit counts where the policy says rollback = "log-index" for an image\n'
    )
    return 0
