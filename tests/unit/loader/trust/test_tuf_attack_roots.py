"""python-tuf's published attacks on roots, and CASES §2.3, against metadata that a bundle brings.

THREATS T27: who takes the root takes everything. The repository signs itself; each case is judged
by the whole replay.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from loader.limits import DEFAULT_LIMITS
from tests.fakes.tuf_repository import TufRepository, plain_key, signed
from tests.unit.loader.trust.tuf_far import ALL_FILES, TARGET, Far, begun, refused


def test_a_whole_repository() -> None:
    repository, far = begun()
    found = far.accept(repository.files)
    assert found.target(TARGET) == b"{}"
    assert found.target("releases/2.0.json") is None
    assert {name: role.version for name, role in found.roles.items()} == dict.fromkeys(
        ("root", "timestamp", "snapshot", "targets"), 1
    )
    assert found.signed_at is None, "ordinary keys date nothing"
    assert far.seen is not None
    assert far.seen.newest == 1


def test_a080_a_root_is_missing() -> None:
    repository, far = begun()
    repository.rotate("root")
    repository.rotate("root", suffix="newer")
    files = repository.publish().files
    assert far.judge(files).root_version == 3
    del files["2.root.json"]
    assert refused(far, files) == "trustroot.incomplete"


@pytest.mark.parametrize("who", ["only the old keys", "only the new keys", "one of two"])
def test_a081_too_few_sign_the_next_root(who: str) -> None:
    repository = TufRepository(keys={"root": [plain_key("a"), plain_key("b")]})
    repository.threshold["root"] = 2
    repository.new_root()
    far = Far(pin=repository.roots[2])
    old, new = [plain_key("a"), plain_key("b")], [plain_key("c"), plain_key("d")]
    repository.keys["root"] = new
    by = {
        "only the old keys": old,
        "only the new keys": new,
        "one of two": [old[0], new[0]],
    }[who]
    repository.new_root(by=by)
    assert refused(far, repository.publish().files) == "trustroot.signature"


def test_a082_one_bad_link_refuses_all_behind_it() -> None:
    repository, far = begun()
    for suffix in "bcde":
        repository.rotate("root", suffix=suffix)
    files = repository.publish().files
    assert far.judge(files).root_version == 5
    bad = json.loads(files["4.root.json"])
    bad["signatures"][0]["sig"] = bad["signatures"][1]["sig"]
    files["4.root.json"] = json.dumps(bad).encode()
    assert refused(far, files) == "trustroot.signature"


@pytest.mark.parametrize("version", [1, 3, "2", True, 2**63, 0, -1, 2.0])
def test_a083_a_root_of_another_version(version: object) -> None:
    repository, far = begun()
    document = repository.root_document() | {"version": version}
    if isinstance(version, float):  # canonical JSON has no fractions to sign
        signatures = json.loads(repository.roots[1])["signatures"]
        raw = json.dumps({"signatures": signatures, "signed": document}).encode()
    else:
        raw = signed(document, repository.keys["root"])
    code = refused(far, repository.publish().files | {"2.root.json": raw})
    assert code in {"trustroot.version", "trustroot.format"}


def test_a083_a_root_twice() -> None:
    repository, far = begun()
    repository.rotate("root")
    files = repository.publish().files
    files["3.root.json"] = files["2.root.json"]
    assert refused(far, files) == "trustroot.version"


def test_a084_the_first_root_again() -> None:
    repository, far = begun()
    old = repository.files
    repository.rotate("timestamp")
    repository.rotate("root")
    far.accept(repository.publish().files)
    assert refused(far, old) == "trustroot.signature", "the old timestamp's key is gone"
    repository.roots = {1: repository.roots[1]}
    assert far.judge(repository.files).root_version == 3, "nobody has to carry what the host has"


def test_a084_another_root_of_a_version_that_is_known() -> None:
    repository, far = begun()
    far.accept(repository.files)
    files = repository.files | {"1.root.json": TufRepository("other").roots[1]}
    assert refused(far, files) == "trustroot.mismatch"


def test_a085_a_root_in_between_may_have_expired() -> None:
    repository, far = begun()
    repository.expires["root"] = datetime(2020, 1, 1, tzinfo=UTC)
    repository.rotate("root")
    repository.expires["root"] = datetime(2036, 1, 1, tzinfo=UTC)
    repository.rotate("root", suffix="newer")
    found = far.judge(repository.publish().files)
    assert found.roles["root"].expires.year == 2036


def test_a087_threshold_zero() -> None:
    repository, far = begun()
    document = repository.root_document()
    document["roles"]["root"]["threshold"] = 0
    repository.new_root(document=document)
    assert refused(far, repository.publish().files) == "trustroot.format"


def test_a087_the_same_key_id_twice_in_a_role() -> None:
    repository, far = begun()
    document = repository.root_document()
    document["roles"]["timestamp"]["keyids"] *= 2
    repository.new_root(document=document)
    assert refused(far, repository.publish().files) == "trustroot.format"


def test_a087_one_key_under_two_ids_counts_once() -> None:
    """A key id that is no digest of its key gains nothing, whatever it is called."""
    repository, far = begun()
    one = plain_key("acme/timestamp")
    repository.keys["timestamp"] = [one, replace(one, keyid="abcd")]
    repository.threshold["timestamp"] = 2
    repository.new_root()
    assert refused(far, repository.publish().files) == "trustroot.signature"
    repository.threshold["timestamp"] = 1
    repository.new_root()
    assert far.judge(repository.publish().files).root_version == 3


def test_a087_two_signatures_under_one_key_id() -> None:
    repository, far = begun()
    files = repository.files
    document = json.loads(files["timestamp.json"])
    document["signatures"] *= 2
    files["timestamp.json"] = json.dumps(document).encode()
    assert refused(far, files) == "trustroot.format"


def test_a088_too_many_roots() -> None:
    """257 in one bundle."""
    repository, far = begun()
    files = repository.files | {f"{n}.root.json": b"{}" for n in range(2, 259)}
    assert refused(far, files) == "limit.exceeded"


def test_a088_a_root_that_is_too_large() -> None:
    repository, far = begun()
    document = repository.root_document() | {"padding": "x" * 513_000}
    repository.new_root(document=document)
    assert refused(far, repository.publish().files) == "limit.exceeded"


def test_a088_too_many_keys() -> None:
    repository, far = begun()
    document = repository.root_document()
    document["keys"] |= {
        f"{n:x}": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}
        for n in range(1100)
    }
    repository.new_root(document=document)
    assert refused(far, repository.publish().files) == "limit.exceeded"


@pytest.mark.parametrize("file", ALL_FILES)
def test_endless_data(file: str) -> None:
    """What is larger than its role may be is refused before it is parsed (endless data attack)."""
    repository, far = begun()
    files = repository.files | {file: b" " * (DEFAULT_LIMITS.tuf_targets_size_max + 1)}
    assert refused(far, files) in {"limit.exceeded", "trustroot.digest"}


BAD_ROLES = [
    "../x",
    "a/b",
    "x\0y",
    "%2e%2e%2fx",
    "..",
    ".",
    "2.root",
    "a\\b",
    "x" * 256,
]


@pytest.mark.parametrize("name", BAD_ROLES)
def test_a089_a_role_that_is_called_like_a_path(name: str) -> None:
    """CVE-2021-41131: role names were joined to folders. Here there is no folder."""
    repository, far = begun()
    repository.delegate(name, ["releases/*"], [plain_key("release")])
    assert refused(far, repository.publish().files) == "trustroot.format"


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "x\0y", "a//b", "%2e%2e/x", "a\\b"]
)
def test_a089_a_target_that_is_called_like_a_path(path: str) -> None:
    repository, far = begun()
    repository.target(path, b"x")
    assert refused(far, repository.publish().files) == "trustroot.format"


def test_a_newer_pin_is_where_the_chain_begins() -> None:
    """An operator, or a newer loader, pinned a root that this host has not followed to yet."""
    repository, far = begun()
    far.accept(repository.files)
    repository.rotate("root")
    far.pin = repository.new_root()
    assert far.accept(repository.publish().files).root_version == 3
    assert far.seen is not None
    assert set(far.seen.roots) == {1, 3}


@pytest.mark.parametrize("name", ["another repository's", "an older one that was never seen"])
def test_a_pin_that_is_not_of_the_chain_that_the_host_followed(name: str) -> None:
    repository, far = begun()
    first = far.pin
    far.pin = repository.new_root()
    far.accept(repository.publish().files)
    far.pin = first if name.startswith("an older") else TufRepository("other").roots[1]
    assert refused(far, repository.files) == "trustroot.mismatch"


def test_without_the_kept_root_the_chain_is_followed_from_the_pin() -> None:
    """Where a ledger could not be opened to its end, its floors are known and its files are not."""
    repository, far = begun()
    repository.rotate("root")
    far.accept(repository.publish().files)
    far.kept = {}
    assert far.judge(repository.files).root_version == 2
    files = repository.files
    del files["2.root.json"]
    assert refused(far, files) == "trustroot.rollback"


def test_a_key_of_a_kind_that_signs_nothing_here() -> None:
    """GnuPG keys are read by the library, and never count."""
    repository, far = begun()
    document = repository.root_document()
    for key in document["keys"].values():
        key |= {
            "keytype": "rsa",
            "scheme": "pgp+rsa-pkcsv1.5",
            "keyval": {"private": "", "public": {"e": "3", "n": "5"}},
        }
    repository.new_root(document=document)
    assert refused(far, repository.publish().files) in {"trustroot.signature", "trustroot.format"}
