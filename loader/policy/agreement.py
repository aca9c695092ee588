"""Whether statements about one image say the same where policy compares them (row X-11).

A release's metadata may hold the right digest and another commit than its provenance. Each is
genuine then, and still one of them is not about this build. What one piece assumes must be what a
piece that counts provides, for the very manifest that is judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from loader.errors import ContradictionError, shown
from loader.policy.facts import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.graph import KeptManifest
    from loader.policy.facts import Considered, ImageFacts, Weighed

Provided: TypeAlias = tuple[frozenset[tuple[str, str]], ...]
"""What each piece that counts gives, by variables: two pieces may say different things."""


def provided_for(kept: KeptManifest, considered: Sequence[Considered]) -> Provided:
    """Return what evidence that counts gives to other evidence about this manifest."""
    here = kept.listed_by | {kept.digest}
    return tuple(
        dict.fromkeys(
            one.provides
            for piece in considered
            for one in piece.weighed
            if one.stage == "counts" and one.provides and one.subjects & here
        )
    )


def agrees(weighed: Weighed, provided: Provided) -> bool:
    """Tell whether some one piece gives all that this one assumes."""
    return not weighed.assumes or any(weighed.assumes <= one for one in provided)


def disagreement(weighed: Weighed, provided: Provided) -> Problem:
    """Say what a piece assumes, and what other evidence gives instead."""
    names = sorted(name for name, _ in weighed.assumes)
    given = [
        f"{name} {shown(value)}" for one in provided for name, value in sorted(one) if name in names
    ]
    return Problem(
        code=ContradictionError.code,
        message="evidence disagrees: it says something else than the provenance that counts",
        expected=", ".join(dict.fromkeys(given)) or "a provenance that counts",
        found=", ".join(f"{name} {shown(value)}" for name, value in sorted(weighed.assumes)),
    )


def settled(facts: ImageFacts) -> ImageFacts:
    """Return the facts, with evidence that disagrees about every manifest no longer counting."""
    if not any(one.assumes for piece in facts.considered for one in piece.weighed):
        return facts
    provided = [(kept, provided_for(kept, facts.considered)) for kept in facts.graph.kept]

    def settle(one: Weighed) -> Weighed:
        if one.stage != "counts" or not one.assumes:
            return one
        here = [
            given for kept, given in provided if one.subjects & (kept.listed_by | {kept.digest})
        ]
        if any(agrees(one, given) for given in here):
            return one
        everything = tuple(dict.fromkeys(one for given in here for one in given))
        return replace(one, stage="contents", problem=disagreement(one, everything))

    return replace(
        facts,
        considered=tuple(
            replace(piece, weighed=tuple(settle(one) for one in piece.weighed))
            for piece in facts.considered
        ),
    )
