"""VEX that an image carries: verified under the speakers that a requirement's `vex` names.

    evidence ─verify→ Verified ─policy.weigh→ by whom policy names ─model.vex→ Heard

A document by anybody else, about another image, or broken silences nothing, and says why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loader.errors import (
    EvidenceInvalidError,
    FormatError,
    LimitError,
    NoEvidenceError,
    VerificationError,
)
from loader.evidence import Broken, Unsigned, kind_of
from loader.model.predicate_types import PredicateType
from loader.model.statement import Statement
from loader.model.vex import KEEP, read_vex
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.vulnerabilities import VulnerabilitiesClaim
from loader.policy.contents import Contents
from loader.policy.denials import denied_signer
from loader.policy.facts import Problem
from loader.policy.speakers import Said
from loader.policy.vex import Heard
from loader.policy.weigh import weigh_statement, who_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loader.digest import Digest
    from loader.evidence import Found
    from loader.graph import ImageGraph
    from loader.limits import Limits
    from loader.policy.facts import About
    from loader.policy.rules import ImageClaim
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome

_TYPE: Final = PredicateType("openvex")
_HEARD: Final = Problem(
    code=NoEvidenceError.code, message="it is no claim by itself; it was heard as VEX"
)


def hear_vex(
    found: Iterable[Found],
    about: About,
    graph: ImageGraph,
    wanted: tuple[ImageClaim, ...],
    verify: Callable[[Found], Callable[[Speaker], Outcome]],
    *,
    limits: Limits,
) -> tuple[tuple[Heard, ...], dict[Digest | None, Problem]]:
    """Return what VEX about an image is heard, and of each document what became of it.

    Args:
        found: all evidence about the image.
        about: the image.
        graph: its indexes and manifests.
        wanted: the requirements on it.
        verify: returns what verifies a piece under the anchors that a speaker names.
        limits: sizes and counts.

    Raises:
        LimitError: all documents together say too much.
        FormatError: the bundle is malformed; never for one document that is.
    """
    asked = dict.fromkeys(
        one.vex for one in wanted if isinstance(one, VulnerabilitiesClaim) and one.vex is not None
    )
    heard: dict[
        Heard, None
    ] = {}  # a copy says nothing more: whoever carries it can make any number
    words = 0
    problems: dict[Digest | None, Problem] = {}
    if not asked:
        return (), problems
    indexes = frozenset(index.descriptor.digest for index in graph.indexes)
    for piece in found:
        evidence = piece.evidence
        if isinstance(evidence, Broken | Unsigned):
            continue
        if not _TYPE.matches(kind_of(evidence, limits=limits).predicate_type):
            continue
        check = verify(piece)
        outcomes = [_hear(said, check, about, indexes, limits=limits) for said in asked]
        said_so = [one for one in outcomes if isinstance(one, Heard)]
        for one in said_so:
            words += 0 if one in heard else one.document.word_count
            heard[one] = None
        if words > limits.image_vex_word_count_max:
            # To pass over any of them might pass over the one that takes a silence back.
            raise LimitError(
                "VEX says too much of one image",
                where=str(about.reference),
                expected=f"at most {limits.image_vex_word_count_max}",
                hint="the limit is `image_vex_word_count_max`",
            )
        refused = [one for one in outcomes if isinstance(one, Problem)]
        problems[piece.blob] = _HEARD if said_so else refused[0]
    return tuple(heard), problems


def _hear(
    said: Said,
    verify: Callable[[Speaker], Outcome],
    about: About,
    indexes: frozenset[Digest],
    *,
    limits: Limits,
) -> Heard | Problem:
    """Return one document as one `vex` hears it, or why it does not."""
    refused: Problem | None = None
    for speaker in said.speakers:
        outcome = verify(speaker)
        if isinstance(outcome, VerificationError):
            refused = refused or Problem.of(outcome)
            continue
        signed = outcome.value
        alone = BundleSignatureClaim(said=Said(where=said.where, speakers=(speaker,)))
        weighed = weigh_statement(alone, verify)
        problem = weighed.problem or denied_signer(signed, about.reference, about.denials)
        if problem is not None:
            refused = problem
            continue
        subjects = signed.subjects & about.digests
        if not subjects:
            return Problem(
                code=EvidenceInvalidError.code,
                message="it is genuine, and speaks of something else than this image",
                found=", ".join(str(digest) for digest in sorted(signed.subjects)[:3]),
            )
        contents = Contents(limits=limits)
        contents.of(outcome)
        payload = signed.payload
        if not isinstance(payload, Statement) or not _TYPE.matches(payload.predicate_type):
            return Problem(code=EvidenceInvalidError.code, message="no statement of OpenVEX")
        try:
            document = read_vex(contents.part(KEEP), subjects)
        except FormatError as e:
            return Problem.of(e)
        # One platform's name on an index says nothing of the others that it lists.
        held = tuple(
            one
            for one in document.statements
            if not (one.silences and one.of_a_platform and one.digest in indexes)
        )
        return Heard(said=said, who=who_of(signed), document=replace(document, statements=held))
    return refused or Problem(code=EvidenceInvalidError.code, message="nobody may say it")
