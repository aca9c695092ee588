"""Which tags a release gets, and which of them may move: pure, a table in and a table out.

A version's own tag never moves: it is set once, and the same digest is the same release. `1.2`, `1`
and `latest` move, and only forward: not to a version below one that the repository already has in
that line, so that a back-port of 1.2 does not take `1` away from 1.3. A pre-release is but itself.

Versions are Semantic Versioning 2.0.0, with or without a `v` in front. Build metadata is refused: a
tag has no `+`, and two builds of one version would be one tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import semver

from bundler.errors import SourceError, VersionTakenError
from loader.digest import Digest
from loader.errors import shown

PRESETS: Final[Mapping[str, tuple[str, ...]]] = {
    "semver": ("{version}", "{major}.{minor}", "{major}", "latest"),
    "complytime": ("v{version}", "{major}.{minor}", "{major}", "sha-{commit}", "sha-{commit7}"),
    "metadata-action": ("{version}", "{major}.{minor}", "latest"),
}
"""What projects call their releases: org-infra of complytime, and docker/metadata-action."""

Doing = Literal["set", "move", "there", "left"]
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_LATEST: Final = "latest"
_MOVING: Final = ("{major}.{minor}", "{major}", _LATEST)
_FIELD: Final = re.compile(r"\{([a-z0-9]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A tag that was asked for."""

    tag: str
    line: tuple[int, ...] | None
    """How the versions begin that a moving tag may stand for; () is all. None: it is fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagStep:
    """What becomes of one tag, and why."""

    tag: str
    doing: Doing
    why: str
    before: Digest | None = None
    """What it pointed to when that was decided: it is written only if it still does."""

    @property
    def writes(self) -> bool:
        """Whether the tag is to be written."""
        return self.doing in {"set", "move"}


def parse_version(text: str) -> semver.Version:
    """Return the version that `v1.2.3` or `1.2.3` writes.

    Raises:
        SourceError: it is none, or has build metadata.
    """
    try:
        version = semver.Version.parse(text.removeprefix("v"))
    except ValueError as e:
        raise SourceError(
            "not a semantic version",
            where="--semver",
            expected="1.2.3 or v1.2.3",
            found=shown(text),
        ) from e
    if version.build is not None:
        raise SourceError(
            "a version with build metadata has no tag",
            where="--semver",
            expected="1.2.3 or 1.2.3-rc.1",
            found=shown(text),
        )
    return version


def wishes(
    templates: Sequence[str], *, version: semver.Version | None, commit: str
) -> tuple[Wish, ...]:
    """Return the tags that templates write for a release, the fixed ones first.

    Of a pre-release, tags that move are left out; of a major version 0, `0` is: what 0.5 breaks,
    0.4 never promised.

    Raises:
        SourceError: a template wants what is not known, or writes no tag.
    """
    found: dict[str, Wish] = {}
    for template in templates:
        moves = version is not None and template in _MOVING
        if moves and version is not None:
            if version.prerelease is not None or (template == "{major}" and version.major == 0):
                continue
            line: tuple[int, ...] | None = _line(template, version)
        else:
            line = None
        tag = _written(template, version=version, commit=commit)
        found.setdefault(tag, Wish(tag=tag, line=line))
    return tuple(sorted(found.values(), key=lambda wish: wish.line is not None))


def decide(
    asked: Sequence[Wish],
    *,
    digest: Digest,
    version: semver.Version | None,
    present: Mapping[str, Digest | None],
    said: Mapping[str, str],
    movable: frozenset[str] = frozenset(),
) -> tuple[TagStep, ...]:
    """Return what becomes of each tag.

    Args:
        asked: the tags, in the order in which they are to be written.
        digest: what they shall point to.
        version: the release's, where it has one.
        present: every tag of the destination; what it points to, for those that were asked for.
        said: for tags that move: which version they stand for now, as far as can be told.
        movable: tags of which the user says that they may move, wherever they point.

    Raises:
        VersionTakenError: a fixed tag is taken, or nobody knows what a moving one stands for.
    """
    return tuple(
        _step(wish, digest=digest, version=version, present=present, said=said, movable=movable)
        for wish in asked
    )


def _step(
    wish: Wish,
    *,
    digest: Digest,
    version: semver.Version | None,
    present: Mapping[str, Digest | None],
    said: Mapping[str, str],
    movable: frozenset[str],
) -> TagStep:
    tag, current = wish.tag, present.get(wish.tag)
    if current == digest:
        return TagStep(tag=tag, doing="there", why="points to this image")
    if wish.line is not None and version is not None:
        higher = _highest_above(version, wish.line, present)
        if higher is not None:
            return TagStep(tag=tag, doing="left", why=f"{higher} is there")
    if current is None:
        return TagStep(tag=tag, doing="set", why="not there before")
    if tag in movable:
        return TagStep(
            tag=tag, doing="move", why=f"from {current.short}, as --move says", before=current
        )
    if wish.line is None or version is None:
        raise VersionTakenError(
            "a tag that never moves is taken by another image",
            where=tag,
            expected="no such tag, or this image under it",
            found=str(current),
            hint="a release is never replaced: give it another version",
        )
    theirs = version_or_none(said.get(tag, ""))
    if theirs is None:
        raise VersionTakenError(
            "nobody knows which version a moving tag points to now",
            where=tag,
            expected="a tag with its version, or org.opencontainers.image.version in it",
            found=str(current),
            hint=f"--move {tag} says that it may go on from there",
        )
    if theirs > version:
        return TagStep(tag=tag, doing="left", why=f"points to {theirs}")
    return TagStep(tag=tag, doing="move", why=f"from {theirs}", before=current)


def in_line(line: tuple[int, ...], tags: Iterable[str]) -> dict[str, semver.Version]:
    """Return the tags that are releases of a line, each with its version."""
    return {
        tag: found
        for tag in tags
        if (found := version_or_none(tag)) is not None
        and found.prerelease is None
        and (found.major, found.minor)[: len(line)] == line
    }


def _highest_above(
    version: semver.Version, line: tuple[int, ...], present: Mapping[str, Digest | None]
) -> semver.Version | None:
    above = [found for found in in_line(line, present).values() if found > version]
    return max(above, default=None)


def version_or_none(text: str) -> semver.Version | None:
    """Return the version that a tag or a label writes, if it is one."""
    try:
        return semver.Version.parse(text.removeprefix("v"))
    except ValueError:
        return None


def _line(template: str, version: semver.Version) -> tuple[int, ...]:
    if template == _LATEST:
        return ()
    whole = (version.major, version.minor)
    return whole if "{minor}" in template else whole[:1]


def _written(template: str, *, version: semver.Version | None, commit: str) -> str:
    known = {}
    if version is not None:
        known = {
            "version": str(version),
            "major": str(version.major),
            "minor": str(version.minor),
        }
    if _COMMIT.fullmatch(commit):
        known |= {"commit": commit, "commit7": commit[:7]}
    unknown = [name for name in _FIELD.findall(template) if name not in known]
    if unknown:
        raise SourceError(
            "a tag needs what is not known of the release",
            where="--tags",
            expected="--semver for versions; --commit, or the image's"
            " org.opencontainers.image.revision, for commits",
            found=shown(template),
        )
    tag = _FIELD.sub(lambda match: known[match[1]], template)
    if _TAG.fullmatch(tag) is None:
        raise SourceError("not a tag", where="--tags", found=shown(tag))
    return tag
