"""Scans for vulnerabilities: cosign's vuln predicate and in-toto's, with what scanners put inside.

A scan says when it ended, by which scanner, and what it found; results are those of Trivy, Grype,
SARIF, or in-toto's own list. A result that nobody here can count is told apart from one that is
empty, and both from a clean one: cosign signs an empty predicate where it was given SARIF, and that
is how a release without any scan comes to look like one without any hole (FORMATS §0.7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import JsonFieldError
from loader.model.dates import read_date
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loader.model.strictjson import JsonObject, JsonValue

Severity = Literal["critical", "high", "medium", "low", "negligible", "unknown"]
SEVERITIES: Final[tuple[Severity, ...]] = (
    "critical",
    "high",
    "medium",
    "low",
    "negligible",
    "unknown",
)
ResultFormat = Literal["Trivy", "Grype", "SARIF", "in-toto", "empty", "unknown"]

KEEP: Final = frozenset(
    {
        *("scanner", "result", "metadata", "scanFinishedOn", "uri", "version"),
        *("SchemaVersion", "Results", "Vulnerabilities", "VulnerabilityID", "Severity"),
        *("FixedVersion", "PkgName", "InstalledVersion"),
        *("matches", "vulnerability", "id", "severity", "fix", "state", "artifact", "name"),
        *("runs", "results", "ruleId", "level", "tool", "driver", "rules", "properties"),
        *("security-severity", "locations", "physicalLocation", "artifactLocation"),
        "defaultConfiguration",
        *("method", "score"),
    }
)
_WORDS: Final[dict[str, Severity]] = {name: name for name in SEVERITIES} | {
    "moderate": "medium",
    "important": "high",
    "none": "negligible",
}
_LEVELS: Final[dict[str, Severity]] = {
    "error": "high",
    "warning": "medium",
    "note": "low",
    "none": "negligible",
}
_SCORES: Final[tuple[tuple[float, Severity], ...]] = ((9, "critical"), (7, "high"), (4, "medium"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One vulnerability in one package; what is found twice is one."""

    id: str
    package: str
    severity: Severity
    fixed: bool
    """Whether the scanner knows of a version without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a scan found, and when."""

    format: ResultFormat
    scanner: str
    finished: datetime | None
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Return how many findings have this severity."""
        return sum(one.severity == severity for one in self.findings)


def read_scan(predicate: JsonValue) -> Scan:
    """Return what a predicate says of a scan.

    Raises:
        JsonFieldError: it is no scan, or a broken one.
    """
    fields = Fields(predicate, "predicate")
    scanner = fields.fields("scanner")
    metadata = fields.fields("metadata").object if fields.has("metadata") else {}
    form, findings = _read_result(scanner.object.get("result"), scanner.at("result"))
    return Scan(
        format=form,
        scanner=" ".join(filter(None, (_text(scanner, "uri"), _text(scanner, "version")))),
        finished=read_date(metadata.get("scanFinishedOn")),
        findings=tuple(dict.fromkeys(findings)),
    )


def _read_result(result: JsonValue, where: str) -> tuple[ResultFormat, list[Finding]]:
    if isinstance(result, dict) and not _is_of_one_scanner(result):
        result = {}  # what two formats could be read from is in none
    match result:
        case None:
            return "empty", []
        case list():
            return "in-toto", list(_in_toto(result, where))
        case {"Results": list() | None} | {"SchemaVersion": int()}:
            # Trivy leaves an empty list of results away.
            return "Trivy", list(_trivy(Fields(result, where)))
        case {"matches": list()}:
            return "Grype", list(_grype(Fields(result, where)))
        case {"runs": list()}:
            return "SARIF", list(_sarif(Fields(result, where)))
        case _:
            return "unknown", []


def _is_of_one_scanner(result: JsonObject) -> bool:
    """Tell whether findings stand in one place, as its scanner spells it.

    Read as the one format it may be clean, and as the other full of holes.
    """
    places = [key for key in result if key.casefold() in {"results", "matches", "runs"}]
    if "SchemaVersion" in result:
        return places in ([], ["Results"])
    return len(places) <= 1


def _trivy(fields: Fields) -> Iterator[Finding]:
    for target in _list(fields, "Results"):
        for one in _list(target, "Vulnerabilities"):
            yield Finding(
                id=one.text("VulnerabilityID"),
                package=f"{_text(one, 'PkgName')} {_text(one, 'InstalledVersion')}".strip(),
                severity=_severity(_text(one, "Severity")),
                fixed=bool(_text(one, "FixedVersion")),
            )


def _grype(fields: Fields) -> Iterator[Finding]:
    for one in _list(fields, "matches"):
        vulnerability = one.fields("vulnerability")
        artifact = one.fields("artifact") if one.has("artifact") else None
        fix = vulnerability.fields("fix") if vulnerability.has("fix") else None
        yield Finding(
            id=vulnerability.text("id"),
            package=""
            if artifact is None
            else f"{_text(artifact, 'name')} {_text(artifact, 'version')}".strip(),
            severity=_severity(_text(vulnerability, "severity")),
            fixed=fix is not None and _text(fix, "state") == "fixed",
        )


def _sarif(fields: Fields) -> Iterator[Finding]:
    """Yield each rule's results; a result is one finding in each place that it names first."""
    for run in _list(fields, "runs"):
        driver = run.fields("tool").fields("driver")
        rules = {_text(rule, "id"): rule for rule in _list(driver, "rules")}
        for one in _list(run, "results"):
            name = one.text("ruleId")
            yield Finding(
                id=name,
                package=next(filter(None, map(_place, _list(one, "locations"))), ""),
                severity=_sarif_severity(rules.get(name), _text(one, "level")),
                fixed=False,
            )


