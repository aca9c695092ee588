"""What `verify-local` found, in words or as JSON; every line plain ASCII."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import PolicyError, RefusedError
from loader.model.fields import format_instant
from loader.report import error_plain, plain

if TYPE_CHECKING:
    from loader.errors import AirlockError
    from loader.model.strictjson import JsonObject
    from loader.recheck import Recheck

SCHEMA: Final = "airlock-local/1"
_WORDS: Final = {"same": "ok", "gone": "GONE", "changed": "CHANGED", "unknown": "unknown"}


def first_error(found: Sequence[Recheck]) -> AirlockError | None:
    """Return what decides the exit status: a refusal before a difference, and both before doubt."""
    errors = [one.error for one in found if one.error is not None]
    order = {"drift": 1, "state": 2, "runtime": 3, "io": 3}
    return min(errors, key=lambda e: order.get(e.error_class, 0), default=None)


def as_text(one: Recheck) -> str:
    """Return for people what became of one image."""
    return "".join(f"{plain(line)}\n" for line in _lines(one))


def _lines(one: Recheck) -> Iterator[str]:
    held, image = one.held, one.held.image
    attempt = held.record.attempt
    yield f"{image.name}  {image.image}"
    at = format_instant(attempt.at)
    yield f"  let in by record {held.record.number}, {at}, into {held.target}"
    yield from _judged(one)
    if one.expired:
        yield "  note     its bundle has expired since: nothing else is loaded from it"
    if one.older_trust:
        yield "  note     judged by the trust material that it carries; this host has seen newer"
    word = _WORDS[one.there]
    if one.drift is None:
        yield f"  {word:8} {held.target} has what was let in" if word == "ok" else f"  {word:8}"
    else:
        yield f"  {word:8} {one.drift}"
    for what, value in one.facts:
        yield f"             {what} = {value}"
    for downgrade in attempt.downgrades:
        yield f"  DOWNGRADE {downgrade}; let in because: {attempt.downgrade}"


def _judged(one: Recheck) -> Iterator[str]:
    if one.refused is None:
        yield "  ok       policy: it would be let in today"
        if one.judgement is not None:
            for claim in one.judgement.claims:
                if claim.excepted is None:
                    yield f"             {claim.words}: said by {', '.join(claim.who)}"
            for words in one.judgement.exceptions:
                yield f"  EXCEPTED {words}"
    else:
        word = "REFUSED" if isinstance(one.refused, RefusedError) else "unknown"
        yield f"  {word:8} {one.refused.code}: {one.refused}"
        reasons = one.refused.reasons if isinstance(one.refused, PolicyError) else ()
        if len(reasons) > 1:
            yield from (f"             {reason}" for reason in reasons)


def last_line(found: Sequence[Recheck]) -> str:
    """Return the sum of it for people."""
    bad = sum(one.error is not None for one in found)
    images = "1 image" if len(found) == 1 else f"{len(found)} images"
    if not found:
        return "NOTHING WAS LOADED on this host\n"
    if bad:
        return f"NOT AS IT SHOULD BE: {bad} of {images}\n"
    return f"AS IT WAS LET IN: {images}, judged again and compared\n"


def as_json(found: Sequence[Recheck]) -> str:
    """Return everything for programs."""
    document: JsonObject = {
        "schema": SCHEMA,
        "images": [_plain(one) for one in found],
        **error_plain(first_error(found)),
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _policy(refused: AirlockError | None) -> Literal["accepted", "refused", "unknown"]:
    """Tell a refusal from what could not be judged: no policy to be read, evidence that is gone."""
    if refused is None:
        return "accepted"
    return "refused" if isinstance(refused, RefusedError) else "unknown"


def _plain(one: Recheck) -> JsonObject:
    return {
        "name": one.held.image.name,
        "image": str(one.held.image.image),
        "target": one.held.target,
        "record": one.held.record.number,
        "policy": _policy(one.refused),
        "runtime": one.there,
        "facts": [{"what": what, "value": value} for what, value in one.facts],
        "expired": one.expired,
        "older_trust": one.older_trust,
        "exceptions": [] if one.judgement is None else list(one.judgement.exceptions),
        "downgrade": one.held.record.attempt.downgrade,
        "refused": error_plain(one.refused),
        "drift": error_plain(one.drift),
    }
