"""What is new in a bundle: images, tags that moved, who signed, evidence that came and went.

Nothing is verified here: this is what two bundles say of themselves. Who signed is read from the
certificates and keys that evidence names; whether it holds is the judge's to say.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.compare.signers import signer_of
from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.errors import AirlockError
from loader.evidence import Broken, Unsigned, evidence_of, kind_of
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BlobSource, BundleStatement, ImageEntry
from loader.model.fields import format_instant
from loader.model.strictjson import JsonObject
from loader.source import BundleFile

SCHEMA: Final = "airlock-diff/1"
_SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSaid:
    """What a bundle says of one name."""

    digest: str
    platforms: frozenset[str]
    evidence: Mapping[str, frozenset[str]]
    """Digests of the pieces, by what they are."""
    signers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSaid:
    """What a bundle says of itself."""

    name: str
    digest: str
    channel: str
    created: str
    expires: str
    images: Mapping[str, ImageSaid]
    trust: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was."""

    subject: str
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old or not self.new:
            return f"{self.what} {'came' if self.new else 'went'}: {self.new or self.old}"
        return f"{self.what}: {self.old} → {self.new}"


def read_bundle(path: Path) -> BundleSaid:
    """Read what a bundle says of itself, without its layers.

    Raises:
        RefusedError: it is not a bundle, or malformed.
        InputError: it cannot be read.
    """
    with BundleFile.open(path) as source, MetadataStore(_SCRATCH) as blobs:
        reader = ArchiveReader(source)
        statement = BundleStatement.parse(reader.read_statement().raw)
        reader.read_metadata(statement, blobs)
        images = {entry.reference.tagged: _image(entry, blobs) for entry in statement.images}
    place = f"{statement.channel} {statement.sequence}" if statement.channel else ""
    return BundleSaid(
        name=str(path),
        digest=str(statement.digest),
        channel=place,
        created=format_instant(statement.created),
        expires="" if statement.expires is None else format_instant(statement.expires),
        images=images,
        trust=frozenset(
            f"{entry.kind} {entry.anchor} {blob.digest.short}"
            for entry in statement.trust
            for blob in entry.blobs
        ),
    )


def changes(old: BundleSaid, new: BundleSaid) -> tuple[Change, ...]:
    """Return what changed from one bundle to the other, image by image."""
    found = [
        Change(subject="bundle", what=what, old=before, new=after)
        for what, before, after in (
            ("channel", old.channel, new.channel),
            ("expiry", old.expires, new.expires),
        )
        if before != after
    ]
    found += _came_and_went("bundle", "trust", old.trust, new.trust)
    for name in sorted(old.images.keys() | new.images.keys()):
        found += _image_changes(name, old.images.get(name), new.images.get(name))
    return tuple(found)


def as_text(old: BundleSaid, new: BundleSaid) -> Iterator[str]:
    """Yield the lines that a person reads."""
    for label, one in (("old", old), ("new", new)):
        place = f", {one.channel}" if one.channel else ""
        yield f"{label}       {one.name}: {one.digest.partition(':')[2][:12]}, {one.created}{place}"
    found = changes(old, new)
    for subject, group in itertools.groupby(found, key=lambda one: one.subject):
        yield subject
        yield from (f"  {change}" for change in group)
    yield f"changes   {len(found) or 'none'} (NOT VERIFIED: this is what they say of themselves)"


def as_json(old: BundleSaid, new: BundleSaid) -> JsonObject:
    """Return the document of schema `airlock-diff/1`."""
    return {
        "schema": SCHEMA,
        "verified": False,
        "old": {"path": old.name, "digest": old.digest},
        "new": {"path": new.name, "digest": new.digest},
        "changes": [
            {"subject": one.subject, "what": one.what, "old": one.old, "new": one.new}
            for one in changes(old, new)
        ],
    }


def _image_changes(name: str, old: ImageSaid | None, new: ImageSaid | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(
            subject=name,
            what="image",
            old="" if old is None else old.digest,
            new="" if new is None else new.digest,
        )
        return
    if old.digest != new.digest:
        yield Change(subject=name, what="points to", old=old.digest, new=new.digest)
    yield from _came_and_went(name, "platform", old.platforms, new.platforms)
    yield from _came_and_went(name, "signer", old.signers, new.signers)
    for kind in sorted(old.evidence.keys() | new.evidence.keys()):
        before = old.evidence.get(kind, frozenset())
        after = new.evidence.get(kind, frozenset())
        what = f"evidence, {kind}"
        if old.digest == new.digest:
            yield from _came_and_went(name, what, before, after)
        elif len(before) != len(after):  # another image has other evidence: what counts is how much
            yield Change(subject=name, what=what, old=str(len(before)), new=str(len(after)))


def _came_and_went(
    name: str, what: str, old: frozenset[str], new: frozenset[str]
) -> Iterator[Change]:
    for one in sorted(old - new):
        yield Change(subject=name, what=what, old=one, new="")
    for one in sorted(new - old):
        yield Change(subject=name, what=what, old="", new=one)


def _image(entry: ImageEntry, blobs: BlobSource) -> ImageSaid:
    graph = read_graph(entry, blobs)
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    signers: set[str] = set()
    for found in evidence_of(entry, graph, blobs, limits=DEFAULT_LIMITS):
        digest = str(found.blob or found.entry.manifest.digest)
        match found.evidence:
            case Unsigned():
                kinds[f"unsigned {found.evidence.what}"].add(digest)
            case Broken():
                kinds["unreadable"].add(digest)
            case signed:
                kinds[kind_of(signed, limits=DEFAULT_LIMITS).words].add(digest)
                try:
                    signers.add(signer_of(signed))
                except AirlockError:
                    signers.add("somebody unreadable")
    return ImageSaid(
        digest=str(entry.image.digest),
        platforms=frozenset(str(kept.platform) for kept in entry.platforms),
        evidence={kind: frozenset(digests) for kind, digests in kinds.items()},
        signers=frozenset(signers),
    )
