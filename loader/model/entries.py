"""What a bundle statement lists: images with their evidence, and trust material that travels along.

Entries are parsed from the statement and from `airlock.lock`, which writes them alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from loader.errors import FormatError, OciError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.descriptor import Descriptor, Platform
from loader.model.reference import Reference, canonical

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.limits import Limits
    from loader.model.fields import Fields
    from loader.model.strictjson import JsonObject

SIZE_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader agrees on (RFC 7493 §2.2)."""

Store = Literal[
    "signature-tag", "attestation-tag", "sbom-tag", "referrer", "buildkit", "supplement"
]
"""Where a registry kept evidence: cosign's tags, the subject's referrers, or the index itself.

A `supplement` was in no registry: a proof that the packer asked a log for (model/supplement.py).
"""
TrustKind = Literal["trusted-root", "key", "tuf", "notary", "log", "policy", "deny-list"]
"""What travels: files of anchors, a repository, how logs grew (model/growth.py), a proposal for
another policy (model/proposal.py: the proposal, the policy, and signatures over the proposal), or
deny lists (model/deny_list.py)."""

_STORES: Final = frozenset(get_args(Store))
_TRUST_KINDS: Final = frozenset(get_args(TrustKind))
_REPOSITORIES: Final[frozenset[TrustKind]] = frozenset({"tuf", "notary"})
"""Kinds that are many files, each with the name that its repository gives it."""
ANCHOR_LENGTH_MAX: Final = 128
FILE_NAME_LENGTH_MAX: Final = 264
"""A role's name has at most 255 characters, and `.json` and a version go around it."""
_ANCHOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:_/\[\]-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformManifest:
    """One manifest of an image that the bundle carries whole."""

    platform: Platform
    manifest: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceEntry:
    """A manifest that speaks of an image; nothing about it is believed yet."""

    subject: Digest
    """One of the image's digests; a supplement's is the blob of evidence that it is about."""
    store: Store
    manifest: Descriptor
    """A supplement has none: this is the document itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One image: the name it was packed under, what was kept of it, what speaks of it."""

    reference: Reference
    image: Descriptor
    platforms: tuple[PlatformManifest, ...]
    """What was kept. A single manifest stands here itself; other artifacts have none."""
    evidence: tuple[EvidenceEntry, ...]

    @classmethod
    def parse(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> ImageEntry:
        """Return the entry that this object writes.

        Raises:
            FormatError: it is malformed, or its reference names another digest.
        """
        return _image(fields, limits=limits)

    def plain(self) -> JsonObject:
        """Return it as `parse` reads it."""
        return {
            "reference": str(self.reference),
            "image": self.image.plain(),
            "platforms": [
                {"platform": str(kept.platform), "manifest": kept.manifest.plain()}
                for kept in self.platforms
            ],
            "evidence": [
                {
                    "subject": str(item.subject),
                    "store": item.store,
                    "manifest": item.manifest.plain(),
                }
                for item in self.evidence
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustEntry:
    """Trust material that travels along: it must chain to an anchor, or match it."""

    anchor: str
    kind: TrustKind
    blobs: tuple[Descriptor, ...]
    repository: str = ""
    """What a repository's metadata is about: Notary's globally unique name, for TUF the anchor's
    label again. Empty for a file."""
    names: tuple[str, ...] = ()
    """What each blob is called there: `3.root.json`. Nothing is ever written under these names."""

    @classmethod
    def parse(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> TrustEntry:
        """Return the entry that this object writes.

        Raises:
            FormatError: it is malformed.
        """
        return _trust(fields, limits=limits)

    def plain(self) -> JsonObject:
        """Return it as `parse` reads it."""
        document: JsonObject = {
            "anchor": self.anchor,
            "kind": self.kind,
            "blobs": [blob.plain() for blob in self.blobs],
        }
        if self.kind in _REPOSITORIES:
            document |= {"repository": self.repository, "names": list(self.names)}
        return document


def _image(fields: Fields, *, limits: Limits) -> ImageEntry:
    fields.only("reference", "image", "platforms", "evidence")
    reference = Reference.parse(
        fields.text("reference", length_max=1024), where=fields.at("reference")
    )
    plain = canonical(reference.registry, reference.repository)
    if reference.name != plain:
        # Two spellings would be two names for rules and floors, and one for a runtime.
        raise OciError(
            "another spelling of a repository's name",
            where=fields.at("reference"),
            expected=plain,
            found=shown(reference.name),
        )
    image = _descriptor(fields.fields("image"), limits=limits)
    if reference.digest not in {None, image.digest}:
        raise OciError(
            "a reference names another digest than its image has",
            where=fields.at("reference"),
            expected=str(image.digest),
            found=str(reference.digest),
        )
    return ImageEntry(
        reference=reference,
        image=image,
        platforms=tuple(
            _platform(item, limits=limits)
            for item in fields.each("platforms", count_max=limits.layer_count_max)
        ),
        evidence=tuple(
            _evidence(item, limits=limits)
            for item in fields.each("evidence", count_max=limits.image_descriptor_count_max)
        ),
    )


def _platform(fields: Fields, *, limits: Limits) -> PlatformManifest:
    fields.only("platform", "manifest")
    return PlatformManifest(
        platform=Platform.parse(fields.text("platform", length_max=200)),
        manifest=_descriptor(fields.fields("manifest"), limits=limits),
    )


def _evidence(fields: Fields, *, limits: Limits) -> EvidenceEntry:
    fields.only("subject", "store", "manifest")
    store = fields.text("store")
    if store not in _STORES:
        raise FormatError(
            "an unknown store of evidence", where=fields.at("store"), found=shown(store)
        )
    return EvidenceEntry(
        subject=fields.digest("subject"),
        store=store,  # type: ignore[arg-type]  # one of the literals, as compared above
        manifest=_descriptor(fields.fields("manifest"), limits=limits),
    )


def _trust(fields: Fields, *, limits: Limits) -> TrustEntry:
    anchor, kind = fields.text("anchor", length_max=ANCHOR_LENGTH_MAX), fields.text("kind")
    if _ANCHOR.fullmatch(anchor) is None or kind not in _TRUST_KINDS:
        raise FormatError(
            "unknown trust material", where=fields.path, found=shown(f"{anchor} ({kind})")
        )
    blobs = tuple(_descriptor(item, limits=limits) for item in fields.each("blobs", count_max=1024))
    repository, names = "", tuple[str, ...]()
    if kind in _REPOSITORIES:
        fields.only("anchor", "kind", "blobs", "repository", "names")
        repository, names = _repository(fields, len(blobs))
    else:
        fields.only("anchor", "kind", "blobs")
    return TrustEntry(
        anchor=anchor,
        kind=kind,  # type: ignore[arg-type]  # one of the literals, as compared above
        blobs=blobs,
        repository=repository,
        names=names,
    )


def _repository(fields: Fields, count: int) -> tuple[str, tuple[str, ...]]:
    """Return a repository's name and those of its files: one a blob, each once."""
    repository = fields.text("repository", length_max=DEFAULT_LIMITS.name_length_max)
    if _REPOSITORY.fullmatch(repository) is None:
        raise FormatError(
            "not a repository's name", where=fields.at("repository"), found=shown(repository)
        )
    names: list[str] = []
    for name in fields.items("names", count_max=count):
        if (
            not isinstance(name, str)
            or len(name) > FILE_NAME_LENGTH_MAX
            or _FILE_NAME.fullmatch(name) is None
        ):
            raise FormatError("not a file's name", where=fields.at("names"), found=shown(name))
        names.append(name)
    if len(names) != count or len(set(names)) != count:
        raise FormatError(
            "not one name for each file",
            where=fields.at("names"),
            expected=f"{count} different names",
            found=str(len(set(names))),
        )
    return repository, tuple(names)


def _descriptor(fields: Fields, *, limits: Limits) -> Descriptor:
    fields.only("mediaType", "digest", "size")
    fields.integer("size", maximum=SIZE_MAX)
    return Descriptor.parse(fields, where=fields.path, limits=limits)
