"""`claim = "content-trust"` through the judge: tag to digest and length, docker's order, names."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import AirlockError, NotaryError, PolicyError, TrustUnconfirmedError
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement, TrustEntry
from loader.model.descriptor import Descriptor
from loader.policy.facts import Judgement
from loader.trust.anchors import AnchorRule
from loader.trust.freshness import AnchorAge, Reckoned
from loader.trust.memory import NO_MEMORY, TrustMemory
from tests.fakes.images import Image
from tests.fakes.notaryworld import AT, Key, Repository, changed
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, entry_of, statement_of, write
from tests.unit.loader.policy.scene import KEY, Scene

CLAIM = f"""
[[image]]
match = "{NAME}"
[[image.require]]
claim = "content-trust"
notary-root = "hub"
"""
DOCKER_ORDER = CLAIM + 'conflict = "docker-order"\n'
OTHER = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'


class Trusted(Scene):
    """An image whose repository signs its tag; its root key is pinned as the anchor `hub`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.top = self.store.read(self.image.digest)
        self.notary = Repository(gun=NAME)
        self.notary.delegate("targets/releases")
        self.notary.delegate("targets/alice")
        self.pin(self.notary)

    def pin(self, notary: Repository) -> None:
        pins = {"trust_pinning": {"certs": {NAME: notary.root_ids}}}
        write(self.folder, {"anchors/hub/notary-root.json": json.dumps(pins).encode()})

    def carried(self, anchor: str = "hub", gun: str = NAME) -> TrustEntry:
        """The repository's files in the store, and what the statement says of them."""
        files = self.notary.files
        for raw in files.values():
            self.store.add(raw, "application/json")
        return TrustEntry(
            anchor=anchor,
            kind="notary",
            blobs=tuple(Descriptor.make("application/json", raw) for raw in files.values()),
            repository=gun,
            names=tuple(f"{name}.json" for name in files),
        )

    def judged(
        self,
        text: str = CLAIM,
        *,
        reference: str = f"{NAME}:1.0.0",
        image: Image | None = None,
        platforms: tuple[str, ...] | None = None,
        trust: tuple[TrustEntry, ...] | None = None,
        memory: TrustMemory = NO_MEMORY,
    ) -> Judgement:
        entry = entry_of(image or self.image, reference, platforms=platforms)
        carried = (self.carried(),) if trust is None else trust
        statement = statement_of(entry, blobs=Blobs(self.store), trust=carried)
        return self.judge_statement(statement, text, memory=memory)

    def judge_statement(
        self, statement: BundleStatement, text: str = CLAIM, *, memory: TrustMemory = NO_MEMORY
    ) -> Judgement:
        policy = self.policy(text)
        store = self.trust(policy)
        claims = judge_statement(statement, (), policy=policy, trust=store, now=CREATED)
        blobs = Blobs(self.store)
        return judge(
            statement, claims, blobs, policy=policy, trust=store, now=CREATED, memory=memory
        ).value

    def not_taken(self, text: str = CLAIM, **settings: object) -> PolicyError:
        with pytest.raises(PolicyError) as caught:
            self.judged(text, **settings)  # type: ignore[arg-type]
        return caught.value


@pytest.fixture
def scene(tmp_path: Path) -> Trusted:
    return Trusted(folder=tmp_path)


# --- DC-1: tag to digest and length ---------------------------------------------------------------


@pytest.mark.parametrize("role", ["targets", "targets/releases"])
def test_dc_1_a_tag_in_either_role(scene: Trusted, role: str) -> None:
    scene.notary.tag("1.0.0", scene.top, role=role, sha512=True)
    scene.notary.publish()
    (image,) = scene.judged().images
    (claim,) = image.claims
    assert claim.holds == "met"
    assert claim.who[0].startswith(f"{role} of {NAME} (key ")
    assert (image.name.how, image.name.by) == (
        "content-trust",
        f"content-trust signed by {role}",
    )


@pytest.mark.parametrize("role", ["targets", "targets/releases"])
@pytest.mark.parametrize("what", ["digest", "length", "sha512"])
def test_dc_1_other_bytes_than_the_signed_ones(scene: Trusted, role: str, what: str) -> None:
    signed = OTHER if what == "digest" else scene.top
    scene.notary.tag("1.0.0", signed, role=role, sha512=True)
    target = scene.notary.targets[role]["1.0.0"]
    if what == "length":
        target["length"] += 1
    if what == "sha512":
        target["hashes"]["sha512"] = target["hashes"]["sha512"][:-4] + "AA=="
    scene.notary.publish()
    error = scene.not_taken()
    assert error.code == "signature.unverified"
    assert f"the tag 1.0.0 is signed for other bytes by {role}" in str(error)


