"""What a user may write to say which images are meant.

    ghcr.io/org/app:1.2            a registry; short names are spelled out as docker does
    alpine                         docker.io/library/alpine:latest
    oci:DIR[:NAME]                 an OCI layout in a folder; NAME as it has it
    oci:DIR@sha256:HEX
    oci-archive:FILE[:NAME]        the same in a tar
    REFERENCE=oci:DIR[:NAME]       ... packed under REFERENCE, where NAME is only a tag

Lists of them stand in `images.txt` (one a line, `#` begins a comment) or in `bundle.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from bundler.errors import SourceError
from bundler.registry.settings import DOCKER_HUB
from loader.digest import Digest
from loader.errors import FormatError, shown
from loader.limits import MIB
from loader.model.reference import Reference

LIST_SIZE_MAX: Final = 1 * MIB
_OFFICIAL: Final = "library"
_LATEST: Final = "latest"
_HUB_ALIASES: Final = frozenset({"index.docker.io", "registry-1.docker.io"})
_LAYOUT: Final = re.compile(r"(?:(?P<name>[^=\s]+)=)?(?P<kind>oci|oci-archive):(?P<rest>\S.*)")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryImage:
    """An image of a registry."""

    reference: Reference

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutImage:
    """An image of an OCI layout on this machine."""

    kind: Literal["oci", "oci-archive"]
    path: Path
    wanted: str | Digest | None
    """Its name or digest in the layout; None where it is the only one."""
    reference: Reference | None
    """What it is packed under; None where the layout itself says a full name."""

    def __str__(self) -> str:
        separator = "@" if isinstance(self.wanted, Digest) else ":"
        return f"{self.kind}:{self.path}" + (f"{separator}{self.wanted}" if self.wanted else "")


Source: TypeAlias = RegistryImage | LayoutImage


def parse_source(text: str, *, where: str = "", directory: Path = Path()) -> Source:
    """Return the source that `text` writes; relative paths begin at `directory`.

    Raises:
        SourceError: it writes none.
    """
    layout = _LAYOUT.fullmatch(text)
    if layout is None:
        return RegistryImage(reference=parse_reference(text, where=where))
    rest, wanted = layout["rest"], None
    path, at, digest = rest.rpartition("@sha256:")
    parsed: str | Digest | None
    if at:
        try:
            parsed = Digest.parse(f"sha256:{digest}", where=where)
        except FormatError as e:
            raise SourceError(e.message, where=where, found=shown(text)) from e
    else:
        path, _, wanted = rest.partition(":")
        parsed = wanted or None
    if not path:
        raise SourceError(
            "a layout without its path", where=where, expected="oci:DIR[:NAME]", found=shown(text)
        )
    return LayoutImage(
        kind="oci" if layout["kind"] == "oci" else "oci-archive",
        path=directory / path,
        wanted=parsed,
        reference=None if layout["name"] is None else parse_reference(layout["name"], where=where),
    )


def parse_reference(text: str, *, where: str = "") -> Reference:
    """Return the full reference that `text` stands for, short names spelled out as docker does.

    Raises:
        SourceError: it is none.
    """
    name, at, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = DOCKER_HUB, name
    if registry in _HUB_ALIASES:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    if not at and ":" not in path:
        path = f"{path}:{_LATEST}"
    try:
        return Reference.parse(f"{registry}/{path}{at}{digest}")
    except FormatError as e:
        raise SourceError(
            "not an image reference",
            where=where,
            expected="registry/repository:tag, or oci:DIR:NAME",
            found=f"{shown(text)}: {e.message}",
        ) from e


def parse_list(raw: bytes, *, path: Path) -> tuple[Source, ...]:
    """Return the sources of an `images.txt`: one a line, comments and blank lines between them.

    Raises:
        SourceError: a line writes none; or the file is not plain UTF-8 text.
    """
    found = [
        parse_source(line, where=f"{path}:{number}", directory=path.parent)
        for number, line in _lines(raw, path=path)
    ]
    if not found:
        raise SourceError("a list without images", where=str(path))
    return tuple(dict.fromkeys(found))


def _lines(raw: bytes, *, path: Path) -> Iterator[tuple[int, str]]:
    if len(raw) > LIST_SIZE_MAX:
        raise SourceError(
            "a list is too large", where=str(path), expected=f"at most {LIST_SIZE_MAX} bytes"
        )
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(
            "a list begins with a byte order mark",
            where=str(path),
            hint="save it as UTF-8 without BOM",
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise SourceError("a list is not UTF-8", where=f"{path}, byte {e.start}") from e
    for number, line in enumerate(text.split("\n"), start=1):
        bare = _COMMENT.sub("", line.removesuffix("\r")).strip(" \t")
        if not bare.isprintable():
            raise SourceError(
                "a line with characters that are not text",
                where=f"{path}:{number}",
                found=shown(bare),
            )
        if bare:
            yield number, bare
