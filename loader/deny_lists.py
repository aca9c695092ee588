"""Deny lists that travel, and those that travelled before: verified, united, never shorter.

A list in a bundle is applied to that very bundle (THREATS T36): whoever revokes a key sends the
news with the next release, and that release is already judged by it. What this host accepted once
it remembers, as it was signed; a bundle without the list changes nothing. Leaving a list away is
all that a courier can do about it, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import FormatError, VerificationError
from loader.limits import DEFAULT_LIMITS
from loader.model.deny_list import PREDICATE_TYPE, read_deny_list
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
    from collections.abc import Iterator

    from loader.limits import Limits
    from loader.model.bundle import BlobSource, BundleStatement
    from loader.policy.model import Policy
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome
    from loader.trust.memory import TrustMemory
    from loader.trust.store import TrustStore

NAME: Final = "deny-list"
"""What the memory and a statement's trust entries call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyLists:
    """What lists deny, and what of it this host may remember."""

    denials: tuple[Denial, ...]
    learned: Learned
    problems: tuple[Problem, ...]
    """Lists that came along and do not count."""


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
    whoever carries it no less than taking the list away does.

    Raises:
        MissingError, DigestError: the bundle promises a list and does not hold it.
    """
    said = policy.deny_list
    if said is None:
        return DenyLists(denials=(), learned=Learned(), problems=())
    claim = BundleSignatureClaim(said=said)
    before = memory.lists(NAME)
    known = {} if before is None else before.files
    raws = {digest: memory.files[digest] for digest in known.values()}
    for entry in statement.trust:
        for blob in entry.blobs if entry.kind == "deny-list" else ():
            where = f"deny list {blob.digest.short}"
            raws.setdefault(
                blob.digest, blobs.read(blob, where=where, size_max=limits.document_size_max)
            )
    denials: dict[Denial, None] = {}
    files = dict(known)
    problems: list[Problem] = []
    for digest, raw in raws.items():
        try:
            found = tuple(_read(raw, claim, trust, limits=limits))
        except (FormatError, VerificationError) as e:
            problems.append(Problem.of(e))
            continue
        denials |= dict.fromkeys(found)
        files[str(digest)] = digest
    learned = Learned(
        seen={("deny-list", NAME): ListsSeen(files=files)},
        files={digest: raws[digest] for digest in files.values()},
    )
    return DenyLists(
        denials=tuple(denials),
        learned=learned if files else Learned(),
        problems=tuple(problems),
    )


def _read(
    raw: bytes, claim: BundleSignatureClaim, trust: TrustStore, *, limits: Limits
) -> Iterator[Denial]:
    """Yield what one list denies.

    Raises:
        FormatError: it is none.
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
        source = f"deny list {Digest.of(raw).short}, signed by {who_of(one.value).words}"
        for denied in read_deny_list(one.value.payload, limits=limits):
            yield Denial(
                reason=denied.reason,
                source=source,
                digest=denied.digest,
                identity=denied.identity,
                issuer=denied.issuer,
                key=denied.key,
                before=denied.before,
                image=Glob.parse(denied.image, where=PREDICATE_TYPE) if denied.image else None,
            )
        return
    raise VerificationError("a deny list that is no in-toto statement", expected=PREDICATE_TYPE)
