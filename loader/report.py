"""A verdict in words or as JSON; the only place that words one.

A verdict is a list of claims, each with who made it, when, and where a log has it. What came with
the bundle is data here: every line is reduced to printable ASCII before it leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import AirlockError, PolicyError, RefusedError
from loader.model.fields import format_instant
from loader.progress import sized
from loader.report_claims import (
    claim_lines,
    claim_plain,
    considered_plain,
    problem_plain,
    refused_lines,
    unsaid,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from loader.model.bundle import BundleStatement
    from loader.model.reference import Reference
    from loader.model.strictjson import JsonObject
    from loader.policy.facts import Considered, ImageJudgement, Judgement
    from loader.run import Host, Trace, Wish
    from loader.runtime.base import Receipt
    from loader.state.log_memory import Standing
    from loader.trust.freshness import AnchorAge, Reckoned

SCHEMA: Final = "airlock-verdict/1"
LINE_LENGTH_MAX: Final = 4000
REASON_COUNT_MAX: Final = 1000
Verdict = Literal["accept", "reject", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that a run came to."""

    verb: Literal["verify", "load"]
    trace: Trace
    host: Host | None
    wish: Wish | None
    confinement: tuple[str, ...]
    error: AirlockError | None

    @property
    def verdict(self) -> Verdict:
        """Accepted, refused, or not judged because this machine could not."""
        if self.error is None:
            return "accept"
        return "reject" if isinstance(self.error, RefusedError) else "error"


def plain(text: str) -> str:
    """Return text as a terminal, a journal and a mail survive it: printable ASCII, one line."""
    safe = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)
    return safe if len(safe) <= LINE_LENGTH_MAX else f"{safe[: LINE_LENGTH_MAX - 3]}..."


def error_lines(error: AirlockError) -> Iterator[str]:
    """Yield the one line that says what is wrong, and one that says what to do."""
    yield plain(f"airlock: error[{error.code}]: {error}")
    if error.hint:
        yield plain(f"hint: {error.hint}")


# --- text -----------------------------------------------------------------------------------------


def as_text(outcome: Outcome, *, explain: bool = False) -> str:
    """Return the verdict for people."""
    return "".join(f"{plain(line)}\n" for line in _lines(outcome, explain=explain))


def _lines(outcome: Outcome, *, explain: bool) -> Iterator[str]:
    yield from _head(outcome, explain=explain)
    if outcome.trace.judgement is not None:
        yield from _judged(outcome.trace.judgement, outcome, explain=explain)
    if isinstance(outcome.error, PolicyError):
        reasons = outcome.error.reasons[:REASON_COUNT_MAX]
        for reason in unsaid(reasons, outcome.trace.judgement):
            yield f"  reason   {reason}"
    admission = outcome.trace.admission
    if admission is not None:
        if admission.repeat:
            yield "  ok       freshness: the bundle that this host accepted last in its channel"
        elif not admission.downgrades:
            yield "  ok       freshness: not older than what this host accepted"
        for downgrade in admission.downgrades:
            yield f"  DOWNGRADE {downgrade}; let in because: {admission.reason}"
        for log in admission.logs:
            yield f"  log        {log.origin or log.name}: {log.words}"
    for warning in outcome.trace.warnings:
        yield f"  warning  {warning}"
    yield _last(outcome)


def _judged(judgement: Judgement, outcome: Outcome, *, explain: bool) -> Iterator[str]:
    in_images = {id(c.requirement) for i in judgement.images for c in i.claims}
    for claim in judgement.bundle.results:
        if id(claim.requirement) not in in_images:
            yield from claim_lines(claim)
    if explain:
        for one in judgement.bundle.considered:
            yield from _considered(one)
    receipts = {receipt.reference.tagged: receipt for receipt in outcome.trace.receipts}
    for image in judgement.images:
        yield from _image(image, outcome, receipts, explain=explain)
    yield from (f"  warning  {words}" for words in judgement.list_warnings)
    yield from _trust(judgement, explain=explain)


def _trust(judgement: Judgement, *, explain: bool) -> Iterator[str]:
    """Say which carried trust material judged, how roots changed, and what else was carried."""
    for name, repository in judgement.renewal.repositories.items():
        roles = ", ".join(f"{r.name} {r.version}" for r in repository.roles.values())
        yield f"  trust    {name}: renewed by this bundle, TUF {roles}"
    for change in judgement.learned.changes:
        if change.is_rotation:
            yield from (f"  trust    {line}" for line in change.words())
    for note in judgement.trust:
        if note.kind == "policy":
            yield "  proposes another policy: airlock-loader policy diff shows what it changes"
        elif note.holds == "differs" or (explain and note.holds != "chains"):
            yield f"  carried trust material {note.anchor}: {note.holds} (never used by itself)"


