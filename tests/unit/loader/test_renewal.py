"""Carried TUF repositories take the place of pinned trusted roots: for one bundle, or none."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import AirlockError, PolicyError, TrustRootError, TrustUnconfirmedError
from loader.policy.facts import Judgement
from loader.trust.freshness import Reckoned
from loader.trust.memory import NO_MEMORY
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.world import World
from tests.fakes.tuf_repository import TufRepository, identity_key
from tests.unit.loader.policy.judging import CREATED
from tests.unit.loader.policy.scene import AS_PACKED
from tests.unit.loader.tuf_host import ANCHOR, CARRIED, KEYLESS, POLICY, SEALED, Far


@pytest.fixture
def far(tmp_path: Path) -> Far:
    repository = TufRepository("grown")
    found = Far(tmp_path, repository)
    repository.target(CARRIED, json.dumps(found.world.trusted_root()).encode())
    repository.publish()
    return found


def test_a_carried_trusted_root_judges_the_bundle(far: Far) -> None:
    found = far.judged(far.entry(far.repository.files))
    assert [note.holds for note in found.trust] == ["chains"]
    assert found.renewal.repositories["grown"].root_version == 1
    assert set(found.learned.seen) == {("tuf", "grown")}
    assert found.renewal.trust.trusted_root("grown").logs


def test_without_one_there_is_nothing_to_judge_by(far: Far) -> None:
    assert far.code() == "trustroot.missing"


def test_what_was_accepted_is_remembered(far: Far) -> None:
    """The next bundle need not carry it again; what is judged in memory alone is gone."""
    far.judged(far.entry(far.repository.files))
    assert far.code() == "trustroot.missing"
    far.accept(far.entry(far.repository.files))
    found = far.judged()
    assert not found.renewal.renewed
    assert "remembered" in found.renewal.trust.anchors[0].origin


def test_a_newer_root_waits_for_an_operator_where_policy_says_so(far: Far) -> None:
    """The refusal names the keys; what an operator has taken is known, and waits no longer."""
    asking = POLICY + 'root-change = "confirm"\n'
    far.accept(far.entry(far.repository.files), text=asking)
    far.repository.rotate("root")
    newer = far.entry(far.repository.publish().files)
    with pytest.raises(TrustUnconfirmedError) as caught:
        far.judged(newer, text=asking)
    assert (caught.value.expected, caught.value.found[:9]) == ("root 1", "root 2; -")
    assert "; + root: ecdsa-sha2-nistp256 " in caught.value.found
    [change] = far.accept(newer).learned.changes
    assert (change.before, change.after, len(change.lines)) == (1, 2, 2)
    [again] = far.judged(newer, text=asking).learned.changes
    assert (again.is_rotation, again.moved) == (False, False)


def test_a090_the_new_authority_comes_with_a_root_that_does_not_hold(far: Far) -> None:
    """The images are signed under what the update brings; the update is invalid: nothing counts."""
    far.repository.rotate("root")
    files = far.repository.publish().files
    far.judged(far.entry(files))
    broken = json.loads(files["2.root.json"])
    broken["signatures"] = broken["signatures"][1:]
    files["2.root.json"] = json.dumps(broken).encode()
    assert far.code(far.entry(files)) == "trustroot.signature"
    assert far.memory == NO_MEMORY


def test_a_broken_link_refuses_also_what_does_not_need_it(far: Far) -> None:
    """The image is signed by a pinned key; the carried repository still has to hold."""
    text = (
        AS_PACKED + '[[image.require]]\nclaim = "signature"\nkey = "release"\n' + KEYLESS + ANCHOR
    )
    files = far.repository.files
    files["timestamp.json"] = files["snapshot.json"]
    assert far.code(far.entry(files), text=text) == "trustroot.format"


def test_a066_what_the_carried_update_revokes_is_revoked_for_this_very_bundle(far: Far) -> None:
    """T36: the update in a bundle takes the log away that its image's signature relies on."""
    far.accept(far.entry(far.repository.files))
    far.judged()
    revoked = far.world.trusted_root(logs=[far.world.rekor2])
    far.repository.target(CARRIED, json.dumps(revoked).encode())
    files = far.repository.publish().files
    with pytest.raises(PolicyError) as caught:
        far.judged(far.entry(files))
    assert caught.value.exit_status in {11, 14}
    far.judged(), "the host itself has not taken it yet"


