"""Signed deny lists: carried, applied to the very bundle, remembered for ever (A066, T36)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import FormatError, JsonError, PolicyError, PolicyFileError
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement, TrustEntry
from loader.model.deny_list import ListedDenial, read_deny_list, write_deny_list
from loader.model.descriptor import Descriptor
from loader.model.statement import Statement
from loader.policy.facts import Judgement
from loader.trust.keys import PublicKey
from loader.trust.memory import NO_MEMORY, ListsSeen, TrustMemory
from tests.fakes.sigworld.keys import Signer
from tests.unit.loader.policy.judging import CREATED, Blobs
from tests.unit.loader.policy.scene import AS_PACKED, KEY, PACKER, Scene, encoded
from tests.unit.loader.test_judge_images import sign

LISTS = '\n[deny-list]\nkey = "second"\n'


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    sign(scene, scene.release)
    return scene


def signed(scene: Scene, *denials: ListedDenial, by: Signer | None = None) -> bytes:
    payload = write_deny_list(denials)
    signer = by or scene.world.managed("second")
    return encoded(scene.world.sign_statement(payload, signer, log="none").bundle())


def key_of(signer: Signer) -> str:
    return f"sha256:{PublicKey.parse(signer.public_pem, name='').fingerprint}"


def carrying(scene: Scene, *lists: bytes) -> BundleStatement:
    blobs = []
    for raw in lists:
        scene.store.add(raw, "application/json")
        blobs.append(Descriptor.make("application/json", raw))
    entry = TrustEntry(anchor="deny-list", kind="deny-list", blobs=tuple(blobs))
    return scene.statement(trust=(entry,) if lists else ())


def judged(
    scene: Scene,
    *lists: bytes,
    text: str = AS_PACKED + KEY + LISTS,
    memory: TrustMemory = NO_MEMORY,
    signers: tuple[Signer, ...] = (),
) -> Judgement:
    policy = scene.policy(text)
    trust = scene.trust(policy)
    statement = carrying(scene, *lists)
    signatures = scene.sealed(statement, *signers)
    claims = judge_statement(statement, signatures, policy=policy, trust=trust, now=CREATED)
    return judge(
        statement,
        claims,
        Blobs(scene.store),
        policy=policy,
        trust=trust,
        now=CREATED,
        memory=memory,
    ).value


def refused(scene: Scene, *lists: bytes, **options: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        judged(scene, *lists, **options)  # type: ignore[arg-type]
    return caught.value


def test_a066_a_bundle_that_revokes_the_key_of_its_own_image(scene: Scene) -> None:
    raw = signed(scene, ListedDenial(reason="stolen", key=key_of(scene.release)))
    refusal = refused(scene, raw)
    assert (refusal.code, refusal.exit_status) == ("denied.listed", 17)
    assert "stolen" in refusal.found
    assert "signed by key 'second'" in refusal.found


def test_a_list_denies_what_it_names_and_nothing_else(scene: Scene) -> None:
    digest = Digest.parse(scene.image.digest)
    assert refused(scene, signed(scene, ListedDenial(reason="x", digest=digest))).exit_status == 17
    other = ListedDenial(reason="x", digest=Digest.of(b"other"))
    found = judged(scene, signed(scene, other))
    assert found.images[0].claims[0].holds == "met"
    assert found.lists == ()
    elsewhere = ListedDenial(reason="x", key=key_of(scene.release), image="ghcr.io/other/*")
    assert judged(scene, signed(scene, elsewhere))
    undated = ListedDenial(
        reason="x", key=key_of(scene.release), before=datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert refused(scene, signed(scene, undated)).exit_status == 17


def test_a_list_by_somebody_else_denies_nothing_and_is_said(scene: Scene) -> None:
    denied = ListedDenial(reason="x", digest=Digest.parse(scene.image.digest))
    for by in (scene.release, scene.packer, scene.world.managed("stranger")):
        found = judged(scene, signed(scene, denied, by=by))
        assert "by nobody whom the policy names" in found.lists[0].message
        assert found.learned.seen == {}


@pytest.mark.parametrize("raw", [b"", b"{}", b"not json"])
def test_a_broken_list_denies_nothing_and_is_said(scene: Scene, raw: bytes) -> None:
    assert len(judged(scene, raw).lists) == 1


def test_where_the_policy_names_nobody_no_list_counts(scene: Scene) -> None:
    raw = signed(scene, ListedDenial(reason="x", digest=Digest.parse(scene.image.digest)))
    found = judged(scene, raw, text=AS_PACKED + KEY)
    assert found.learned.seen == {}
    (words,) = found.list_warnings
    assert words.startswith("1 carried deny list, without effect: the policy names nobody")


def test_an_attestation_of_another_type_is_no_list(scene: Scene) -> None:
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": "a" * 64}}],
        "predicateType": "https://acme.example/deny/v1",
        "predicate": {"denials": [{"reason": "x", "digest": scene.image.digest}]},
    }
    act = scene.world.sign_statement(said, scene.world.managed("second"), log="none")
    assert "not a deny list" in judged(scene, encoded(act.bundle())).lists[0].message


def test_what_was_accepted_once_is_never_forgotten(scene: Scene) -> None:
    """The first bundle brings the news, the next one comes without: it is still refused."""
    news = signed(scene, ListedDenial(reason="old", digest=Digest.of(b"old")))
    first = judged(scene, news)
    memory = NO_MEMORY.with_seen(first.learned.seen, first.learned.files)
    assert memory.lists("deny-list") is not None
    more = signed(scene, ListedDenial(reason="stolen", key=key_of(scene.release)))
    assert refused(scene, more, memory=memory).exit_status == 17
    # As if it had been accepted with an image that was signed by somebody else.
    grown = memory.with_seen(
        {("deny-list", "deny-list"): ListsSeen(files={str(Digest.of(more)): Digest.of(more)})},
        {Digest.of(more): more},
    )
    assert refused(scene, memory=grown).exit_status == 17
    again = judged(scene, text=AS_PACKED + KEY, memory=grown)
    assert again.images[0].claims[0].holds == "met"


def test_the_union_only_grows(scene: Scene) -> None:
    one = signed(scene, ListedDenial(reason="1", digest=Digest.of(b"1")))
    two = signed(scene, ListedDenial(reason="2", digest=Digest.of(b"2")))
    learned = judged(scene, one).learned
    memory = NO_MEMORY.with_seen(learned.seen, learned.files)
    after = judged(scene, two, memory=memory).learned
    seen = after.seen["deny-list", "deny-list"]
    assert isinstance(seen, ListsSeen)
    assert set(seen.files.values()) == {Digest.of(one), Digest.of(two)}
    before = learned.seen["deny-list", "deny-list"]
    assert isinstance(before, ListsSeen)
    assert seen.covers(before)
    assert not before.covers(seen)
    assert judged(scene, memory=memory).learned.seen == learned.seen


@pytest.mark.parametrize("lists", ["", '\n[deny-list]\nkey = "packer"\n'])
def test_only_the_operator_takes_a_list_back_and_it_is_said(scene: Scene, lists: str) -> None:
    """Who may deny is the policy's: a key that was lost, or a denial by mistake, must not be for
    ever. The list stays remembered, and denies again once its signer is named again."""
    news = signed(scene, ListedDenial(reason="stolen", key=key_of(scene.release)))
    memory = NO_MEMORY.with_seen(
        {("deny-list", "deny-list"): ListsSeen(files={str(Digest.of(news)): Digest.of(news)})},
        {Digest.of(news): news},
    )
    assert refused(scene, memory=memory).exit_status == 17
    found = judged(scene, memory=memory, text=AS_PACKED + KEY + lists)
    (words,) = found.list_warnings
    assert "remembered deny list" in words
    assert ", without effect: " in words
    kept = memory.with_seen(found.learned.seen, found.learned.files)
    assert refused(scene, memory=kept).exit_status == 17


@pytest.mark.parametrize(
    ("denial", "words"),
    [
        ({"identity": "a", "image": "*", "reason": "x"}, "a pattern without a slash"),
        ({"identity": "a", "image": "GHCR.io/x", "reason": "x"}, "not a pattern for names"),
        ({"identity": "a", "unless": "b", "reason": "x"}, "unknown field"),
        ({"reason": "x"}, "not exactly one thing"),
    ],
)
def test_a_genuine_list_that_cannot_be_understood_refuses_the_bundle(
    scene: Scene, denial: dict[str, str], words: str
) -> None:
    """What its signer wanted to be denied, nobody can tell: that is no reason to let it in."""
    for name in ("v1", "v2"):
        said = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": "a" * 64}}],
            "predicateType": f"urn:airlock:deny:{name}",
            "predicate": {"denials": [denial]},
        }
        act = scene.world.sign_statement(said, scene.world.managed("second"), log="none")
        with pytest.raises(FormatError) as caught:
            judged(scene, encoded(act.bundle()))
        assert caught.value.exit_status == 19
        assert "a deny list that its signer wrote cannot be understood" in caught.value.message
        assert (words if name == "v1" else "not a deny list") in caught.value.message
        assert caught.value.where.startswith("carried deny list ")
        stranger = scene.world.sign_statement(said, scene.release, log="none")
        assert len(judged(scene, encoded(stranger.bundle())).lists) == 1


def test_a_list_denies_who_sealed_the_bundle_that_brings_it(scene: Scene) -> None:
    text = AS_PACKED + KEY + PACKER + LISTS
    raw = signed(scene, ListedDenial(reason="x", key=key_of(scene.packer)))
    assert judged(scene, text=text, signers=(scene.packer,))
    assert refused(scene, raw, text=text, signers=(scene.packer,)).exit_status == 17


def test_a_list_is_read_as_it_was_written() -> None:
    denials = (
        ListedDenial(reason="a", digest=Digest.of(b"a")),
        ListedDenial(reason="b", identity="x@y", issuer="https://z", image="ghcr.io/a/*"),
        ListedDenial(reason="c", key="sha256:" + "a" * 64),
        ListedDenial(reason="d", before=datetime(2026, 1, 1, tzinfo=UTC)),
    )
    statement = Statement.parse(write_deny_list(denials), where="list")
    assert read_deny_list(statement) == denials
    assert len(statement.subjects) == 1


@pytest.mark.parametrize(
    "predicate",
    [
        "null",
        "{}",
        '{"denials": []}',
        '{"denials": [{}]}',
        '{"denials": [{"reason": "x"}]}',
        '{"denials": [{"digest": "sha256:1", "reason": "x"}]}',
        '{"denials": [{"key": "release", "reason": "x"}]}',
        '{"denials": [{"identity": "a"}]}',
        '{"denials": [{"identity": "a", "key": "sha256:AAA", "reason": "x"}]}',
        '{"denials": [{"issuer": "a", "before": "2026-01-01T00:00:00Z", "reason": "x"}]}',
        '{"denials": [{"before": "2026-01-01", "reason": "x"}]}',
        '{"denials": [{"identity": "a", "reason": "x", "only-if": "y"}]}',
        '{"denials": [{"identity": "a", "reason": "x"}], "more": 1}',
    ],
)
def test_a_list_that_could_mean_something_else(predicate: str) -> None:
    raw = write_deny_list((ListedDenial(reason="a", identity="b"),))
    statement = Statement.parse(raw, where="list")
    text = predicate.replace("AAA", "a" * 64)
    head = raw[: raw.index(b'"predicate":')] + b'"predicate":' + text.encode()
    changed = replace(statement, raw=head + raw[raw.index(b',"predicateType"') :])
    with pytest.raises((JsonError, FormatError)):
        read_deny_list(changed)


@pytest.mark.parametrize(
    "text",
    [
        "[deny-list]",
        '[deny-list]\nkey = "a"\nthreshold = 2',
        '[deny-list]\nany = [{ key = "a" }, { key = "b" }]\nthreshold = 2',
        '[deny-list]\nkey = "a"\nquantifier = "all"',
        '[deny-list]\nkey = "a"\nclaim = "signature"',
    ],
)
def test_who_may_sign_lists_is_said_clearly(scene: Scene, text: str) -> None:
    with pytest.raises(PolicyFileError):
        scene.policy(f"{AS_PACKED}{KEY}\n{text}")
