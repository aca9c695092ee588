"""Claims and evidence as JSON: the parts of a verdict that are the same in every report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.model.fields import format_instant

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.policy.facts import ClaimResult, Considered, Problem


def claim_plain(claim: ClaimResult) -> JsonObject:
    """Return what became of a requirement."""
    return {
        "claim": claim.claim,
        "requirement": claim.words,
        "holds": claim.holds,
        "who": list(claim.who),
        "at": [format_instant(at) for at in claim.at],
        "logs": [
            {"log": p.log, "log_index": p.log_index, "signer": p.signer} for p in claim.positions
        ],
        "evidence": [str(digest) for digest in claim.evidence],
        "facts": [
            {"name": fact.name, "value": fact.value, "source": fact.source} for fact in claim.facts
        ],
        "problem": problem_plain(claim.problem or claim.excepted),
        "exception": None
        if claim.exemption is None
        else {
            "where": claim.exemption.where,
            "reason": claim.exemption.reason,
            "until": claim.exemption.until.isoformat(),
        },
    }


def considered_plain(one: Considered) -> JsonObject:
    """Return why a piece of evidence counted, or did not."""
    return {
        "what": one.piece.what,
        "store": one.piece.store,
        "manifest": None if one.piece.manifest is None else str(one.piece.manifest),
        "blob": None if one.piece.blob is None else str(one.piece.blob),
        "counts": one.counts,
        "problem": problem_plain(one.why_not),
    }


def problem_plain(problem: Problem | None) -> JsonValue:
    """Return why something was not accepted."""
    if problem is None:
        return None
    return {
        "code": problem.code,
        "message": problem.message,
        "where": problem.where,
        "expected": problem.expected,
        "found": problem.found,
        "hint": problem.hint,
    }
