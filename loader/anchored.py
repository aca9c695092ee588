"""What carried trust material says of images, once it chains to an anchor of the host.

It becomes pieces of evidence like all others: each stands at the place of the claim that asked for
it, and counts for no other. What a bundle carries is never trusted by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    FormatError,
    InterruptedLoadError,
    LimitError,
    VerificationError,
)
from loader.model.growth import LogGrowth
from loader.policy.claims.content_trust import ContentTrustClaim, gun_of, weigh_trust
from loader.policy.claims.tuf_target import TufTargetClaim, weigh_target
from loader.policy.facts import ABSENT, Considered, Grown, Piece, Problem, TrustNote
from loader.trust.anchors import label_of
from loader.trust.keys import PublicKey
from loader.verify.growth import verify_growth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loader.carried import Carried
    from loader.graph import ImageGraph
    from loader.limits import Limits
    from loader.model.bundle import BlobSource, BundleStatement, ImageEntry, TrustEntry
    from loader.policy.facts import Weighed
    from loader.policy.rules import ImageClaim
    from loader.renewal import Renewal
    from loader.trust.store import TrustStore
    from loader.verify.growth import Growth
    from loader.witness import Verified


def anchored_pieces(
    entry: ImageEntry,
    graph: ImageGraph,
    blobs: BlobSource,
    carried: Carried,
    renewal: Renewal,
    wanted: tuple[ImageClaim, ...],
    *,
    limits: Limits,
) -> Iterator[Considered]:
    """Yield what carried repositories of trust metadata say of an image, a piece for each claim.

    Raises:
        NotaryError, TrustRootError: one that a claim asks for does not hold.
        LimitError: it is larger than is read.
    """
    for position, claim in enumerate(wanted):
        if isinstance(claim, TufTargetClaim):
            repository = renewal.repositories.get(claim.tuf_root)
            raw = None if repository is None else repository.target(claim.path)
            if repository is not None and raw is not None:
                weighed = weigh_target(
                    claim,
                    raw,
                    repository,
                    graph.digests,
                    reference=entry.reference,
                    limits=limits,
                )
                yield Considered(
                    piece=Piece(
                        store="trust",
                        manifest=None,
                        blob=Digest.of(raw),
                        what=f"TUF target {claim.path}",
                        subjects=graph.digests,
                    ),
                    weighed=_alone(weighed, position, wanted),
                )
        if not isinstance(claim, ContentTrustClaim):
            continue
        gun = gun_of(entry.reference)
        trust = carried.content_trust(claim.notary_root, gun)
        if trust is None:
            continue
        top = graph.top.descriptor
        raw = blobs.read(top, where=str(entry.reference), size_max=limits.document_size_max)
        found = weigh_trust(claim, trust, raw, digest=top.digest, tag=entry.reference.tag)
        yield Considered(
            piece=Piece(
                store="trust",
                manifest=None,
                blob=Digest.of(trust.root),
                what=f"content trust of {gun}",
                subjects=frozenset({top.digest}),
            ),
            weighed=_alone(found, position, wanted),
        )


def _alone(weighed: Weighed, position: int, wanted: tuple[ImageClaim, ...]) -> tuple[Weighed, ...]:
    """Return what every claim makes of a piece that one of them asked for."""
    return tuple(weighed if one == position else ABSENT for one in range(len(wanted)))


def note_of(
    entry: TrustEntry, blobs: BlobSource, carried: Carried, renewal: Renewal, *, limits: Limits
) -> TrustNote:
    """Compare carried trust material with the pinned one; it is never used by itself."""
    if entry.kind == "tuf" and entry.anchor in map(label_of, renewal.repositories):
        return TrustNote(anchor=entry.anchor, kind=entry.kind, holds="chains")
    if entry.kind == "notary":
        holds: Literal["chains", "not-asked-for"] = (
            "chains" if carried.verified(entry) else "not-asked-for"
        )
        return TrustNote(anchor=entry.anchor, kind=entry.kind, holds=holds)
    if entry.kind == "deny-list":
        return TrustNote(anchor=entry.anchor, kind=entry.kind, holds="not-asked-for")
    anchor = renewal.trust.find(entry.anchor)
    if anchor is None or anchor.kind != entry.kind:
        return TrustNote(anchor=entry.anchor, kind=entry.kind, holds="not-pinned")
    same = [blob.digest for blob in entry.blobs] == [anchor.file_digest]
    if not same and isinstance(anchor.value, PublicKey) and len(entry.blobs) == 1:
        # The same key may be written as PEM or DER, with or without a last newline.
        raw = blobs.read(entry.blobs[0], where=entry.anchor, size_max=limits.certificate_size_max)
        try:
            same = PublicKey.parse(raw, name=entry.anchor).fingerprint == anchor.fingerprint
        except InterruptedLoadError:
            raise
        except AirlockError:
            same = False
    return TrustNote(anchor=entry.anchor, kind=entry.kind, holds="matches" if same else "differs")


def growth_of(
    statement: BundleStatement,
    blobs: BlobSource,
    trust: TrustStore,
    *,
    at: datetime | None,
    limits: Limits,
) -> Grown:
    """Verify what shows how logs grew; what does not hold shows nothing, and is said.

    To refuse it would give whoever carries the bundle no less than leaving it away does. `at` is
    the newest verified time of the bundle.

    Raises:
        MissingError, DigestError: the bundle promises it and does not hold it.
        LimitError: there is more of it than published.
    """
    found: list[Verified[Growth]] = []
    problems: list[Problem] = []
    wanted = {
        blob.digest: (blob, entry.anchor)
        for entry in statement.trust
        if entry.kind == "log"
        for blob in entry.blobs
    }
    if len(wanted) > limits.log_growth_count_max:
        raise LimitError(
            "too many documents of how logs grew",
            where="trust",
            expected=f"at most {limits.log_growth_count_max}",
            found=str(len(wanted)),
            hint="the limit is `log_growth_count_max`",
        )
    for blob, anchor in wanted.values():
        where = f"growth of a log of {anchor}, {blob.digest.short}"
        raw = blobs.read(blob, where=where, size_max=limits.log_growth_size_max)
        try:
            growth = LogGrowth.parse(raw, where=where, limits=limits)
            found.append(verify_growth(growth, trust.logs, at=at))
        except (FormatError, VerificationError) as e:
            problems.append(replace(Problem.of(e), where=e.where or where))
    return Grown(logs=tuple(found), problems=tuple(problems))