def test_a_tag_that_nobody_signed(scene: Trusted) -> None:
    scene.notary.tag("1.0.1", scene.top)
    scene.notary.publish()
    error = scene.not_taken()
    assert error.code == "no-evidence.claim"
    assert "the tag '1.0.0' is not signed" in error.message


def test_dc_1_another_role_is_nobody(scene: Trusted) -> None:
    # docker: "No trust data": a signer's own role alone releases nothing.
    scene.notary.tag("1.0.0", scene.top, role="targets/alice")
    scene.notary.publish()
    error = scene.not_taken()
    assert error.code == "no-evidence.claim"
    assert "only in targets/alice, which docker does not take" in error.found


def test_an_image_without_a_tag(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    error = scene.not_taken(reference=f"{NAME}@{scene.image.digest}")
    assert error.code == "no-evidence.claim"


# --- DC-5: a list and its platforms ---------------------------------------------------------------


def test_dc_5_a_subset_of_platforms_verifies_through_the_list(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    one = str(entry_of(scene.image).platforms[-1].platform)
    (image,) = scene.judged(platforms=(one,)).images
    assert [str(kept.platform) for kept in image.graph.kept] == [one]
    assert image.claims[0].holds == "met"


def test_dc_5_a_platform_under_a_tag_of_its_own(scene: Trusted) -> None:
    one = Image(store=scene.store, descriptor=scene.image.manifest["manifests"][0])
    scene.notary.tag("amd64-1.0.0", scene.store.read(one.digest))
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    assert scene.judged(image=one, reference=f"{NAME}:amd64-1.0.0")
    # The list's tag is not signed for one of its platforms.
    assert scene.not_taken(image=one).code == "signature.unverified"


# --- DC-6: conflicts ------------------------------------------------------------------------------


def test_dc_6_two_roles_that_mean_different_bytes(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    scene.notary.tag("1.0.0", OTHER)
    scene.notary.publish()
    error = scene.not_taken()
    assert error.code == "policy.content-trust-conflict"
    assert error.exit_status == 14
    signer = scene.notary.delegations["targets/releases"].keys[0].key_id
    for part in (
        f"targets/releases: {scene.image.digest}, {len(scene.top)} bytes, signed by key ",
        signer[:12],
        f"targets: {Digest.of(OTHER)}, {len(OTHER)} bytes, signed by key ",
        "expires 2029-01-14T12:00:00Z",
    ):
        assert part in error.found


def test_dc_6_docker_order_takes_releases(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    scene.notary.tag("1.0.0", OTHER)
    scene.notary.publish()
    assert "targets/releases" in scene.judged(DOCKER_ORDER).images[0].claims[0].who[0]
    # And only that: what `targets` alone means is not what docker pulls.
    scene.notary.tag("1.0.0", OTHER, role="targets/releases")
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    assert scene.not_taken(DOCKER_ORDER).code == "signature.unverified"


def test_dc_6_the_same_digest_with_another_length_is_a_conflict(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.targets["targets"]["1.0.0"]["length"] += 1
    scene.notary.publish()
    assert scene.not_taken().code == "policy.content-trust-conflict"


def test_two_roles_that_agree_are_no_conflict(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    scene.notary.tag("1.0.0", scene.top, sha512=True)
    scene.notary.publish()
    assert len(scene.judged().images[0].claims[0].facts) == 2


def test_another_role_that_disagrees_is_shown_and_no_conflict(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    scene.notary.tag("1.0.0", OTHER, role="targets/alice")
    scene.notary.publish()
    facts = scene.judged().images[0].claims[0].facts
    assert {fact.name for fact in facts} == {
        "signed by targets/releases",
        "signed by targets/alice",
    }


# --- DC-7: no falling back ------------------------------------------------------------------------


def test_dc_7_releases_that_is_not_signed_is_not_passed_over(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    assert scene.judged()
    files = scene.notary.files
    files["targets/releases"] = changed(
        files["targets/releases"], lambda d: d.update(signatures=[])
    )
    scene.notary.publish_snapshot()
    error = scene.not_taken()
    assert error.code == "signature.unverified"
    assert "targets does not stand in for it" in str(error)


def test_releases_that_has_published_nothing_leaves_targets(scene: Trusted) -> None:
    scene.notary.delegate("targets/releases", published=False)
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    assert scene.judged()


def aged(
    scene: Trusted, at: datetime, *, evidence: datetime | None = None, rule: timedelta | None = None
) -> AnchorAge:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    rules = [AnchorRule(name="hub", max_staleness=rule)] if rule else []
    trust = scene.judged().renewal.trust
    (age,) = trust.ages(rules, Reckoned(clock=at, evidence=evidence))
    return age


@pytest.mark.parametrize(
    ("days", "holds", "part"),
    [
        (0, "fresh", "timestamp"),
        (13, "fresh", "timestamp"),
        (15, "late", "timestamp"),
        (14 + 364, "late", "timestamp"),
        (14 + 366, "stale", "timestamp"),
    ],
)
def test_dc_7_a_timestamp_is_taken_for_a_year_past_its_fortnight(
    scene: Trusted, days: int, holds: str, part: str
) -> None:
    age = aged(scene, AT + timedelta(days=days))
    assert (age.holds, age.dates.part) == (holds, f"{part} of {NAME}")
    assert ("timestamp of" in age.warning) == (holds == "late")


def test_dc_7_policy_has_the_last_word_on_staleness(scene: Trusted) -> None:
    late = AT + timedelta(days=20)
    assert aged(scene, late, rule=timedelta(days=7)).holds == "late"
    problem = aged(scene, late, rule=timedelta(days=5)).problem
    assert problem is not None
    assert (problem.code, problem.exit_status) == ("trustroot.stale", 15)


def test_dc_7_expired_when_it_was_packed_is_refused_whatever_the_limit(scene: Trusted) -> None:
    late = AT + timedelta(days=15)
    problem = aged(scene, late, evidence=late, rule=timedelta(days=3650)).problem
    assert problem is not None
    assert problem.code == "trustroot.expired"
    assert f"timestamp of {NAME}" in problem.found


@pytest.mark.parametrize("role", ["targets", "targets/releases"])
def test_dc_7_expired_releases_never_fall_back_to_targets(scene: Trusted, role: str) -> None:
    # The tag is in `targets` as well, and good: an expired role is not passed over for it.
    scene.notary.lifetimes[role] = timedelta(days=3)
    scene.notary.tag("1.0.0", scene.top, role="targets/releases")
    soon, later = AT + timedelta(days=5), AT + timedelta(days=100)
    age = aged(scene, soon)
    assert (age.holds, age.dates.part) == ("late", f"{role} of {NAME}")
    assert aged(scene, soon, evidence=soon).holds == "expired"
    assert aged(scene, later).holds == "stale"
    assert aged(scene, later).dates.part == f"{role} of {NAME}"


def test_a_role_that_no_verdict_rests_on_may_have_expired(scene: Trusted) -> None:
    scene.notary.lifetimes["targets/alice"] = timedelta(days=1)
    assert aged(scene, AT + timedelta(days=5)).holds == "fresh"


def test_a_root_certificate_has_an_end_too(scene: Trusted) -> None:
    scene.notary.root_keys = (Key.certified("short", NAME, days=10),)
    scene.pin(scene.notary)
    age = aged(scene, AT + timedelta(days=12))
    assert (age.holds, age.dates.part) == ("late", f"certificate of a root key of {NAME}")


# --- what is carried ------------------------------------------------------------------------------


def test_nothing_carried(scene: Trusted) -> None:
    error = scene.not_taken(trust=())
    assert error.code == "no-evidence.claim"
    assert "brings content trust" in error.hint


def test_the_metadata_of_another_repository(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    other = f"{NAME}2"
    assert scene.not_taken(trust=(scene.carried(gun=other),)).code == "no-evidence.claim"
    web = Repository(gun=other)
    web.tag("1.0.0", scene.top)
    web.publish()
    scene.notary = web
    with pytest.raises(NotaryError) as caught:
        scene.judged()
    assert caught.value.code == "trustroot.notary"


def test_an_entry_under_another_label_is_found(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    (note,) = scene.judged(trust=(scene.carried(anchor="elsewhere"),)).trust
    assert (note.anchor, note.holds) == ("elsewhere", "chains")


def test_a_broken_chain_refuses_the_whole_bundle(scene: Trusted) -> None:
    # Also where nothing but another requirement would have been met.
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    scene.notary.files["timestamp"] = changed(
        scene.notary.files["timestamp"], lambda d: d.update(signatures=[])
    )
    with pytest.raises(NotaryError) as caught:
        scene.judged()
    assert (caught.value.code, caught.value.exit_status) == ("signature.notary", 11)


def test_what_no_rule_asks_for_is_not_looked_at(scene: Trusted) -> None:
    scene.notary.publish()
    scene.notary.files["timestamp"] = b"garbage"
    text = CLAIM.partition("[[image.require]]")[0] + KEY
    with pytest.raises(PolicyError) as caught:
        scene.judged(text)
    assert caught.value.code == "no-evidence.claim"
    judgement = caught.value.judgement
    assert isinstance(judgement, Judgement)
    assert [note.holds for note in judgement.trust] == ["not-asked-for"]


def test_a_signature_and_content_trust_are_two_requirements(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    error = scene.not_taken(CLAIM + KEY)
    judgement = error.judgement
    assert isinstance(judgement, Judgement)
    assert [claim.holds for claim in judgement.images[0].claims] == ["met", "unmet"]


def test_two_images_of_a_repository_are_judged_by_one_reading(scene: Trusted) -> None:
    for tag in ("1.0.0", "latest"):
        scene.notary.tag(tag, scene.top)
    scene.notary.publish()
    entries = [entry_of(scene.image, f"{NAME}:{tag}") for tag in ("1.0.0", "latest")]
    statement = statement_of(*entries, blobs=Blobs(scene.store), trust=(scene.carried(),))
    judgement = scene.judge_statement(statement)
    assert [image.name.how for image in judgement.images] == ["content-trust"] * 2
    assert list(judgement.learned.seen) == [("notary", f"hub {NAME}")]


# --- memory ---------------------------------------------------------------------------------------


def test_what_is_learned_is_what_the_next_bundle_is_held_against(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    old = dict(scene.notary.files)
    scene.notary.publish()
    learned = scene.judged().learned
    memory = NO_MEMORY.with_seen(learned.seen, learned.files)
    assert scene.judged(memory=memory).learned.seen == learned.seen
    scene.notary.files = old
    with pytest.raises(AirlockError) as caught:
        scene.judged(memory=memory)
    assert (caught.value.code, caught.value.exit_status) == ("rollback.notary", 16)


def test_a_rotated_root_goes_on_from_what_was_seen(scene: Trusted) -> None:
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    learned = scene.judged().learned
    memory = NO_MEMORY.with_seen(learned.seen, learned.files)
    scene.notary.rotate_root()
    scene.notary.publish()
    del scene.notary.files["1.root"]
    # The pin still names the first root, which only this host's memory has.
    with pytest.raises(NotaryError):
        scene.judged()
    scene.notary.root_keys = (*scene.notary.root_keys, Key.bare("unused"))
    with pytest.raises(NotaryError):
        scene.judged(memory=TrustMemory(seen=memory.seen))
    assert scene.judged(memory=memory).learned.seen["notary", f"hub {NAME}"]


CONFIRMED = CLAIM + '[anchor.hub]\nroot-change = "confirm"\n'


def test_a_rotation_that_policy_wants_confirmed(scene: Trusted) -> None:
    """Neither a first reading nor the same root again asks; a newer root does, with its keys."""
    scene.notary.tag("1.0.0", scene.top)
    scene.notary.publish()
    learned = scene.judged(CONFIRMED).learned
    memory = NO_MEMORY.with_seen(learned.seen, learned.files)
    scene.judged(CONFIRMED, memory=memory)
    [old] = scene.notary.root_ids
    scene.notary.rotate_root()
    scene.notary.publish()
    [new] = scene.notary.root_ids
    for known in (memory, NO_MEMORY):
        with pytest.raises(TrustUnconfirmedError) as caught:
            scene.judged(CONFIRMED, memory=known)
        assert caught.value.expected == "root 1"
        assert caught.value.found == (f"root 2; - root: ecdsa-x509 {old}; + root: ecdsa-x509 {new}")
    scene.judged(memory=memory), "nobody asks where policy does not"


# --- the policy's words ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "notary-root"),
        ('notary-root = "hub"\nconflict = "maybe"', "conflict"),
        ('notary-root = "hub"\nkey = "release"', "key"),
        ('notary-root = "hub"\nthreshold = 2', "threshold"),
        ('notary-root = "a b"', "not the name of an anchor"),
        ('notary-root = "hub.pub"', "not the name of an anchor"),
    ],
)
def test_what_a_requirement_may_not_say(scene: Trusted, lines: str, said: str) -> None:
    text = CLAIM.partition("notary-root")[0] + lines
    with pytest.raises(AirlockError) as caught:
        scene.policy(text)
    assert caught.value.code == "usage.policy"
    assert said in f"{caught.value} {caught.value.where}"
