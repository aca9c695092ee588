"""Which claims a verified piece of evidence makes, as the keys of a requirement.

The first of them says most: of provenance who built it and from what. The last says only that there
is a statement of that type. Which of them the image really meets, the judge decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bundler.policies.toml_text import Value
from loader.errors import FormatError
from loader.evidence import SignedEvidence, kind_of
from loader.limits import DEFAULT_LIMITS
from loader.model.predicate_types import SLSA_02, SLSA_1, PredicateType
from loader.model.provenance import read_provenance
from loader.model.scan import KEEP, read_scan
from loader.model.statement import Statement
from loader.policy.builders import level_of
from loader.verify.facts import Signed

_SBOMS: Final = ("spdx", "cyclonedx")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedClaim:
    """A requirement without who must say it, and words about it."""

    table: dict[str, Value]
    words: tuple[str, ...]


def claims_of(evidence: SignedEvidence, signed: Signed) -> tuple[ProposedClaim, ...]:
    """Return what may be required of evidence like this; nothing where no claim is about it."""
    kind = kind_of(evidence)
    if kind.is_signature:
        return (ProposedClaim(table={"claim": "signature"}, words=(kind.words,)),)
    statement = signed.payload
    if not isinstance(statement, Statement):
        return ()
    return (
        *_provenance(statement, signed),
        *_contents(statement, kind.words),
        *_attestation(statement, kind.words),
    )


def _contents(statement: Statement, words: str) -> Iterator[ProposedClaim]:
    """Yield what may be asked of an SBOM or a scan, the strictest first."""
    kind = statement.predicate_type
    if any(PredicateType(word).matches(kind) for word in _SBOMS):
        yield ProposedClaim(table={"claim": "sbom", "type": kind}, words=(words,))
    if PredicateType("vuln").matches(kind):
        for asked, said in _of_scan(statement):
            table: dict[str, Value] = {"claim": "vulnerabilities", "type": kind, **asked}
            yield ProposedClaim(table=table, words=(words, *said))


def _of_scan(statement: Statement) -> Iterator[tuple[dict[str, Value], tuple[str, ...]]]:
    """Yield what may be asked of a scan, and words about it: no more findings than are there."""
    try:
        size_max = DEFAULT_LIMITS.evidence_size_max
        scan = read_scan(statement.read_predicate(KEEP, size_max=size_max))
    except FormatError:
        return
    most: dict[str, Value] = {"critical": scan.count("critical")}
    ungraded = scan.count("unknown")
    most |= {"unknown": ungraded} if ungraded else {}  # without a bound they count as critical
    there = [f"{count} {name}" for name, count in most.items() if count]
    said = (f"it found {' and '.join(there)}: max takes no more than that",) if there else ()
    yield {"max-age": "30d", "max": most}, said
    yield {"max": most}, (*said, "it is too old for max-age, or says no date that can be believed")
    yield {}, ("what it found cannot be counted: nothing bounds it",)
    yield {"require-results": False}, ("it is signed, and holds no result of any scan",)


def _attestation(statement: Statement, words: str) -> Iterator[ProposedClaim]:
    try:
        PredicateType(statement.predicate_type)
    except ValueError:
        return  # a type that no policy could name
    table: dict[str, Value] = {"claim": "attestation", "type": statement.predicate_type}
    yield ProposedClaim(table=table, words=(words,))


def _provenance(statement: Statement, signed: Signed) -> Iterator[ProposedClaim]:
    """Yield the claim that it was built from this repository, by this workflow.

    Tag and commit are the next release's others; they stand beside it in words.
    """
    if statement.predicate_type not in {SLSA_02, SLSA_1}:
        return
    try:
        predicate = statement.read_predicate(None, size_max=DEFAULT_LIMITS.evidence_size_max)
        found = read_provenance(predicate, statement.predicate_type)
    except FormatError:
        return
    level, why = level_of(found, signed.signer, ())
    source = found.value("repository").removeprefix("https://")
    workflow = found.value("workflow")
    table: dict[str, Value] = {"claim": "provenance"}
    table |= {"source-uri": source} if source else {}
    table |= {"workflow": workflow} if workflow else {}
    table["level"] = level
    yield ProposedClaim(
        table=table,
        words=(
            f"provenance: SLSA level {level} ({why})",
            f"built from {found.value('ref') or 'no ref'}, commit {found.value('commit')}",
        ),
    )
