"""`claim = "attestation"`: a statement of any predicate type, with conditions on what it says.

A condition names a place in the predicate (JSON pointer, RFC 6901) and what must stand there: a
constant, a text with variables, or a pattern. There is no language of expressions: what a policy
asks can be read in the policy, and costs what it says.

A variable of the evidence ties statements together. `"/commit" = "{source_commit}"` counts beside a
provenance that says the same commit, and with none that says another (row X-11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from loader.errors import ContentsError, FormatError, PolicyFileError, shown
from loader.model.predicate_types import ALIASES, PredicateType
from loader.policy.facts import Fact, Meaning, Problem
from loader.policy.keys import Flag, Key, Named, OneOf, Text, Whole
from loader.policy.patterns import Regexp
from loader.policy.toml import kind_of
from loader.policy.variables import OF_EVIDENCE, VARIABLE

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.strictjson import JsonValue
    from loader.policy.contents import Contents
    from loader.policy.speakers import Said, Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill

CONDITION_COUNT_MAX: Final = 64
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_POINTER_LENGTH_MAX: Final = 512
_INTEGER_MAX: Final = 2**63 - 1
_ARRAY_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

TYPE_KEY: Final = Key(
    name="type",
    form=Text(),
    words=f"type of the predicate: a literal URI, or a word for a family ({', '.join(ALIASES)})",
    required=True,
)
KEYS: Final = (
    TYPE_KEY,
    Key(
        name="predicate",
        form=Named(
            of=OneOf(forms=(Text(), Flag(), Whole(minimum=-_INTEGER_MAX, maximum=_INTEGER_MAX)))
        ),
        words="what must stand in the predicate: JSON pointer to constant or text with variables",
    ),
    Key(
        name="predicate-regexp",
        form=Named(of=Text()),
        words="the same as RE2 patterns that the whole text at that place must match",
    ),
)

Wanted: TypeAlias = str | bool | int | Regexp


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One place in a predicate, and what must stand there."""

    pointer: str
    wanted: Wanted

    @property
    def steps(self) -> tuple[str, ...]:
        """The keys and positions that lead to it."""
        return tuple(
            step.replace("~1", "/").replace("~0", "~") for step in self.pointer.split("/")[1:]
        )

    @property
    def words(self) -> str:
        """What must stand there, as a policy writes it."""
        if isinstance(self.wanted, bool):
            return "true" if self.wanted else "false"
        return shown(self.wanted) if isinstance(self.wanted, str) else str(self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationClaim:
    """Somebody named here made a statement of this type that says all of this."""

    said: Said
    type: PredicateType
    scope: Scope = "either"
    conditions: tuple[Condition, ...] = ()

    claim: ClassVar[Literal["attestation"]] = "attestation"

    def filled(self, fill: Fill) -> AttestationClaim:
        """Return the claim with variables filled in."""
        return replace(
            self,
            said=self.said.filled(fill),
            conditions=tuple(
                replace(one, wanted=fill(one.wanted)) if isinstance(one.wanted, str) else one
                for one in self.conditions
            ),
        )

    @property
    def keep(self) -> frozenset[str]:
        """The keys of a predicate that it looks at."""
        return frozenset(step for one in self.conditions for step in one.steps)

    def __str__(self) -> str:
        says = ", ".join(f"{one.pointer} = {one.words}" for one in self.conditions)
        return f"of {self.type}" + (f" with {says}" if says else "")


def read_type(table: Table, *, default: str = "") -> PredicateType:
    """Return the type of predicate that a requirement names.

    Raises:
        PolicyFileError: neither a known word nor a URI.
    """
    text = table.optional_text("type") or default or table.text("type")
    try:
        return PredicateType(text)
    except ValueError as e:
        raise PolicyFileError(
            "not a type of predicates",
            where=table.at("type"),
            expected=f"a URI, or one of {', '.join(ALIASES)}",
            found=shown(text),
        ) from e


def read(table: Table, *, said: Said, scope: Scope) -> AttestationClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: no type, no pointer, one place twice, or what nothing can equal.
    """
    conditions = (
        *(_equal(table.table("predicate")) if table.has("predicate") else ()),
        *(_matching(table.table("predicate-regexp")) if table.has("predicate-regexp") else ()),
    )
    pointers = [one.pointer for one in conditions]
    if len(set(pointers)) != len(pointers):
        raise PolicyFileError(
            "a constant and a pattern for the same place",
            where=table.at("predicate-regexp"),
            found=shown(next(one for one in pointers if pointers.count(one) > 1)),
        )
    return AttestationClaim(said=said, type=read_type(table), scope=scope, conditions=conditions)


def _equal(table: Table) -> tuple[Condition, ...]:
    _expect_pointers(table)
    found: list[Condition] = []
    for pointer in table.names:
        value = table.value(pointer)
        if isinstance(value, str):
            value = table.text(pointer)
            if len(set(VARIABLE.findall(value)) & set(OF_EVIDENCE)) > 1:
                raise PolicyFileError(
                    "two variables of the evidence in one text",
                    where=table.at(shown(pointer)),
                    expected="one: else nobody could tell where one ends",
                )
        elif not isinstance(value, bool | int) or abs(value) > _INTEGER_MAX:
            raise PolicyFileError(
                "not a value that a predicate is compared with",
                where=table.at(shown(pointer)),
                expected="text, an integer, true or false",
                found=kind_of(value),
            )
        found.append(Condition(pointer=pointer, wanted=value))
    return tuple(found)


def _matching(table: Table) -> tuple[Condition, ...]:
    _expect_pointers(table)
    return tuple(
        Condition(
            pointer=pointer,
            wanted=Regexp.parse(table.text(pointer), where=table.at(shown(pointer))),
        )
        for pointer in table.names
    )


def _expect_pointers(table: Table) -> None:
    if not 1 <= len(table.names) <= CONDITION_COUNT_MAX:
        raise PolicyFileError(
            "no conditions, or too many", where=table.path, expected=f"1 to {CONDITION_COUNT_MAX}"
        )
    for pointer in table.names:
        if len(pointer) > _POINTER_LENGTH_MAX or _POINTER.fullmatch(pointer) is None:
            raise PolicyFileError(
                "not a JSON pointer",
                where=table.path,
                expected='"/key", "/key/0/inner" (RFC 6901)',
                found=shown(pointer),
            )


def means(claim: AttestationClaim, subjects: frozenset[Digest], contents: Contents) -> Meaning:
    """Return for which subjects a statement says all that the claim wants, and on what terms."""
    if not claim.conditions:
        return Meaning(subjects=subjects)
    try:
        predicate = contents.part(claim.keep)
    except FormatError as e:
        return Meaning.unreadable(e, subjects)
    assumes: dict[str, str] = {}
    others: list[tuple[str, str, str]] = []
    for one in claim.conditions:
        value = _at(predicate, one.steps)
        bound = _bound(one, value)
        if bound is None:
            others.append((one.pointer, one.words, _words(value)))
            continue
        for name, text in bound:
            if name == "digest":
                of_digest = frozenset(digest for digest in subjects if str(digest) == text)
                if not of_digest:
                    expected = " or ".join(str(digest) for digest in sorted(subjects))
                    others.append((one.pointer, expected, shown(text)))
                subjects = of_digest or subjects
            elif assumes.setdefault(name, text) != text:
                others.append((one.pointer, f"{shown(assumes[name])} as elsewhere", shown(text)))
    facts = tuple(
        Fact(name=one.pointer, value=_words(_at(predicate, one.steps)), source="predicate")
        for one in claim.conditions
    )
    if others:
        return Meaning(
            subjects=subjects,
            facts=facts,
            problem=Problem(
                code=ContentsError.code,
                message=f"the predicate says something else at {', '.join(o[0] for o in others)}",
                expected=", ".join(o[1] for o in others),
                found=", ".join(o[2] for o in others),
            ),
        )
    return Meaning(subjects=subjects, facts=facts, assumes=frozenset(assumes.items()))


class _Missing:
    """Nothing stands there."""


_MISSING: Final = _Missing()


def _at(value: JsonValue, steps: tuple[str, ...]) -> JsonValue | _Missing:
    for step in steps:
        match value:
            case dict():
                if step not in value:
                    return _MISSING
                value = value[step]
            case list():
                if _ARRAY_INDEX.fullmatch(step) is None or int(step) >= len(value):
                    return _MISSING
                value = value[int(step)]
            case _:
                return _MISSING
    return value


def _words(value: JsonValue | _Missing) -> str:
    match value:
        case _Missing():
            return "nothing"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "an object"
        case list():
            return f"an array of {len(value)}"
        case _:
            return shown(value, limit=120)


def _bound(condition: Condition, value: JsonValue | _Missing) -> tuple[tuple[str, str], ...] | None:
    """Return what this value makes of the condition's variable; None where it does not fit."""
    wanted = condition.wanted
    match wanted:
        case bool():
            return () if value is wanted else None
        case int():
            return () if type(value) is int and value == wanted else None
        case Regexp():
            return () if isinstance(value, str) and wanted.matches(value) else None
        case str():
            if not isinstance(value, str):
                return None
            found = next((m for m in VARIABLE.finditer(wanted) if m[1] in OF_EVIDENCE), None)
            if found is None:
                return () if value == wanted else None
            before, after = wanted[: found.start()], wanted[found.end() :]
            inner = value[len(before) : len(value) - len(after)]
            whole = value == before + inner + after and bool(inner)
            return ((found[1], inner),) if whole else None
