"""A repository's metadata from the root down: what holds, and each thing that may be wrong with it.

Python-tuf's and Notary's published attacks (THREATS T30 to T36) on metadata that a bundle carries:
`client_update_test.go` and `tuf/testutils/swizzler.go` exchange, cut, spoil and expire each file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loader.limits import DEFAULT_LIMITS
from loader.verify.notary.repository import verify_repository
from tests.fakes.notaryworld import Key, Repository, b64, canonical, changed, fingerprint, sign
from tests.unit.loader.verify.notary.judged import GUN, LIST, judged, pinned, refused, repository

Json = dict[str, Any]
SIGNED = ("timestamp", "snapshot", "targets", "targets/releases", "targets/alice")


def test_it_says_what_each_role_says() -> None:
    trust = judged((world := repository()).files, world.root_ids)
    assert [role.name for role in trust.roles] == [
        "root",
        "targets",
        "targets/releases",
        "targets/alice",
        "snapshot",
        "timestamp",
    ]
    assert all(role.version == 1 and not role.problem for role in trust.roles)
    assert [(one.role, one.fingerprint.length) for one in trust.said("latest")] == [
        ("targets/releases", len(LIST)),
        ("targets/alice", len(LIST)),
    ]
    assert [one.fingerprint.differs(LIST) for one in trust.tags] == ["", "", ""]
    alice = trust.role("targets/alice")
    key = world.delegations["targets/alice"].keys[0]
    assert alice is not None
    assert (alice.key_ids, alice.canonical_ids) == ((key.key_id,), (key.canonical_id,))
    assert (trust.begins, trust.unpublished) == (1, ())


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA-2048", "Ed25519"])
def test_every_kind_of_key_signs(kind: str) -> None:
    world = Repository(gun=GUN, keys={"targets": (Key.bare("t", kind),)})
    if kind != "Ed25519":
        world.delegate("targets/releases", Key.certified("r", "releases", kind))
    world.tag("v1", LIST)
    assert judged(world.publish(), world.root_ids).said("v1")


@pytest.mark.parametrize("method", ["rsapss", "RSAPSS", "rsapkcs1v15", "pycrypto-pkcs#1 pss"])
def test_every_padding_of_rsa(method: str) -> None:
    key = Key.bare("t", "RSA-2048")
    world = Repository(gun=GUN, keys={"targets": (key,)})
    world.publish()
    signed = json.loads(world.files["targets"])["signed"]
    world.files["targets"] = sign(signed, [key], method=method)
    world.publish_snapshot()
    if method == "RSAPSS":
        assert '"method":"RSAPSS"' in world.files["targets"].decode()
    assert judged(world.files, world.root_ids)


@pytest.mark.parametrize("name", SIGNED)
def test_dc_2_a_changed_byte_of_what_is_signed(name: str) -> None:
    # The hashes above are made right again, so that only the signature says that it was changed.
    world = repository()

    def change(document: Json) -> None:
        document["signed"]["version"] += 1

    world.files[name] = changed(world.files[name], change)
    if name.startswith("targets"):
        world.publish_snapshot()
    elif name == "snapshot":
        world.publish_timestamp()
    if not name.startswith("targets/"):
        error = refused(world.files, world.root_ids)
        assert (error.code, error.where) == ("signature.notary", name)
        assert (error.expected, error.found) == ("1", "0")
        return
    role = judged(world.files, world.root_ids).role(name)
    assert role is not None
    assert role.problem.startswith("too few keys")
    assert not [one for one in judged(world.files, world.root_ids).tags if one.role == name]


@pytest.mark.parametrize("name", [n for n in SIGNED if n != "timestamp"])
@pytest.mark.parametrize("how", ["cut", "longer", "another sha512", "gone"])
def test_dc_2_a_file_that_is_not_the_listed_one(name: str, how: str) -> None:
    world = repository()
    match how:
        case "cut":
            world.files[name] = world.files[name][:-1]
        case "longer":
            world.files[name] += b" "
        case "gone":
            del world.files[name]
        case _:
            above = "timestamp" if name == "snapshot" else "snapshot"

            def change(document: Json) -> None:
                meta = document["signed"]["meta"][name]
                meta["hashes"]["sha512"] = fingerprint(b"another")["hashes"]["sha512"]

            document = json.loads(world.files[above])
            change(document)
            world.files[above] = sign(document["signed"], world.keys[above])
            if above == "snapshot":
                world.publish_timestamp()
    error = refused(world.files, world.root_ids)
    assert (error.code, error.where) == ("signature.notary", name)


def test_a_root_that_the_snapshot_does_not_list() -> None:
    # A genuine newer root beside older metadata, and the other way round: mix and match (T34).
    world = repository()
    old = dict(world.files)
    world.publish("root", "targets")
    mixed = old | {name: world.files[name] for name in ("root", "2.root")}
    assert refused(mixed, world.root_ids).where == "root"


@pytest.mark.parametrize("name", ["snapshot", "targets", "targets/releases"])
def test_mix_and_match_of_two_genuine_states(name: str) -> None:
    world = repository()
    old = dict(world.files)
    world.tag("v2", LIST)
    world.tag("v2", LIST, role="targets/releases")
    new = world.publish()
    assert refused(new | {name: old[name]}, world.root_ids).where == name
    assert refused(old | {name: new[name]}, world.root_ids).where == name


def _spoiled(value: Callable[[bytes], bytes]) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        for signature in document["signatures"]:
            signature["sig"] = b64(value(base64.b64decode(signature["sig"])))

    return change


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("s with a zero before it", lambda raw: raw[:32] + b"\0" + raw[32:]),
        ("r and s a byte longer", lambda raw: b"\0" + raw),
        ("r and s in DER", lambda raw: b"0D\x02 " + raw[:32] + b"\x02 " + raw[32:]),
        ("s cut", lambda raw: raw[:-1]),
        ("each a byte longer", lambda raw: b"\0" + raw[:32] + b"\0" + raw[32:]),
        ("one byte", lambda raw: raw[:1]),
        ("r zero", lambda raw: bytes(32) + raw[32:]),
        ("a bit", lambda raw: bytes([raw[0] ^ 1]) + raw[1:]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dc_2_a_signature_of_another_length(what: str, value: Callable[[bytes], bytes]) -> None:
    del what
    world = repository()
    world.files["timestamp"] = changed(world.files["timestamp"], _spoiled(value))
    assert refused(world.files, world.root_ids).where == "timestamp"


@pytest.mark.parametrize(
    "method", ["eddsa", "rsapss", "rsapkcs1v15", "", "none", "ecdsa-sha2-nistp256"]
)
def test_a_method_that_is_not_the_keys(method: str) -> None:
    world = repository()

    def change(document: Json) -> None:
        document["signatures"][0]["method"] = method

    world.files["timestamp"] = changed(world.files["timestamp"], change)
    assert refused(world.files, world.root_ids).code == "signature.notary"


def resigned(name: str, change: Callable[[Json], None]) -> Repository:
    """A repository whose role says something else, signed by its own keys."""
    world = repository()

    def spoil(role: str, signed: Json) -> None:
        if role == name:
            change(signed)

    world.change = spoil
    world.publish(*(["root"] if name == "root" else []))
    world.change = None
    return world


def _set(*path: str | int, value: object) -> Callable[[Json], None]:
    def change(signed: Json) -> None:
        target: Any = signed
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

    return change


MALFORMED: list[tuple[str, str, Callable[[Json], None]]] = [
    ("timestamp", "type", _set("_type", value="timestamp")),
    ("snapshot", "type", _set("_type", value="Timestamp")),
    ("targets", "type", _set("_type", value="Root")),
    ("targets/releases", "type", _set("_type", value="targets")),
    ("timestamp", "version 0", _set("version", value=0)),
    ("timestamp", "version -1", _set("version", value=-1)),
    ("timestamp", "version as text", _set("version", value="2")),
    ("timestamp", "version true", _set("version", value=True)),
    ("timestamp", "version 2^63", _set("version", value=2**63)),
    ("timestamp", "no end", lambda signed: signed.pop("expires")),
    ("timestamp", "an end in words", _set("expires", value="tomorrow")),
    ("timestamp", "an end that is no day", _set("expires", value="2026-02-30T00:00:00Z")),
    ("timestamp", "an end beyond years", _set("expires", value="9999-12-31T23:59:59-23:59")),
    ("timestamp", "no snapshot", _set("meta", value={})),
    ("snapshot", "no root", lambda signed: signed["meta"].pop("root")),
    ("snapshot", "no targets", lambda signed: signed["meta"].pop("targets")),
    ("snapshot", "a hash cut", _set("meta", "targets", "hashes", "sha256", value="AAAA")),
    ("snapshot", "no sha256", lambda signed: signed["meta"]["targets"]["hashes"].pop("sha256")),
    ("snapshot", "a negative length", _set("meta", "targets", "length", value=-1)),
    ("targets", "a tag without a name", _set("targets", "", value=fingerprint(b"x"))),
    ("targets", "threshold 0", _set("delegations", "roles", 0, "threshold", value=0)),
    ("targets", "threshold -1", _set("delegations", "roles", 0, "threshold", value=-1)),
    ("targets", "an unknown key", _set("delegations", "roles", 0, "keyids", value=["0" * 64])),
    ("targets", "a role elsewhere", _set("delegations", "roles", 0, "name", value="targets/a/b")),
    ("targets", "a role that is root", _set("delegations", "roles", 0, "name", value="root")),
    ("targets", "itself", _set("delegations", "roles", 0, "name", value="targets")),
    ("targets", "Keys beside keys", _set("delegations", "Keys", value={})),
    ("timestamp", "Meta beside meta", _set("Meta", value={})),
    ("targets", "a fraction", _set("custom", value=1.5)),
]


@pytest.mark.parametrize(
    ("name", "what", "change"), MALFORMED, ids=[f"{n}: {w}" for n, w, _ in MALFORMED]
)
def test_dc_2_metadata_that_its_own_keys_sign_and_is_none(
    name: str, what: str, change: Callable[[Json], None]
) -> None:
    world = resigned(name, change)
    error = refused(world.files, world.root_ids)
    assert error.code == "signature.notary", what


@pytest.mark.parametrize(
    "role",
    [
        "targets/../root",
        "targets/..",
        "targets/./a",
        "targets//a",
        "targets/a/",
        "/targets/a",
        "targets/%2e%2e",
        "targets/a\0b",
        "targets/Releases",
        "targets/releases\n",
        "targets/" + "a" * 250,
        "../../etc/passwd",
    ],
)
@pytest.mark.parametrize("place", ["delegation", "snapshot"])
def test_a089_names_that_would_be_paths(role: str, place: str) -> None:
    if place == "delegation":
        world = resigned("targets", _set("delegations", "roles", 0, "name", value=role))
    else:
        world = resigned("snapshot", _set("meta", role, value=fingerprint(b"x")))
    code = "signature.notary" if len(role) < 255 else "limit.exceeded"
    assert refused(world.files, world.root_ids).code in {code, "signature.notary"}


def test_a087_a_key_under_an_id_that_is_not_its_own() -> None:
    def change(signed: Json) -> None:
        keys = signed["delegations"]["keys"]
        key_id = next(iter(keys))
        keys["f" * 64] = keys.pop(key_id)
        for role in signed["delegations"]["roles"]:
            role["keyids"] = ["f" * 64 if k == key_id else k for k in role["keyids"]]

    world = resigned("targets", change)
    assert refused(world.files, world.root_ids).message.endswith("an id that is not its own")


def test_a087_a_key_twice_in_a_role() -> None:
    def change(signed: Json) -> None:
        signed["delegations"]["roles"][0]["keyids"] *= 2

    world = resigned("targets", change)
    assert "twice" in refused(world.files, world.root_ids).message


def test_a087_one_key_under_two_ids_is_one_voice() -> None:
    bare = Key.bare("same")
    other = Key.certified("same", "releases")
    assert bare.key_id != other.key_id
    world = Repository(gun=GUN)
    world.delegate("targets/releases", bare, other, threshold=2)
    world.tag("v1", LIST, role="targets/releases")
    world.publish()
    role = judged(world.files, world.root_ids).role("targets/releases")
    assert role is not None
    assert (
        role.problem == "too few keys of the role targets/releases signed targets/releases: 1 of 2"
    )


def test_a_threshold_of_two_wants_two_keys() -> None:
    keys = Key.bare("one"), Key.bare("two")
    world = Repository(gun=GUN, keys={"targets": keys}, thresholds={"targets": 2})
    world.tag("v1", LIST)
    assert judged(world.publish(), world.root_ids).said("v1")
    document = json.loads(world.files["targets"])
    for signatures in (document["signatures"][:1], document["signatures"][:1] * 2):
        world.files["targets"] = json.dumps(document | {"signatures": signatures}).encode()
        world.publish_snapshot()
        assert refused(world.files, world.root_ids).where == "targets"


def test_a_private_key_in_public_metadata() -> None:
    def change(signed: Json) -> None:
        next(iter(signed["delegations"]["keys"].values()))["keyval"]["private"] = "AAAA"

    assert "private" in refused((w := resigned("targets", change)).files, w.root_ids).message


# --- delegations ---------------------------------------------------------------------------------


def test_dc_2_a_delegation_speaks_of_its_paths_alone() -> None:
    world = repository()
    world.delegations["targets/alice"] = replace(world.delegations["targets/alice"], paths=("v",))
    world.tag("v3", LIST, role="targets/alice")
    world.publish()
    trust = judged(world.files, world.root_ids)
    assert [t.name for t in trust.tags if t.role == "targets/alice"] == ["v3"]


def test_dc_2_a_child_never_holds_more_than_its_parent() -> None:
    world = Repository(gun=GUN)
    world.delegate("targets/team", paths=("v1", "nightly"))
    world.delegate("targets/team/alice", paths=("", "v1.2", "latest"))
    for name in ("v1.2.3", "v1.1", "latest", "nightly"):
        world.tag(name, LIST, role="targets/team/alice")
    trust = judged(world.publish(), world.root_ids)
    assert [(t.role, t.name) for t in trust.tags] == [("targets/team/alice", "v1.2.3")]


def test_a_delegation_without_paths_holds_nothing() -> None:
    world = Repository(gun=GUN)
    world.delegate("targets/releases", paths=())
    world.tag("v1", LIST, role="targets/releases")
    assert judged(world.publish(), world.root_ids).tags == ()


def test_nothing_is_read_below_a_delegation_that_is_not_signed() -> None:
    world = Repository(gun=GUN)
    world.delegate("targets/team")
    world.delegate("targets/team/alice")
    world.tag("v1", LIST, role="targets/team/alice")
    world.publish()
    world.files["targets/team"] = changed(
        world.files["targets/team"], lambda d: d.update(signatures=[])
    )
    world.publish_snapshot()
    trust = judged(world.files, world.root_ids)
    assert [role.name for role in trust.roles if role.is_delegation] == ["targets/team"]
    assert trust.tags == ()


def test_a_delegation_that_has_published_nothing() -> None:
    world = repository()
    world.delegate("targets/bob", published=False)
    world.publish()
    trust = judged(world.files, world.root_ids)
    assert [role.name for role in trust.unpublished] == ["targets/bob"]


def test_a_file_that_nothing_leads_to_is_not_looked_at() -> None:
    world = repository()
    world.files["targets/ghost"] = b"not even JSON"
    assert judged(world.files, world.root_ids)


def test_a_delegation_with_a_kind_of_key_that_nobody_knows() -> None:
    def change(signed: Json) -> None:
        key = {"keytype": "dilithium", "keyval": {"private": None, "public": "AAAA"}}
        key_id = hashlib.sha256(canonical(key)).hexdigest()
        signed["delegations"]["keys"][key_id] = key
        signed["delegations"]["roles"][0]["keyids"].append(key_id)

    world = resigned("targets", change)
    trust = judged(world.files, world.root_ids)
    assert trust.said("latest")


# --- rollback, freeze, fast-forward ---------------------------------------------------------------


def test_rollback_of_the_whole_repository() -> None:
    world = repository()
    old = dict(world.files)
    world.tag("v2", LIST)
    seen = judged(world.publish(), world.root_ids)
    error = refused(old, world.root_ids, seen=seen)
    assert (error.code, error.where) == ("rollback.notary", "timestamp")
    assert judged(world.files, world.root_ids, seen=seen).seen == seen.seen


@pytest.mark.parametrize("name", ["snapshot", "targets", "targets/releases"])
def test_rollback_of_one_role_under_a_new_timestamp(name: str) -> None:
    # Whoever holds the server's keys makes a new timestamp over old files.
    world = repository()
    world.publish()
    seen = judged(world.files, world.root_ids)
    world.versions[name] = 0
    world.publish(*([name] if name != "snapshot" else ["targets"]))
    error = refused(world.files, world.root_ids, seen=seen)
    assert (error.code, error.where) == ("rollback.notary", name)


def test_a092_a_version_of_a_key_that_was_taken_away_locks_nobody_out() -> None:
    world = repository()
    world.versions["timestamp"] = 2**62
    seen = judged(world.publish(), world.root_ids)
    assert seen.seen.roles["timestamp"].version == 2**62 + 1
    world.versions["timestamp"] = 2
    world.publish_timestamp()
    assert refused(world.files, world.root_ids, seen=seen).code == "rollback.notary"
    world.keys["timestamp"] = (Key.bare("another timestamp"),)
    world.publish("root")
    after = judged(world.files, world.root_ids, seen=seen)
    assert after.seen.roles["timestamp"].version == 4
    assert after.seen.covers(seen.seen)


def test_a_role_that_was_removed_is_not_forgotten() -> None:
    world = repository()
    seen = judged(world.files, world.root_ids)
    world.delegations.clear()
    after = judged(world.publish(), world.root_ids, seen=seen)
    assert after.seen.roles["targets/releases"].version == 1
    assert after.seen.covers(seen.seen)


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timestamp", DEFAULT_LIMITS.notary_timestamp_size_max),
        ("root", DEFAULT_LIMITS.notary_root_size_max),
    ],
)
def test_a088_endless_data(name: str, size: int) -> None:
    world = repository()
    world.files[name] = b" " * (size + 1)
    assert refused(world.files, world.root_ids).code == "limit.exceeded"


def test_a088_everything_together_is_bounded() -> None:
    world = repository()
    world.files["targets/ghost"] = bytes(DEFAULT_LIMITS.notary_repository_size_max)
    assert refused(world.files, world.root_ids).code == "limit.exceeded"


def test_a088_many_roles() -> None:
    world = repository()
    limits = replace(DEFAULT_LIMITS, notary_role_count_max=3)
    assert refused(world.files, world.root_ids, limits=limits).code == "limit.exceeded"


def test_a088_a_hundred_thousand_keys() -> None:
    def change(signed: Json) -> None:
        signed["keys"] |= {f"{n:064x}": {} for n in range(3000)}

    world = resigned("root", change)
    assert refused(world.files, world.root_ids).code == "limit.exceeded"


def test_only_tags_that_are_asked_for_are_kept() -> None:
    world = repository()
    pins = pinned(*world.root_ids)
    trust = verify_repository(world.files, gun=GUN, pins=pins, tags=frozenset({"v1", "nope"})).value
    assert [one.name for one in trust.tags] == ["v1"]
