"""What one verified statement says, read once for all requirements that ask about it.

A predicate may have tens of megabytes. Each question reads it in part, gets a small value, and lets
the rest go; the answer is kept while the piece is weighed, whoever asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.errors import FormatError
from loader.limits import DEFAULT_LIMITS
from loader.model.provenance import read_provenance
from loader.model.sbom import KEEP as KEEP_SBOM
from loader.model.sbom import KEEP_LICENCES, read_sbom
from loader.model.scan import KEEP as KEEP_SCAN
from loader.model.scan import read_scan
from loader.model.statement import Statement

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.provenance import Provenance
    from loader.model.sbom import Sbom
    from loader.model.scan import Scan
    from loader.model.strictjson import JsonValue
    from loader.verify.facts import Signed
    from loader.witness import Verified

DOCUMENT_COUNT_MAX: Final = 8
"""Different sets of keys that are kept of one statement: more are read again."""


class Contents:
    """The predicate of one piece of evidence; empty until some requirement verified the piece."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._statement: Statement | None = None
        self._parts: dict[frozenset[str], JsonValue | FormatError] = {}
        self._provenance: Provenance | FormatError | None = None
        self._sboms: dict[bool, Sbom | FormatError] = {}
        self._scan: Scan | FormatError | None = None

    def of(self, verified: Verified[Signed]) -> None:
        """Take what a verified piece says; it says the same under whatever anchor it verified."""
        payload = verified.value.payload
        if isinstance(payload, Statement):
            self._statement = payload

    def part(self, keep: frozenset[str]) -> JsonValue:
        """Return the predicate with these keys of it, wherever they stand.

        Raises:
            FormatError: it says too much, or is no statement.
        """
        if keep not in self._parts:
            if len(self._parts) >= DOCUMENT_COUNT_MAX:
                self._parts.clear()
            try:
                self._parts[keep] = self._read(keep, self._limits.evidence_size_max)
            except FormatError as e:
                self._parts[keep] = e
        found = self._parts[keep]
        if isinstance(found, FormatError):
            raise found
        return found

    def provenance(self) -> Provenance:
        """Return the predicate as provenance.

        Raises:
            FormatError: it is none that is known, or too large for one.
        """
        if self._provenance is None:
            try:
                predicate = self._read(None, self._limits.document_size_max)
                kind = "" if self._statement is None else self._statement.predicate_type
                self._provenance = read_provenance(predicate, kind)
            except FormatError as e:
                self._provenance = e
        if isinstance(self._provenance, FormatError):
            raise self._provenance
        return self._provenance

    def sbom(self, *, licences: bool) -> Sbom:
        """Return the predicate as a bill of materials; with its licences where they are asked for.

        Raises:
            FormatError: it is none, or says too much.
        """
        found = self._sboms.get(licences)
        if found is None:
            try:
                keep = KEEP_LICENCES if licences else KEEP_SBOM
                found = read_sbom(self._read(keep, self._limits.evidence_size_max))
            except FormatError as e:
                found = e
            self._sboms[licences] = found
        if isinstance(found, FormatError):
            raise found
        return found

    def scan(self) -> Scan:
        """Return the predicate as a scan for vulnerabilities.

        Raises:
            FormatError: it is none, or says too much.
        """
        if self._scan is None:
            try:
                self._scan = read_scan(self._read(KEEP_SCAN, self._limits.evidence_size_max))
            except FormatError as e:
                self._scan = e
        if isinstance(self._scan, FormatError):
            raise self._scan
        return self._scan

    def _read(self, keep: frozenset[str] | None, size_max: int) -> JsonValue:
        if self._statement is None:
            raise FormatError("no statement, and so nothing that it says")
        return self._statement.read_predicate(keep, size_max=size_max, limits=self._limits)