def test_a066_the_bundles_own_signature_is_judged_again(far: Far) -> None:
    """It is judged first, before anything is read, by what the host has; and then by what came."""
    text = AS_PACKED + KEYLESS + SEALED + ANCHOR
    far.accept(far.entry(far.repository.files))
    far.judged(text=text, signers=(far.packer,))
    revoked = far.world.trusted_root(authorities=[World("other").ca])
    far.repository.target(CARRIED, json.dumps(revoked).encode())
    files = far.repository.publish().files
    with pytest.raises(PolicyError) as caught:
        far.judged(far.entry(files), text=text, signers=(far.packer,))
    refused = caught.value.judgement
    assert isinstance(refused, Judgement)
    unmet = {c.claim for i in refused.images for c in i.claims if c.holds == "unmet"}
    assert "bundle-signature" in unmet


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a086_expired_before_the_evidence_was_made(role: str, far: Far) -> None:
    """Whatever the clock says: somebody packed what had run out already."""
    far.repository.expires[role] = datetime(2025, 1, 1, tzinfo=UTC)
    far.repository.new_root()
    files = far.repository.publish().files
    found = far.judged(far.entry(files))
    [age] = found.renewal.trust.ages((), Reckoned(clock=CREATED, evidence=found.reference_time))
    assert (age.holds, age.problem and age.problem.code) == ("expired", "trustroot.expired")
    clock = datetime(2020, 1, 1, tzinfo=UTC)
    [age] = found.renewal.trust.ages((), Reckoned(clock=clock, evidence=found.reference_time))
    assert age.holds == "expired", "a clock that was set back hides nothing"


def test_what_is_remembered_grows_old_and_was_not_packed_with_this_bundle(far: Far) -> None:
    """A bundle that carries no repository: the one that the host accepted before speaks for it."""
    far.accept(far.entry(far.repository.publish().files))
    found = far.judged()
    [anchor] = found.renewal.trust.anchors
    assert anchor.expires_at is not None
    later = anchor.expires_at + timedelta(days=30)
    [age] = found.renewal.trust.ages((), Reckoned(clock=later, evidence=later))
    assert (age.holds, age.problem) == ("late", None)
    [age] = found.renewal.trust.ages((), Reckoned(clock=later, evidence=later + timedelta(days=90)))
    assert age.problem is not None
    assert age.problem.code == "trustroot.stale"


def test_an_older_repository_than_the_host_has_seen(far: Far) -> None:
    old = far.entry(far.repository.files)
    far.accept(far.entry(far.repository.publish().files))
    assert far.code(old) == "trustroot.rollback"


def test_a_repository_without_the_trusted_root(far: Far) -> None:
    del far.repository.targets["targets"][CARRIED]
    assert far.code(far.entry(far.repository.publish().files)) == "trustroot.incomplete"


def test_another_target_holds_it(far: Far) -> None:
    raw = far.repository.targets["targets"].pop(CARRIED)
    far.repository.target("deep/our_root.json", raw)
    files = far.repository.publish().files
    far.judged(far.entry(files), text=POLICY + "target = 'deep/our_root.json'\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"not json",
        b'{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
    ],
)
def test_a093_a_trusted_root_that_cannot_be_understood(raw: bytes, far: Far) -> None:
    far.repository.target(CARRIED, raw)
    assert far.code(far.entry(far.repository.publish().files)) == "trustroot.format"


def test_two_repositories_for_one_anchor(far: Far) -> None:
    entry = far.entry(far.repository.files)
    assert far.code(entry, entry) == "trustroot.format"


def test_a_repository_that_no_anchor_knows_is_not_looked_at(far: Far) -> None:
    far.accept(far.entry(far.repository.files))
    other = far.entry({"timestamp.json": b"{}"}, anchor="other")
    assert [note.holds for note in far.judged(other).trust] == ["not-pinned"]


def test_another_repositorys_metadata_under_this_anchor(far: Far) -> None:
    other = TufRepository("other")
    other.target(CARRIED, b"{}")
    assert far.code(far.entry(other.publish().files)) == "trustroot.mismatch"


def test_a_pin_of_another_repository_is_not_what_was_followed(far: Far) -> None:
    far.accept(far.entry(far.repository.files))
    far.pin(TufRepository("other").roots[1])
    assert far.code() == "trustroot.mismatch"


