"""From a judged bundle to the runtime: which platforms, which layers, one image after the other.

Runtimes are asked last, when every byte of the archive was read and agreed. What one image's load
changed is kept as a receipt; whatever fails before the commit is undone backwards with these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    OciPlatformError,
    RefusedError,
    RuntimeLoadError,
    RuntimeTagError,
    RuntimeUndoError,
    UnconfirmedCommitError,
    shown,
)
from loader.graph import same_platform
from loader.model.descriptor import Descriptor, MediaType
from loader.runtime.base import LoadRequest, Receipt
from loader.stage.area import Area, StagedBundle, derive

if TYPE_CHECKING:
    from loader.archive.metadata import MetadataStore
    from loader.archive.reader import ArchiveReader
    from loader.graph import KeptManifest
    from loader.interrupts import Interrupts
    from loader.model.bundle import BundleStatement, Member
    from loader.model.descriptor import Platform
    from loader.policy.facts import ImageJudgement, Judgement
    from loader.run import Trace, Wish
    from loader.runtime.base import Runtime
    from loader.state.ledger import AdmittedBundle, Ledger
    from loader.witness import Admitted, Staged

_ANY_TYPE = MediaType("application/octet-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The platforms of one image that go to the runtime."""

    image: ImageJudgement
    selection: tuple[KeptManifest, ...]

    @property
    def name(self) -> str:
        """The name that the runtime stores it under."""
        return self.image.name.reference.tagged

    @property
    def digests(self) -> frozenset[Digest]:
        """Every digest by which a runtime may know the image."""
        configs = (kept.manifest.config.digest for kept in self.image.graph.kept)
        return self.image.graph.digests | frozenset(configs)


def choose(judgement: Judgement, platform: Platform | None) -> tuple[Chosen, ...]:
    """Choose what of each image is loaded.

    Raises:
        OciPlatformError: an image does not have the platform that is asked for.
    """
    return tuple(
        Chosen(image=image, selection=_platforms(image, platform)) for image in judgement.images
    )


def _platforms(image: ImageJudgement, platform: Platform | None) -> tuple[KeptManifest, ...]:
    kept = image.graph.kept
    if platform is None or all(one.platform is None for one in kept):
        return kept
    same = [
        one for one in kept if one.platform is not None and same_platform(one.platform, platform)
    ]
    if not same:
        raise OciPlatformError(
            "the bundle does not hold this image for the platform that is asked for",
            where=str(image.entry.reference),
            expected=str(platform),
            found=", ".join(str(one.platform) for one in kept),
            hint="choose one with --platform, or pack the image with it",
        )
    return (same[0],)


def stage(
    admitted: Admitted[AdmittedBundle],
    chosen: tuple[Chosen, ...],
    reader: ArchiveReader,
    blobs: MetadataStore,
    area: Area,
    *,
    layers: Callable[[Iterable[memoryview]], Iterator[memoryview]],
) -> Staged[StagedBundle[AdmittedBundle]]:
    """Bring the layers that are asked for into quarantine; read all the others past it.

    Args:
        admitted: the bundle.
        chosen: what of it goes to the runtime.
        reader: stands before the first layer, and afterwards behind the archive's end.
        blobs: the small members.
        area: the quarantine.
        layers: wraps each layer's chunks, to count them.

    Raises:
        RefusedError: a layer, or the archive's end, is not as announced.
        LocalError: the disk fails, or there is not enough of it.
    """
    statement = admitted.value.judgement.statement
    asked = {
        blob.digest for one in chosen for kept in one.selection for blob in kept.manifest.blobs
    }
    wanted = [member for member in statement.layers if member.digest in asked]
    area.expect_space(wanted, beside=sum(member.size for member in statement.metadata))

    def read() -> Iterator[tuple[Member, Iterable[memoryview]]]:
        for layer in reader.layers(statement):
            if layer.member.digest in asked:
                yield layer.member, layers(layer)
            else:
                for _ in layers(layer):
                    pass

    return area.stage(
        admitted,
        read(),
        expected=wanted,
        documents=documents(statement, blobs),
        finish=reader.finish,
    )


