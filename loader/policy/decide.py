"""(facts, policy) → Authorized, or a refusal that lists every requirement that is not met.

Pure: no I/O, no clock, no cryptography. Only evidence that came to the stage `counts` counts, for
each platform by itself; everything else is reported with the check that it failed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loader._seal import SEAL
from loader.errors import (
    ChannelError,
    ConditionError,
    ContentsError,
    ContentTrustConflictError,
    ContradictionError,
    DeniedError,
    EmptyBundleError,
    EmptyScanError,
    EvidenceInvalidError,
    EvidenceLimitError,
    ExpiredError,
    IdentityError,
    NameTwiceError,
    NoEvidenceError,
    NoRuleError,
    PolicyError,
    QuantifierError,
    ScopeError,
    ThresholdError,
    UnvouchedNameError,
    shown,
)
from loader.policy.agreement import settled
from loader.policy.denials import denied_image
from loader.policy.facts import (
    NOTHING_GROWN,
    BundleClaims,
    ImageJudgement,
    Judgement,
    Problem,
)
from loader.policy.names import vouch
from loader.policy.results import claims_of_image
from loader.trust.memory import NOTHING_LEARNED
from loader.witness import Authorized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loader.model.bundle import BundleStatement
    from loader.policy.facts import Grown, ImageFacts, TrustNote
    from loader.renewal import Renewal
    from loader.trust.memory import Learned

ORDER: Final[tuple[type[PolicyError], ...]] = (
    EvidenceLimitError,
    EvidenceInvalidError,
    NoRuleError,
    NoEvidenceError,
    IdentityError,
    EmptyBundleError,
    NameTwiceError,
    ChannelError,
    ConditionError,
    ContentsError,
    EmptyScanError,
    ContradictionError,
    ContentTrustConflictError,
    ScopeError,
    QuantifierError,
    ThresholdError,
    UnvouchedNameError,
    DeniedError,
    ExpiredError,
)
"""The first of these that applies decides the exit status: the order of DESIGN §6."""
_BY_CODE: Final = {error.code: error for error in ORDER}


def judge_image(facts: ImageFacts, bundle: BundleClaims) -> ImageJudgement:
    """Return what the judge says of one image: every claim, met or not, and its name."""
    facts = settled(facts)
    judged = ImageJudgement(
        entry=facts.entry,
        graph=facts.graph,
        policy=facts.policy,
        name=vouch(facts, bundle),
        claims=claims_of_image(facts, bundle),
        considered=facts.considered,
    )
    denied = denied_image(facts.graph, facts.entry.reference, judged.at, facts.about.denials)
    return replace(judged, denied=denied)


def decide(  # noqa: PLR0913 (each is shown by itself)
    statement: BundleStatement,
    bundle: BundleClaims,
    images: Sequence[ImageJudgement],
    *,
    trust: tuple[TrustNote, ...],
    renewal: Renewal,
    reference_time: datetime | None,
    learned: Learned = NOTHING_LEARNED,
    grown: Grown = NOTHING_GROWN,
    lists: tuple[Problem, ...] = (),
) -> Authorized[Judgement]:
    """Allow the bundle if every requirement on every image is met and every name vouched for.

    Args:
        statement: the bundle statement.
        bundle: what was found out about its signatures.
        images: what was found out about each image.
        trust: carried trust material beside the host's.
        renewal: the anchors that it was judged by.
        learned: what the host may remember of carried trust material.
        reference_time: the newest verified time in the bundle.
        grown: how logs grew.
        lists: carried deny lists that do not count.

    Raises:
        PolicyError: something is not; its class is that of the first check that failed in the order
            of DESIGN §6, `reasons` lists everything, `judgement` shows it.
    """
    problems = [(str(i.entry.reference), problem) for i in images for problem in i.problems]
    problems += [
        (str(image.entry.reference), no_rule(image.entry.reference.name))
        for image in images
        if not image.policy.require
    ]
    if not images:
        problems.append(("", Problem(code=EmptyBundleError.code, message="there is no image")))
    judgement = Judgement(
        statement=statement,
        bundle=bundle,
        images=tuple(images),
        trust=trust,
        renewal=renewal,
        reference_time=reference_time,
        problems=tuple(problems),
        learned=learned,
        grown=grown,
        lists=lists,
    )
    if problems:
        raise refusal(judgement)
    return Authorized(judgement, SEAL)


def no_rule(name: str) -> Problem:
    """Return the problem of an image that no rule accepts."""
    return Problem(
        code=NoRuleError.code,
        message="no rule of the policy accepts this image",
        expected=f"an [[image]] block whose `match` fits {shown(name)}, with a requirement",
    )


def refusal(judgement: Judgement) -> PolicyError:
    """Return the error for a judgement with problems: the first by order, listing all."""
    codes = [error.code for error in ORDER]
    place, first = min(judgement.problems, key=lambda item: codes.index(item[1].code))
    many = len(judgement.problems)
    error = _BY_CODE[first.code](
        first.message + (f" (and {many - 1} more)" if many > 1 else ""),
        where=place,
        expected=first.expected,
        found=first.found,
        hint=first.hint,
    )
    error.reasons = tuple(
        f"{where}: {problem}" if where else str(problem) for where, problem in judgement.problems
    )
    error.judgement = judgement
    return error
