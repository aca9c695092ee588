"""From which versions on a runtime withstands images that are signed and hostile (THREATS T50).

A signature says who made an image, not that they meant well. For each runtime the newest fault that
an image's own contents reach, and where it was mended, release line by release line. Only a hint:
distributions mend older versions under their own numbers, which nobody can see from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Version = tuple[int, ...]
_VERSION: Final = re.compile(r"\bv?([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})", re.ASCII)
_LINE: Final = 2
"""Numbers of a version that name its release line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A fault, and the first version of each line that does not have it, in rising order."""

    fault: str
    since: tuple[Version, ...]


KNOWN: Final = {
    "docker": Mended(
        fault="GHSA-jpcc-p29g-p8mq, a file in the image exhausts the daemon's memory; before 29.5.1"
        " CVE-2026-42306, docker cp out of a container writes to the host",
        since=((29, 6, 1),),
    ),
    "podman": Mended(
        fault="CVE-2026-57231, the image reads the host's environment; before 5.7.1"
        " CVE-2026-55686, it makes folders on the host",
        since=((5, 8, 4),),
    ),
    "containerd": Mended(
        fault="CVE-2026-53488, a label of the image runs a command on the host (Kubernetes)",
        since=((1, 7, 33), (2, 0, 10), (2, 1, 9), (2, 2, 5), (2, 3, 2)),
    ),
}


def version_in(words: str) -> Version | None:
    """Return the version that a runtime says it has; None where it says none."""
    match = _VERSION.search(words)
    return None if match is None else tuple(int(part) for part in match.group(1).split("."))


def standing(name: str, version: Version) -> Literal["mended", "open", "unknown"]:
    """Tell whether a version has the fault that is known of a runtime."""
    mended = KNOWN.get(name)
    if mended is None:
        return "unknown"
    if version >= mended.since[-1]:
        return "mended"
    same = [one for one in mended.since if one[:_LINE] == version[:_LINE]]
    return "mended" if same and version >= same[0] else "open"


def advice(name: str) -> str:
    """Return what is wrong with a version that has the fault."""
    mended = KNOWN[name]
    since = ", ".join(".".join(map(str, version)) for version in mended.since)
    return f"{mended.fault}; mended in {since}, or by your distribution under its own number"