def _head(outcome: Outcome, *, explain: bool) -> Iterator[str]:
    from loader.policy.rules import without_image_words  # noqa: PLC0415  (an error needs none)

    trace, statement = outcome.trace, outcome.trace.statement
    yield f"{trace.archive}: {sized(trace.size)}"
    if outcome.confinement:
        yield f"  cut off    {', '.join(outcome.confinement)}"
    if outcome.host is not None:
        policy = outcome.host.policy
        yield f"  policy     {policy.where} ({policy.digest.short})"
        if statement is not None:
            for words in without_image_words(policy.rules, _references(statement)):
                yield f"             {words}"
        yield from _times(trace, outcome.host, explain=explain)
    if statement is None:
        return
    yield f"  statement  {statement.digest}"
    expires = "" if statement.expires is None else f", expires {format_instant(statement.expires)}"
    channel = (
        "no channel"
        if statement.channel is None
        else f"channel {statement.channel}, sequence {statement.sequence}"
    )
    yield f"  {channel}, created {format_instant(statement.created)}{expires}"


def _references(statement: BundleStatement) -> tuple[Reference, ...]:
    return tuple(entry.reference for entry in statement.images)


def _times(trace: Trace, host: Host, *, explain: bool) -> Iterator[str]:
    """Yield what time was taken for now, and how old that makes each anchor that has an age."""
    time = trace.time(host)
    yield f"  time       {format_instant(time.at)}, {time.words}"
    ages = [age for age in trace.ages(host, time) if explain or age.holds != "undated"]
    said = dict.fromkeys((age.name, age.words) for age in ages)
    for name, words in said:
        # One repository may be two anchors, a root and what it brings: the one says both.
        if not any(n == name and words in w and words != w for n, w in said):
            yield f"  anchor     {name}: {words}"


def _image(
    image: ImageJudgement, outcome: Outcome, receipts: dict[str, Receipt], *, explain: bool
) -> Iterator[str]:
    entry, name = image.entry, image.name
    platforms = ", ".join(str(kept.platform) for kept in image.graph.kept if kept.platform)
    yield f"{entry.reference.tagged}  {entry.image.digest}" + (f"  {platforms}" * bool(platforms))
    if name.problem is None:
        yield f"  ok       name: {name.how}{f', {name.by}' * bool(name.by)}"
    else:
        yield from refused_lines("name", name.problem)
    for problem in image.denied:
        yield from refused_lines("deny lists", problem)
    for claim in image.claims:
        yield from claim_lines(claim)
    for one in image.considered:
        if explain or one.piece.store == "supplement":  # listed only where it does not hold
            yield from _considered(one)
    receipt = receipts.get(name.reference.tagged)
    if receipt is not None:
        target = "" if outcome.wish is None else f" in {outcome.wish.target}"
        yield f"  {receipt.what}{target}"
        for what, value in receipt.read_back:
            yield f"    read back: {what} = {value}"
        for note in receipt.notes:
            yield f"    note: {note}"


def _considered(one: Considered) -> Iterator[str]:
    where = "" if one.piece.manifest is None else f" {one.piece.manifest.short}"
    why = one.why_not
    said = "counts" if one.counts else f"does not count: {why or 'no requirement is about it'}"
    yield f"    seen     {one.piece.what} ({one.piece.store}{where}): {said}"


def _last(outcome: Outcome) -> str:
    trace, error = outcome.trace, outcome.error
    read = f"{sized(trace.bytes_read)} read, {sized(trace.layers_read)} of layers"
    if error is not None:
        word = "REFUSED" if outcome.verdict == "reject" else "NOT DONE"
        return f"{word} ({error.code}, exit status {error.exit_status}); {read}"
    count = 0 if trace.judgement is None else len(trace.judgement.images)
    images = "1 image" if count == 1 else f"{count} images"
    if outcome.verb == "verify":
        return f"VERIFIED: {images}; {read}"
    if all(receipt.what == "already-there" for receipt in trace.receipts):
        return f"ALREADY THERE: {images}, verified again; {read}"
    return f"LOADED: {images}; {read}"


# --- JSON -----------------------------------------------------------------------------------------


