"""What the ledger says, in words or as JSON: `history`, `why`, `audit verify`.

Every line is reduced to printable ASCII: names and messages in a record came with a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import StateError
from loader.model.fields import format_instant
from loader.report import error_plain, plain
from loader.state.record import parse_record

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject
    from loader.state.audit import Audit
    from loader.state.record import Attempt, AttemptedImage, Record

HISTORY_SCHEMA: Final = "airlock-history/1"
WHY_SCHEMA: Final = "airlock-why/1"
AUDIT_SCHEMA: Final = "airlock-audit/1"
IMAGE_COUNT_SHOWN: Final = 10
_GOOD: Final = frozenset({"loaded", "already-there"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why this host has an image: the record that let it in."""

    record: Record
    image: AttemptedImage


def reasons_for(records: Iterable[Record], wanted: str) -> tuple[Reason, ...]:
    """Return every acceptance of an image, the newest first.

    Args:
        records: the ledger's, the newest first.
        wanted: a full name with its tag, a repository without, or any digest that the image has.
    """
    return tuple(
        Reason(record=record, image=image)
        for record in records
        if record.attempt.outcome in _GOOD
        for image in record.attempt.images
        if image.is_known_as(wanted)
    )


def _text(lines: Iterator[str]) -> str:
    return "".join(f"{plain(line)}\n" for line in lines)


def _dumps(document: JsonObject) -> str:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


# --- history --------------------------------------------------------------------------------------


def history_text(records: Sequence[Record], *, left_out: int, downgrades: Sequence[int]) -> str:
    """Return records for people, and which ones ever let something older in."""

    def lines() -> Iterator[str]:
        for record in records:
            yield from _record(record)
        if left_out:
            yield f"{left_out} more records: --all shows them"
        if downgrades:
            numbers = ", ".join(map(str, downgrades))
            yield f"DOWNGRADES were let in by record{'s' * (len(downgrades) > 1)} {numbers}"

    return _text(lines())


def _record(record: Record) -> Iterator[str]:
    attempt = record.attempt
    parts = [f"{record.number:>5}  {format_instant(attempt.at)}  {attempt.verb}: {attempt.outcome}"]
    if attempt.channel is not None:
        parts.append(f"channel {attempt.channel} {attempt.sequence}")
    parts += filter(None, (attempt.target and f"into {attempt.target}", attempt.archive))
    yield "  ".join(parts)
    indent = " " * 7
    if attempt.failure is not None:
        where = f"; at {attempt.failure.where}" if attempt.failure.where else ""
        yield f"{indent}{attempt.failure.code}: {attempt.failure.message}{where}"
    for image in attempt.images[:IMAGE_COUNT_SHOWN]:
        what = f"  {image.what}" if image.what else ""
        yield f"{indent}{image.name}  {image.image}{what}"
    if len(attempt.images) > IMAGE_COUNT_SHOWN:
        yield f"{indent}and {len(attempt.images) - IMAGE_COUNT_SHOWN} more images"
    yield from (f"{indent}trust {line}" for change in attempt.trust for line in change.words())
    yield from (f"{indent}{line}" for line in _exceptional(attempt))


def _exceptional(attempt: Attempt) -> Iterator[str]:
    """Say what must be seen ever after: what was older, what was excepted, and who said why."""
    for downgrade in attempt.downgrades or (("something older",) * bool(attempt.downgrade)):
        yield f"DOWNGRADE {downgrade}; let in because: {attempt.downgrade}"
    for exception in attempt.exceptions:
        yield f"EXCEPTION {exception}"
    if attempt.reason is not None:
        yield f"reason: {attempt.reason}"
    if attempt.verb != "load":
        yield from attempt.notes
    for warning in attempt.warnings:
        yield f"warning: {warning}"


def history_json(records: Sequence[Record], *, left_out: int, downgrades: Sequence[int]) -> str:
    """Return records for programs, each as it was written."""
    return _dumps(
        {
            "schema": HISTORY_SCHEMA,
            "records": [_record_plain(record) for record in records],
            "left_out": left_out,
            "downgrades": [*downgrades],
        }
    )


def _record_plain(record: Record) -> JsonObject:
    return {"hash": str(record.hash), "record": parse_record(record.raw)}


# --- why ------------------------------------------------------------------------------------------


def why_text(wanted: str, reasons: Sequence[Reason]) -> str:
    """Return for people why this host has an image: what let it in last, and what before."""

    def lines() -> Iterator[str]:
        yield from _reason(reasons[0])
        older = reasons[1:]
        for one in older[:IMAGE_COUNT_SHOWN]:
            attempt = one.record.attempt
            yield (
                f"before: record {one.record.number}, {format_instant(attempt.at)}, "
                f"{one.image.name} {one.image.image}, {attempt.outcome}"
            )
            for line in _exceptional(attempt):
                if line.startswith(("DOWNGRADE", "EXCEPTION")):
                    yield f"  {line}"
        if len(older) > IMAGE_COUNT_SHOWN:
            yield f"and {len(older) - IMAGE_COUNT_SHOWN} times before: history --image {wanted}"

    return _text(lines())


