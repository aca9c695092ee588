"""`trust fetch`: bring trust material here, to be pinned, carried and looked at."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_notary, declare_registries

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from bundler.notary.captured import Captured
    from bundler.reach import Reach
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
    parser.add_argument_group("TUF").add_argument(
        "--tuf",
        metavar="SOURCE",
        help="fetch this TUF repository instead: a URL, a tuf-on-ci or cache folder, or one that "
        "is built in: `sigstore`, `github`",
    )
    declare_tuf(parser)
    declare_registries(parser)


def declare_tuf(parser: argparse.ArgumentParser) -> None:
    """Add what a TUF repository is judged by, and what is brought along of it."""
    tuf = parser.add_argument_group("judging a TUF repository")
    tuf.add_argument(
        "--root",
        metavar="FILE|NAME",
        help="the root to judge it by: what a host pins, or a built-in one, `sigstore`, `github`",
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


def run(call: Call) -> int:
    """Fetch, verify, write, and say what there is to pin."""
    from bundler.notary.captured import read_cache, repositories_in  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415  (what only a run needs)
    from loader.errors import UsageError  # noqa: PLC0415

    options = call.arguments
    cache: Path | None = options.notary_cache
    names = tuple(options.repositories)
    if options.tuf is not None:
        if names:
            raise UsageError("one thing at a time", expected="Notary repositories, or --tuf SOURCE")
        return bring_tuf(call, options.tuf, Reach.make(options, environment=call.environment))
    if cache is not None:
        return bring_notary(call, (read_cache(cache, n) for n in names or repositories_in(cache)))
    if not names:
        raise UsageError("nothing to fetch", expected="a repository's full name")
    return bring_notary(call, _from_servers(call, names))


def _from_servers(call: Call, names: Sequence[str]) -> Iterator[Captured]:
    from bundler.notary.server import NotaryServers, server_of  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415
    from bundler.registry.credential_helper import HelperPrograms  # noqa: PLC0415
    from bundler.registry.credentials import Credentials  # noqa: PLC0415
    from bundler.registry.retry import patient  # noqa: PLC0415

    reach = Reach.make(call.arguments, environment=call.environment)
    helper = HelperPrograms(environment=call.environment)
    servers = NotaryServers(
        reach.settings,
        Credentials(call.environment, helper=helper),
        sleep=patient(threading.Event()),
    )
    try:
        for gun in names:
            address = server_of(gun, call.arguments.notary_server, reach.settings)
            yield servers.capture(address, gun)
    finally:
        servers.close()


def bring_notary(call: Call, found: Iterable[Captured]) -> int:
    """Verify repositories of content trust under their own roots, and write them.

    Raises:
        NotaryError: one does not hold.
        LocalError: it cannot be written.
    """
    from bundler.notary.inspect import warnings_of  # noqa: PLC0415
    from bundler.notary.sources import verify  # noqa: PLC0415

    now = call.clock()
    for captured in found:
        gun = captured.gun
        trust = verify(captured, None)
        target = captured.write(call.arguments.output)
        print(f"{gun}: {len(captured.files)} files from {captured.origin}, in {target}")
        print(f"  root {trust.seen.newest}, root key {', '.join(trust.roles[0].key_ids)}")
        print("  NOT PINNED: compare that id with its publisher's before you pin it:")
        print(f'  {{"trust_pinning": {{"certs": {{"{gun}": ["{trust.roles[0].key_ids[0]}"]}}}}}}')
        for line in (*captured.notes, *warnings_of(trust, now=now)):
            print(f"airlock: warning: {gun}: {line}", file=sys.stderr)
    return 0


def bring_tuf(call: Call, source: str, reach: Reach | None) -> int:
    """Replay a TUF repository from a server or a folder, and write it.

    Args:
        call: with the options of `declare_tuf`.
        source: a built-in anchor's name, an address or a folder.
        reach: how servers are asked; None takes a folder alone.

    Raises:
        UsageError: nobody says which root it is judged by.
        RemoteError: it cannot be asked.
        TrustRootError: it does not chain to that root.
    """
    from bundler.registry.retry import patient  # noqa: PLC0415
    from bundler.registry.settings import RegistrySettings  # noqa: PLC0415
    from bundler.tuf.capture import PUBLIC  # noqa: PLC0415
    from bundler.tuf.fetch import TARGET, FetchOrder, fetch, lines  # noqa: PLC0415
    from loader.errors import UsageError  # noqa: PLC0415
    from loader.trust.store import BUILTIN_DIRECTORY  # noqa: PLC0415

    options = call.arguments
    public = {} if reach is None else PUBLIC
    root: str | None = options.root or (source if source in public else None)
    if root is None:
        raise UsageError(
            "nobody says by which root it is judged",
            expected=f"--root FILE, what a host pins; or one that is built in: {', '.join(PUBLIC)}",
        )
    order = FetchOrder(
        source=public.get(source, source),
        root=BUILTIN_DIRECTORY / root / "root.json" if root in PUBLIC else Path(root),
        targets=tuple(options.target) or (TARGET,),
        vouched_by=options.trusted_root,
        output=options.output,
    )
    settings = RegistrySettings() if reach is None else reach.settings
    found = fetch(order, settings=settings, sleep=patient(threading.Event()))
    for line in lines(found, order, now=call.clock()):
        print(line)
    print("  nothing is pinned: `airlock-loader trust import` on the host takes it, or a bundle")
    return 0
