"""Names that verified evidence gives to an image (DESIGN §4, decision 11).

A signature over a digest says nothing about the name beside it. A courier who may write the
statement could call a genuine `org/demo@old` `org/scanner:v2`, and every signature would hold. So
a name counts only where somebody whom the policy names for this image has signed it, or as many of
them as a requirement's threshold asks for:

    a bundle signature        the whole name, tag included
    docker-reference          the repository; the tag where it holds one
    an in-toto subject's name the repository; the tag where it holds one
    content trust             the whole name: the repository's own signers signed the tag
    a TUF target              the tag where its path holds it, once it names the repository, too

Otherwise the policy must say `name = "as-packed"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.errors import UnvouchedNameError, shown
from loader.model.reference import canonical
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.content_trust import ContentTrustClaim
from loader.policy.claims.provenance import ProvenanceClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.facts import Problem, SignedName, VouchedName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loader.graph import ImageGraph
    from loader.model.reference import Reference
    from loader.policy.facts import BundleClaims, ImageFacts

_SAID_MAX: Final = 8
_VOUCHING: Final = (SignatureClaim, ProvenanceClaim, ContentTrustClaim, TufTargetClaim)
"""Claims whose speakers may name an image. One who may say what a scan found may not."""


def vouch(facts: ImageFacts, bundle: BundleClaims) -> VouchedName:
    """Return the name that an image is loaded under, and who vouches for it."""
    reference, policy = facts.entry.reference, facts.policy
    names = [name for one in facts.considered for w in one.weighed for name in w.names]
    said = tuple(
        dict.fromkeys(
            f"{name.repository}{':' if name.tag else ''}{name.tag} ({name.how})" for name in names
        )
    )[:_SAID_MAX]
    for requirement in policy.require:
        result = bundle.result_of(requirement)
        if isinstance(requirement, BundleSignatureClaim) and result and result.holds == "met":
            return VouchedName(
                reference=reference, how="bundle-signature", by=", ".join(result.who), said=said
            )
    whole = _enough(facts, tag=reference.tag)
    if whole:
        by = ", ".join(dict.fromkeys(f"{name.how} signed by {name.who}" for name in whole))
        return VouchedName(reference=reference, how=whole[0].how, by=by, said=said)
    half = _enough(facts, tag="")
    if policy.name == "as-packed":
        by = "the policy takes the name as packed" + (
            f"; {half[0].how} names the repository" if half else "; no evidence names it"
        )
        return VouchedName(reference=reference, how="as-packed", by=by, said=said)
    return VouchedName(
        reference=reference,
        how="nobody",
        by="",
        said=said,
        problem=_problem(reference, said, half=bool(half)),
    )


def _enough(facts: ImageFacts, *, tag: str) -> tuple[SignedName, ...]:
    """Return the names that some requirement takes for the image's own; without a tag, for any.

    As many must say it as must sign: else one of two who are needed for a signature could alone
    give another name to what both signed long ago.
    """
    reference = facts.entry.reference
    here = canonical(reference.registry, reference.repository)
    for position, claim in enumerate(facts.policy.on_images):
        if not isinstance(claim, _VOUCHING):
            continue
        names = tuple(
            name
            for one in facts.considered
            if one.weighed
            for name in one.weighed[position].names
            if name.repository == here and (not tag or name.tag == tag)
        )
        if names and _covers(names, facts.graph, threshold=max(1, claim.said.threshold)):
            return names
    return ()


def _covers(names: Sequence[SignedName], graph: ImageGraph, *, threshold: int) -> bool:
    """Tell whether for every kept manifest enough speak of it or of an index that lists it."""
    return all(
        len({n.distinct for n in names if n.subjects & (kept.listed_by | {kept.digest})})
        >= threshold
        for kept in graph.kept
    )


def _problem(reference: Reference, said: Iterable[str], *, half: bool) -> Problem:
    return Problem(
        code=UnvouchedNameError.code,
        message="verified evidence names the repository, and nobody vouches for the tag"
        if half
        else "nobody whom the policy names vouches for the image's name",
        expected=reference.tagged,
        found=shown(", ".join(said)) if said else "no name in verified evidence",
        hint="sign the bundle and require `bundle-signature`, or set"
        ' `name = "as-packed"` for this image in the policy',
    )
