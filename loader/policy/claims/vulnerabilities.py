"""`claim = "vulnerabilities"`: somebody scanned the image, lately, and found no more than this.

Signed and empty, signed and clean, signed and not countable are three things (FORMATS §3.3). What
is let through (`ignore`, `ignore-unfixed`) is listed in every verdict with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.errors import ContentsError, EmptyScanError, FormatError, PolicyFileError, shown
from loader.model.fields import format_instant
from loader.model.scan import SEVERITIES
from loader.policy.ages import in_words, too_old
from loader.policy.claims.attestation import read_type
from loader.policy.facts import Fact, Meaning, Problem
from loader.policy.keys import Day, Flag, Key, Listing, Named, Record, Text, Whole, names_of
from loader.policy.reading_speakers import VEX_KEYS, read_vex_speakers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, timedelta

    from loader.digest import Digest
    from loader.model.predicate_types import PredicateType
    from loader.model.scan import Finding, Scan, Severity
    from loader.policy.contents import Contents
    from loader.policy.facts import About
    from loader.policy.speakers import Said, Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.policy.vex import Word
    from loader.verify.facts import Signed

FINDING_COUNT_MAX: Final = 1_000_000
IGNORE_COUNT_MAX: Final = 1000
_FOUND_MAX: Final = 5
_SILENCED_MAX: Final = 20
_SILENCED_LENGTH_MAX: Final = 2000
_GRADES: Final = {"unknown": "of unknown severity"}
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{2,127}", re.ASCII)

_IGNORE_KEYS: Final = (
    Key(name="id", form=Text(), words="the vulnerability: CVE-2026-1234", required=True),
    Key(name="until", form=Day(), words="the last day on which it is let through", required=True),
    Key(name="reason", form=Text(), words="why", required=True),
)
KEYS: Final = (
    Key(
        name="type",
        form=Text(),
        words="type of the predicate; default vuln: cosign's, and in-toto's v0.1 and v0.2",
    ),
    Key(name="max-age", form=Text(pattern="[1-9][0-9]*[dhw]"), words="how old a scan may be: 30d"),
    Key(
        name="max",
        form=Named(of=Whole(minimum=0, maximum=FINDING_COUNT_MAX), names=SEVERITIES),
        words="how many findings of each severity are taken; without a bound of its own `unknown` "
        "counts as the worst",
    ),
    Key(
        name="require-results",
        form=Flag(),
        words="whether an empty scan is refused; default true",
    ),
    Key(
        name="allow-undated",
        form=Flag(),
        words="whether the signature's time stands in for a scan without a date",
    ),
    Key(name="ignore-unfixed", form=Flag(), words="leave findings away that no version mends"),
    Key(
        name="ignore",
        form=Listing(of=Record(keys=_IGNORE_KEYS)),
        words="findings that are let through for a time, each with its reason",
    ),
    Key(
        name="vex",
        form=Record(keys=VEX_KEYS),
        words="whose OpenVEX attestations say which findings do not matter",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A vulnerability that is let through for a time."""

    id: str
    until: date
    reason: str

    def holds_at(self, at: datetime) -> bool:
        """Tell whether it still is: the last day counts."""
        return at.date() <= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class VulnerabilitiesClaim:
    """Somebody named here scanned the image and found no more than this."""

    said: Said
    type: PredicateType
    scope: Scope = "either"
    age_max: timedelta | None = None
    most: tuple[tuple[Severity, int], ...] = ()
    require_results: bool = True
    allow_undated: bool = False
    ignore_unfixed: bool = False
    ignore: tuple[Ignored, ...] = ()
    vex: Said | None = None
    """Who may say that a finding does not matter; nobody, unless policy says so."""

    claim: ClassVar[Literal["vulnerabilities"]] = "vulnerabilities"

    @property
    def unknown_is(self) -> Severity | None:
        """The severity that findings count as which nobody graded; None where they have a bound.

        They may be as bad as anything: with no bound of their own they would be under none.
        """
        named = [severity for severity, _ in self.most]
        return None if not named or "unknown" in named else named[0]

    def filled(self, fill: Fill) -> VulnerabilitiesClaim:
        """Return the claim with variables filled in."""
        vex = None if self.vex is None else self.vex.filled(fill)
        return replace(self, said=self.said.filled(fill), vex=vex)

    def __str__(self) -> str:
        parts = list(_bounds(self))
        parts += [f"at most {in_words(self.age_max)} old"] if self.age_max is not None else []
        parts += [] if self.require_results else ["also without results"]
        parts += ["only what can be mended"] if self.ignore_unfixed else []
        parts += [f"without {one.id} until {one.until}" for one in self.ignore]
        if self.vex is not None:
            who = " or ".join(str(speaker) for speaker in self.vex.speakers)
            parts.append(f"without what VEX by {who} silences")
        return ", ".join(parts)