def documents(statement: BundleStatement, blobs: MetadataStore) -> Callable[[Digest], bytes | None]:
    """Return the way to a small member by its digest alone."""
    sizes = {member.digest: member.size for member in statement.metadata}

    def document(digest: Digest) -> bytes | None:
        if digest not in blobs:
            return None
        descriptor = Descriptor(media_type=_ANY_TYPE, digest=digest, size=sizes[digest])
        return blobs.read(descriptor, where=str(digest), size_max=descriptor.size)

    return document


def hand_over(
    staged: Staged[StagedBundle[AdmittedBundle]],
    chosen: tuple[Chosen, ...],
    runtime: Runtime,
    wish: Wish,
    ledger: Ledger,
    trace: Trace,
) -> None:
    """Load one image after the other; each leaves a receipt.

    Raises:
        RuntimeLoadError: one could not be loaded; its own changes were put back.
        DigestError: quarantine no longer holds what was verified.
        LocalError: what is about to be done could not be written down.
    """
    trace.intended += ledger.intend(wish.target, {one.name: one.digests for one in chosen})
    for one in chosen:
        receipt = _load_one(staged, one, runtime, ledger.owned(wish.target, one.name))
        manifests = tuple(kept.digest for kept in one.selection)
        trace.receipts.append(replace(receipt, manifests=manifests))


def _load_one(
    staged: Staged[StagedBundle[AdmittedBundle]],
    one: Chosen,
    runtime: Runtime,
    owned: tuple[Digest, ...],
) -> Receipt:
    """Load an image. A name is ours if it points to anything that the ledger says we put there.

    After a power cut that is one of several images, and a runtime asks for one at a time.
    """

    def load(mine: Digest | None) -> Receipt:
        def request(bundle: StagedBundle[AdmittedBundle]) -> LoadRequest:
            return LoadRequest(
                reference=one.image.name.reference,
                graph=one.image.graph,
                selection=one.selection,
                evidence=one.image.entry.evidence,
                blobs=bundle,
                replace=one.image.policy.tags,
                owned=mine,
            )

        return runtime.load(derive(staged, request))

    *others, last = owned or (None,)
    for mine in others:
        with contextlib.suppress(RuntimeTagError):
            return load(mine)
    return load(last)


@contextlib.contextmanager
def undone_if_it_fails(
    runtime: Runtime, ledger: Ledger, trace: Trace, interrupts: Interrupts
) -> Iterator[None]:
    """Put back what was loaded, last first, when the block does not end well.

    What was intended is forgotten only where it is certain that nothing of it is left: a runtime
    said no and put itself back. After a signal or a fault of our own, the intents stand.

    What the ledger has is never undone: a host would remember what it does not have.

    Raises:
        UnconfirmedCommitError: it failed when the load was recorded already.
    """
    before = ledger.head.number
    try:
        yield
    except UnconfirmedCommitError:
        interrupts.ignore()
        raise
    except BaseException as failure:
        if ledger.head.number > before:
            interrupts.ignore()
            raise UnconfirmedCommitError(
                "what was done is recorded, and its end was not reached",
                found=type(failure).__name__,
                hint="run it again: it finds what is there",
            ) from failure
        interrupts.ignore()
        certain = isinstance(failure, RefusedError | RuntimeLoadError)
        certain = certain and not isinstance(failure, RuntimeUndoError)
        left: list[str] = []
        while trace.receipts:
            receipt = trace.receipts.pop()
            try:
                runtime.undo(receipt)
            except Exception as e:  # noqa: BLE001 - the others are to be put back all the same
                left.append(f"{receipt.reference.tagged}: {type(e).__name__}: {e}")
        if left:
            trace.warnings.extend(f"could not be put back: {one}" for one in left)
            raise RuntimeUndoError(
                f"{runtime.name} could not be put back as it was: {shown('; '.join(left))}",
                where=runtime.name,
                found=str(failure),
                hint="look at the runtime's images before the next attempt",
            ) from failure
        if certain:
            with contextlib.suppress(AirlockError):
                ledger.withdraw(trace.intended)
        raise
