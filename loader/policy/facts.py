"""What the judge found out and what it says of it: light values, without the evidence itself.

    Piece       one piece of evidence: where it lay, what it is
    Weighed     what one requirement makes of one piece: how far it came, who said it, when
    ClaimResult what became of one requirement for one image
    Judgement   all of it, for one bundle

Evidence is read one piece at a time (an attestation may have 32 MiB), weighed against every
requirement while it is in memory, and then let go; only these values remain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import ContentsError, LimitError
from loader.trust.memory import Learned

if TYPE_CHECKING:
    from datetime import datetime

    from loader.digest import Digest
    from loader.errors import AirlockError, FormatError
    from loader.graph import ImageGraph
    from loader.model.bundle import BundleStatement, ImageEntry, Store, TrustKind
    from loader.model.reference import Reference
    from loader.policy.claims.bundle_signature import BundleSignatureClaim
    from loader.policy.denials import Denial
    from loader.policy.exceptions import Exemption
    from loader.policy.rules import ImagePolicy, Requirement
    from loader.policy.vex import Hearing
    from loader.renewal import Renewal
    from loader.verify.facts import LogTree
    from loader.verify.growth import Growth
    from loader.witness import Verified

Stage = Literal[
    "absent", "limit", "signature", "identity", "condition", "contents", "denied", "counts"
]
"""How far a piece of evidence came: each word is the check it failed, the last that it failed none.