def read(table: Table, *, said: Said, scope: Scope) -> VulnerabilitiesClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: a severity without a bound above one with, an exception without a reason
            or an end, or counts of results that need not be there.
    """
    most = _read_most(table) if table.has("max") else ()
    claim = VulnerabilitiesClaim(
        said=said,
        type=read_type(table, default="vuln"),
        scope=scope,
        age_max=table.duration("max-age") if table.has("max-age") else None,
        most=most,
        require_results=table.flag("require-results") if table.has("require-results") else True,
        allow_undated=table.flag("allow-undated") if table.has("allow-undated") else False,
        ignore_unfixed=table.flag("ignore-unfixed") if table.has("ignore-unfixed") else False,
        ignore=tuple(_read_ignored(table)) if table.has("ignore") else (),
        vex=read_vex_speakers(table.table("vex")) if table.has("vex") else None,
    )
    for name in ("ignore", "ignore-unfixed", "vex"):
        if table.has(name) and not most:
            raise PolicyFileError(
                "findings to leave away, and none are counted", where=table.at(name), hint="`max`"
            )
    if claim.allow_undated and claim.age_max is None:
        raise PolicyFileError(
            "undated scans allowed, and no age is limited", where=table.at("allow-undated")
        )
    return claim


def _read_most(table: Table) -> tuple[tuple[Severity, int], ...]:
    bounds = table.table("max")
    bounds.only(SEVERITIES)
    most = tuple(
        (severity, bounds.integer(severity, minimum=0, maximum=FINDING_COUNT_MAX))
        for severity in SEVERITIES
        if bounds.has(severity)
    )
    if not most:
        raise PolicyFileError("an empty table asks for nothing", where=bounds.path)
    graded = [severity for severity in SEVERITIES if severity != "unknown"]
    named = [severity for severity in graded if bounds.has(severity)]
    missing = [s for s in graded[: len(named)] if s not in named]
    if missing:
        raise PolicyFileError(
            "a bound for one severity and none for a worse one",
            where=bounds.path,
            expected=f"`{missing[0]}` as well",
        )
    return most


def _read_ignored(table: Table) -> Iterator[Ignored]:
    seen: set[str] = set()
    for item in table.each("ignore", count_max=IGNORE_COUNT_MAX):
        item.only(names_of(_IGNORE_KEYS))
        name = item.text("id")
        if _ID.fullmatch(name) is None or name in seen:
            raise PolicyFileError(
                "not a vulnerability's id, or one twice",
                where=item.at("id"),
                expected="CVE-2026-1234",
                found=shown(name),
            )
        seen.add(name)
        yield Ignored(id=name, until=item.day("until"), reason=item.text("reason"))


def means(
    claim: VulnerabilitiesClaim,
    signed: Signed,
    subjects: frozenset[Digest],
    about: About,
    contents: Contents,
) -> Meaning:
    """Return what a scan is worth: whether it is one, new enough, and found few enough."""
    try:
        scan = contents.scan()
    except FormatError as e:
        return Meaning.unreadable(e, subjects)
    counted, left, words = _counted(claim, scan, subjects, about)
    return Meaning(
        subjects=subjects,
        facts=(*_facts(scan, left), *_silenced(words)),
        problem=_empty(claim, scan)
        or _too_old(claim, scan, signed, about)
        or _most(claim, counted),
    )


def _counted(
    claim: VulnerabilitiesClaim, scan: Scan, scanned: frozenset[Digest], about: About
) -> tuple[list[Finding], list[tuple[str, str]], list[tuple[Finding, Word]]]:
    """Return the findings that count, what was left away with its reason, and what VEX silences."""
    silence = None if about.vex is None or claim.vex is None else about.vex.silence(claim.vex)
    words: list[tuple[Finding, Word]] = []
    ignored = {one.id: one for one in claim.ignore if one.holds_at(about.now)}
    counted: list[Finding] = []
    left: dict[str, str] = {}
    unfixed = 0
    for finding in scan.findings:
        exception = ignored.get(finding.id)
        if exception is not None:
            left[finding.id] = f"until {exception.until}: {exception.reason}"
        elif claim.ignore_unfixed and not finding.fixed:
            unfixed += 1
        elif silence is not None and (word := silence.over(finding, scanned)) is not None:
            words.append((finding, word))
        else:
            counted.append(finding)
    if unfixed:
        left[f"{unfixed} findings"] = "no version mends them"
    return counted, list(left.items()), words


def _silenced(words: list[tuple[Finding, Word]]) -> Iterator[Fact]:
    """Yield how many findings each author of VEX silences, and the first of them by name."""
    by: dict[str, list[str]] = {}
    for finding, word in words:
        said = word.statement
        why = f"{said.status}: {said.reason}" if said.reason else said.status
        by.setdefault(word.who, []).append(f"{finding.id} {finding.package}".strip() + f" ({why})")
    for who, found in by.items():
        more = f" and {len(found) - _SILENCED_MAX} more" if len(found) > _SILENCED_MAX else ""
        named = shown(", ".join(found[:_SILENCED_MAX]), limit=_SILENCED_LENGTH_MAX)[1:-1]
        count = f"{len(found)} finding{'s' if len(found) > 1 else ''}"
        yield Fact(name="silenced", value=f"{count}: {named}{more}", source=f"VEX by {who}")


def _facts(scan: Scan, left: list[tuple[str, str]]) -> Iterator[Fact]:
    yield Fact(name="scanner", value=scan.scanner or "not named", source="predicate")
    if scan.finished is not None:
        yield Fact(name="scanned", value=format_instant(scan.finished), source="predicate")
    match scan.format:
        case "empty":
            yield Fact(name="findings", value="none: signed, and empty", source="predicate")
        case "unknown":
            yield Fact(name="findings", value="not countable", source="predicate")
        case _:
            counts = [f"{scan.count(s)} {s}" for s in SEVERITIES if scan.count(s)]
            words = ", ".join(counts) or "none"
            yield Fact(name="findings", value=words, source=f"{scan.format} result")
    for name, reason in left:
        yield Fact(name="ignored", value=name, source=reason)


def _empty(claim: VulnerabilitiesClaim, scan: Scan) -> Problem | None:
    if scan.format == "empty" and claim.require_results:
        return Problem(
            code=EmptyScanError.code,
            message="the attestation is signed, but empty: it holds no result of any scan",
            expected="what a scanner found",
            found="scanner.result = null",
            hint="cosign drops what it does not know: attest the JSON of Trivy or Grype, not SARIF",
        )
    if scan.format == "unknown" and claim.most:
        return Problem(
            code=ContentsError.code,
            message="the scan's result is in a format that nobody here can count",
            expected="Trivy, Grype, SARIF, or in-toto's list",
            found="another",
        )
    return None


def _too_old(
    claim: VulnerabilitiesClaim, scan: Scan, signed: Signed, about: About
) -> Problem | None:
    if claim.age_max is None:
        return None
    return too_old(
        scan.finished,
        signed,
        about,
        age_max=claim.age_max,
        allow_undated=claim.allow_undated,
        what="scan",
    )


def _most(claim: VulnerabilitiesClaim, counted: list[Finding]) -> Problem | None:
    over: list[str] = []
    examples: list[str] = []
    hint = "mend them; or let one through for a time: ignore = [{ id, until, reason }]"
    for severity, most in claim.most:
        as_bad = ("unknown",) if severity == claim.unknown_is else ()
        here = [one for one in counted if one.severity in {severity, *as_bad}]
        if len(here) <= most:
            continue
        for name in (severity, *as_bad):
            found = [one for one in here if one.severity == name]
            if found:
                over.append(f"{len(found)} {_GRADES.get(name, name)}")
                examples += [f"{one.id} {one.package}".strip() for one in found]
                if name in as_bad:
                    hint += (
                        "; what nobody graded counts as the worst, unless `max` bounds `unknown`"
                    )
    if not over:
        return None
    more = f" and {len(examples) - _FOUND_MAX} more" if len(examples) > _FOUND_MAX else ""
    named = shown(", ".join(examples[:_FOUND_MAX]))[1:-1]
    return Problem(
        code=ContentsError.code,
        message="the scan found more than policy takes",
        expected=", ".join(_bounds(claim)),
        found=f"{', '.join(over)}: {named}{more}",
        hint=hint,
    )


def _bounds(claim: VulnerabilitiesClaim) -> Iterator[str]:
    for severity, most in claim.most:
        also = f" or {_GRADES['unknown']}" if severity == claim.unknown_is else ""
        yield f"at most {most} {_GRADES.get(severity, severity)}{also}"
