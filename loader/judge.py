"""The judge: evidence, trust and policy in, an authorized judgement or a refusal out.

Called with the same arguments by the loader and, before anything is sealed, by the bundler
(DESIGN §4, decision 10): "it verified here and failed there" must not happen.

    judge_statement   before any other member is read: rules, names, expiry, bundle signatures
    judge             after the small members are read, before any layer is

Neither reads a clock, a file or the environment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loader.anchored import anchored_pieces, growth_of, note_of
from loader.carried import Carried
from loader.deny_lists import read_deny_lists
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    EmptyBundleError,
    ExpiredError,
    LimitError,
    NameTwiceError,
    NoEvidenceError,
)
from loader.evidence import BoundedBlobs, Broken, Unsigned, evidence_of, expect_closed, kind_of
from loader.graph import read_graphs
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import format_instant
from loader.policy.channels import channel_problem
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.content_trust import ContentTrustClaim
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.contents import Contents
from loader.policy.decide import decide, judge_image, no_rule, refusal
from loader.policy.facts import (
    ABSENT,
    About,
    BundleClaims,
    Considered,
    ImageFacts,
    ImageJudgement,
    Judgement,
    Piece,
    Problem,
)
from loader.policy.vex import Hearing
from loader.policy.weigh import unreadable, wants, weigh
from loader.renewal import Renewal, renew
from loader.seals import judge_signatures, verifier
from loader.supplement import Supplements
from loader.trust.memory import NO_MEMORY
from loader.vex import hear_vex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from loader.evidence import Found
    from loader.graph import ImageGraph
    from loader.limits import Limits
    from loader.model.bundle import (
        BlobSource,
        BundleStatement,
        EvidenceEntry,
        ImageEntry,
    )
    from loader.policy.model import Policy
    from loader.policy.rules import ImageClaim
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome
    from loader.trust.memory import TrustMemory
    from loader.trust.store import TrustStore
    from loader.witness import Authorized

_NOBODY_SIGNED: Final = Problem(code=NoEvidenceError.code, message="nobody signed it")
_NOT_ASKED_FOR: Final = Problem(
    code=NoEvidenceError.code, message="no requirement asks for evidence of this kind"
)


def judge_statement(
    statement: BundleStatement,
    signatures: tuple[bytes, ...],
    *,
    policy: Policy,
    trust: TrustStore,
    now: datetime,
    by: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> BundleClaims:
    """Judge what can be judged before any other member is read.

    What becomes true: there is an image; every image has a rule; no name stands for two images; the
    bundle has not expired, and is of a channel that this host takes; every `bundle-signature` that
    a rule of any image requires is met over exactly the statement's bytes. A signature that no rule
    asks for is not looked at.

    Args:
        statement: parsed from the bytes that the signatures must cover.
        signatures: the members behind it, as they are.
        policy: what this host accepts.
        trust: the anchors that the policy names.
        now: the host's clock, or its floor where that is later.
        by: which of the two it is, in words.
        limits: sizes and counts.

    Raises:
        PolicyError: any of that does not hold; `judgement` is what a report shows.
    """
    policies = [(entry, policy.rules_for(entry.reference)) for entry in statement.images]
    wanted = tuple(
        dict.fromkeys(
            requirement
            for _, rules in policies
            for requirement in rules.require
            if isinstance(requirement, BundleSignatureClaim)
        )
    )
    claims = judge_signatures(
        statement, signatures, wanted, trust=trust, denials=policy.denials, limits=limits
    )
    problems = [("", problem) for problem in _statement_problems(statement, now=now, by=by)]
    channel = channel_problem(statement.channel, policy.channels, asked_for=len(wanted))
    if channel is not None:
        problems.append(("the bundle", channel))
    problems += [
        (str(entry.reference), no_rule(entry.reference.name))
        for entry, rules in policies
        if not rules.require
    ]
    problems += [("the bundle", one.problem) for one in claims.results if one.problem is not None]
    if problems:
        raise refusal(
            Judgement(
                statement=statement,
                bundle=claims,
                images=(),
                trust=(),
                renewal=Renewal(trust=trust),
                reference_time=_newest(claims.considered),
                problems=tuple(problems),
            )
        )
    return claims


def _statement_problems(statement: BundleStatement, *, now: datetime, by: str) -> list[Problem]:
    problems: list[Problem] = []
    if not statement.images:
        problems.append(Problem(code=EmptyBundleError.code, message="the bundle holds no image"))
    first: dict[str, Digest] = {}
    for entry in statement.images:
        name = entry.reference.tagged
        if first.setdefault(name, entry.image.digest) != entry.image.digest:
            problems.append(
                Problem(
                    code=NameTwiceError.code,
                    message="the bundle gives one name to two different images",
                    where=name,
                    found=f"{first[name]} and {entry.image.digest}",
                )
            )
    if statement.expires is not None and statement.expires < now:
        problems.append(
            Problem(
                code=ExpiredError.code,
                message="the bundle has expired",
                expected=f"a time up to {format_instant(statement.expires)}",
                found=format_instant(now) + (f", by {by}" if by else ""),
                hint="pack it again; its packer gave it an end",
            )
        )
    return problems


def judge(
    statement: BundleStatement,
    claims: BundleClaims,
    blobs: BlobSource,
    *,
    policy: Policy,
    trust: TrustStore,
    now: datetime,
    memory: TrustMemory = NO_MEMORY,
    limits: Limits = DEFAULT_LIMITS,
) -> Authorized[Judgement]:
    """Judge every image of a bundle by its small members alone.

    First of all, carried trust material takes the place of what the host pins or remembers, where
    it chains to that: for this bundle, and for nothing else. What was judged by an anchor that
    changed so is judged again.

    Args:
        statement: the bundle statement.
        claims: what `judge_statement` returned for it under the same policy and trust.
        blobs: the small members.
        policy: what this host accepts.
        trust: the anchors that the policy names, as this host remembers them.
        now: the host's clock, or its floor where that is later.
        memory: what this host has seen of trust material that grows; no bundle goes behind it.
        limits: sizes and counts.

    Raises:
        TrustRootError: carried trust material does not chain to what the host has.
        NotaryError: carried trust material that a claim asks for does not hold.
        FormatError: an image is malformed, or the bundle holds too much or too little.
        PolicyError: a requirement is not met; `judgement` is what a report shows.
    """
    blobs = BoundedBlobs(blobs, statement, limits=limits)
    confirm = {rule.name for rule in policy.anchor_rules if rule.root_change == "confirm"}
    renewal = renew(trust, statement.trust, blobs, memory, confirm=confirm, limits=limits)
    trust = renewal.trust
    lists = read_deny_lists(statement, blobs, policy, trust, memory, limits=limits)
    policy = policy.denying(lists.denials)
    if renewal.renewed or lists.denials:
        claims = judge_signatures(
            statement,
            claims.signatures,
            claims.wanted,
            trust=trust,
            denials=policy.denials,
            limits=limits,
        )
    graphs = list(read_graphs(statement.images, blobs, limits=limits))
    expect_closed(statement, graphs, blobs, limits=limits)
    carried = Carried(
        statement.trust,
        blobs,
        trust,
        images=statement.images,
        confirm=confirm,
        memory=memory,
        limits=limits,
    )
    images: list[ImageJudgement] = []
    left = limits.evidence_count_max
    for entry, graph in zip(statement.images, graphs, strict=True):
        facts = _facts(entry, graph, blobs, carried, renewal, policy=policy, now=now, limits=limits)
        left -= len(facts.considered)
        if left < 0:
            raise LimitError(
                "the bundle's images have too many pieces of evidence together",
                where=str(entry.reference),
                expected=f"at most {limits.evidence_count_max}",
                hint="pack fewer images, or fewer names of one, into one bundle",
            )
        images.append(judge_image(facts, claims))
    seen = [one for image in images for one in image.considered]
    newest = (_newest((*claims.considered, *seen)), renewal.signed_at)
    reference_time = max((at for at in newest if at is not None), default=None)
    return decide(
        statement,
        claims,
        images,
        trust=tuple(
            note_of(entry, blobs, carried, renewal, limits=limits)
            for entry in statement.trust
            if entry.kind not in {"log", "deny-list"}
        ),
        renewal=carried.settled(renewal),
        learned=renewal.learned.and_more(carried.learned).and_more(lists.learned),
        lists=lists.problems,
        reference_time=reference_time,
        grown=growth_of(statement, blobs, trust, at=reference_time, limits=limits),
    )


def _facts(
    entry: ImageEntry,
    graph: ImageGraph,
    blobs: BlobSource,
    carried: Carried,
    renewal: Renewal,
    *,
    policy: Policy,
    now: datetime,
    limits: Limits,
) -> ImageFacts:
    rules = policy.rules_for(entry.reference)
    about = About(digests=graph.digests, reference=entry.reference, now=now, denials=policy.denials)
    supplements = Supplements(entry, blobs, limits=limits)
    # Before anything is weighed, for what silences a finding may lie behind the scan.
    vex, deaf = hear_vex(
        evidence_of(entry, graph, blobs, limits=limits),
        about,
        graph,
        rules.on_images,
        lambda found: _verifier(found, supplements, trust=renewal.trust),
        limits=limits,
    )
    about = replace(about, vex=Hearing(vex, now=now))
    seen = [
        _or_heard(
            _considered(
                found, about, rules.on_images, supplements, trust=renewal.trust, limits=limits
            ),
            deaf,
        )
        for found in evidence_of(entry, graph, blobs, limits=limits)
    ]
    return ImageFacts(
        entry=entry,
        graph=graph,
        policy=rules,
        about=about,
        considered=(
            *seen,
            *anchored_pieces(entry, graph, blobs, carried, renewal, rules.on_images, limits=limits),
            *(_failed(item, e) for item, e in supplements.failures()),
        ),
    )


def _verifier(
    found: Found, supplements: Supplements, *, trust: TrustStore
) -> Callable[[Speaker], Outcome]:
    if isinstance(found.evidence, Unsigned | Broken):
        raise TypeError(found.evidence)
    return verifier(supplements.verifier(found.evidence, found.blob), trust)


def _or_heard(one: Considered, deaf: Mapping[Digest | None, Problem]) -> Considered:
    """Say of VEX that policy listens to what became of it."""
    if one.problem is _NOT_ASKED_FOR and one.piece.blob in deaf:
        return replace(one, problem=deaf[one.piece.blob])
    return one


def _failed(item: EvidenceEntry, error: AirlockError) -> Considered:
    """Say of a supplement that it adds nothing; what it is about was judged without it."""
    return Considered(
        piece=Piece(
            store=item.store,
            manifest=item.manifest.digest,
            blob=item.manifest.digest,
            what=f"proof for a log's promise, about {item.subject.short}",
            subjects=frozenset(),
        ),
        weighed=(),
        problem=Problem.of(error),
    )


def _considered(
    found: Found,
    about: About,
    wanted: tuple[ImageClaim, ...],
    supplements: Supplements,
    *,
    trust: TrustStore,
    limits: Limits,
) -> Considered:
    evidence = found.evidence

    def piece(what: str) -> Piece:
        return Piece(
            store=found.entry.store,
            manifest=found.entry.manifest.digest,
            blob=found.blob,
            what=what,
            subjects=frozenset({found.entry.subject}) & about.digests,
        )

    if isinstance(evidence, Unsigned):
        return Considered(
            piece=piece(f"unsigned {evidence.what}"),
            weighed=(),
            problem=_NOBODY_SIGNED,
        )
    if isinstance(evidence, Broken):
        return Considered(
            piece=piece("unreadable evidence"),
            weighed=tuple(
                ABSENT
                if isinstance(one, ContentTrustClaim | TufTargetClaim)
                else unreadable(evidence.error)
                for one in wanted
            ),
            problem=Problem.of(evidence.error),
        )
    kind = kind_of(evidence, limits=limits)
    verify = verifier(supplements.verifier(evidence, found.blob), trust)
    contents = Contents(limits=limits)
    of_kind = [
        not isinstance(one, ContentTrustClaim | TufTargetClaim) and wants(one, kind)
        for one in wanted
    ]
    return Considered(
        piece=piece(kind.words),
        weighed=tuple(
            ABSENT
            if isinstance(one, ContentTrustClaim | TufTargetClaim)
            else weigh(one, verify, about=about, contents=contents, is_of_kind=is_of_kind)
            for one, is_of_kind in zip(wanted, of_kind, strict=True)
        ),
        problem=None if any(of_kind) else _NOT_ASKED_FOR,
    )


def _newest(considered: tuple[Considered, ...]) -> datetime | None:
    return max((at for one in considered for w in one.weighed for at in w.at), default=None)
