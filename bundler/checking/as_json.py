"""A verdict with everything that was weighed, for programs: schema `airlock-policy-test/1`."""

from __future__ import annotations

from typing import Final

from bundler.checking.verdict import Verdict
from loader.model.fields import format_instant
from loader.model.strictjson import JsonObject, JsonValue
from loader.policy.facts import ClaimResult, Considered, ImageJudgement, Problem
from loader.policy.model import Policy

SCHEMA: Final = "airlock-policy-test/1"


def document(verdict: Verdict, policy: Policy) -> JsonObject:
    """Return which rule matches which image, what each requirement makes of it, and by what."""
    judgement, error = verdict.judgement, verdict.error
    entries = verdict.subject.statement.images
    return {
        "schema": SCHEMA,
        "subject": verdict.subject.text,
        "kind": verdict.subject.kind,
        "verdict": "accept" if error is None else "reject",
        "exit_status": verdict.exit_status,
        "code": None if error is None else error.code,
        "reasons": [] if error is None else list(error.reasons),
        "policy": {"file": policy.where, "digest": str(policy.digest)},
        "rules": [
            {
                "where": rule.where,
                "match": str(rule.match),
                "images": [str(e.reference) for e in entries if rule.match.matches(e.reference)],
            }
            for rule in policy.rules
        ],
        "bundle_claims": []
        if judgement is None
        else [_claim(claim) for claim in judgement.bundle.results],
        "images": [] if judgement is None else [_image(image) for image in judgement.images],
        "notes": list(verdict.subject.notes),
        "warnings": list(policy.warnings),
    }


def _image(image: ImageJudgement) -> JsonObject:
    return {
        "reference": str(image.entry.reference),
        "digest": str(image.entry.image.digest),
        "rules": [rule.where for rule in image.policy.rules],
        "claims": [_claim(claim) for claim in image.claims],
        "considered": [_considered(one, image) for one in image.considered],
    }


def _claim(claim: ClaimResult) -> JsonObject:
    return {
        "claim": claim.claim,
        "where": claim.requirement.said.where,
        "requirement": claim.words,
        "holds": claim.holds,
        "who": list(claim.who),
        "facts": [
            {"name": fact.name, "value": fact.value, "source": fact.source} for fact in claim.facts
        ],
        "at": [format_instant(at) for at in claim.at],
        "evidence": [str(digest) for digest in claim.evidence],
        "problem": _problem(claim.problem),
    }


def _considered(one: Considered, image: ImageJudgement) -> JsonObject:
    uses: list[JsonValue] = [
        requirement.said.where
        for requirement, weighed in zip(image.policy.on_images, one.weighed, strict=False)
        if weighed.stage == "counts"
    ]
    return {
        "what": one.piece.what,
        "store": one.piece.store,
        "manifest": None if one.piece.manifest is None else str(one.piece.manifest),
        "blob": None if one.piece.blob is None else str(one.piece.blob),
        "used_by": uses,
        "problem": _problem(one.why_not),
    }


def _problem(problem: Problem | None) -> JsonValue:
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
