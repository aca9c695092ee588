"""What `cosign save` writes, and what Dangerzone makes of it: one image, and what speaks of it.

`cosign save` marks each entry of index.json by an annotation: image or index, signatures,
attestations. Dangerzone keeps that as dangerzone.json, and leaves the image alone in index.json,
because podman and docker take nothing else. Neither is signed: both only say what is where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from loader.errors import FormatError, MissingError, OciError, shown
from loader.model import strictjson
from loader.model.descriptor import INDEX_MEDIA_TYPES, Descriptor
from loader.model.entries import EvidenceEntry, ImageEntry, PlatformManifest, Store
from loader.model.fields import Fields
from loader.model.image import ImageConfig, ImageIndex, ImageManifest, parse_manifest
from loader.model.reference import Reference, canonical
from loader.model.simplesigning import SimpleSigning

if TYPE_CHECKING:
    from typing import Protocol

    from loader.digest import Digest
    from loader.limits import Limits
    from loader.model.bundle import BlobSource
    from loader.model.strictjson import JsonObject, JsonValue

    class Blobs(BlobSource, Protocol):
        """The archive's blobs."""

        def __contains__(self, digest: Digest) -> bool: ...


MANIFEST_NAME: Final = "./dangerzone.json"
INDEX_NAME: Final = "./index.json"
LAYOUT_NAME: Final = "./oci-layout"
DOCUMENTS: Final = (MANIFEST_NAME, INDEX_NAME, LAYOUT_NAME)
_PREFIX: Final = "dev.cosignproject.cosign/"
_IMAGES: Final = frozenset({f"{_PREFIX}image", f"{_PREFIX}imageIndex"})
_EVIDENCE: Final[dict[str, Store]] = {
    f"{_PREFIX}sigs": "signature-tag",
    f"{_PREFIX}atts": "attestation-tag",
}
_ENTRY_COUNT_MAX: Final = 64
_LATEST: Final = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The archive's two indexes, which agree."""

    image: Descriptor
    evidence: tuple[tuple[Store, Descriptor], ...]

    @classmethod
    def parse(cls, documents: dict[str, bytes], *, limits: Limits) -> Self:
        """Return what the documents say.

        What becomes true: dangerzone.json without what is no image is index.json, as Dangerzone
        itself asks; there is one image; nothing is of a kind that is not known.

        Raises:
            FormatError: any of that does not hold.
        """
        size_max = limits.document_size_max
        layout = strictjson.parse_object(
            documents[LAYOUT_NAME], what=LAYOUT_NAME, size_max=size_max
        )
        if layout.get("imageLayoutVersion") != "1.0.0":
            raise OciError("not an OCI image layout 1.0.0", where=LAYOUT_NAME)
        whole = strictjson.parse_object(
            documents[MANIFEST_NAME], what=MANIFEST_NAME, size_max=size_max
        )
        shown_to_runtimes = strictjson.parse_object(
            documents[INDEX_NAME], what=INDEX_NAME, size_max=size_max
        )
        entries = [
            (_kind(fields), fields.object, fields)
            for fields in Fields(whole, MANIFEST_NAME).each("manifests", count_max=_ENTRY_COUNT_MAX)
        ]
        images: list[JsonValue] = [plain for kind, plain, _ in entries if kind in _IMAGES]
        expected: JsonObject = {**whole, "manifests": images}
        if expected != shown_to_runtimes:
            raise FormatError(
                "index.json is not what dangerzone.json says of the images",
                where=INDEX_NAME,
                hint="signatures were made for what dangerzone.json lists: ask for a new archive",
            )
        described = [
            (kind, Descriptor.parse(fields, where=MANIFEST_NAME, limits=limits))
            for kind, _, fields in entries
        ]
        found = [descriptor for kind, descriptor in described if kind in _IMAGES]
        if len(found) != 1:
            raise FormatError(
                "not one image", where=INDEX_NAME, expected="1", found=str(len(found))
            )
        return cls(
            image=found[0],
            evidence=tuple(
                (_EVIDENCE[kind], descriptor) for kind, descriptor in described if kind in _EVIDENCE
            ),
        )

    def entry(self, blobs: Blobs, *, limits: Limits) -> ImageEntry:
        """Return the image under the name that its first signature says, which nobody believes yet.

        Raises:
            MissingError: there is no signature, or a document is not in the archive.
            FormatError: a document is malformed.
        """
        return ImageEntry(
            reference=self._reference(blobs, limits=limits),
            image=_bare(self.image),
            platforms=tuple(self._platforms(blobs, limits=limits)),
            evidence=tuple(
                EvidenceEntry(subject=self.image.digest, store=store, manifest=_bare(manifest))
                for store, manifest in self.evidence
            ),
        )

    def _reference(self, blobs: Blobs, *, limits: Limits) -> Reference:
        signatures = [d for store, d in self.evidence if store == "signature-tag"]
        if not signatures:
            raise MissingError("the archive holds no signature", where=MANIFEST_NAME)
        where = f"signatures {signatures[0].digest.short}"
        raw = blobs.read(signatures[0], where=where, size_max=limits.document_size_max)
        manifest = parse_manifest(raw, signatures[0], where=where, limits=limits)
        if not isinstance(manifest, ImageManifest) or not manifest.layers:
            raise MissingError("the archive holds no signature", where=where)
        payload = blobs.read(manifest.layers[0], where=where, size_max=limits.document_size_max)
        said = SimpleSigning.parse(payload, where=where, limits=limits).docker_reference
        name, _, _ = said.partition("@")
        if ":" not in name.rpartition("/")[2]:
            name = f"{name}:{_LATEST}"  # as dangerzone-image tags it
        parsed = Reference.parse(name, where=where)
        plain = canonical(parsed.registry, parsed.repository)
        return Reference.parse(f"{plain}:{parsed.tag}", where=where)

    def _platforms(self, blobs: Blobs, *, limits: Limits) -> list[PlatformManifest]:
        where = f"image {self.image.digest.short}"
        raw = blobs.read(self.image, where=where, size_max=limits.document_size_max)
        top = parse_manifest(raw, self.image, where=where, limits=limits)
        if isinstance(top, ImageIndex):
            leaves = [d for d in top.platform_manifests if d.digest in blobs]
            if not leaves or any(d.media_type in INDEX_MEDIA_TYPES for d in leaves):
                raise OciError("an index without manifests, or one of indexes", where=where)
        else:
            leaves = [top.descriptor]
        found: list[PlatformManifest] = []
        for leaf in leaves:
            document = blobs.read(leaf, where=where, size_max=limits.document_size_max)
            manifest = parse_manifest(document, leaf, where=where, limits=limits)
            if not isinstance(manifest, ImageManifest) or not manifest.is_container_image:
                raise OciError("not a container image", where=where)
            config = blobs.read(manifest.config, where=where, size_max=limits.document_size_max)
            parsed = ImageConfig.parse(config, manifest.config, where=where, limits=limits)
            platform = leaf.platform or parsed.platform
            found.append(PlatformManifest(platform=platform, manifest=_bare(leaf)))
        return found


def _kind(fields: Fields) -> str:
    kind = fields.fields("annotations").text("kind")
    if kind not in _IMAGES and kind not in _EVIDENCE:
        raise FormatError(
            "an entry of a kind that cosign save does not write",
            where=fields.at("annotations.kind"),
            found=shown(kind),
        )
    return kind


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )
