"""`claim = "sbom"`: somebody listed what is inside, and the list is one (FORMATS §3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.errors import ContentsError, FormatError, PolicyFileError, shown
from loader.model.fields import format_instant
from loader.policy.ages import in_words, too_old
from loader.policy.claims.attestation import TYPE_KEY, read_type
from loader.policy.facts import Fact, Meaning, Problem
from loader.policy.keys import Key, Listing, Record, Text, Whole, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from loader.digest import Digest
    from loader.model.predicate_types import PredicateType
    from loader.model.sbom import Sbom
    from loader.policy.contents import Contents
    from loader.policy.facts import About
    from loader.policy.speakers import Said, Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.verify.facts import Signed

COMPONENT_COUNT_MAX: Final = 1_000_000
LICENCE_COUNT_MAX: Final = 1000
_FOUND_MAX: Final = 5
_LICENCE: Final = re.compile(r"[A-Za-z0-9.+:-]+", re.ASCII)
_OPERATORS: Final = frozenset({"AND", "OR", "WITH", "NOASSERTION", "NONE"})

_LICENCE_KEYS: Final = (
    Key(name="allow", form=Listing(of=Text()), words="every licence must be one of these"),
    Key(name="deny", form=Listing(of=Text()), words="no licence may be one of these"),
)
KEYS: Final = (
    TYPE_KEY,
    Key(
        name="min-components",
        form=Whole(minimum=0, maximum=COMPONENT_COUNT_MAX),
        words="how many components it must list; default 1",
    ),
    Key(name="max-age", form=Text(pattern="[1-9][0-9]*[dhw]"), words="how old it may be: 30d"),
    Key(
        name="licences",
        form=Record(keys=_LICENCE_KEYS),
        words="licences of components, by SPDX identifiers",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomClaim:
    """Somebody named here listed the image's components."""

    said: Said
    type: PredicateType
    scope: Scope = "either"
    components_min: int = 1
    age_max: timedelta | None = None
    licences_allowed: frozenset[str] = frozenset()
    licences_denied: frozenset[str] = frozenset()

    claim: ClassVar[Literal["sbom"]] = "sbom"

    def filled(self, fill: Fill) -> SbomClaim:
        """Return the claim with variables filled in."""
        return replace(self, said=self.said.filled(fill))

    @property
    def asks_licences(self) -> bool:
        """Whether licences are looked at."""
        return bool(self.licences_allowed or self.licences_denied)

    def __str__(self) -> str:
        parts = [f"of {self.type}"]
        parts += [f"at least {self.components_min} components"] if self.components_min != 1 else []
        parts += [f"at most {in_words(self.age_max)} old"] if self.age_max is not None else []
        parts += [f"no {', '.join(sorted(self.licences_denied))}"] if self.licences_denied else []
        if self.licences_allowed:
            parts.append(f"only {', '.join(sorted(self.licences_allowed))}")
        return ", ".join(parts)


def read(table: Table, *, said: Said, scope: Scope) -> SbomClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: no type, or licences that exclude each other.
    """
    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    if table.has("licences"):
        licences = table.table("licences")
        licences.only(names_of(_LICENCE_KEYS))
        allowed, denied = _read_licences(licences, "allow"), _read_licences(licences, "deny")
        if not allowed and not denied:
            raise PolicyFileError("an empty table asks for nothing", where=licences.path)
        if allowed & denied:
            raise PolicyFileError(
                "a licence that is allowed and denied",
                where=licences.path,
                found=", ".join(sorted(allowed & denied)),
            )
    return SbomClaim(
        said=said,
        type=read_type(table),
        scope=scope,
        components_min=table.integer("min-components", minimum=0, maximum=COMPONENT_COUNT_MAX)
        if table.has("min-components")
        else 1,
        age_max=table.duration("max-age") if table.has("max-age") else None,
        licences_allowed=allowed,
        licences_denied=denied,
    )


def _read_licences(table: Table, name: str) -> frozenset[str]:
    if not table.has(name):
        return frozenset()
    found = table.texts(name, count_max=LICENCE_COUNT_MAX)
    wrong = next((one for one in found if _LICENCE.fullmatch(one) is None), None)
    if wrong is not None:
        raise PolicyFileError(
            "not a licence's identifier", where=table.at(name), expected="MIT", found=shown(wrong)
        )
    return frozenset(found)


def means(
    claim: SbomClaim,
    signed: Signed,
    subjects: frozenset[Digest],
    about: About,
    contents: Contents,
) -> Meaning:
    """Return what a bill of materials is worth: whether it is one, large and new enough."""
    try:
        sbom = contents.sbom(licences=claim.asks_licences)
    except FormatError as e:
        return Meaning.unreadable(e, subjects)
    return Meaning(
        subjects=subjects,
        facts=tuple(_facts(sbom)),
        problem=_too_few(claim, sbom)
        or _too_old(claim, sbom, signed, about)
        or _other(claim, sbom),
    )


def _facts(sbom: Sbom) -> Iterator[Fact]:
    yield Fact(name="format", value=f"{sbom.format} {sbom.version}".strip(), source="predicate")
    yield Fact(name="components", value=str(sbom.component_count), source="predicate")
    if sbom.created is not None:
        yield Fact(name="created", value=format_instant(sbom.created), source="predicate")


def _too_few(claim: SbomClaim, sbom: Sbom) -> Problem | None:
    if sbom.component_count >= claim.components_min:
        return None
    return Problem(
        code=ContentsError.code,
        message="the SBOM lists too few components",
        expected=f"at least {claim.components_min}",
        found=str(sbom.component_count),
        hint="make the SBOM again with a scanner that sees the image's files, and attest that",
    )


def _too_old(claim: SbomClaim, sbom: Sbom, signed: Signed, about: About) -> Problem | None:
    if claim.age_max is None:
        return None
    return too_old(
        sbom.created, signed, about, age_max=claim.age_max, allow_undated=False, what="SBOM"
    )


def _other(claim: SbomClaim, sbom: Sbom) -> Problem | None:
    """Tell which components come under licences that policy does not take."""
    if not claim.asks_licences:
        return None
    wrong = [
        f"{shown(name)[1:-1]} {shown(licence)[1:-1]}"
        for name, licence in sbom.licences
        if not _is_taken(claim, licence)
    ]
    if claim.licences_allowed and len({name for name, _ in sbom.licences}) == 0:
        wrong = ["no component says its licence"]
    if not wrong:
        return None
    more = f" and {len(wrong) - _FOUND_MAX} more" if len(wrong) > _FOUND_MAX else ""
    return Problem(
        code=ContentsError.code,
        message="the SBOM lists licences that policy does not take",
        expected=", ".join(
            [*sorted(claim.licences_allowed)] or [f"not {x}" for x in sorted(claim.licences_denied)]
        ),
        found=", ".join(wrong[:_FOUND_MAX]) + more,
    )


def _is_taken(claim: SbomClaim, expression: str) -> bool:
    """Tell whether a licence expression is taken; of `A OR B` both are looked at, to be sure."""
    names = frozenset(_LICENCE.findall(expression)) - _OPERATORS
    if names & claim.licences_denied:
        return False
    return not claim.licences_allowed or (bool(names) and names <= claim.licences_allowed)
