"""Which claim a verified piece of evidence makes, as the keys of a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.policies.toml_text import Value
from loader.evidence import SignedEvidence, kind_of
from loader.model.predicate_types import PredicateType
from loader.verify.facts import Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedClaim:
    """A requirement without who must say it, and words about it."""

    table: dict[str, Value]
    words: tuple[str, ...]


def claim_of(evidence: SignedEvidence, signed: Signed) -> ProposedClaim | None:
    """Return what may be required of evidence like this; None where no claim is about it."""
    kind = kind_of(evidence)
    if kind.is_signature:
        return ProposedClaim(table={"claim": "signature"}, words=(kind.words,))
    try:
        PredicateType(signed.predicate_type)
    except ValueError:
        return None  # no statement, or of a type that no policy could name
    return ProposedClaim(
        table={"claim": "attestation", "type": signed.predicate_type}, words=(kind.words,)
    )
