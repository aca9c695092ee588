"""Where trust begins, and how it moves on: pins, certificates for one repository, rotations."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from loader.limits import DEFAULT_LIMITS
from loader.trust.notary_pins import NotaryPins, PinnedAuthorities
from tests.fakes.notaryworld import AT, Authority, Key, Repository, changed, sign
from tests.unit.loader.verify.notary.judged import GUN, judged, refused, repository

Json = dict[str, Any]


def rotated(times: int = 2) -> tuple[Repository, list[list[str]]]:
    """A repository after rotations of its root key, and the ids of each root's key."""
    world = repository()
    ids = [world.root_ids]
    for _ in range(times):
        world.rotate_root()
        world.publish()
        ids.append(world.root_ids)
    return world, ids


def authorities(*made: Authority, prefix: str = "") -> NotaryPins:
    return NotaryPins(
        name="authorities",
        keys={},
        authorities={
            prefix: PinnedAuthorities(
                certificates=tuple(one.certificate for one in made), names=("ca",)
            )
        },
    )


# --- rotation --------------------------------------------------------------------------------


def test_dc_9_from_the_first_root_over_two_rotations() -> None:
    world, ids = rotated()
    for version, pins in enumerate(ids, 1):
        trust = judged(world.files, pins)
        assert trust.begins == version
        assert sorted(trust.seen.roots) == list(range(version, 4))


def test_dc_9_a080_a_root_between_is_missing() -> None:
    world, ids = rotated()
    del world.files["2.root"]
    error = refused(world.files, ids[0])
    assert error.code == "trustroot.notary"
    assert error.message == "root 2 is missing: no rotation leads to the newest"
    assert judged(world.files, ids[2]).begins == 3


def test_a080_the_newest_root_without_those_before_it() -> None:
    world, ids = rotated()
    files = {n: r for n, r in world.files.items() if not n.endswith(".root")}
    assert refused(files, ids[0]).code == "trustroot.notary"


@pytest.mark.parametrize("by", ["old", "new", "stranger", "nobody"])
def test_a081_a_root_that_is_not_signed_by_both(by: str) -> None:
    world = repository()
    pins = world.root_ids
    seen = judged(world.files, pins)
    old = world.root_keys
    world.rotate_root()
    world.publish()
    keys = {"old": old, "new": world.root_keys, "stranger": (Key.bare("x"),), "nobody": ()}[by]
    world.files["root"] = sign(json.loads(world.files["root"])["signed"], keys)
    world.files["2.root"] = world.files["root"]
    world.publish_snapshot()
    assert refused(world.files, pins).code == "trustroot.notary"
    assert refused(world.files, pins, seen=seen).code == "trustroot.notary"


def test_a081_one_of_two_old_keys() -> None:
    keys = tuple(Key.certified(name, GUN) for name in ("a", "b"))
    world = Repository(gun=GUN, root_keys=keys, thresholds={"root": 2})
    world.publish()
    pins = world.root_ids
    assert judged(world.files, pins).begins == 1
    assert refused(world.files, pins[:1]).message == "the root is not the pinned one"
    world.rotate_root(*(Key.certified(name, GUN) for name in ("c", "d")))
    world.publish()
    assert judged(world.files, pins).seen.newest == 2
    document = json.loads(world.files["root"])
    without = [s for s in document["signatures"] if s["keyid"] != pins[0]]
    world.files["root"] = json.dumps(document | {"signatures": without}).encode()
    world.files["2.root"] = world.files["root"]
    world.publish_snapshot()
    error = refused(world.files, pins)
    assert (error.expected, error.found) == ("2", "1")


def test_a082_a_badly_signed_root_in_the_middle() -> None:
    world, ids = rotated(3)
    world.files["2.root"] = changed(
        world.files["2.root"], lambda d: d["signatures"].pop(0) and None
    )
    assert refused(world.files, ids[0]).code == "trustroot.notary"


@pytest.mark.parametrize("version", [1, 3, 4, 0, "2", 2.0, True, 2**63])
def test_a083_a_version_that_does_not_follow(version: object) -> None:
    world = repository()
    pins = world.root_ids
    world.rotate_root()

    def change(role: str, signed: Json) -> None:
        if role == "root":
            signed["version"] = version

    world.change = change
    world.publish()
    error = refused(world.files, pins)
    assert error.error_class in {"trustroot", "limit"}


