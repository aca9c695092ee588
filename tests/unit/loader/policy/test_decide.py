"""The decision alone, over facts made by hand: no cryptography takes part."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from loader.digest import Digest
from loader.errors import (
    ConditionError,
    EvidenceInvalidError,
    EvidenceLimitError,
    IdentityError,
    NoEvidenceError,
    PolicyError,
    ThresholdError,
)
from loader.graph import ImageGraph, read_graph
from loader.model.bundle import BundleStatement
from loader.model.reference import canonical, read_signed_name
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.decide import ORDER, decide, judge_image
from loader.policy.facts import (
    About,
    BundleClaims,
    ClaimResult,
    Considered,
    ImageFacts,
    ImageJudgement,
    Judgement,
    LogPosition,
    Piece,
    Problem,
    SignedName,
    Stage,
    Weighed,
    Who,
)
from loader.policy.model import Policy
from loader.policy.results import claims_of_statement
from loader.renewal import Renewal
from loader.trust.store import TrustStore
from loader.witness import Authorized
from tests.fakes import images
from tests.fakes.content import ContentStore
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, entry_of, statement_of

T1 = datetime(2026, 1, 1, tzinfo=UTC)
NO_CLAIMS = BundleClaims(results=(), considered=())
NOTHING_NEW = Renewal(trust=TrustStore(anchors=()))
SIGNATURE = """
[[image.require]]
claim = "signature"
any = [{ key = "one" }, { key = "two" }]
"""


def policy(*blocks: str, settings: str = 'name = "as-packed"') -> Policy:
    head = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n{settings}\n'
    return Policy.parse((head + "\n".join(blocks)).encode(), where="policy.toml")


class World:
    """One multi-platform image; facts about it are made up."""

    def __init__(self) -> None:
        store = ContentStore()
        image = images.hello_index(store)
        self.blobs = Blobs(store)
        self.entry = entry_of(image)
        self.graph: ImageGraph = read_graph(self.entry, self.blobs)
        self.about = About(digests=self.graph.digests, reference=self.entry.reference, now=CREATED)
        self.index = Digest.parse(image.digest)
        self.amd64, self.arm64 = (kept.digest for kept in self.graph.kept)
        self.statement: BundleStatement = statement_of(self.entry, blobs=self.blobs)

    def piece(self, subject: Digest | None = None, blob: str = "a") -> Piece:
        return Piece(
            store="referrer",
            manifest=Digest(blob * 64),
            blob=Digest(blob * 64),
            what="signature",
            subjects=frozenset({subject or self.index}),
        )

    def said(
        self,
        who: str = "one",
        stage: Stage = "counts",
        subject: Digest | None = None,
        *,
        at: datetime = T1,
        name: str = "",
        tag: str = "",
        blob: str = "a",
        code: str = "signature.invalid",
    ) -> Considered:
        subject = subject or self.index
        names = (
            SignedName(
                repository=name,
                tag=tag,
                how="docker-reference",
                who=who,
                distinct=who,
                subjects=frozenset({subject}),
            ),
        )
        weighed = Weighed(
            stage=stage,
            problem=None
            if stage == "counts"
            else Problem(code=code, message=f"{who} is at {stage}", hint=f"mend {stage}"),
            who=Who(distinct=who, words=f"key {who}"),
            subjects=frozenset() if stage in {"signature", "limit"} else frozenset({subject}),
            at=(at,),
            positions=(LogPosition(signer=who, log="log", log_index=7),),
            names=names if name else (),
        )
        return Considered(piece=self.piece(subject, blob), weighed=(weighed,))

    def judged(self, rules: Policy, *considered: Considered) -> ImageJudgement:
        facts = ImageFacts(
            entry=self.entry,
            graph=self.graph,
            policy=rules.rules_for(self.entry.reference),
            considered=considered,
            about=self.about,
        )
        return judge_image(facts, NO_CLAIMS)

    def decided(self, rules: Policy, *considered: Considered) -> Authorized[Judgement]:
        return decide(
            self.statement,
            NO_CLAIMS,
            [self.judged(rules, *considered)],
            trust=(),
            renewal=NOTHING_NEW,
            reference_time=T1,
        )

    def refused(self, rules: Policy, *considered: Considered) -> PolicyError:
        with pytest.raises(PolicyError) as caught:
            self.decided(rules, *considered)
        error = caught.value
        assert isinstance(error.judgement, Judgement)
        assert len(error.reasons) == len(error.judgement.problems)
        return error


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_one_good_signature_among_garbage_is_enough(world: World) -> None:
    garbage = [
        world.said("bad", stage) for stage in ("limit", "signature", "identity", "condition")
    ]
    judgement = world.decided(policy(SIGNATURE), *garbage, world.said("one"), *garbage).value
    claim = judgement.images[0].claims[0]
    assert (claim.holds, claim.who, claim.at) == ("met", ("key one",), (T1,))
    assert [c.counts for c in judgement.images[0].considered].count(True) == 1
    assert all(c.why_not is not None for c in judgement.images[0].considered if not c.counts)


@pytest.mark.parametrize(
    ("stages", "error"),
    [
        ((), NoEvidenceError),
        (("absent",), NoEvidenceError),
        (("limit",), EvidenceLimitError),
        (("signature",), EvidenceInvalidError),
        (("signature", "limit", "absent"), EvidenceInvalidError),
        (("identity", "signature"), IdentityError),
        (("signature", "condition", "identity"), ConditionError),
    ],
)
def test_the_evidence_that_came_furthest_names_the_refusal(
    world: World, stages: tuple[Stage, ...], error: type[PolicyError]
) -> None:
    refusal = world.refused(policy(SIGNATURE), *(world.said("x", s) for s in stages))
    assert type(refusal) is error
    assert refusal.exit_status in {10, 11, 12, 14, 19}
    if stages and stages != ("absent",):
        assert refusal.hint.startswith("mend")


def test_a022_a_threshold_counts_people(world: World) -> None:
    rules = policy(SIGNATURE + "threshold = 2\n")
    again = world.said("one", blob="b")
    refusal = world.refused(rules, world.said("one"), again, world.said("one"))
    assert isinstance(refusal, ThresholdError)
    assert (refusal.expected, refusal.found) == ("2", "1")
    assert world.decided(rules, world.said("one"), world.said("two", blob="b"))


def test_a_threshold_is_reached_on_each_platform(world: World) -> None:
    rules = policy(SIGNATURE + "threshold = 2\n")
    one, two = world.said("one", subject=world.amd64), world.said("two", subject=world.arm64)
    assert isinstance(world.refused(rules, one, two), ThresholdError)
    both = [world.said(w, subject=s) for w in ("one", "two") for s in (world.amd64, world.arm64)]
    assert world.decided(rules, *both)


@pytest.mark.parametrize(
    ("scope", "on", "code"),
    [
        ("either", ("index",), ""),
        ("either", ("amd64", "arm64"), ""),
        ("either", ("amd64",), "policy.scope"),
        ("index", ("index",), ""),
        ("index", ("amd64", "arm64"), "policy.scope"),
        ("platform", ("amd64", "arm64"), ""),
        ("platform", ("index",), "policy.scope"),
        ("platform", ("amd64", "index"), "policy.scope"),
    ],
)
def test_a069_scope(world: World, scope: str, on: tuple[str, ...], code: str) -> None:
    rules = policy(SIGNATURE + f'scope = "{scope}"\n')
    evidence = [world.said("one", subject=getattr(world, name)) for name in on]
    if code:
        assert world.refused(rules, *evidence).code == code
    else:
        assert world.decided(rules, *evidence)


def test_all_wants_every_signature_to_count(world: World) -> None:
    rules = policy(SIGNATURE + 'quantifier = "all"\n')
    good = world.said("one")
    assert world.decided(rules, good, world.said("two"), world.said("other", "absent"))
    for stage in ("limit", "signature", "identity", "condition"):
        assert world.refused(rules, good, world.said("x", stage)).code == "policy.quantifier"


def test_every_unmet_requirement_is_listed_and_the_first_check_decides(world: World) -> None:
    rules = policy(
        SIGNATURE, SIGNATURE.replace("one", "four"), SIGNATURE.replace("one", "five"), settings=""
    )
    weighed = [
        world.said("x", stage).weighed[0] for stage in ("identity", "signature", "condition")
    ]
    refusal = world.refused(rules, replace(world.said(), weighed=tuple(weighed)))
    assert isinstance(refusal, EvidenceInvalidError)
    assert len(refusal.reasons) == 4
    assert "(and 3 more)" in refusal.message
    assert all(reason.startswith(NAME) for reason in refusal.reasons)


def test_the_order_is_that_of_the_checks() -> None:
    statuses = [error("x").exit_status for error in ORDER]
    assert statuses == sorted(statuses, key=lambda s: {19: 0, 11: 1}.get(s, 2))
    assert len({error.code for error in ORDER}) == len(ORDER)


def test_an_image_whose_blocks_require_nothing_is_refused(world: World) -> None:
    assert world.refused(policy(), world.said("one")).code == "policy.no-rule"


def test_a_bundle_without_images_is_never_allowed(world: World) -> None:
    with pytest.raises(PolicyError) as caught:
        decide(world.statement, NO_CLAIMS, [], trust=(), renewal=NOTHING_NEW, reference_time=None)
    assert caught.value.code == "policy.empty"


def test_a_bundle_signature_that_nobody_judged_is_not_met(world: World) -> None:
    block = '[[image.require]]\nclaim = "bundle-signature"\nkey = "packer"\n'
    refusal = world.refused(policy(SIGNATURE, block), world.said("one"))
    assert isinstance(refusal, NoEvidenceError)


# --- names --------------------------------------------------------------------------------------


def bundle_claims(rules: Policy, stage: Stage) -> BundleClaims:
    wanted = [
        r for rule in rules.rules for r in rule.require if isinstance(r, BundleSignatureClaim)
    ]
    considered = Considered(
        piece=Piece(store="statement", manifest=None, blob=None, what="", subjects=frozenset()),
        weighed=tuple(
            Weighed(stage=stage, problem=None, who=Who(distinct="p", words="key packer"))
            for _ in wanted
        ),
    )
    return BundleClaims(results=claims_of_statement(wanted, [considered]), considered=(considered,))


def named(world: World, rules: Policy, *considered: Considered) -> tuple[str, str]:
    judged = world.judged(rules, *considered)
    return judged.name.how, judged.name.problem.code if judged.name.problem else ""


def test_a_name_that_nobody_signed_is_refused(world: World) -> None:
    assert named(world, policy(SIGNATURE, settings=""), world.said()) == ("nobody", "policy.name")


def test_a_reference_with_its_tag_vouches(world: World) -> None:
    rules = policy(SIGNATURE, settings="")
    assert named(world, rules, world.said(name=NAME, tag="1.0.0")) == ("docker-reference", "")
    assert named(world, rules, world.said(name=NAME, tag="0.9.0")) == ("nobody", "policy.name")
    assert named(world, rules, world.said(name=NAME)) == ("nobody", "policy.name")
    assert named(world, rules, world.said(name=NAME + "2", tag="1.0.0")) == (
        "nobody",
        "policy.name",
    )


def test_a_digest_reference_needs_the_repository_alone() -> None:
    rules = policy(SIGNATURE, settings="")
    other = World()
    reference = replace(other.entry.reference, tag="", digest=other.index)
    other.entry = replace(other.entry, reference=reference)
    assert named(other, rules, other.said(name=NAME)) == ("docker-reference", "")


def test_names_cover_every_platform(world: World) -> None:
    rules = policy(SIGNATURE, settings="")
    amd = world.said(subject=world.amd64, name=NAME, tag="1.0.0")
    arm = world.said(subject=world.arm64, name=NAME, tag="1.0.0")
    assert named(world, rules, amd) == ("nobody", "policy.name")
    assert named(world, rules, amd, arm) == ("docker-reference", "")


def test_as_packed_is_said(world: World) -> None:
    judged = world.judged(policy(SIGNATURE), world.said(name="ghcr.io/other/thing"))
    assert judged.name.how == "as-packed"
    assert judged.name.said == ("ghcr.io/other/thing (docker-reference)",)
    assert "no evidence names it" in judged.name.by


def test_a_required_bundle_signature_vouches_for_the_whole_name(world: World) -> None:
    block = '[[image.require]]\nclaim = "bundle-signature"\nkey = "packer"\n'
    rules = policy(block, settings="")
    facts = ImageFacts(
        entry=world.entry,
        graph=world.graph,
        policy=rules.rules_for(world.entry.reference),
        considered=(),
        about=world.about,
    )
    judged = judge_image(facts, bundle_claims(rules, "counts"))
    assert (judged.name.how, judged.name.by, judged.problems) == (
        "bundle-signature",
        "key packer",
        (),
    )
    unmet = judge_image(facts, bundle_claims(rules, "identity"))
    assert [p.code for p in unmet.problems] == ["identity.mismatch", "policy.name"]


def test_floors_come_from_what_counts(world: World) -> None:
    later = T1 + timedelta(days=1)
    judged = world.judged(
        policy(SIGNATURE), world.said("one"), world.said("x", "identity", at=later)
    )
    assert judged.at == T1
    assert [p.signer for p in judged.positions] == ["one"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io/org/app", ("ghcr.io/org/app", "")),
        ("ghcr.io/org/app:v1", ("ghcr.io/org/app", "v1")),
        ("ghcr.io/org/app@sha256:" + "0" * 64, ("ghcr.io/org/app", "")),
        ("localhost:5000/app", ("localhost:5000/app", "")),
        ("index.docker.io/alpine:3", ("docker.io/library/alpine", "3")),
        ("docker.io/library/alpine", ("docker.io/library/alpine", "")),
        ("app.tar.gz", None),
        ("pkg:docker/app", None),
        ("", None),
        ("GHCR.io/org/app", None),
        ("ghcr.io/org/app ", None),
        ("ghcr.io/org/app\n", None),
        ("ghcr.io/../app", None),
        ("x" * 300 + "/app", None),
    ],
)
def test_signed_names(text: str, expected: tuple[str, str] | None) -> None:
    assert read_signed_name(text) == expected


def test_docker_hub_has_several_spellings() -> None:
    assert canonical("registry-1.docker.io", "org/app") == "docker.io/org/app"
    assert canonical("ghcr.io", "app") == "ghcr.io/app"


def test_a_result_that_was_not_judged_is_not_found() -> None:
    claim = policy(SIGNATURE).rules[0].require[0]
    assert NO_CLAIMS.result_of(claim) is None
    result = ClaimResult(
        requirement=claim, claim="x", words="", holds="met", who=(), at=(), evidence=()
    )
    assert BundleClaims(results=(result,), considered=()).result_of(claim) is result
    assert CREATED > T1
