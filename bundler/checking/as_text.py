"""A verdict as claims, for people: what holds, who said it, when, and where that is kept.

Lines are reduced to printable ASCII on their way out: images, certificates and logs wrote some of
what stands in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from bundler.checking.verdict import Verdict
from loader.policy.facts import Considered, ImageJudgement
from loader.report_claims import claim_lines, refused_lines, unsaid

_REASONS_MAX: Final = 100


def lines(verdict: Verdict, *, explain: bool = False) -> Iterator[str]:
    """Yield the lines of a verdict.

    Args:
        verdict: what the judge said.
        explain: whether all evidence that was looked at is listed, with what uses it.
    """
    for line in _lines(verdict, explain=explain):
        yield "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in line)


def _lines(verdict: Verdict, *, explain: bool) -> Iterator[str]:
    judgement, error = verdict.judgement, verdict.error
    if judgement is not None:
        for claim in judgement.bundle.results:
            yield from claim_lines(claim)
        for image in judgement.images:
            yield from _image(image, verdict, explain=explain)
    for warning in () if judgement is None else judgement.list_warnings:
        yield f"  warning  {warning}"
    for note in verdict.subject.notes:
        yield f"  note     {note}"
    if error is None:
        count = len(verdict.subject.statement.images)
        yield f"VERIFIED: {count} image{'s' * (count != 1)}"
        return
    for reason in unsaid(error.reasons[:_REASONS_MAX], judgement):
        yield f"  reason   {reason}"
    yield f"REFUSED ({error.code}, exit status {error.exit_status}): {error.message}"


def _image(image: ImageJudgement, verdict: Verdict, *, explain: bool) -> Iterator[str]:
    entry = image.entry
    platforms = ", ".join(str(kept.platform) for kept in image.graph.kept if kept.platform)
    yield verdict.subject.name_of(entry)
    yield f"  digest   {entry.image.digest}"
    if platforms:
        yield f"  holds    {platforms}"
    if verdict.subject.kind == "bundle":
        if image.name.problem is None:
            yield f"  ok       name: {image.name.how}, {image.name.by}"
        else:
            yield from refused_lines("name", image.name.problem)
    for problem in image.denied:
        yield from refused_lines("deny lists", problem)
    for claim in image.claims:
        yield from claim_lines(claim)
        for blob in () if claim.problem is not None else claim.evidence:
            yield f"             evidence {blob}"
    problems = [claim.problem for claim in image.claims if claim.problem is not None]
    said = {str(cause) for problem in problems for cause in problem.causes}
    refused = bool(problems)
    of_kind = [one for one in image.considered if any(w.stage != "absent" for w in one.weighed)]
    for one in image.considered:
        # Where there is evidence of the kind that is asked for, the rest explains nothing.
        if explain or (refused and not one.counts and (not of_kind or one in of_kind)):
            yield from _considered(one, image, said)
    if not image.considered and refused:
        yield "    seen     no evidence at all, in any of the places where it is kept"


def _considered(one: Considered, image: ImageJudgement, said: Collection[str]) -> Iterator[str]:
    """Yield what became of a piece; in full, where no requirement says it already."""
    where = "" if one.piece.manifest is None else f" {one.piece.manifest.short}"
    uses = [
        requirement.said.where
        for requirement, weighed in zip(image.policy.on_images, one.weighed, strict=False)
        if weighed.stage == "counts"
    ]
    why = f"counts for {', '.join(uses)}"
    if one.why_not is not None:
        words = one.why_not.message if str(one.why_not) in said else str(one.why_not)
        why = f"does not count: {words}"
    elif not one.counts:
        why = "does not count: nothing asks for it"
    yield f"    seen     {one.piece.what} ({one.piece.store}{where}): {why}"
