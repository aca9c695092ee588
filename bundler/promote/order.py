"""What `airlock promote` is asked to do, from the command line to values."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import semver

from bundler.errors import SourceError
from bundler.promote.tags import PRESETS, parse_version, version_or_none
from bundler.reach import Reach
from bundler.sources import RegistryImage, parse_reference, parse_source
from loader.errors import shown
from loader.model.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteOrder:
    """One promotion."""

    source: RegistryImage
    destination: Reference
    """A repository; what its tag would be says `templates`."""
    policy: Path
    version: semver.Version | None
    templates: tuple[str, ...]
    commit: str
    """Empty: what the image says of itself."""
    movable: frozenset[str]
    dry_run: bool
    deep: bool
    repair_referrers_tag: bool
    now: datetime
    reach: Reach

    @classmethod
    def make(
        cls,
        options: Namespace,
        *,
        environment: Mapping[str, str],
        now: datetime,
    ) -> Self:
        """Return the order that the arguments give.

        Raises:
            SourceError: a reference, a version or a tag cannot be understood, or says two things.
        """
        source = parse_source(options.source)
        if not isinstance(source, RegistryImage):
            raise SourceError(
                "a promotion goes from registry to registry",
                where="SRC",
                expected="registry/repository:tag or @sha256:...",
                found=shown(options.source),
                hint="airlock pack and airlock-loader load --into registry: bring a layout there",
            )
        destination, tag = _destination(options.destination)
        version = None if options.semver is None else parse_version(options.semver)
        movable = frozenset(options.move)
        for name in movable:
            if version_or_none(name) is not None:
                raise SourceError("a version's own tag never moves", where="--move", found=name)
        return cls(
            source=source,
            destination=destination,
            policy=options.policy,
            version=version,
            templates=_templates(options.tags, tag, version, source.reference),
            commit=options.commit or "",
            movable=movable,
            dry_run=options.dry_run,
            deep=options.deep,
            repair_referrers_tag=options.repair_referrers_tag,
            now=now.replace(microsecond=0),
            reach=Reach.make(options, environment=environment),
        )


def _destination(text: str) -> tuple[Reference, str]:
    """Return the repository, and the tag where one was written."""
    if "@" in text:
        raise SourceError(
            "a destination has the source's digest, whatever is written",
            where="DST",
            expected="registry/repository or registry/repository:tag",
            found=shown(text),
        )
    tag = text.rpartition("/")[2].partition(":")[2]
    return parse_reference(text, where="DST"), tag


def _templates(
    asked: str | None, tag: str, version: semver.Version | None, source: Reference
) -> tuple[str, ...]:
    """Return what tags are to be written: as asked, or the version's, or the source's own."""
    if asked is not None:
        if tag:
            raise SourceError("tags are written twice", where="DST and --tags", found=shown(tag))
        return PRESETS[asked] if asked in PRESETS else tuple(asked.split(","))
    if tag:
        return (tag,)
    if version is not None:
        return PRESETS["semver"]
    if source.tag:
        return (source.tag,)
    raise SourceError(
        "nothing says which tag the image gets",
        expected="--semver, --tags, or a tag in DST or SRC",
    )
