"""`trust fetch`: bring trust material here, to be pinned, carried and looked at."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_notary, declare_registries

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "bring trust material here"
DESCRIPTION: Final = (
    "Fetch the content trust of repositories, all roles and every older root, from their Notary "
    "server or from a cache, into a folder that docker, notary and `airlock pack --notary-cache` "
    "read; or, with --tuf, a TUF repository, for `airlock pack --tuf` and `airlock-loader trust "
    "import`. What was fetched is verified and shown; nothing is pinned."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "repositories",
        nargs="*",
        metavar="REPOSITORY",
        help="by its full name: docker.io/library/alpine",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where it is put"
    )
    declare_notary(parser)
    tuf = parser.add_argument_group("TUF")
    tuf.add_argument(
        "--tuf",
        metavar="SOURCE",
        help="fetch this TUF repository instead: a URL, a tuf-on-ci or cache folder, or `sigstore`",
    )
    tuf.add_argument(
        "--root", type=Path, metavar="FILE", help="the root to judge it by: what a host pins"
    )
    tuf.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="PATH",
        help="bring this target along (default: trusted_root.json; again for more)",
    )
    tuf.add_argument(
        "--trusted-root",
        default="sigstore",
        metavar="NAME|FILE",
        help="who vouches for Sigstore identities that sign it (default: sigstore)",
    )
    declare_registries(parser)


def run(call: Call) -> int:
    """Fetch, verify, write, and say what there is to pin."""
    from bundler.notary.captured import read_cache, repositories_in  # noqa: PLC0415
    from bundler.notary.inspect import warnings_of  # noqa: PLC0415
    from bundler.notary.server import NotaryServers, server_of  # noqa: PLC0415
    from bundler.notary.sources import verify  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from bundler.registry.credential_helper import HelperPrograms  # noqa: PLC0415
    from bundler.registry.credentials import Credentials  # noqa: PLC0415
    from bundler.registry.retry import patient  # noqa: PLC0415  (what only a run needs)
    from loader.errors import UsageError  # noqa: PLC0415

    if call.arguments.tuf is not None:
        return _tuf(call)
    options, now = call.arguments, call.clock()
    cache: Path | None = options.notary_cache
    names = tuple(options.repositories)
    if not names and cache is None:
        raise UsageError("nothing to fetch", expected="a repository's full name")
    reach = Reach.make(options, environment=call.environment)
    helper = HelperPrograms(environment=call.environment)
    servers = NotaryServers(
        reach.settings,
        Credentials(call.environment, helper=helper),
        sleep=patient(threading.Event()),
    )
    try:
        for gun in names or (() if cache is None else repositories_in(cache)):
            if cache is not None:
                captured = read_cache(cache, gun)
            else:
                address = server_of(gun, options.notary_server, reach.settings)
                captured = servers.capture(address, gun)
            trust = verify(captured, None)
            target = captured.write(options.output)
            print(f"{gun}: {len(captured.files)} files from {captured.origin}, in {target}")
            print(f"  root {trust.seen.newest}, root key {', '.join(trust.roles[0].key_ids)}")
            print("  NOT PINNED: compare that id with its publisher's before you pin it:")
            print(
                f'  {{"trust_pinning": {{"certs": {{"{gun}": ["{trust.roles[0].key_ids[0]}"]}}}}}}'
            )
            for line in (*captured.notes, *warnings_of(trust, now=now)):
                print(f"airlock: warning: {gun}: {line}", file=sys.stderr)
    finally:
        servers.close()
    return 0


def _tuf(call: Call) -> int:
    from bundler.reach import Reach  # noqa: PLC0415
    from bundler.registry.retry import patient  # noqa: PLC0415
    from bundler.tuf.capture import SIGSTORE, SIGSTORE_URL  # noqa: PLC0415
    from bundler.tuf.fetch import TARGET, FetchOrder, fetch, lines  # noqa: PLC0415
    from loader.errors import UsageError  # noqa: PLC0415
    from loader.trust.store import BUILTIN_DIRECTORY  # noqa: PLC0415

    options = call.arguments
    if options.repositories:
        raise UsageError("one thing at a time", expected="Notary repositories, or --tuf SOURCE")
    is_sigstore = options.tuf == SIGSTORE
    root: Path | None = options.root
    if root is None and is_sigstore:
        root = BUILTIN_DIRECTORY / SIGSTORE / "root.json"
    if root is None:
        raise UsageError("an option is missing", expected="--root FILE: the root that a host pins")
    order = FetchOrder(
        source=SIGSTORE_URL if is_sigstore else options.tuf,
        root=root,
        targets=tuple(options.target) or (TARGET,),
        vouched_by=options.trusted_root,
        output=options.output,
    )
    reach = Reach.make(options, environment=call.environment)
    found = fetch(order, settings=reach.settings, sleep=patient(threading.Event()))
    for line in lines(found, order, now=call.clock()):
        print(line)
    print("  nothing is pinned: `airlock-loader trust import` on the host takes it, or a bundle")
    return 0
