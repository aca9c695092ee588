"""What every runtime is asked, and what it answers. Last in the line: it takes `Staged` values.

A runtime gets a fresh, minimal stream made from verified blobs, never the archive (THREATS D1),
under a name that verified evidence vouches for. What it says it has then is compared with what was
verified; where that differs, what we brought is removed and a name we moved is moved back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol

from loader.errors import (
    OciError,
    OciPlatformError,
    RuntimeGoneError,
    RuntimeTagError,
    UsageError,
)
from loader.limits import MIB
from loader.model.image import ImageConfig, ImageIndex, ImageManifest

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.bundle import EvidenceEntry
    from loader.model.descriptor import Platform
    from loader.model.reference import Reference
    from loader.witness import Staged

CHUNK_SIZE: Final = 1 * MIB
"""Bytes read, hashed and written at a time: hashing so much at once runs beside other threads."""


class StagedBlobs(Protocol):
    """Blobs in quarantine: verified when they were written, hashed again when they are read."""

    def open(self, digest: Digest) -> BinaryIO:
        """Return a blob, opened for reading at its first byte.

        Raises:
            MissingError: it is not there.
        """


class ImageParts(Protocol):
    """What of `loader.evidence.ImageGraph` a runtime needs: the documents, as they were signed."""

    @property
    def top(self) -> ImageIndex | ImageManifest:
        """What the reference names."""

    @property
    def indexes(self) -> tuple[ImageIndex, ...]:
        """Every index from there down to the kept manifests, the top one included."""


class PlatformParts(Protocol):
    """What of `loader.evidence.KeptManifest` a runtime needs."""

    @property
    def platform(self) -> Platform | None:
        """What it runs on; None for an artifact that runs nowhere."""

    @property
    def manifest(self) -> ImageManifest:
        """The manifest."""

    @property
    def config(self) -> ImageConfig | None:
        """Its config; None for an artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One image as a runtime should have it."""

    reference: Reference
    """The name it gets: vouched for by verified evidence, or `as-packed` by policy."""
    graph: ImageParts
    selection: tuple[PlatformParts, ...]
    """The platforms that are wanted: one for a runtime that runs them, any number for a layout."""
    evidence: tuple[EvidenceEntry, ...] = ()
    """What speaks of it, for a target that keeps evidence with its images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest(Expected):
    """One image for one runtime."""

    blobs: StagedBlobs
    replace: Literal["ours-only", "any"] = "ours-only"
    """Whether a name that points elsewhere is moved: only one that we put there, or any."""
    owned: Digest | None = None
    """`Receipt.digest` of what our ledger says we put under this name in this runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What was there before, so that it can be put back."""

    names: Mapping[str, str | None] = field(default_factory=dict)
    """Each name that we set, with what it pointed to before, in the runtime's own words."""
    brought: tuple[str, ...] = ()
    """What was not there before: image IDs, containerd names, or a layout's blobs."""
    made: bool = False
    """Whether the layout itself was not there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the runtime has now, in its own words."""

    runtime: str
    reference: Reference
    digest: Digest
    """What the runtime knows the image by; what `LoadRequest.owned` is compared with next time."""
    what: Literal["loaded", "already-there"]
    read_back: tuple[tuple[str, str], ...]
    """Each fact that was compared, and its value: ("image ID (config digest)", "sha256:…")."""
    manifests: tuple[Digest, ...] = ()
    """The platforms' manifests that were handed over; `delivery` fills this in."""
    notes: tuple[str, ...] = ()
    undo: Undo = Undo()

    @property
    def brought(self) -> tuple[str, ...]:
        """What was not there before, and names by digest that were made for it."""
        made = (name for name, before in self.undo.names.items() if before is None)
        exact = (name for name in made if "@sha256:" in name)
        return tuple(dict.fromkeys((*self.undo.brought, *exact)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """What became of one thing that was to go."""

    item: str
    what: Literal["removed", "to-remove", "gone", "kept"]
    """`gone` was not there any more; `to-remove` is what a look that removes nothing says."""
    why: str = ""
    """Why it is kept."""


class Runtime(Protocol):
    """Something that can be given verified images."""

    @property
    def name(self) -> str:
        """The word on the command line."""

    def probe(self) -> str:
        """Return client, daemon and versions, in words.

        Raises:
            RuntimeAbsentError: it is not there, or its daemon does not answer.
            RuntimeLoadError: it is there, and cannot be used safely.
        """

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Hand the image over, compare what the runtime has then, and name it.

        Raises:
            RuntimeTagError: the name is taken; nothing was changed.
            RuntimeMismatchError: the runtime has something else now; it was put back as it was.
            RuntimeLoadError: the client failed; it was put back as it was.
            DigestError: quarantine no longer holds what was verified; it was put back as it was.
        """

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Ask what there is under the image's name now; change nothing.

        Returns:
            Each fact that agrees, as in `Receipt.read_back`.

        Raises:
            RuntimeGoneError: nothing is there under this name any more.
            RuntimeMismatchError: something else is, or a part of it is not there.
            RuntimeLoadError: the client failed.
        """

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove what a load brought and nothing needs any more, or only say what would go.

        What somebody else gave a name, or a container uses, is kept, and so is what cannot be told.

        Args:
            items: what receipts said was brought (`Undo.brought`, and names by digest).
            really: whether to remove.

        Raises:
            RuntimeLoadError: the client failed.
        """

    def undo(self, receipt: Receipt) -> None:
        """Put back what `load` changed, because something later in the bundle failed.

        Raises:
            RuntimeLoadError: the client failed; what could not be put back is said.
        """

    def close(self) -> None:
        """Let go of the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """The one platform that a runtime which runs images is given."""

    platform: Platform
    manifest: ImageManifest
    config: ImageConfig


def only_platform(request: Expected, *, runtime: str) -> PlatformImage:
    """Return the one platform that was selected.

    Raises:
        UsageError: several were, and this runtime keeps one under a name.
        OciPlatformError: none was.
        OciError: it is an artifact that no runtime runs.
    """
    if len(request.selection) > 1:
        raise UsageError(
            f"{runtime} takes one platform of an image",
            where=str(request.reference),
            found=", ".join(str(kept.platform) for kept in request.selection),
            hint="say which with --platform, or load --into oci:DIR, which takes all",
        )
    if not request.selection:
        raise OciPlatformError("no platform of the image is selected", where=str(request.reference))
    kept = request.selection[0]
    if kept.config is None or not kept.manifest.is_container_image:
        raise OciError(
            f"an artifact that is no container image cannot be loaded into {runtime}",
            where=str(request.reference),
            hint="load --into oci:DIR takes artifacts of any kind",
        )
    return PlatformImage(
        platform=kept.platform or kept.config.platform, manifest=kept.manifest, config=kept.config
    )


def expect_named(found: str | None, *, name: str, runtime: str) -> None:
    """Check that a name points to something.

    Raises:
        RuntimeGoneError: it does not.
    """
    if found is None:
        raise RuntimeGoneError(
            f"{runtime} has nothing under this name any more", where=name, found="nothing"
        )


def settle_name(request: LoadRequest, *, current: str | None, wanted: str, runtime: str) -> None:
    """Check that the name may point to this image: it is free, does so already, or may be moved.

    Raises:
        RuntimeTagError: it points to something that we did not put there.
    """
    ours = None if request.owned is None else str(request.owned)
    if current is None or current in {wanted, ours} or request.replace == "any":
        return
    raise RuntimeTagError(
        f"{runtime} has another image under this name",
        where=request.reference.tagged,
        expected=f"no image, {wanted}, or one that was loaded before",
        found=current,
        hint='remove it there, or let policy move names: tags = "replace"',
    )
