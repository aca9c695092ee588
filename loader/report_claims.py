"""Claims and evidence in words and as JSON: the parts of a verdict that are alike in every report.

What came with a bundle is data here: whoever prints lines reduces them to printable ASCII first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.model.fields import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loader.model.strictjson import JsonObject, JsonValue
    from loader.policy.facts import ClaimResult, Considered, Judgement, Problem

LOG_LENGTH_SHOWN: Final = 16
"""Digits of a log's id for people; JSON has all of them."""


# --- text -----------------------------------------------------------------------------------------


def claim_lines(claim: ClaimResult) -> Iterator[str]:
    """Yield what became of a requirement: what was said, by whom, when and where that is kept."""
    if claim.problem is not None:
        yield from refused_lines(claim.words, claim.problem)
        return
    if claim.excepted is not None:
        yield f"  EXCEPTED {claim.words}"
        yield from _why(claim.excepted, claim.words)
        yield f"             let through {claim.exemption}"
        return
    yield f"  ok       {claim.words}"
    for fact in claim.facts:
        yield f"             {fact.name}: {fact.value} ({fact.source})"
    for who in claim.who:
        yield f"             said by {who}"
    if claim.at:
        yield f"             at {', '.join(format_instant(at) for at in claim.at)}"
    for place in claim.positions:
        yield f"             log {place.log[:LOG_LENGTH_SHOWN]}, index {place.log_index}"


def short_line(claim: ClaimResult) -> str:
    """Return one line of a claim in a summary: an exception is never put as what holds."""
    if claim.excepted is not None:
        return f"EXCEPTED  {claim.claim}: {claim.excepted.code}, let through {claim.exemption}"
    at = f" at {format_instant(max(claim.at))}" if claim.at else ""
    return f"ok        {claim.claim}: {'; '.join(claim.who)}{at}"


def refused_lines(words: str, problem: Problem) -> Iterator[str]:
    """Yield why something is refused, what was expected and found, and how to mend it."""
    yield f"  REFUSED  {words}"
    yield from _why(problem, words)
    if problem.hint:
        yield f"             to mend: {problem.hint}"


def reason_lines(place: str, problem: Problem) -> Iterator[str]:
    """Yield the same of one of several reasons, where there is no verdict around it."""
    yield f"reason: {place}: {problem.message}" if place else f"reason: {problem.message}"
    yield from (f"  {line}" for line in _details(problem, ""))
    if problem.hint:
        yield f"  to mend: {problem.hint}"


def _why(problem: Problem, words: str) -> Iterator[str]:
    yield f"             {problem.code}: {problem.message}"
    yield from (f"             {line}" for line in _details(problem, words))


def _details(problem: Problem, words: str) -> Iterator[str]:
    if problem.expected and problem.expected != words:  # nothing is said twice
        yield f"expected {problem.expected}"
    for cause in problem.causes:
        yield f"found    {cause.message}"
        if cause.expected:
            yield f"         expected {cause.expected}"
        if cause.found:
            yield f"         found    {cause.found}"
    if problem.found and not problem.causes:
        yield f"found    {problem.found}"


def unsaid(reasons: Iterable[str], judgement: Judgement | None) -> Iterator[str]:
    """Yield those reasons of a refusal that no line about a claim, a name or a denial says."""
    said: list[Problem | None] = []
    if judgement is not None:
        said += [claim.problem for claim in judgement.bundle.results]
        for image in judgement.images:
            said += [image.name.problem, *image.denied, *(one.problem for one in image.claims)]
    known = {str(problem) for problem in said if problem is not None}
    return (reason for reason in reasons if reason.partition(": ")[2] not in known)


# --- JSON -----------------------------------------------------------------------------------------


def claim_plain(claim: ClaimResult) -> JsonObject:
    """Return what became of a requirement."""
    return {
        "claim": claim.claim,
        "where": claim.requirement.said.where,
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


def short_plain(claim: ClaimResult) -> JsonObject:
    """Return a claim as a summary has it."""
    return {
        "claim": claim.claim,
        "holds": claim.holds,
        "who": list(claim.who),
        "exception": claim_plain(claim)["exception"],
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