def _reason(one: Reason) -> Iterator[str]:
    attempt, image = one.record.attempt, one.image
    yield f"{image.name}  {image.image}"
    at = format_instant(attempt.at)
    yield f"  let in by  record {one.record.number}, {at}, {attempt.outcome}"
    yield f"  where      {attempt.target}"
    if image.packed_as != image.name:
        yield f"  packed as  {image.packed_as}"
    for claim in image.claims:
        yield f"  ok         {claim.words}"
        for who in claim.who:
            yield f"               said by {who}"
        if claim.at:
            yield f"               at {', '.join(format_instant(at) for at in claim.at)}"
    for digest in image.evidence:
        yield f"  evidence   {digest}"
    channel = (
        "no channel"
        if attempt.channel is None
        else f"channel {attempt.channel}, sequence {attempt.sequence}"
    )
    yield f"  bundle     {attempt.statement}, {channel}, {attempt.archive}"
    yield f"  policy     {attempt.policy}"
    yield from (f"  {line}" for line in _judged_by(attempt))
    for what, value in image.read_back:
        yield f"  read back  {what} = {value}"
    yield f"  loader     {attempt.loader}"
    yield from (f"  {line}" for line in _exceptional(attempt))


def _judged_by(attempt: Attempt) -> Iterator[str]:
    """Say which trust it was judged by, how that moved with it, and what time it was."""
    for name, digest in attempt.anchors:
        yield f"anchor     {name} {digest}"
    for change in attempt.trust:
        yield from (f"trust      {line}" for line in change.words())
    if attempt.time is not None:
        yield f"time       {format_instant(attempt.time)}, the newest verified one in the bundle"
    for note in attempt.notes:
        yield f"reckoned   {note}"


def why_json(wanted: str, reasons: Sequence[Reason]) -> str:
    """Return for programs why this host has an image."""
    return _dumps(
        {
            "schema": WHY_SCHEMA,
            "image": wanted,
            "reasons": [{"name": one.image.name, **_record_plain(one.record)} for one in reasons],
        }
    )


# --- audit verify ---------------------------------------------------------------------------------


def audit_error(audit: Audit, *, where: str) -> StateError | None:
    """Return what a damaged ledger is; None where it is whole."""
    if not audit.findings:
        return None
    first = audit.findings[0]
    count = len(audit.findings)
    place = where if first.record is None else f"{where}, record {first.record}"
    return StateError(
        f"the ledger is not as this host wrote it: {first.words}",
        where=place,
        found=f"{count} findings" if count > 1 else "",
        hint="keep a copy of it as it is, find out who changed it, then `state recover`",
    )


def audit_text(audit: Audit, *, where: str, pinned: bool) -> str:
    """Return for people what an audit came to: the first bad record first."""

    def lines() -> Iterator[str]:
        span = (
            ""
            if audit.begun is None or audit.ended is None
            else f", {format_instant(audit.begun)} to {format_instant(audit.ended)}"
        )
        yield f"{where}: {audit.count} records{span}"
        for finding in audit.findings:
            place = "" if finding.record is None else f"record {finding.record}: "
            yield f"  BAD      {place}{finding.words}"
        for key, count in audit.signed.items():
            yield f"  signed   {count} by the key {key}"
            if not pinned:
                yield "           noted elsewhere, it tells whether all was written anew: --key"
        if audit.unsigned:
            yield f"  unsigned {audit.unsigned}, from before this host had a key"
        if audit.head is not None:
            yield f"  head     {audit.head.number}:{audit.head.hash}"
            yield "           noted elsewhere, it tells whether all was put back: --noted"
        yield "DAMAGED" if audit.findings else "WHOLE: each record follows the one before it"

    return _text(lines())


def audit_json(audit: Audit, *, where: str) -> str:
    """Return for programs what an audit came to."""
    head = audit.head
    return _dumps(
        {
            "schema": AUDIT_SCHEMA,
            "ledger": where,
            "records": audit.count,
            "begun": None if audit.begun is None else format_instant(audit.begun),
            "ended": None if audit.ended is None else format_instant(audit.ended),
            "signed": {str(key): count for key, count in audit.signed.items()},
            "unsigned": audit.unsigned,
            "head": None if head is None else {"number": head.number, "hash": str(head.hash)},
            "findings": [{"record": f.record, "words": f.words} for f in audit.findings],
            **error_plain(audit_error(audit, where=where)),
        }
    )