# --- a trusted root and a TUF root in one folder, as the built-in anchors have them ---------------


BESIDE = AS_PACKED + KEYLESS


def test_beside_a_pinned_trusted_root_the_carried_one_takes_its_place(far: Far) -> None:
    """Until a bundle brings one, the pinned file judges; then what chains to the root beside it."""
    pinned = json.dumps(far.world.trusted_root(logs=[World("other").rekor1])).encode()
    (far.folder / "anchors/grown/trusted_root.json").write_bytes(pinned)
    with pytest.raises(PolicyError):
        far.judged(text=BESIDE)
    far.accept(far.entry(far.repository.files), text=BESIDE)
    assert far.judged(text=BESIDE).renewal.trust.anchors[0].file_digest != Digest.of(pinned)


def test_a_newer_pin_makes_the_file_beside_it_count_again(far: Far) -> None:
    """A newer loader brings a newer root and trusted root; what was remembered is older."""
    far.accept(far.entry(far.repository.files))
    raw = json.dumps(far.world.trusted_root()).encode()
    (far.folder / "anchors/grown/trusted_root.json").write_bytes(raw)
    far.pin(far.repository.new_root())
    found = far.judged(text=BESIDE)
    assert found.renewal.trust.anchors[0].origin.endswith("trusted_root.json")


# --- repositories whose keys are Sigstore identities ----------------------------------------------


def on_ci(far: Far, voucher: World) -> TufRepository:
    key = identity_key(voucher, person("maintainer@acme.example"))
    roles = ("root", "timestamp", "snapshot", "targets")
    repository = TufRepository("ci", keys={role: [key] for role in roles})
    repository.target(CARRIED, json.dumps(far.world.trusted_root()).encode())
    far.pin(repository.roots[1])
    return repository.publish()


VOUCHED = POLICY + "trusted-root = 'vouching'\n"


def test_identities_are_judged_under_the_anchor_that_vouches(far: Far) -> None:
    voucher = World("vouching")
    repository = on_ci(far, voucher)
    raw = json.dumps(voucher.trusted_root()).encode()
    (far.folder / "anchors/vouching").mkdir()
    (far.folder / "anchors/vouching/trusted_root.json").write_bytes(raw)
    found = far.judged(far.entry(repository.files), text=VOUCHED)
    assert found.renewal.signed_at is not None
    other = json.dumps(World("other").trusted_root()).encode()
    (far.folder / "anchors/vouching/trusted_root.json").write_bytes(other)
    assert far.code(far.entry(repository.files), text=VOUCHED) == "trustroot.signature"


def test_the_anchor_that_vouches_is_renewed_first(far: Far) -> None:
    voucher = World("vouching")
    repository = on_ci(far, voucher)
    above = TufRepository("above")
    above.target(CARRIED, json.dumps(voucher.trusted_root()).encode())
    far.pin(above.roots[1], name="vouching")
    entries = (
        far.entry(repository.files),
        far.entry(above.publish().files, anchor="vouching"),
    )
    assert set(far.judged(*entries, text=VOUCHED).renewal.repositories) == {"grown", "vouching"}


def test_two_repositories_do_not_vouch_for_each_other(far: Far) -> None:
    world = World("vouching")
    one, other = on_ci(far, world), on_ci(far, world)
    far.pin(one.roots[1])
    far.pin(other.roots[1], name="vouching")
    text = VOUCHED + "\n[anchor.vouching]\ntuf-root = 'anchors/vouching/root.json'\n"
    text += "trusted-root = 'grown'\n"
    entries = (far.entry(one.files), far.entry(other.files, anchor="vouching"))
    assert far.code(*entries, text=text) == "trustroot.mismatch"


def test_an_identity_without_anybody_who_vouches(far: Far) -> None:
    """By default that is `sigstore`; this host has none of that name."""
    repository = on_ci(far, World("vouching"))
    with pytest.raises(TrustRootError, match="does not have"):
        far.judged(far.entry(repository.files))


def test_errors_name_the_anchor(far: Far) -> None:
    files = far.repository.files
    del files["snapshot.json"]
    with pytest.raises(AirlockError) as caught:
        far.judged(far.entry(files))
    assert caught.value.where == "grown: snapshot.json"
