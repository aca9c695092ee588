"""Attestations as documents: what they say, byte for byte, and whether anybody verified it.

Subject ─flags or policy→ verified ones     else all that are there, said to be unverified
statement bytes ─cut→ predicate bytes       as they were signed, not written anew
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecoder
from typing import Final

from bundler.checking.subject import Subject
from bundler.checking.verdict import Verdict, counted
from loader.digest import Digest
from loader.errors import FormatError
from loader.evidence import Broken, SignedEvidence, Unsigned, evidence_of
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS
from loader.model.cosign import CosignAttestation
from loader.model.envelope import Envelope
from loader.model.predicate_types import SIGN, PredicateType
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.statement import Statement
from loader.model.strictjson import JsonObject, JsonValue
from loader.policy.weigh import who_of

SCHEMA: Final = "airlock-attestation/1"
REDACTED: Final = "REDACTED"
_PRIVATE: Final = frozenset({"github_event_payload", "event_payload"})
"""What a builder copies from the event that started it: e-mail addresses, titles, private names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One statement about an image. `who` is empty where nobody verified it."""

    reference: str
    store: str
    manifest: Digest
    blob: Digest | None
    statement: Statement
    who: str
    at: str

    @property
    def predicate(self) -> bytes:
        """The bytes of the predicate, as they stand in what was signed."""
        return cut_predicate(self.statement.raw)


def verified_ones(verdict: Verdict) -> Iterator[Attestation]:
    """Yield the attestations that count, each once."""
    seen: set[Digest] = set()
    for one in counted(verdict):
        payload = one.signed.payload
        if isinstance(payload, Statement) and payload.predicate_type != SIGN:
            if one.signed.evidence_digest in seen:
                continue
            seen.add(one.signed.evidence_digest)
            times = sorted({time.at for time in one.signed.times}, reverse=True)
            yield Attestation(
                reference=verdict.subject.name_of(one.image.entry),
                store=one.found.entry.store,
                manifest=one.found.entry.manifest.digest,
                blob=one.found.blob,
                statement=payload,
                who=who_of(one.signed).words,
                at=times[0].isoformat().replace("+00:00", "Z") if times else "",
            )


def all_there(subject: Subject, wanted: PredicateType | None) -> Iterator[Attestation]:
    """Yield every attestation of a type, or of any; nothing of it is verified."""
    for entry in subject.statement.images:
        graph = read_graph(entry, subject.blobs)
        for found in evidence_of(entry, graph, subject.blobs):
            evidence = found.evidence
            statement = None if isinstance(evidence, Broken | Unsigned) else _statement(evidence)
            if statement is None or statement.predicate_type == SIGN:
                continue
            if wanted is None or wanted.matches(statement.predicate_type):
                yield Attestation(
                    reference=subject.name_of(entry),
                    store=found.entry.store,
                    manifest=found.entry.manifest.digest,
                    blob=found.blob,
                    statement=statement,
                    who="",
                    at="",
                )


def _statement(evidence: SignedEvidence) -> Statement | None:
    match evidence:
        case CosignAttestation(envelope=envelope) | SigstoreBundle(content=Envelope() as envelope):
            try:
                return Statement.parse(envelope.payload, where="statement")
            except FormatError:
                return None
        case _:
            return None


def cut_predicate(statement: bytes) -> bytes:
    """Return the bytes of a statement's predicate; `null` where there is none.

    The statement was parsed strictly before: one object, each key once.
    """
    text, decoder = statement.decode("utf-8"), JSONDecoder()
    position = _behind_space(text, text.index("{") + 1)
    while text[position] != "}":
        name, position = decoder.raw_decode(text, position)
        position = _behind_space(text, _behind_space(text, position) + 1)  # the colon
        begin = position
        _, position = decoder.raw_decode(text, position)
        if name == "predicate":
            return text[begin:position].encode("utf-8")
        position = _behind_space(text, position)
        if text[position] == ",":
            position = _behind_space(text, position + 1)
    return b"null"


def _behind_space(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position


def redacted_statement(one: Attestation) -> JsonObject:
    """Return a statement without what a builder copied from the event that started it."""
    return {
        "_type": one.statement.type,
        "subject": [
            ({"name": subject.name} if subject.name else {}) | {"digest": dict(subject.digests)}
            for subject in one.statement.subjects
        ],
        "predicateType": one.statement.predicate_type,
        "predicate": _without(_predicate(one)),
    }


def _predicate(one: Attestation) -> JsonValue:
    size_max = DEFAULT_LIMITS.evidence_size_max
    return one.statement.read_predicate(None, size_max=size_max)


def _without(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {
                name: REDACTED if name in _PRIVATE else _without(inner)
                for name, inner in value.items()
            }
        case list():
            return [_without(inner) for inner in value]
        case _:
            return value


def document(one: Attestation, *, redact: bool) -> JsonValue:
    """Return one attestation for programs: schema `airlock-attestation/1`."""
    return {
        "schema": SCHEMA,
        "reference": one.reference,
        "verified": bool(one.who),
        "who": one.who or None,
        "at": one.at or None,
        "store": one.store,
        "manifest": str(one.manifest),
        "blob": None if one.blob is None else str(one.blob),
        "type": one.statement.predicate_type,
        "subjects": [
            {"name": subject.name or None, "digest": dict(subject.digests)}
            for subject in one.statement.subjects
        ],
        "redacted": redact,
        "predicate": _without(_predicate(one)) if redact else _predicate(one),
    }


def for_terminal(raw: bytes) -> bytes:
    """Return JSON that says the same and holds only printable ASCII and white space.

    What stands in a predicate may be anybody's, and a terminal obeys more characters than it shows.
    """
    text = raw.decode("utf-8")
    plain = "".join(c if c in "\t\n\r" or " " <= c <= "~" else json.dumps(c)[1:-1] for c in text)
    return plain.encode("ascii")


def compact(value: JsonValue) -> str:
    """Write a value on one line of ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
