"""Deny lists that travel, and those that travelled before: verified, united, never shorter.

A list in a bundle is applied to that very bundle (THREATS T36): whoever revokes a key sends the
news with the next release, and that release is already judged by it. What this host accepted once
it remembers, as it was signed; a bundle without the list changes nothing. Leaving a list away is
all that a courier can do about it, once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.errors import (
    FormatError,
    JsonFieldError,
    NoRuleError,
    PolicyFileError,
    VerificationError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.deny_list import FAMILY, PREDICATE_TYPE, read_deny_list
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.statement import Statement
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.denials import Denial
from loader.policy.facts import Problem
from loader.policy.patterns import Glob
from loader.policy.weigh import weigh_statement, who_of
from loader.seals import verifier
from loader.trust.memory import NO_MEMORY, Learned, ListsSeen
from loader.verify.sigstore import verify_evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loader.limits import Limits
    from loader.model.bundle import BlobSource, BundleStatement
    from loader.policy.model import Policy
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome
    from loader.trust.memory import TrustMemory
    from loader.trust.store import TrustStore

_CARRIED: Final = "carried"
_REMEMBERED: Final = "remembered"
NAME: Final = "deny-list"
"""What the memory and a statement's trust entries call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyLists:
    """What lists deny, and what of it this host may remember."""

    denials: tuple[Denial, ...]
    learned: Learned
    problems: tuple[Problem, ...]
    """Lists, carried or remembered, that deny nothing; `where` says which."""


def read_deny_lists(
    statement: BundleStatement,
    blobs: BlobSource,
    policy: Policy,
    trust: TrustStore,
    memory: TrustMemory = NO_MEMORY,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> DenyLists:
    """Return what carried and remembered lists deny, by whom the policy names for that.

    A list that does not verify denies nothing, and is said. To refuse the bundle for it would give
    whoever carries it no less than taking the list away does. One that somebody whom the policy
    names signed, and that cannot be understood, refuses the bundle: what it denies, nobody knows.

    Raises:
        MissingError, DigestError: the bundle promises a list and does not hold it.
        FormatError: a list that is genuine is malformed.
    """
    before = memory.lists(NAME)
    known = {} if before is None else before.files
    raws = {digest: (_REMEMBERED, memory.files[digest]) for digest in known.values()}
    for entry in statement.trust:
        for blob in entry.blobs if entry.kind == NAME else ():
            where = f"deny list {blob.digest.short}"
            raw = blobs.read(blob, where=where, size_max=limits.document_size_max)
            raws.setdefault(blob.digest, (_CARRIED, raw))
    said = policy.deny_list
    if said is None:
        return DenyLists(denials=(), learned=Learned(), problems=tuple(_unheard(raws.values())))
    claim = BundleSignatureClaim(said=said)
    denials: dict[Denial, None] = {}
    files = dict(known)
    problems: list[Problem] = []
    for digest, (whose, raw) in raws.items():
        where = f"{whose} deny list {digest.short}"
        try:
            listed, who = _signed(raw, claim, trust, limits=limits)
        except (FormatError, VerificationError) as e:
            problems.append(replace(Problem.of(e), where=where))
            continue
        source = f"deny list {digest.short}, signed by {who}"
        denials |= dict.fromkeys(_denials(listed, source, where=where, limits=limits))
        files[str(digest)] = digest
    learned = Learned(
        seen={(NAME, NAME): ListsSeen(files=files)},
        files={digest: raws[digest][1] for digest in files.values()},
    )
    return DenyLists(
        denials=tuple(denials),
        learned=learned if files else Learned(),
        problems=tuple(problems),
    )


def _unheard(raws: Iterable[tuple[str, bytes]]) -> Iterator[Problem]:
    """Say how many lists nobody listens to: taking `[deny-list]` away ends what they deny."""
    for whose, count in Counter(whose for whose, _ in raws).items():
        yield Problem(
            code=NoRuleError.code,
            message="the policy names nobody who may sign deny lists",
            where=f"{count} {whose} deny list{'s' * (count != 1)}",
            expected="[deny-list]",
        )


def _signed(
    raw: bytes, claim: BundleSignatureClaim, trust: TrustStore, *, limits: Limits
) -> tuple[Statement, str]:
    """Return the statement that a list is, and who signed it.

    Raises:
        FormatError: it is no signed statement, or one about something else.
        VerificationError: nobody signed it whom the policy names for that.
    """
    bundle = SigstoreBundle.parse(raw, where="deny list", limits=limits)
    verify = verifier(lambda material: verify_evidence(bundle, material, limits=limits), trust)
    signed: list[Outcome] = []

    def outcome(speaker: Speaker) -> Outcome:
        signed.append(verify(speaker))
        return signed[-1]

    weighed = weigh_statement(claim, outcome)
    if weighed.stage != "counts":
        problem = weighed.problem
        raise VerificationError(
            "a deny list by nobody whom the policy names for that",
            found="" if problem is None else str(problem),
        )
    for one in signed:
        if isinstance(one, VerificationError) or not isinstance(one.value.payload, Statement):
            continue
        found = one.value.payload
        if not found.predicate_type.startswith(FAMILY):
            raise JsonFieldError(
                "not a deny list", expected=PREDICATE_TYPE, found=shown(found.predicate_type)
            )
        return found, who_of(one.value).words
    raise VerificationError("a deny list that is no in-toto statement", expected=PREDICATE_TYPE)


def _denials(listed: Statement, source: str, *, where: str, limits: Limits) -> Iterator[Denial]:
    """Yield what one genuine list denies.

    Raises:
        FormatError: it is malformed, or of another version.
    """
    try:
        for denied in read_deny_list(listed, limits=limits):
            yield Denial(
                reason=denied.reason,
                source=source,
                digest=denied.digest,
                identity=denied.identity,
                issuer=denied.issuer,
                key=denied.key,
                before=denied.before,
                image=Glob.parse(denied.image, where="image") if denied.image else None,
            )
    except (FormatError, PolicyFileError) as e:
        raise JsonFieldError(
            f"a deny list that its signer wrote cannot be understood: {e.message}",
            where=where,
            expected=e.expected,
            found=" ".join(filter(None, (e.where, e.found))),
            hint="what it denies, this host cannot tell; a newer loader may",
        ) from e
