"""`trust import`: what another client's cache holds, verified, as a folder that travels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.trust_fetch import bring_notary, bring_tuf, declare_tuf

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "take trust material out of another client's cache"
DESCRIPTION: Final = (
    "Take what docker, notary or a Sigstore client left in its cache (~/.docker/trust, ~/.notary, "
    "~/.sigstore) or what a tuf-on-ci checkout holds, also once its server is gone. It is "
    "verified, shown and written as `trust fetch` writes it; no server is asked, nothing is pinned."
)
_NOTARY: Final = "tuf"
"""Where caches of docker and notary have their repositories."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("cache", type=Path, metavar="FOLDER", help="the cache, or the checkout")
    parser.add_argument(
        "repositories",
        nargs="*",
        metavar="REPOSITORY",
        help="of docker's or notary's cache, by its full name (default: all)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where it is put"
    )
    declare_tuf(parser)


def run(call: Call) -> int:
    """Look what it is; read, verify, write, and say what there is to pin."""
    from bundler.notary.captured import read_cache, repositories_in  # noqa: PLC0415
    from loader.errors import UsageError  # noqa: PLC0415  (what only a run needs)

    cache: Path = call.arguments.cache
    if not cache.is_dir():
        raise UsageError("no folder", where=str(cache), expected="a cache, or a checkout")
    names: tuple[str, ...] = tuple(call.arguments.repositories)
    if names or (cache / _NOTARY).is_dir():
        return bring_notary(call, (read_cache(cache, n) for n in names or repositories_in(cache)))
    return bring_tuf(call, str(cache), None)
