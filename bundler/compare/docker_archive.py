"""What `docker save` wrote before it wrote OCI layouts (docker 24 and before), read where it lies.

`manifest.json` names a config and layer files, which are tars as they are. There is no manifest, so
nothing in here has the digest that a signature covers.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from bundler.compare.side import LayerSource, PlatformImage, Side
from bundler.errors import SourceError
from loader.errors import (
    LimitError,
    MissingError,
    OciError,
    PathError,
    TarError,
    TruncatedError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model import strictjson
from loader.model.descriptor import OCI_CONFIG, Descriptor
from loader.model.fields import Fields
from loader.model.image import ImageConfig

MANIFEST_NAME: Final = "manifest.json"
_BLOCK: Final = 512
_PIECE: Final = 1 * MIB
_COUNT_MAX: Final = 100_000
_LINKS_MAX: Final = 4
_FILE: Final = frozenset({b"0", b"\0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    offset: int
    size: int
    link: str
    """Empty for a file; older versions linked equal layers."""


class DockerArchive:
    """The members of one archive, and the images that it lists."""

    def __init__(self, file: BinaryIO, *, name: str) -> None:
        self._file = file
        self._name = name
        self._members: dict[str, _Member] = {}
        for member_name, member in _members(file, name):
            if member_name in self._members:
                raise PathError("a file comes twice", where=name, found=shown(member_name))
            self._members[member_name] = member

    def has(self, name: str) -> bool:
        """Tell whether a file of this name is in it."""
        return name in self._members

    def side(self, wanted: str) -> Side:
        """Return the image of this name, or the only one.

        Raises:
            SourceError: there is none, or several.
            FormatError: the archive is malformed.
        """
        size_max = DEFAULT_LIMITS.document_size_max
        listed = strictjson.parse(self._small(MANIFEST_NAME), what=MANIFEST_NAME, size_max=size_max)
        if not isinstance(listed, list):
            raise OciError("not a list of images", where=f"{self._name} {MANIFEST_NAME}")
        images = [Fields(item, f"{MANIFEST_NAME}[{n}]") for n, item in enumerate(listed)]
        names = [_texts(one, "RepoTags") for one in images]
        found = [
            one for one, tags in zip(images, names, strict=True) if not wanted or wanted in tags
        ]
        if len(found) != 1:
            known = sorted({tag for tags in names for tag in tags})
            raise SourceError(
                "several images, and no name says which" if found else "no such image",
                where=self._name,
                expected=f"one of: {', '.join(shown(tag) for tag in known[:20])}",
                found=shown(wanted),
                hint="write docker-archive:FILE#NAME:TAG",
            )
        return Side(name=self._name, digest=None, platforms=(self._image(found[0]),))

    def _image(self, fields: Fields) -> PlatformImage:
        raw = self._small(fields.text("Config", length_max=1024))
        config = ImageConfig.parse(
            raw, Descriptor.make(OCI_CONFIG, raw), where=f"{self._name} config"
        )
        layers = _texts(fields, "Layers")
        if len(layers) != len(config.diff_ids):
            raise OciError(
                "an image's config names another number of layers than the archive",
                where=self._name,
                expected=str(len(layers)),
                found=str(len(config.diff_ids)),
            )
        return PlatformImage(
            platform=str(config.platform),
            manifest=None,
            config=config,
            layers=tuple(
                LayerSource(
                    diff_id=diff_id,
                    blob=None,
                    media_type="application/x-tar",
                    size=self._member(layer).size,
                    open=self._opener(layer),
                )
                for layer, diff_id in zip(layers, config.diff_ids, strict=True)
            ),
        )

    def _opener(self, name: str) -> Callable[[], Iterator[bytes]]:
        member = self._member(name)
        return lambda: self._chunks(member)

    def _chunks(self, member: _Member) -> Iterator[bytes]:
        done = 0
        while done < member.size:
            size = min(_PIECE, member.size - done)
            piece = os.pread(self._file.fileno(), size, member.offset + done)
            if not piece:
                raise TruncatedError("a file became shorter while it was read", where=self._name)
            done += len(piece)
            yield piece

    def _small(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > DEFAULT_LIMITS.document_size_max:
            raise LimitError(
                "a document is too large",
                where=f"{self._name} {shown(name)}",
                expected=f"at most {DEFAULT_LIMITS.document_size_max} bytes",
                found=f"{member.size} bytes",
            )
        return b"".join(self._chunks(member))

    def _member(self, name: str) -> _Member:
        at = name
        for _ in range(_LINKS_MAX):
            member = self._members.get(at)
            if member is None:
                raise MissingError(
                    "a file is named and not in the archive", where=self._name, found=shown(name)
                )
            if not member.link:
                return member
            at = posixpath.normpath(posixpath.join(posixpath.dirname(at), member.link))
        raise PathError("links that lead to links", where=self._name, found=shown(name))


def _texts(fields: Fields, name: str) -> list[str]:
    if not fields.has(name):
        return []
    found: list[str] = []
    for item in fields.items(name, count_max=DEFAULT_LIMITS.layer_count_max):
        if not isinstance(item, str):
            raise OciError("not a string", where=fields.at(name))
        found.append(item)
    return found


def _members(file: BinaryIO, name: str) -> Iterator[tuple[str, _Member]]:
    """Yield each regular file and link by its name."""
    end = os.fstat(file.fileno()).st_size
    position = count = 0
    while position < end:
        block = os.pread(file.fileno(), _BLOCK, position)
        where = f"{shown(name)}, byte {position}"
        if len(block) < _BLOCK:
            raise TruncatedError("an archive ends within a record", where=where)
        if not any(block):
            return
        counted = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
        if block[257:262] != b"ustar" or counted != _octal(block[148:156], where):
            raise TarError(
                "not a tar header",
                where=where,
                hint="is it compressed? gunzip or unzstd it first" if not position else "",
            )
        size = _octal(block[124:136], where)
        kind = block[156:157]
        member = block[:100].split(b"\0", 1)[0].decode("ascii", "backslashreplace")
        if position + _BLOCK + size > end:
            raise TruncatedError("an archive ends within a member", where=where)
        if kind in _FILE or kind in {b"1", b"2"}:
            link = (
                ""
                if kind in _FILE
                else block[157:257].split(b"\0", 1)[0].decode("ascii", "replace")
            )
            offset = position + _BLOCK
            yield member.removeprefix("./"), _Member(offset=offset, size=size, link=link)
        count += 1
        if count > _COUNT_MAX:
            raise LimitError("an archive has too many members", expected=f"at most {_COUNT_MAX}")
        position += _BLOCK + size + -size % _BLOCK


def _octal(field: bytes, where: str) -> int:
    if field[0] == 0x80:  # noqa: PLR2004  # GNU's mark for base-256
        value = int.from_bytes(field[1:], "big")
        if value >> 62:
            raise TarError("a number out of range", where=where)
        return value
    text = field.strip(b" \0")
    if not text or text.strip(b"01234567"):
        raise TarError("not an octal number", where=where, found=shown(field))
    return int(text, 8)