def _place(location: Fields) -> str:
    for step in ("physicalLocation", "artifactLocation"):
        if not location.has(step):
            return ""
        location = location.fields(step)
    return _text(location, "uri")


def _sarif_severity(rule: Fields | None, level: str) -> Severity:
    if rule is not None and rule.has("properties"):
        score = rule.fields("properties").object.get("security-severity")
        if score is not None:
            return _of_score(score)
    if not level and rule is not None and rule.has("defaultConfiguration"):
        level = _text(rule.fields("defaultConfiguration"), "level")  # SARIF 2.1.0, 3.27.10
    return _LEVELS.get(level or "warning", "unknown")  # SARIF's default


def _in_toto(result: list[JsonValue], where: str) -> Iterator[Finding]:
    for number, item in enumerate(result):
        one = Fields(item, f"{where}[{number}]")
        scores = [_of_score(score.object.get("score")) for score in _list(one, "severity")]
        known = [severity for severity in scores if severity != "unknown"]
        yield Finding(
            id=_text(one, "id") or one.fields("vulnerability").text("id"),
            package="",
            severity=min(known, key=SEVERITIES.index, default="unknown"),
            fixed=False,
        )


def _of_score(score: JsonValue) -> Severity:
    """Return the severity of a CVSS score, which may be written as text; or of a word."""
    try:
        number = float(score) if isinstance(score, str | int | float) else None
    except ValueError:
        return _severity(score) if isinstance(score, str) else "unknown"
    if number is None or isinstance(score, bool) or not number >= 0:  # "nan" is no score either
        return "unknown"
    for least, severity in _SCORES:
        if number >= least:
            return severity
    return "low" if number > 0 else "negligible"


def _severity(word: str) -> Severity:
    return _WORDS.get(word.strip().casefold(), "unknown")


def _list(fields: Fields, name: str) -> list[Fields]:
    value = fields.object.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise JsonFieldError("not a list", where=fields.at(name))
    return [Fields(item, f"{fields.at(name)}[{number}]") for number, item in enumerate(value)]


def _text(fields: Fields, name: str) -> str:
    value = fields.object.get(name)
    return value if isinstance(value, str) else ""
