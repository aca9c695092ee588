"""Trust that grows, attacked by somebody who holds some of its keys (THREATS T30, T31, T34)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loader.errors import TrustSignatureError
from loader.model.fields import Fields
from loader.trust.memory import NUMBER_MAX, RootsSeen
from tests.fakes.tuf_repository import TufRepository, plain_key
from tests.unit.loader.trust.tuf_far import Far, begun, refused
from tests.unit.loader.verify.notary import judged as notary


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("P-256", lambda text: f"\n{text}"),
        ("P-256", lambda text: f"a note before it\n{text}"),
        ("P-256", lambda text: f"{text}and behind it"),
        ("Ed25519", str.upper),
        ("Ed25519", lambda text: f"{text[:2]} {text[2:]}"),
        ("Ed25519", lambda text: f"{text}\n"),
    ],
)
def test_a087_one_key_in_two_spellings_counts_once(kind: str, write: Callable[[str], str]) -> None:
    """Verification reads past such text, so each spelling verifies; it is one voice."""
    repository, far = begun()
    one = plain_key("one", kind)
    plain = copy.deepcopy(one.plain)
    plain["keyval"]["public"] = write(plain["keyval"]["public"])
    repository.keys["timestamp"] = [one, replace(one, plain=plain)]
    repository.new_root()
    assert far.judge(repository.publish().files).root_version == 2, "one is enough for one"
    repository.threshold["timestamp"] = 2
    repository.new_root()
    assert refused(far, repository.publish().files) == "trustroot.signature"


def test_t34_a_role_under_one_delegators_keys_is_not_the_others() -> None:
    """Two delegate to one name. What the first one's key signs says nothing for the second one."""
    repository = TufRepository()
    theirs, ours = plain_key("theirs"), plain_key("ours")
    for role, key in (("a", theirs), ("b", ours)):
        repository.delegate(role, [f"{role}/*"], [plain_key(role)])
        repository.delegate("shared", [f"{role}/*"], [key], by=role)
        repository.write(role)
    repository.write("targets")
    repository.target("a/1", b"theirs", role="shared")
    repository.target("b/1", b"theirs, too", role="shared")
    for role, by in (("shared", [theirs]), ("snapshot", None), ("timestamp", None)):
        repository.write(role, by=by)
    found = Far(pin=repository.roots[1]).judge(repository.files)
    assert found.target("a/1") == b"theirs"
    with pytest.raises(TrustSignatureError, match=r"shared\.json, under b"):
        found.target("b/1")


def test_t30_a_server_that_forgets_the_role_that_docker_looks_at_first() -> None:
    """It holds the keys of snapshot and timestamp; the old tag in `targets` must not come back."""
    world = notary.repository()
    world.tag("latest", b"old", role="targets")
    seen = notary.judged(world.publish(), world.root_ids)
    world.change = lambda name, document: (
        document["meta"].pop("targets/releases") if name == "snapshot" else None
    )
    world.publish_snapshot()
    error = notary.refused(world.files, world.root_ids, seen=seen)
    assert (error.code, error.where) == ("rollback.notary", "targets/releases")


@pytest.mark.parametrize("version", [NUMBER_MAX + 1, True])
@pytest.mark.parametrize("place", ["timestamp", "timestamp's", "snapshot's"])
def test_a_version_that_no_host_could_remember(place: str, version: Any) -> None:  # noqa: ANN401
    """Taken and not kept, it would end the load in an error of this host's own."""
    repository, far = begun()
    role = place.removesuffix("'s")
    document = repository.timestamp_document() if role == "timestamp" else None
    document = document or repository.snapshot_document()
    if place == role:
        document["version"] = version
    else:
        next(iter(document["meta"].values()))["version"] = version
    repository.write(role, document)
    if role == "snapshot":
        repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.format"


def test_what_a_signer_nobody_asks_for_says_can_be_remembered() -> None:
    """Of all expiries only those that count are judged; each is kept, and read again."""
    world = notary.repository()
    world.change = lambda name, document: (
        document.update(expires="0001-01-01T00:00:00Z") if name == "targets/alice" else None
    )
    seen = notary.judged(world.publish(), world.root_ids).seen
    assert RootsSeen.parse(Fields(seen.plain(), "memory")) == seen
