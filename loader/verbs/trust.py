"""`trust show`, `add`, `import` and `diff`: what this host trusts, and how that changes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from loader.errors import TrustUnconfirmedError, shown
from loader.verbs.call import Parser, declare_policy, path
from loader.verbs.saying import print_out

if TYPE_CHECKING:
    from pathlib import Path

    from loader.run import Host
    from loader.trust.root_change import RootChange
    from loader.verbs.call import Call

HELP: Final = "show what is trusted here, pin it, or take newer trust material"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    show = commands.add_parser(
        "show", help="what is pinned, what was remembered since, how old it is, who may sign"
    )
    show.add_argument("names", nargs="*", metavar="ANCHOR", help="only these")
    declare_policy(show)
    show.set_defaults(trust=_show)
    imported = commands.add_parser(
        "import", help="remember newer trust material, from a bundle or a folder, and load nothing"
    )
    imported.add_argument(
        "source", type=path, metavar="BUNDLE|DIR", help="DIR as `airlock trust fetch` writes it"
    )
    imported.add_argument(
        "--anchor", metavar="NAME", help="whose the folder is; of a bundle, this one"
    )
    imported.add_argument(
        "--yes", action="store_true", help="confirm a change of roots that was compared before"
    )
    declare_policy(imported)
    imported.set_defaults(trust=_import)
    add = commands.add_parser("add", help="pin a key, a trusted root or a TUF root under a name")
    add.add_argument("name", metavar="NAME")
    add.add_argument("file", type=path, metavar="FILE")
    add.set_defaults(trust=_add)
    diff = commands.add_parser(
        "diff", help="what changes from one TUF root, or targets role, to another"
    )
    diff.add_argument("old", type=path, metavar="OLD")
    diff.add_argument("new", type=path, metavar="NEW")
    diff.set_defaults(trust=_diff)


def run(call: Call) -> int:
    """Do what the second word says."""
    status: int = call.arguments.trust(call)
    return status


def _show(call: Call) -> int:
    from loader.trusting import show  # noqa: PLC0415
    from loader.verbs.judged import open_host  # noqa: PLC0415

    _cut_off()
    host, _ = open_host(call)
    print_out("".join(f"{_plain(line)}\n" for line in show(host, names=call.arguments.names)))
    return 0


def _import(call: Call) -> int:
    from loader.verbs.judged import open_host  # noqa: PLC0415
    from loader.verbs.signing import signing  # noqa: PLC0415

    with signing(call) as signer:
        _cut_off()
        host, warnings = open_host(call, signer=signer)
        return _take(call, host, warnings)


def _take(call: Call, host: Host, warnings: tuple[str, ...]) -> int:
    from loader.trust.root_change import told  # noqa: PLC0415
    from loader.trusting import import_trust  # noqa: PLC0415

    asked = {rule.name for rule in host.policy.anchor_rules if rule.root_change == "confirm"}

    def confirm(taken: tuple[RootChange, ...]) -> None:
        print_out("".join(f"{_plain(line)}\n" for one in taken for line in told(one)))
        for one in taken:
            if one.is_rotation and one.anchor in asked and not call.arguments.yes:
                _ask(one.anchor)

    taken, more = import_trust(
        call.arguments.source, host, anchor=call.arguments.anchor, confirm=confirm
    )
    for warning in (*warnings, *more):
        print_out(f"warning: {_plain(warning)}\n")
    print_out(f"REMEMBERED: {', '.join(one.anchor for one in taken)}\n")
    return 0


def _ask(anchor: str) -> None:
    """Ask whoever sits there.

    Raises:
        TrustUnconfirmedError: nobody does, or they did not say yes.
    """
    said = ""
    if sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write(f"take this change of {anchor}? yes or no: ")
        sys.stderr.flush()
        said = sys.stdin.readline().strip()
    if said != "yes":
        raise TrustUnconfirmedError(
            "a change of roots that nobody confirmed",
            where=anchor,
            expected="yes",
            found=shown(said) if said else "no answer",
            hint="compare the keys above with their owners, then: `trust import --yes`",
        )


def _add(call: Call) -> int:
    from loader.trusting import pin_file  # noqa: PLC0415

    _cut_off()
    target, fingerprint = pin_file(call.places.anchors, call.arguments.name, call.arguments.file)
    print_out(f"pinned as {call.arguments.name}: {fingerprint}\n  {target}\n")
    print_out("  compare that with what its owner says, over another way than this file came\n")
    return 0


def _diff(call: Call) -> int:
    from loader.limits import DEFAULT_LIMITS  # noqa: PLC0415
    from loader.places import read_small_file  # noqa: PLC0415
    from loader.trust.tuf_words import DelegatorWords, changes  # noqa: PLC0415

    _cut_off()

    def read(file: Path) -> DelegatorWords:
        raw = read_small_file(
            file, size_max=DEFAULT_LIMITS.tuf_targets_size_max, what="TUF metadata"
        )
        return DelegatorWords.parse(raw, name=shown(str(file))[1:-1])

    old, new = read(call.arguments.old), read(call.arguments.new)
    found = changes(old, new)
    print_out(f"{old.what} {old.version} to {new.version}; no signature was looked at\n")
    print_out(
        "".join(f"{_plain(line)}\n" for line in found) or "keys and thresholds are the same\n"
    )
    print_out("".join(f"warning: {_plain(warning)}\n" for warning in new.warnings()))
    return 1 if found else 0


def _cut_off() -> None:
    from loader import confine  # noqa: PLC0415

    confine.cut_off()


def _plain(line: str) -> str:
    from loader.report import plain  # noqa: PLC0415

    return plain(line)