def test_a083_two_roots_of_one_version() -> None:
    world, ids = rotated(1)
    other = repository(name="other")
    world.files["2.root"] = other.files["root"]
    assert refused(world.files, ids[0]).code == "trustroot.notary"


def test_a084_an_older_root_than_was_seen() -> None:
    world = repository()
    old, pins = dict(world.files), world.root_ids
    world.rotate_root()
    seen = judged(world.publish(), pins)
    error = refused(old, pins, seen=seen)
    assert (error.code, error.expected) == ("rollback.notary", "version 2 or later")
    assert error.message.startswith("the newest root is older")


def test_a_root_of_the_same_version_and_other_bytes_than_was_seen() -> None:
    world = repository()
    seen = judged(world.files, world.root_ids)
    other = repository()
    other.versions["root"] = 0
    other.lifetimes["root"] *= 2
    other.publish("root")
    error = refused(other.files, world.root_ids, seen=seen)
    assert error.code == "trustroot.notary"
    assert "another one than this host has seen" in error.message


def test_a085_roots_between_may_have_expired() -> None:
    # No expiry is compared here at all: facts carry the newest root's alone.
    world, ids = rotated()
    trust = judged(world.files, ids[0])
    root = trust.role("root")
    assert root is not None
    assert root.version == 3


def test_the_chain_goes_on_from_what_was_seen_without_what_lies_before() -> None:
    world = repository()
    pins = world.root_ids
    seen = judged(world.files, pins)
    world.rotate_root()
    newer = world.root_ids
    world.publish()
    files = {n: r for n, r in world.files.items() if n != "1.root"}
    assert judged(files, newer, seen=seen).seen.newest == 2
    # Without a memory the pin alone decides, and it still speaks of the first one.
    assert refused(files, pins).code == "trustroot.notary"


def test_a_pin_that_was_changed_does_not_lead_around_what_was_seen() -> None:
    # Another repository of the same name, made anew: its root is pinned now, and was never signed
    # by the one that this host has seen.
    seen = judged((world := repository()).files, world.root_ids)
    other = repository(name="other")
    other.rotate_root()
    other.publish()
    error = refused(other.files, other.root_ids, seen=seen)
    assert error.code == "trustroot.notary"


def test_a088_too_many_roots() -> None:
    world, ids = rotated()
    limits = replace(DEFAULT_LIMITS, notary_root_count_max=2)
    assert refused(world.files, ids[0], limits=limits).code == "limit.exceeded"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["roles"]["root"].update(threshold=0),
        lambda s: s["roles"]["timestamp"].update(threshold=0),
        lambda s: s["roles"].pop("snapshot"),
        lambda s: s["roles"]["targets"].update(keyids=["0" * 64]),
        lambda s: s["roles"]["root"].update(keyids=s["roles"]["root"]["keyids"] * 2),
        lambda s: s.update(_type="root"),
        lambda s: s.update(Roles={}),
    ],
    ids=["threshold", "other threshold", "role", "unknown key", "twice", "type", "letters"],
)
def test_a087_a_root_that_its_own_keys_sign_and_is_none(change: Any) -> None:  # noqa: ANN401
    world = repository()
    signed = json.loads(world.files["root"])["signed"]
    change(signed)
    world.files["root"] = world.files["1.root"] = sign(signed, world.root_keys)
    world.publish_snapshot()
    assert refused(world.files, world.root_ids).code == "trustroot.notary"


# --- pins and certificates ------------------------------------------------------------------------


def test_dc_3_nothing_pinned_is_nothing_trusted() -> None:
    world = repository()
    error = refused(world.files, [])
    assert error.code == "trustroot.notary"
    assert error.message == "nothing is pinned for this repository"
    assert "first use" in error.hint


def test_dc_3_another_key_than_the_pinned_one() -> None:
    error = refused(repository().files, ["ab" * 32])
    assert error.message == "the root is not the pinned one"
    assert error.expected == "root key abababababab"


