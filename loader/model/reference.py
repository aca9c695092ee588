"""Image references, written in full: `registry/repository[:tag][@digest]` (distribution 2.8).

Only full names pass: a short name (`alpine`) means different things to different tools, so the
connected side spells it out before it becomes part of a statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from loader.digest import Digest
from loader.errors import OciError, shown
from loader.limits import DEFAULT_LIMITS

_REGISTRY: Final = re.compile(
    r"(?:localhost|(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|\[[0-9a-f:]+\]"
    r"|[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?=:))(?::([1-9][0-9]{0,4}))?",
    re.ASCII,
)
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*", re.ASCII
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_PORT_MAX: Final = 65535
_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def canonical(registry: str, repository: str) -> str:
    """Return one spelling of a repository's full name; Docker Hub has several."""
    if registry in _DOCKER_HUB:
        registry = "docker.io"
        if "/" not in repository:
            repository = f"library/{repository}"
    return f"{registry}/{repository}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Reference:
    """A full image reference. At least one of tag and digest is there."""

    registry: str
    """Host, with its port where it has one: `ghcr.io`, `localhost:5000`."""
    repository: str
    """Path within the registry: `org/app`."""
    tag: str = ""
    digest: Digest | None = None

    def __post_init__(self) -> None:
        registry = _REGISTRY.fullmatch(self.registry)
        if registry is None or (registry.group(1) and int(registry.group(1)) > _PORT_MAX):
            raise OciError(
                "not a registry's name", expected="host or host:port", found=shown(self.registry)
            )
        if _REPOSITORY.fullmatch(self.repository) is None:
            raise OciError("not a repository's name", found=shown(self.repository))
        if len(self.name) > DEFAULT_LIMITS.name_length_max:
            raise OciError("a repository's name is too long", found=shown(self.name))
        if self.tag and _TAG.fullmatch(self.tag) is None:
            raise OciError("not a tag", found=shown(self.tag))
        if not self.tag and self.digest is None:
            raise OciError("a reference without tag and digest", found=shown(self.name))

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Reference:
        """Return the reference that `registry/repository[:tag][@sha256:…]` writes.

        Raises:
            OciError: a short name, upper case, an empty part, or anything that the grammar does
            not hold.
        """
        rest, at, digest = text.partition("@")
        registry, slash, path = rest.partition("/")
        if not slash or (at and not digest):
            raise OciError(
                "not a full image reference",
                where=where,
                expected="registry/repository:tag",
                found=shown(text),
            )
        repository, colon, tag = path.partition(":")
        if colon and not tag:
            raise OciError(
                "not a full image reference",
                where=where,
                expected="a tag behind the colon",
                found=shown(text),
            )
        return cls(
            registry=registry,
            repository=repository,
            tag=tag,
            digest=Digest.parse(digest, where=where) if at else None,
        )

    @property
    def name(self) -> str:
        """The repository's full name, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """The name with its tag, or else its digest: what a runtime stores it under."""
        return f"{self.name}:{self.tag}" if self.tag else f"{self.name}@{self.digest}"

    def __str__(self) -> str:
        return (
            self.name
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )


def read_signed_name(text: str) -> tuple[str, str] | None:
    """Return repository (in canonical spelling) and tag of a signed name, if it is one.

    Whoever signs may write a name with or without tag and digest; what is no full name (a file's
    name, a package URL) names no image.
    """
    name, _, _ = text.partition("@")
    tagged = ":" in name.rpartition("/")[2]
    try:
        found = Reference.parse(name if tagged else f"{name}:latest")
    except OciError:
        return None
    return canonical(found.registry, found.repository), found.tag if tagged else ""
