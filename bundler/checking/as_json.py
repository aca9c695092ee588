"""A verdict with everything that was weighed, for programs: schema `airlock-policy-test/1`."""

from __future__ import annotations

from typing import Final

from bundler.checking.verdict import Verdict
from loader.model.strictjson import JsonObject, JsonValue
from loader.policy.facts import Considered, ImageJudgement
from loader.policy.model import Policy
from loader.report_claims import claim_plain, considered_plain, problem_plain

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
        else [claim_plain(claim) for claim in judgement.bundle.results],
        "images": [] if judgement is None else [_image(image) for image in judgement.images],
        "notes": list(verdict.subject.notes),
        "warnings": [
            *policy.warnings,
            *(() if judgement is None else judgement.list_warnings),
        ],
    }


def _image(image: ImageJudgement) -> JsonObject:
    return {
        "reference": str(image.entry.reference),
        "digest": str(image.entry.image.digest),
        "rules": [rule.where for rule in image.policy.rules],
        "claims": [claim_plain(claim) for claim in image.claims],
        "denied": [problem_plain(problem) for problem in image.denied],
        "considered": [_considered(one, image) for one in image.considered],
    }


def _considered(one: Considered, image: ImageJudgement) -> JsonObject:
    uses: list[JsonValue] = [
        requirement.said.where
        for requirement, weighed in zip(image.policy.on_images, one.weighed, strict=False)
        if weighed.stage == "counts"
    ]
    return {**considered_plain(one), "used_by": uses}
