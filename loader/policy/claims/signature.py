"""`claim = "signature"`: somebody named by the policy signed the image (FORMATS §1.2, §1.3).

A signature may say more than whose it is: annotations that were signed along, and the repository
that it was made for. Both are asked for here, of what was signed, never of what lies beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.errors import ConditionError, PolicyFileError, shown
from loader.model.reference import canonical, read_signed_name
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.policy.facts import Fact, Meaning, Problem
from loader.policy.keys import Key, Named, Text
from loader.policy.patterns import Glob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.digest import Digest
    from loader.model.reference import Reference
    from loader.policy.speakers import Said, Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.verify.facts import Signed

KEYS: Final = (
    Key(
        name="annotations",
        form=Named(of=Text()),
        words="annotations that were signed along (cosign sign -a name=value)",
    ),
    Key(
        name="docker-reference",
        form=Text(),
        words='repository that a legacy signature names: "ignore", "match-repository" or a glob',
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureClaim:
    """Somebody named here signed the image."""

    said: Said
    scope: Scope = "either"
    annotations: tuple[tuple[str, str], ...] = ()
    docker_reference: Literal["ignore", "match-repository"] | Glob = "ignore"

    claim: ClassVar[Literal["signature"]] = "signature"

    def filled(self, fill: Fill) -> SignatureClaim:
        """Return the claim with variables filled in."""
        return replace(
            self,
            said=self.said.filled(fill),
            annotations=tuple((name, fill(value)) for name, value in self.annotations),
        )

    def __str__(self) -> str:
        return ""


def read(table: Table, *, said: Said, scope: Scope) -> SignatureClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: annotations that ask for nothing, or no reference to compare with.
    """
    return SignatureClaim(
        said=said,
        scope=scope,
        annotations=table.text_map("annotations") if table.has("annotations") else (),
        docker_reference=_read_reference(table),
    )


def _read_reference(table: Table) -> Literal["ignore", "match-repository"] | Glob:
    text = table.optional_text("docker-reference")
    match text:
        case None | "ignore":
            return "ignore"
        case "match-repository":
            return "match-repository"
        case _:
            where = table.at("docker-reference")
            if "/" not in text and "*" not in text:
                raise PolicyFileError(
                    "not what a signed reference can be compared with",
                    where=where,
                    expected='"ignore", "match-repository", or a pattern for full names',
                    found=shown(text),
                )
            return Glob.parse(text, where=where)


def means(
    claim: SignatureClaim,
    signed: Signed,
    subjects: frozenset[Digest],
    *,
    reference: Reference,
) -> Meaning:
    """Return for which subjects a signature says all that the claim wants."""
    problem = _other_annotations(claim, signed, subjects) or _other_reference(
        claim, signed, reference
    )
    if problem is not None:
        return Meaning(subjects=subjects, problem=problem, stage="condition")
    return Meaning(
        subjects=_annotated(claim, signed, subjects), facts=tuple(_elsewhere(signed, reference))
    )


def _elsewhere(signed: Signed, reference: Reference) -> Iterator[Fact]:
    """Yield the repository that a signature was made for, where it is another one (row DZ-12).

    What was copied to another registry rightly shows the first one; so policy says what refuses.
    """
    payload = signed.payload
    text = payload.docker_reference if isinstance(payload, SimpleSigning) else ""
    name = read_signed_name(text)
    if name is not None and name[0] != canonical(reference.registry, reference.repository):
        yield Fact(
            name="signed as",
            value=shown(text)[1:-1],
            source="docker-reference, another repository than this image's name",
        )


def _other_annotations(
    claim: SignatureClaim, signed: Signed, subjects: frozenset[Digest]
) -> Problem | None:
    if _annotated(claim, signed, subjects):
        return None
    _, found = next(_annotations(signed, subjects), (subjects, {}))
    key, value = next(one for one in claim.annotations if found.get(one[0]) != one[1])
    return Problem(
        code=ConditionError.code,
        message=f"another signed annotation {key!r}",
        expected=repr(value),
        found=shown(found[key]) if key in found else "none",
    )


def _annotated(
    claim: SignatureClaim, signed: Signed, subjects: frozenset[Digest]
) -> frozenset[Digest]:
    """Return those of the subjects for which all that the claim wants was signed along.

    A statement may say one thing of one platform and something else of the next.
    """
    if not claim.annotations:
        return subjects
    return frozenset(
        digest
        for digests, found in _annotations(signed, subjects)
        if all(found.get(key) == value for key, value in claim.annotations)
        for digest in digests
    )


def _other_reference(claim: SignatureClaim, signed: Signed, reference: Reference) -> Problem | None:
    wanted = claim.docker_reference
    if wanted == "ignore":
        return None
    payload = signed.payload
    text = payload.docker_reference if isinstance(payload, SimpleSigning) else ""
    name = read_signed_name(text)
    if name is not None:
        matches = (
            wanted.matches_name(name[0])
            if isinstance(wanted, Glob)
            else name[0] == canonical(reference.registry, reference.repository)
        )
        if matches:
            return None
    return Problem(
        code=ConditionError.code,
        message="another signed docker-reference",
        expected=reference.name if wanted == "match-repository" else str(wanted),
        found=shown(text) if text else "none: this format of signature has none",
    )


def _annotations(
    signed: Signed, subjects: frozenset[Digest]
) -> Iterator[tuple[frozenset[Digest], Mapping[str, str]]]:
    """Yield what was signed along, and of which subjects: cosign's `-a key=value`."""
    match signed.payload:
        case SimpleSigning(optional=optional):
            yield subjects, {k: v for k, v in optional.items() if isinstance(v, str)}
        case Statement(subjects=listed):
            for subject in listed:
                if subject.digest in subjects:
                    yield frozenset({subject.digest}), subject.annotations
        case _:
            pass
