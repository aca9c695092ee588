"""Where a difference mostly comes from: what people who rebuild images bit for bit have met.

Only a hint. The list follows what the projects that do it write down: reproducible-builds.org, and
Dangerzone's repro-build.
"""

from __future__ import annotations

import re
from typing import Final

from bundler.compare.layer_tar import TarEntry
from loader.inflate import compression

_SETGID: Final = 0o2000
_GZIP_FIELDS: Final = (
    (slice(4, 8), "gzip's header holds a time, which a builder should leave at 0"),
    (slice(3, 4), "gzip's header holds a name or a comment"),
    (slice(8, 9), "another level of gzip"),
    (slice(9, 10), "gzip's header names another system or compressor"),
)
"""RFC 1952 §2.3.1: MTIME, FLG, XFL, OS."""
_BY_NAME: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (
            r"(.*/)?\.wh\.\.wh\.\.opq",
            "an opaque folder: builders write these differently",
        ),
        (r"(.*/)?\.wh\..*", "a whiteout: builders delete files of lower layers differently"),
        (
            r".*\.pyc",
            "compiled Python holds the source's mtime: --invalidation-mode, or none",
        ),
        (r"var/cache/ldconfig/aux-cache", "ldconfig's cache holds inode times: delete it"),
        (r"var/log/.*", "a log written during the build: delete it in the same step"),
        (
            r"var/(cache|lib)/(apt|debconf)/.*",
            "the package manager's cache: delete it in the same step",
        ),
        (r"var/lib/dpkg/.*", "other packages, or other versions: pin the archive's date"),
        (r"(lib/)?apk/db/.*|var/lib/rpm/.*", "other packages, or other versions: pin them"),
        (r"etc/machine-id|var/lib/dbus/machine-id", "made at random: delete it"),
        (r"etc/ssh/ssh_host_.*", "made at random: delete them"),
        (r"(.*/)?etc/(hostname|hosts|resolv\.conf)", "the builder's own: leave it out"),
        (r"etc/(shadow|gshadow|passwd|group)-", "kept when a user was added: delete it"),
        (r"(tmp|root/\.cache|var/tmp)/.*", "left over from the build: delete it in the same step"),
    )
)


def cause_of_entry(name: str, what: str, a: TarEntry | None, b: TarEntry | None) -> str:
    """Return what mostly makes a file differ in this respect, or nothing."""
    if what == "mtime":
        return "time of the build: SOURCE_DATE_EPOCH with rewrite-timestamp"
    if what in {"owner's name", "further records"}:
        return "written by another tar or builder"
    if what == "mode" and a is not None and b is not None and (a.mode ^ b.mode) == _SETGID:
        return "a folder's setgid bit: a containerized BuildKit copies it in; chmod g-s"
    if what == "content" and re.fullmatch(r"etc/g?shadow-?", name) and _only_days(a, b):
        return "the day of the build, when a user was added: chage -d 99999 USER"
    if what not in {"content", "presence"}:
        return ""
    return next((cause for pattern, cause in _BY_NAME if pattern.fullmatch(name)), "")


def cause_of_compression(a: bytes, b: bytes) -> str:
    """Return what mostly makes the same layer other bytes, from how both begin."""
    kinds = compression(a), compression(b)
    if kinds[0] != kinds[1]:
        return f"compressed otherwise: {kinds[0]} and {kinds[1]}"
    if kinds[0] == "gzip":
        for part, words in _GZIP_FIELDS:
            if a[part] != b[part]:
                return f"compressed otherwise: {words}"
    return "compressed otherwise: another version or level of the compressor"


def cause_of_annotation(key: str) -> str:
    """Return what mostly makes an annotation of a manifest differ, or nothing."""
    if key == "org.opencontainers.image.created" or key.endswith(("date", "epoch")):
        return "built, or frozen, at another time: build with the date of the other one"
    if key == "org.opencontainers.image.revision":
        return "another commit"
    if key.startswith("org.opencontainers.image.base."):
        return "another base image: pin it by digest"
    return "given to the builder, not found in the sources: --annotation"


def cause_of_config(path: tuple[str, ...]) -> str:
    """Return what mostly makes a config differ here, or nothing."""
    if path[-1] in {"created", "org.opencontainers.image.created"}:
        return "time of the build: SOURCE_DATE_EPOCH"
    if path[-1] == "org.opencontainers.image.revision":
        return "another commit"
    if path[0] == "history":
        return "another build file, or another builder"
    if path[0] == "config":
        return "another build file or build argument: this changes what is run"
    return ""


def _only_days(a: TarEntry | None, b: TarEntry | None) -> bool:
    """Tell whether two shadow files differ in the third field alone (shadow(5))."""
    if a is None or b is None or a.kept is None or b.kept is None:
        return False
    ours, theirs = (
        [(*line.split(b":")[:2], *line.split(b":")[3:]) for line in kept.splitlines()]
        for kept in (a.kept, b.kept)
    )
    return ours == theirs
