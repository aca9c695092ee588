"""What a verb was asked to judge: an image where it is kept, or a bundle on a disk.

Either way there are a statement and the small blobs that it lists, which is what the judge takes.
An image is collected as `pack` would, layers apart; nothing is written but the download cache.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from bundler.collect import Wanted, gathered
from bundler.notary.wanted import CapturedTrust, WantedTrust
from bundler.pack.plan import plan
from bundler.progress import Collecting, Meter
from bundler.reach import Reach
from bundler.registry.retry import patient
from bundler.sources import LayoutImage, Source, parse_reference, parse_source
from bundler.store import ContentStore
from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.errors import UsageError, shown
from loader.model.bundle import BlobSource, BundleStatement, ImageEntry
from loader.model.descriptor import Platform
from loader.source import BundleFile

_ARCHIVE: Final = re.compile(r".*\.(?:tar|tar\.zst)", re.DOTALL)
_SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open
_NAMELESS: Final = "localhost/nameless:latest"
"""What an image of a layout goes by that knows no full name, where no name is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Images with all evidence about them, as the judge takes them."""

    kind: Literal["image", "bundle"]
    text: str
    """What the user wrote."""
    statement: BundleStatement
    signatures: tuple[bytes, ...]
    blobs: BlobSource
    notes: tuple[str, ...]
    """What was left out while collecting, and why."""

    def name_of(self, entry: ImageEntry) -> str:
        """Return what people call this image."""
        return self.text if str(entry.reference) == _NAMELESS else str(entry.reference)


@contextmanager
def opened(
    text: str,
    reach: Reach,
    *,
    now: datetime,
    meter: Meter,
    platforms: tuple[Platform, ...] = (),
    names_matter: bool = True,
    digest_required: bool = False,
    wanted_trust: WantedTrust | None = None,
) -> Iterator[Subject]:
    """Give what `text` names: the path of a bundle, or an image as `pack` takes it.

    Args:
        text: what the user wrote.
        reach: registries and the cache.
        now: when images are asked for.
        meter: who is told how far it is.
        platforms: those to look at; none means all.
        names_matter: whether an image must have a full name, because a policy asks for it.
        digest_required: whether a tag alone is refused.
        wanted_trust: content trust that a policy asks for; a bundle has its own.

    Raises:
        UsageError: it names neither, or only a tag where a digest is required.
        RemoteError: a registry.
        RefusedError: image or bundle are malformed.
        LocalError: this machine.
    """
    path = Path(text)
    if path.is_file():
        with _bundle(text, path) as subject:
            yield subject
        return
    if _ARCHIVE.fullmatch(text) is not None and not text.startswith(("oci:", "oci-archive:")):
        raise UsageError("there is no such file", where=shown(text))
    source = parse_source(text)
    if digest_required:
        _expect_digest(source)
    if isinstance(source, LayoutImage) and source.reference is None and not names_matter:
        source = replace(source, reference=parse_reference(_NAMELESS))
    with _image(
        text,
        source,
        reach,
        now=now,
        meter=meter,
        platforms=platforms,
        wanted_trust=wanted_trust,
    ) as subject:
        yield subject


def _expect_digest(source: Source) -> None:
    by_digest = (
        not isinstance(source.wanted, str | None)
        if isinstance(source, LayoutImage)
        else source.reference.digest is not None
    )
    if not by_digest:
        raise UsageError(
            "a tag may be moved at any time, and --require-digest takes none",
            where=shown(str(source)),
            expected="registry/repository@sha256:...",
            hint="`airlock resolve` says the digest of a tag",
        )


@contextmanager
def _bundle(text: str, path: Path) -> Iterator[Subject]:
    with BundleFile.open(path) as source, MetadataStore(_SCRATCH) as blobs:
        reader = ArchiveReader(source)
        sealed = reader.read_statement()
        statement = BundleStatement.parse(sealed.raw)
        reader.read_metadata(statement, blobs)
        yield Subject(
            kind="bundle",
            text=text,
            statement=statement,
            signatures=sealed.signatures,
            blobs=blobs,
            notes=(),
        )


def named(text: str, name: str) -> str:
    """Return words about an image that has no name, with what the user called it."""
    return text.replace(_NAMELESS, name)


@contextmanager
def _image(
    text: str,
    source: Source,
    reach: Reach,
    *,
    now: datetime,
    meter: Meter,
    platforms: tuple[Platform, ...],
    wanted_trust: WantedTrust | None,
) -> Iterator[Subject]:
    cancelled = threading.Event()
    store = ContentStore(reach.cache, cancelled=cancelled)
    progress = Collecting(meter)
    wanted = Wanted(sources=(source,), platforms=platforms, parallel_count=reach.jobs, layers=False)
    with (
        reach.registries(cancelled) as registries,
        gathered(wanted, registries, store, progress, cancelled=cancelled) as found,
    ):
        progress.end()
        images = tuple(image.entry for image in found.images)
        captured = CapturedTrust()
        if wanted_trust is not None:
            captured = wanted_trust.capture(images, store, now=now, sleep=patient(cancelled))
        yield Subject(
            kind="image",
            text=text,
            statement=plan(images, captured.entries, store, created=now.replace(microsecond=0)),
            signatures=(),
            blobs=store,
            notes=(*(note for image in found.images for note in image.notes), *captured.notes),
        )