@pytest.mark.parametrize(
    ("common_name", "holds"),
    [
        (GUN, True),
        ("registry.acme.example/acme/*", True),
        ("registry.acme.example/*", True),
        ("*", True),
        ("registry.acme.example/acme/web", False),
        ("registry.acme.example/acme/app2", False),
        ("registry.acme.example/acme/ap", False),
        ("registry.acme.example/ACME/app", False),
        ("registry.other.example/*", False),
        ("*/acme/app", False),
    ],
)
def test_dc_3_the_common_name_is_the_repositorys(common_name: str, holds: bool) -> None:  # noqa: FBT001
    world = Repository(gun=GUN, root_keys=(Key.certified("root", common_name),))
    world.publish()
    if holds:
        assert judged(world.files, world.root_ids).begins == 1
        return
    error = refused(world.files, world.root_ids)
    assert (error.code, error.message) == (
        "trustroot.notary",
        "a root key is for another repository",
    )


def test_a_root_key_that_is_no_certificate() -> None:
    world = Repository(gun=GUN, root_keys=(Key.bare("root"),))
    world.publish()
    assert refused(world.files, world.root_ids).message == "a root key is no certificate"


def test_dc_3_an_authority_and_one_between() -> None:
    top = Authority.make("Acme Root")
    middle = Authority.make("Acme Signing", issuer=top)
    world = Repository(gun=GUN, root_keys=(Key.certified("r", GUN, issuers=[middle]),))
    world.publish()
    pins = authorities(top)
    trust = judged(world.files, pins)
    assert trust.pinned == "authority ca"
    assert judged(world.files, authorities(middle)).begins == 1
    assert refused(world.files, authorities(Authority.make("Other"))).code == "trustroot.notary"
    # A rotation to a key that the authority did not issue is none, though the old key signed it.
    world.rotate_root()
    world.publish()
    assert refused(world.files, pins).message == "the root is not the pinned one"
    world.rotate_root(Key.certified("r2", GUN, issuers=[middle]))
    world.publish()
    assert judged(world.files, pins).begins == 3


@pytest.mark.parametrize(
    ("what", "top", "middle"),
    [
        ("no authority", {"authority": False}, {}),
        ("may not issue", {"may_issue": False}, {}),
        ("too long a path", {"path_length": 0}, {}),
        ("one between that may not issue", {}, {"may_issue": False}),
    ],
)
def test_dc_3_authorities_that_may_not_be_some(what: str, top: Json, middle: Json) -> None:
    del what
    above = Authority.make("Acme Root", **top)
    between = Authority.make("Acme Signing", issuer=above, **middle)
    world = Repository(gun=GUN, root_keys=(Key.certified("r", GUN, issuers=[between]),))
    world.publish()
    assert refused(world.files, authorities(above)).code == "trustroot.notary"


def test_dc_3_an_authority_of_the_same_name() -> None:
    real = Authority.make("Acme Root")
    fake = replace(real, signer=Key.bare("attacker").signer)
    forged = Authority.make("Acme Root")
    forged = replace(forged, signer=fake.signer)
    world = Repository(gun=GUN, root_keys=(Key.certified("r", GUN, issuers=[forged]),))
    world.publish()
    assert refused(world.files, authorities(real)).code == "trustroot.notary"


def test_two_leaves_in_one_root_key() -> None:
    first, second = Key.certified("a", GUN), Key.certified("b", GUN)
    both = replace(first, public=first.public + second.public)
    world = Repository(gun=GUN, root_keys=(both,))
    world.publish()
    assert "not one certificate" in refused(world.files, world.root_ids).message


def test_an_authority_before_the_leaf() -> None:
    top = Authority.make("Acme Root")
    leaf = Key.certified("a", GUN, issuers=[top])
    turned = replace(leaf, public=top.pem + Key.certified("a", GUN).public)
    world = Repository(gun=GUN, root_keys=(turned,))
    world.publish()
    assert refused(world.files, world.root_ids).code == "trustroot.notary"


def test_the_ends_of_root_certificates_are_facts() -> None:
    world = Repository(gun=GUN, root_keys=(Key.certified("r", GUN, days=30),))
    world.publish()
    (certificate,) = judged(world.files, world.root_ids).certificates
    assert (certificate.not_after - AT).days == 30
