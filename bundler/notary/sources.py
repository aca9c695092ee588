"""Repositories of content trust to look at, in a cache or in a bundle, and how they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bundler.notary.captured import Captured, read_cache, repositories_in
from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.errors import AnchorFileError, UsageError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement
from loader.model.notary_roles import ROOT
from loader.source import BundleFile
from loader.trust.notary_pins import NotaryPins, is_key_id
from loader.verify.notary.facts import ContentTrust
from loader.verify.notary.repository import verify_repository

_SUFFIX: Final = ".json"


def read_source(path: Path, repositories: Sequence[str]) -> tuple[Captured, ...]:
    """Return the repositories of a cache's folder or a bundle; all of them where none is named.

    Raises:
        UsageError: it holds none of these.
        RefusedError: it is a broken bundle.
    """
    if path.is_dir():
        if (path / "root.json").is_file() and not repositories:
            raise UsageError(
                "the folder is one repository's, and does not say of which",
                where=str(path),
                expected="its name behind the folder",
            )
        return tuple(read_cache(path, gun) for gun in repositories or repositories_in(path))
    found = {one.gun: one for one in _in_bundle(path)}
    absent = [gun for gun in repositories if gun not in found]
    if absent or not found:
        raise UsageError(
            "the bundle carries no content trust" + (f" of {shown(absent[0])}" if absent else ""),
            where=str(path),
            found=", ".join(found) or "none",
        )
    return tuple(found[gun] for gun in repositories or sorted(found))


def _in_bundle(path: Path) -> tuple[Captured, ...]:
    with BundleFile.open(path) as source, MetadataStore(path.parent) as blobs:
        reader = ArchiveReader(source)
        statement = BundleStatement.parse(reader.read_statement().raw)
        reader.read_metadata(statement, blobs)
        return tuple(
            Captured(
                gun=entry.repository,
                files={
                    name.removesuffix(_SUFFIX): blobs.read(
                        blob, where=name, size_max=DEFAULT_LIMITS.notary_repository_size_max
                    )
                    for name, blob in zip(entry.names, entry.blobs, strict=True)
                },
                origin=f"{path} (anchor {entry.anchor})",
            )
            for entry in statement.trust
            if entry.kind == "notary"
        )


def read_pins(text: str) -> NotaryPins:
    """Return what `--notary-root` pins: an id, or a file as an anchor has it.

    Raises:
        UsageError: it cannot be read, or pins nothing.
    """
    path = Path(text)
    try:
        raw = text.encode() if is_key_id(text) else path.read_bytes()
        return NotaryPins.parse(raw, name=text, read=lambda file: (path.parent / file).read_bytes())
    except OSError as e:
        raise AnchorFileError("a pin cannot be read", where=text, found=e.strerror or "") from e


def verify(captured: Captured, pins: NotaryPins | None) -> ContentTrust:
    """Return what a repository says, under pins, or under nothing but its own root.

    Raises:
        NotaryError: it does not hold.
    """
    if pins is None:
        root = captured.files.get(ROOT, b"")
        pins = NotaryPins.parse(root, name="its own root", read=lambda _: b"")
    return verify_repository(captured.files, gun=captured.gun, pins=pins).value
