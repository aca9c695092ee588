"""What became of each requirement of a rule, for each platform by itself, and why it is not met.

Only evidence that came to the stage `counts` counts. A requirement that is not met says so after
the evidence that came furthest: what was found, and how to mend it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, assert_never

from loader.errors import (
    ConditionError,
    ContentsError,
    ContradictionError,
    DeniedError,
    EvidenceInvalidError,
    EvidenceLimitError,
    IdentityError,
    NoEvidenceError,
    PolicyError,
    QuantifierError,
    ScopeError,
    ThresholdError,
)
from loader.policy.agreement import agrees, disagreement, provided_for
from loader.policy.claims.attestation import AttestationClaim
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.content_trust import ContentTrustClaim
from loader.policy.claims.provenance import ProvenanceClaim
from loader.policy.claims.sbom import SbomClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.claims.vulnerabilities import VulnerabilitiesClaim
from loader.policy.facts import (
    STAGES,
    BundleClaims,
    ClaimResult,
    Problem,
)
from loader.policy.rules import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.digest import Digest
    from loader.graph import KeptManifest
    from loader.policy.agreement import Provided
    from loader.policy.facts import Considered, ImageFacts, Piece, Weighed
    from loader.policy.rules import Requirement
    from loader.policy.speakers import Scope

_FOUND_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One piece of evidence as one requirement sees it."""

    piece: Piece
    weighed: Weighed

    def speaks_of(self, digests: frozenset[Digest]) -> bool:
        subjects = self.weighed.subjects or self.piece.subjects
        return bool(subjects & digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What a requirement must be met for: each kept manifest, or the statement as a whole."""

    words: str
    digests: frozenset[Digest] | None
    """Digests that evidence may speak of to count here; None where everything speaks of it."""
    provided: Provided = ()
    """What evidence about it gives to other evidence."""

    def takes(self, item: _Item) -> bool:
        return self.digests is None or item.speaks_of(self.digests)


def claims_of_statement(
    requirements: Sequence[BundleSignatureClaim], considered: Sequence[Considered]
) -> tuple[ClaimResult, ...]:
    """Return what became of each requirement on the statement's signatures."""
    target = _Target(words="the bundle statement", digests=None)
    return tuple(
        _result(requirement, _items(considered, position), (target,))
        for position, requirement in enumerate(requirements)
    )


def claims_of_image(facts: ImageFacts, bundle: BundleClaims) -> tuple[ClaimResult, ...]:
    """Return what became of each requirement on an image."""
    results: list[ClaimResult] = []
    position = 0
    provided = {kept.digest: provided_for(kept, facts.considered) for kept in facts.graph.kept}
    for requirement in facts.policy.require:
        match requirement:
            case BundleSignatureClaim():
                result = bundle.result_of(requirement)
                if result is not None:
                    results.append(result)
                else:  # nobody judged it: that must not look like a requirement that was met
                    results.append(_result(requirement, (), (_Target(words="", digests=None),)))
            case (
                SignatureClaim()
                | ProvenanceClaim()
                | SbomClaim()
                | VulnerabilitiesClaim()
                | AttestationClaim()
            ):
                items = _items(facts.considered, position)
                position += 1
                if "log-index" in facts.policy.rollback:
                    items = tuple(_placed(item) for item in items)
                targets = tuple(
                    _Target(
                        words=_words(kept),
                        digests=_in_scope(kept, requirement.scope),
                        provided=provided[kept.digest],
                    )
                    for kept in facts.graph.kept
                )
                results.append(_result(requirement, items, targets))
            case ContentTrustClaim() | TufTargetClaim():
                items = _items(facts.considered, position)
                position += 1
                targets = tuple(
                    _Target(words=_words(kept), digests=_in_scope(kept, requirement.scope))
                    for kept in facts.graph.kept
                )
                results.append(_result(requirement, items, targets))
            case _:
                assert_never(requirement)
    return tuple(_excepted(one, facts) for one in results)


def _excepted(result: ClaimResult, facts: ImageFacts) -> ClaimResult:
    """Let a claim through that does not hold, if policy says so until a day that is not over.

    Never what is denied: an exception is older than the news that a key was stolen.
    """
    problem = result.problem
    if problem is None or problem.code == DeniedError.code:
        return result
    for one in facts.policy.exceptions:
        if one.claim == result.claim and one.holds_at(facts.about.now):
            return replace(result, holds="excepted", problem=None, excepted=problem, exemption=one)
    return result


def _items(considered: Sequence[Considered], position: int) -> tuple[_Item, ...]:
    return tuple(
        _Item(piece=one.piece, weighed=one.weighed[position])
        for one in considered
        if one.weighed and one.weighed[position].stage != "absent"
    )


def _placed(item: _Item) -> _Item:
    """Return an item that counts only if a log says where it stands.

    Where places are compared, one that left its entry away would be older than nothing.
    """
    if item.weighed.stage != "counts" or item.weighed.positions:
        return item
    problem = Problem(
        code=ConditionError.code,
        message="no log says where its entry stands, and policy compares that",
        expected='an entry with the log\'s promise, for `rollback = "log-index"`',
    )
    return replace(item, weighed=replace(item.weighed, stage="condition", problem=problem))


def _words(kept: KeptManifest) -> str:
    return str(kept.platform or kept.digest.short)


def _in_scope(kept: KeptManifest, scope: Scope) -> frozenset[Digest]:
    """Return the digests that evidence may speak of, to count for this manifest.

    An image without an index is its own top: there `index` and `platform` are the same.
    """
    match scope:
        case "index":
            return kept.listed_by or frozenset({kept.digest})
        case "platform":
            return frozenset({kept.digest})
        case "either":
            return kept.listed_by | {kept.digest}
        case _:
            assert_never(scope)


def _result(
    requirement: Requirement, items: Sequence[_Item], targets: Sequence[_Target]
) -> ClaimResult:
    counting: dict[_Item, None] = {}
    problem: Problem | None = None
    for target in targets:
        here = [
            item
            for item in items
            if item.weighed.stage == "counts"
            and target.takes(item)
            and agrees(item.weighed, target.provided)
        ]
        counting |= dict.fromkeys(here)
        if len(_distinct(here)) < requirement.said.threshold and problem is None:
            problem = _unmet(requirement, items, target, here)
    if not targets:
        problem = Problem(code=NoEvidenceError.code, message="there is nothing to be signed")
    failing = [item for item in items if item.weighed.stage != "counts"]
    if problem is None and requirement.said.quantifier == "all" and failing:
        problem = Problem(
            code=QuantifierError.code,
            message=f"policy wants every {requirement.claim} to hold, and some does not",
            where=requirement.said.where,
            found=f"{len(failing)} of {len(items)}: {_why(failing)}",
        )
    if problem is None and isinstance(requirement, ProvenanceClaim):
        problem = _contradiction(requirement, items, targets)
    chosen = sorted(counting, key=lambda item: item.weighed.at, reverse=True)
    return ClaimResult(
        requirement=requirement,
        claim=requirement.claim,
        words=in_words(requirement),
        holds="met" if problem is None else "unmet",
        who=tuple(dict.fromkeys(i.weighed.who.words for i in chosen if i.weighed.who is not None)),
        at=tuple(sorted({at for item in chosen for at in item.weighed.at}, reverse=True)),
        evidence=tuple(dict.fromkeys(i.piece.blob for i in chosen if i.piece.blob is not None)),
        positions=tuple(dict.fromkeys(p for item in chosen for p in item.weighed.positions)),
        facts=tuple(dict.fromkeys(f for item in chosen for f in item.weighed.facts)),
        problem=problem,
    )


def _contradiction(
    requirement: ProvenanceClaim, items: Sequence[_Item], targets: Sequence[_Target]
) -> Problem | None:
    """Tell whether somebody named here made provenance of the image that contradicts itself.

    A good one beside it does not help: a builder whose word is taken has lied about this image, or
    somebody else has its identity. Whoever is not named comes not so far, and so refuses nothing.
    """
    for item in items:
        found = item.weighed.problem
        if (
            item.weighed.stage == "contents"
            and found is not None
            and found.code == ContradictionError.code
            and any(target.takes(item) for target in targets)
        ):
            return replace(
                found,
                message=f"{found.message}, and no other provenance makes up for that",
                where=requirement.said.where,
            )
    return None


def _distinct(items: Sequence[_Item]) -> frozenset[str]:
    """Return the identities that spoke: two signatures by one key are one voice (THREATS T23)."""
    return frozenset(item.weighed.who.distinct for item in items if item.weighed.who is not None)


def _causes(items: Sequence[_Item]) -> tuple[Problem, ...]:
    """Return the first few different reasons."""
    found = dict.fromkeys(i.weighed.problem for i in items if i.weighed.problem is not None)
    return tuple({str(one): one for one in found}.values())[:_FOUND_MAX]


def _why(items: Sequence[_Item]) -> str:
    return "; ".join(str(one) for one in _causes(items))


def _unmet(
    requirement: Requirement, items: Sequence[_Item], target: _Target, counting: Sequence[_Item]
) -> Problem:
    """Say why a requirement is not met for this target, after the evidence that came furthest."""
    where, claim = requirement.said.where, requirement.claim
    if counting:
        return Problem(
            code=ThresholdError.code,
            message=f"too few distinct identities made the claim {claim} for {target.words}",
            where=where,
            expected=str(requirement.said.threshold),
            found=str(len(_distinct(counting))),
        )
    here = [item for item in items if target.takes(item)]
    if any(item.weighed.stage == "counts" for item in items) and not here:
        return Problem(
            code=ScopeError.code,
            message=f"the claim {claim} is not made for {target.words}, but for something else",
            where=where,
            expected=_scope_words(requirement),
            found=_spoken_of(items),
            hint='`scope = "either"` takes evidence on the index and on the platform',
        )
    if not here:
        return Problem(
            code=NoEvidenceError.code,
            message=f"there is no evidence for the claim {claim} on {target.words}",
            where=where,
            expected=in_words(requirement),
            hint=_mend(requirement),
        )
    apart = next((item for item in here if item.weighed.stage == "counts"), None)
    if apart is not None:
        return replace(
            disagreement(apart.weighed, target.provided),
            message=f"the claim {claim} disagrees with the provenance, on {target.words}",
            where=where,
        )
    furthest = max(here, key=lambda item: STAGES.index(item.weighed.stage))
    if isinstance(requirement, ContentTrustClaim) and furthest.weighed.problem is not None:
        return replace(furthest.weighed.problem, where=where)  # one piece, and it says all
    best = [item for item in here if item.weighed.stage == furthest.weighed.stage]
    error, message = _AFTER[furthest.weighed.stage]
    codes = {i.weighed.problem.code for i in best if i.weighed.problem is not None}
    hints = [i.weighed.problem.hint for i in best if i.weighed.problem and i.weighed.problem.hint]
    return Problem(
        code=codes.pop()
        if furthest.weighed.stage == "contents" and len(codes) == 1
        else error.code,
        message=f"{message.format(claim=claim)}, on {target.words}",
        where=where,
        expected=in_words(requirement),
        found=_why(best),
        hint=hints[0] if hints else _MENDED_BY[furthest.weighed.stage],
        causes=_causes(best),
    )


def _mend(requirement: Requirement) -> str:
    match requirement:
        case SignatureClaim():
            return "pack the image again once it is signed"
        case ContentTrustClaim():
            return "pack it again: `airlock pack` brings content trust for what the policy asks for"
        case TufTargetClaim():
            return (
                "pack it again once the release is recorded: `airlock pack --tuf NAME=REPOSITORY`"
            )
        case BundleSignatureClaim():
            return "sign the bundle when it is packed: `airlock pack --sign-key`"
        case ProvenanceClaim() | SbomClaim() | VulnerabilitiesClaim() | AttestationClaim():
            return "pack the image again once it is attested; `airlock inspect` lists what there is"
        case _:
            assert_never(requirement)


_AFTER: Final[dict[str, tuple[type[PolicyError], str]]] = {
    "limit": (EvidenceLimitError, "the evidence for the claim {claim} exceeds a limit"),
    "signature": (EvidenceInvalidError, "there is evidence for the claim {claim}; none verifies"),
    "identity": (IdentityError, "the claim {claim} is verified, and not by whom policy names"),
    "condition": (ConditionError, "the claim {claim} is not recorded as policy asks"),
    "contents": (ContentsError, "the claim {claim} is made, and says something else"),
    "denied": (DeniedError, "the claim {claim} is made by somebody whose word counts no more"),
}


_MENDED_BY: Final = {
    "limit": "make it smaller, and pack the image again; docs/verification.md has the limits",
    "signature": "pack it again with evidence by whom the policy names, under the anchor it names",
    "identity": "have it signed by whom the policy names; `airlock policy init` shows who did",
    "condition": "record it as the policy asks, and pack the image again",
    "contents": "make it again as the policy asks, attest that, and pack the image again",
    "denied": "have it signed by somebody who is not denied, and pack the image again",
}
"""What to do where nothing better is known; never that a check may be turned off."""


def _scope_words(requirement: Requirement) -> str:
    return "" if isinstance(requirement, BundleSignatureClaim) else f"scope {requirement.scope}"


def _spoken_of(items: Sequence[_Item]) -> str:
    digests = dict.fromkeys(str(d) for item in items for d in sorted(item.weighed.subjects))
    return ", ".join(list(digests)[:_FOUND_MAX])