def as_json(outcome: Outcome) -> str:
    """Return the verdict for programs: schema `airlock-verdict/1`, keys in order, plain ASCII."""
    return json.dumps(_document(outcome), sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _document(outcome: Outcome) -> JsonObject:
    from loader.policy.rules import without_image  # noqa: PLC0415  (an error needs none)

    trace, host = outcome.trace, outcome.host
    statement, judgement, admission = trace.statement, trace.judgement, trace.admission
    receipts = {receipt.reference.tagged: receipt for receipt in trace.receipts}
    document: JsonObject = {
        "schema": SCHEMA,
        "verdict": outcome.verdict,
        "verb": outcome.verb,
        "archive": {
            "name": trace.archive,
            "size": trace.size,
            "bytes_read": trace.bytes_read,
            "layers_read": trace.layers_read,
        },
        "confinement": list(outcome.confinement),
        "policy": None
        if host is None
        else {
            "file": host.policy.where,
            "digest": str(host.policy.digest),
            "without_image": []
            if statement is None
            else [rule.where for rule in without_image(host.policy.rules, _references(statement))],
        },
        "anchors": []
        if host is None
        else [
            {"name": a.name, "kind": a.kind, "fingerprint": a.fingerprint, **_age_plain(age)}
            for a, age in zip(
                trace.anchors(host).anchors, trace.ages(host, trace.time(host)), strict=True
            )
        ],
        "statement": None
        if statement is None
        else {
            "digest": str(statement.digest),
            "created": format_instant(statement.created),
            "channel": statement.channel,
            "sequence": statement.sequence,
            "expires": None if statement.expires is None else format_instant(statement.expires),
        },
        "bundle_claims": []
        if judgement is None
        else [claim_plain(claim) for claim in judgement.bundle.results],
        "images": []
        if judgement is None
        else [
            _image_plain(image, receipts.get(image.name.reference.tagged))
            for image in judgement.images
        ],
        "trust": []
        if judgement is None
        else [{"anchor": n.anchor, "kind": n.kind, "holds": n.holds} for n in judgement.trust],
        "repositories": []
        if judgement is None
        else [
            {
                "anchor": name,
                "root": repository.root_version,
                "signed": None
                if repository.signed_at is None
                else format_instant(repository.signed_at),
                "roles": [
                    {
                        "name": role.name,
                        "version": role.version,
                        "expires": format_instant(role.expires),
                    }
                    for role in repository.roles.values()
                ],
            }
            for name, repository in judgement.renewal.repositories.items()
        ],
        "trust_changes": []
        if judgement is None
        else [change.kept().plain() for change in judgement.learned.changes if change.moved],
        "target": None if outcome.wish is None else outcome.wish.target,
        "logs": [] if admission is None else [_log_plain(one) for one in admission.logs],
        "repeat": admission is not None and admission.repeat,
        "downgrade": None
        if admission is None or not admission.downgrades
        else {"reason": admission.reason, "what": list(admission.downgrades)},
        "time": _time_plain(None if host is None else trace.time(host)),
        "warnings": list(trace.warnings),
        **error_plain(outcome.error),
    }
    return document


def error_plain(error: AirlockError | None) -> JsonObject:
    """Return why it ended otherwise than asked; the first four stand at the top for scripts."""
    if error is None:
        return {"code": None, "class": None, "where": None, "exit_status": 0, "error": None}
    reasons = error.reasons if isinstance(error, PolicyError) else ()
    return {
        "code": error.code,
        "class": error.error_class,
        "where": error.where,
        "exit_status": error.exit_status,
        "error": {
            "message": error.message,
            "expected": error.expected,
            "found": error.found,
            "hint": error.hint,
            "reasons": list(reasons[:REASON_COUNT_MAX]),
            "reason_count": len(reasons),
        },
    }


def _time_plain(time: Reckoned | None) -> JsonObject:
    """Return every time that was known, the one that was taken for now, and whose it is."""
    if time is None:
        return dict.fromkeys(("used", "by", "evidence", "floor", "clock"))
    return {
        "used": format_instant(time.at),
        "by": time.source,
        "evidence": _instant(time.evidence),
        "floor": _instant(time.floor),
        "clock": format_instant(time.clock),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)


def _age_plain(age: AnchorAge) -> JsonObject:
    return {
        "dated_at": _instant(age.dates.dated_at),
        "expires_at": _instant(age.dates.expires_at),
        "age_seconds": _seconds(age.age),
        "past_seconds": _seconds(age.past),
        "max_staleness_seconds": _seconds(age.max_staleness),
        "holds": age.holds,
    }


def _log_plain(log: Standing) -> JsonObject:
    return {
        "log": log.log,
        "name": log.name,
        "origin": log.origin,
        "holds": log.holds,
        "why": log.why,
        "size": None if log.newest is None else log.newest.size,
        "remembered_size": None if log.remembered is None else log.remembered.size,
        "required": log.required,
        "beside": log.beside,
    }


def _seconds(length: timedelta | None) -> int | None:
    return None if length is None else int(length.total_seconds())


def _image_plain(image: ImageJudgement, receipt: Receipt | None) -> JsonObject:
    return {
        "reference": str(image.entry.reference),
        "image": str(image.entry.image.digest),
        "platforms": [
            {
                "platform": None if kept.platform is None else str(kept.platform),
                "manifest": str(kept.digest),
            }
            for kept in image.graph.kept
        ],
        "name": {
            "name": image.name.reference.tagged,
            "how": image.name.how,
            "by": image.name.by,
            "said": list(image.name.said),
            "problem": problem_plain(image.name.problem),
        },
        "claims": [claim_plain(claim) for claim in image.claims],
        "denied": [problem_plain(problem) for problem in image.denied],
        "considered": [considered_plain(one) for one in image.considered],
        "loaded": None
        if receipt is None
        else {
            "what": receipt.what,
            "runtime": receipt.runtime,
            "digest": str(receipt.digest),
            "read_back": [{"what": what, "value": value} for what, value in receipt.read_back],
            "notes": list(receipt.notes),
        },
    }