`absent`: it is evidence of another kind. `signature`: it does not verify under the anchor that the
requirement names. `identity`: it verifies, and somebody else said it. `condition`: the right one
said it, but log, timestamps, annotations or reference are not as required. `contents`: it is
recorded as required, and says something else than policy asks for. `denied`: it is all that policy
asks for, by somebody whose word counts no more.
"""
STAGES: Final[tuple[Stage, ...]] = (
    "absent",
    "limit",
    "signature",
    "identity",
    "condition",
    "contents",
    "denied",
    "counts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something was not accepted, in the parts of an error."""

    code: str
    message: str
    where: str = ""
    expected: str = ""
    found: str = ""
    hint: str = ""
    causes: tuple[Problem, ...] = ()
    """What is wrong with each piece of evidence that came furthest; `found` says it in one line."""

    @classmethod
    def of(cls, error: AirlockError) -> Problem:
        """Return an error's parts."""
        return cls(
            code=error.code,
            message=error.message,
            where=error.where,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        )

    def __str__(self) -> str:
        parts = [self.message]
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [f"found {self.found}"] if self.found else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of evidence. `subjects` is what it says it speaks of, of this image's digests."""

    store: Store | Literal["statement", "trust"]
    """`trust`: carried trust material that chained to a pinned anchor, and speaks of this image."""
    manifest: Digest | None
    blob: Digest | None
    what: str
    """In words: "cosign signature", "attestation of https://spdx.dev/Document"."""
    subjects: frozenset[Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Somebody who said something. `distinct` is what a threshold counts."""

    distinct: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPosition:
    """Where a log holds an entry; the floor of `rollback = "log-index"` compares these."""

    signer: str
    """`Who.distinct`."""
    log: str
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSighting:
    """A known log that recorded verified evidence, and the tree that it proved that with."""

    log: str
    name: str
    tree: LogTree | None
    """None where the log only promised: there is nothing to compare with what it says later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedName:
    """A name that verified evidence of somebody whom the policy names gives to an image."""

    repository: str
    tag: str
    how: Literal["docker-reference", "subject-name", "source-tag", "content-trust", "tuf-target"]
    who: str
    distinct: str
    """`Who.distinct`: what a threshold counts."""
    subjects: frozenset[Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What evidence is weighed for: an image under the name it was packed under, at some time."""

    digests: frozenset[Digest]
    """What evidence about it may speak of."""
    reference: Reference
    now: datetime
    """The newest time that this host knows of: its clock, or its floor where that is later."""
    denials: tuple[Denial, ...] = ()
    """What is denied, whoever signed it."""
    vex: Hearing | None = None
    """What those whom a requirement's `vex` names say of findings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that evidence says, as a person would ask for it: the commit, who built it."""

    name: str
    value: str
    source: str
    """What says so: "certificate", "predicate", both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one piece of evidence by the right speaker is worth to a claim."""

    subjects: frozenset[Digest]
    """Those digests of the image for which it says what the claim asks for."""
    facts: tuple[Fact, ...] = ()
    provides: frozenset[tuple[str, str]] = frozenset()
    """Variables that it gives to other claims, with their values (`variables.OF_EVIDENCE`)."""
    assumes: frozenset[tuple[str, str]] = frozenset()
    """Variables that other evidence must give, with the values that this piece has for them."""
    tags: tuple[str, ...] = ()
    """Tags that it gives to the image under the repository that its statement names."""
    problem: Problem | None = None
    stage: Literal["limit", "condition", "contents"] = "contents"
    """Which check `problem` is about."""

    @classmethod
    def unreadable(cls, error: FormatError, subjects: frozenset[Digest]) -> Meaning:
        """Return what evidence is worth that verifies and whose contents nobody can read."""
        return cls(
            subjects=subjects,
            problem=Problem(
                code=ContentsError.code,
                message=f"what it says cannot be understood: {error.message}",
                where=error.where,
                expected=error.expected,
                found=" ".join(filter(None, (error.where, error.found))),
                hint=error.hint,
            ),
            stage="limit" if isinstance(error, LimitError) else "contents",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What one requirement makes of one piece of evidence."""

    stage: Stage
    problem: Problem | None
    who: Who | None = None
    subjects: frozenset[Digest] = frozenset()
    """Digests of this image that it verifiably speaks of; empty where it does not verify."""
    at: tuple[datetime, ...] = ()
    positions: tuple[LogPosition, ...] = ()
    sightings: tuple[LogSighting, ...] = ()
    names: tuple[SignedName, ...] = ()
    facts: tuple[Fact, ...] = ()
    provides: frozenset[tuple[str, str]] = frozenset()
    assumes: frozenset[tuple[str, str]] = frozenset()
    """See `Meaning`: it counts only beside evidence that says the same."""


ABSENT: Final = Weighed(stage="absent", problem=None)
"""Of a piece that a requirement is not about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One piece of evidence and, requirement by requirement, why it counted or did not."""

    piece: Piece
    weighed: tuple[Weighed, ...]
    """In the order of `ImagePolicy.on_images`; empty where no requirement could be about it."""
    problem: Problem | None = None
    """What kept it from being looked at: unreadable, unsigned, about another image."""

    @property
    def counts(self) -> bool:
        """Whether some requirement counts it."""
        return any(one.stage == "counts" for one in self.weighed)

    @property
    def why_not(self) -> Problem | None:
        """The reason that it counts for nothing, the one of the furthest check it came to."""
        if self.counts:
            return None
        # What a requirement on another kind of evidence makes of it is no reason.
        reasons = [w for w in self.weighed if w.problem is not None and w.stage != "absent"]
        if not reasons:
            return self.problem
        return max(reasons, key=lambda one: STAGES.index(one.stage)).problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What became of one requirement."""

    requirement: Requirement
    claim: str
    words: str
    """The requirement as a person would say it."""
    holds: Literal["met", "unmet", "excepted"]
    who: tuple[str, ...]
    at: tuple[datetime, ...]
    evidence: tuple[Digest, ...]
    """Blobs of the evidence that counts."""
    positions: tuple[LogPosition, ...] = ()
    facts: tuple[Fact, ...] = ()
    """What the evidence that counts says, each thing once."""
    problem: Problem | None = None
    excepted: Problem | None = None
    """What is wrong where an exception lets it through."""
    exemption: Exemption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VouchedName:
    """The name that an image is loaded under, and who says so."""

    reference: Reference
    how: Literal[
        "bundle-signature",
        "docker-reference",
        "subject-name",
        "source-tag",
        "content-trust",
        "tuf-target",
        "as-packed",
        "nobody",
    ]
    by: str
    """In words."""
    said: tuple[str, ...]
    """Every name that verified evidence gives to this image, also other ones."""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleClaims:
    """What was found out about the statement before any other member was read."""

    results: tuple[ClaimResult, ...]
    considered: tuple[Considered, ...]
    wanted: tuple[BundleSignatureClaim, ...] = ()
    signatures: tuple[bytes, ...] = ()
    """What was judged, where something was asked for: once more, if anchors change."""

    def result_of(self, requirement: Requirement) -> ClaimResult | None:
        """Return what became of this requirement."""
        return next((one for one in self.results if one.requirement == requirement), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """One image with everything that was found out about it."""

    entry: ImageEntry
    graph: ImageGraph
    policy: ImagePolicy
    considered: tuple[Considered, ...]
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJudgement:
    """What the judge says of one image."""

    entry: ImageEntry
    graph: ImageGraph
    policy: ImagePolicy
    name: VouchedName
    claims: tuple[ClaimResult, ...]
    considered: tuple[Considered, ...]
    denied: tuple[Problem, ...] = ()
    """Why it is denied, whoever signed it."""

    @property
    def at(self) -> datetime | None:
        """The newest verified time among what counts: the floor of this name."""
        return max((at for claim in self.claims for at in claim.at), default=None)

    @property
    def positions(self) -> tuple[LogPosition, ...]:
        """Where logs hold what counts: the floor of `rollback = "log-index"`."""
        return tuple(dict.fromkeys(p for claim in self.claims for p in claim.positions))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that keeps this image from being loaded."""
        found = [claim.problem for claim in self.claims]
        return tuple(p for p in (*found, self.name.problem, *self.denied) if p is not None)

    @property
    def exceptions(self) -> tuple[str, ...]:
        """What is not as policy asks and was let through: for every report, and the record."""
        return tuple(
            f"exception for {self.entry.reference.tagged}: {claim.claim} is not as asked"
            f" ({claim.excepted.code}), let through {claim.exemption}"
            for claim in self.claims
            if claim.exemption is not None and claim.excepted is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustNote:
    """Trust material of the bundle beside the pinned one."""

    anchor: str
    kind: TrustKind
    holds: Literal["matches", "differs", "not-pinned", "chains", "not-asked-for"]
    """`chains`: a repository's metadata that follows from a pinned root, and was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """How logs grew, as far as a bundle shows it, and what was to show that and does not."""

    logs: tuple[Verified[Growth], ...] = ()
    problems: tuple[Problem, ...] = ()


NOTHING_GROWN: Final = Grown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the judge says of a bundle: every claim of every image, met or not."""

    statement: BundleStatement
    bundle: BundleClaims
    images: tuple[ImageJudgement, ...]
    trust: tuple[TrustNote, ...]
    renewal: Renewal
    """The anchors that it was judged by."""
    reference_time: datetime | None
    """The newest verified time in the bundle: the world is at least this old (decision 9)."""
    problems: tuple[tuple[str, Problem], ...]
    """Every unmet requirement, each with the image it is about; empty where all is met."""
    learned: Learned = field(default_factory=Learned)
    """What a host may remember of carried trust material once it accepts the bundle."""
    grown: Grown = field(default_factory=Grown)
    lists: tuple[Problem, ...] = ()
    """Why carried or remembered deny lists do not count, where some do not."""

    @property
    def list_warnings(self) -> tuple[str, ...]:
        """The same in words, for every report."""
        return tuple(f"{one.where}, without effect: {one}" for one in self.lists)

    def sightings(self, *, counting: bool) -> tuple[LogSighting, ...]:
        """Return where logs recorded evidence that verifies: all of it, or what counts alone."""
        considered = [*self.bundle.considered, *(c for i in self.images for c in i.considered)]
        return tuple(
            dict.fromkeys(
                sighting
                for one in considered
                for weighed in one.weighed
                if not counting or weighed.stage == "counts"
                for sighting in weighed.sightings
            )
        )
