"""python-tuf's published attacks on everything below the root, against carried metadata.

THREATS T30 (old), T32 (fast forward), T33 (freeze), T34 (mix and match), and delegations.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.sigworld.encoding import hex_digest
from tests.fakes.tuf_repository import TufRepository, plain_key
from tests.unit.loader.trust.tuf_far import ALL_FILES, TARGET, Far, begun, refused


def test_t30_an_older_repository_than_the_host_has_seen() -> None:
    repository, far = begun()
    old = repository.files
    far.accept(repository.publish().files)
    assert refused(far, old) == "trustroot.rollback"
    assert Far(pin=far.pin).judge(old).root_version == 1, "a new host cannot know"


def test_t30_a_new_timestamp_with_an_older_snapshot() -> None:
    repository, far = begun()
    old = repository.copy()
    far.accept(repository.publish().publish().files)
    old.versions["timestamp"] = 9
    old.write("timestamp")
    assert refused(far, old.files) == "trustroot.rollback"


def test_t30_a_new_snapshot_with_older_targets() -> None:
    repository, far = begun()
    old = repository.meta["targets"]
    far.accept(repository.publish().files)
    repository.meta["targets"], repository.versions["targets"] = old, 1
    repository.write("snapshot")
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.rollback"


def test_t30_a_snapshot_that_forgets_a_role() -> None:
    repository, far = begun()
    repository.delegate("release", ["releases/*"], [plain_key("release")])
    far.accept(repository.publish().files)
    del repository.targets["release"]
    del repository.delegations["targets"]
    assert refused(far, repository.publish().files) == "trustroot.rollback"


def test_t33_the_same_again_is_no_rollback() -> None:
    """A freeze cannot be told by versions: what expired is said, and is for the policy."""
    repository, far = begun()
    far.accept(repository.files)
    assert far.accept(repository.files).root_version == 1


@pytest.mark.parametrize("file", ["snapshot.json", "targets.json"])
@pytest.mark.parametrize("hashed", [False, True])
def test_t34_mix_and_match(file: str, hashed: bool) -> None:  # noqa: FBT001
    repository, far = begun()
    repository.hashed = hashed
    files = repository.publish().files
    old = files[file]
    files = repository.publish().files
    expected = "trustroot.digest" if hashed else "trustroot.version"
    assert refused(far, files | {file: old}) == expected


def test_t34_one_file_of_the_same_version_changed() -> None:
    repository, far = begun()
    files = repository.files
    document = json.loads(files["targets.json"])
    document["signed"]["targets"][TARGET]["length"] = 3
    files["targets.json"] = json.dumps(document).encode()
    assert refused(far, files) == "trustroot.signature"


@pytest.mark.parametrize("file", ALL_FILES)
def test_t34_a_part_is_missing(file: str) -> None:
    repository, far = begun()
    files = repository.files
    del files[file]
    assert refused(far, files) == "trustroot.incomplete"


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a092_fast_forward_and_recovery_by_rotation(role: str) -> None:
    """T32: a stolen key says version 2**63-1; once the root takes it away, versions begin anew."""
    repository, far = begun()
    stolen = repository.copy()
    stolen.versions[role] = 2**63 - 2
    stolen.write(role)
    if role == "snapshot":
        stolen.write("timestamp")
    far.accept(stolen.files)
    repository.publish()
    assert refused(far, repository.files) == "trustroot.rollback"
    repository.rotate(role)
    found = far.accept(repository.publish().files)
    assert found.root_version == 2
    assert found.roles[role].version < 10


def test_a092_a_rotation_that_keeps_the_keys_keeps_the_floor() -> None:
    repository, far = begun()
    repository.publish()
    far.accept(repository.files)
    repository.keys["timestamp"].append(plain_key("a second one"))
    repository.new_root()
    repository.versions["timestamp"] = 0
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.rollback"


# --- delegations ----------------------------------------------------------------------------------


def delegated(**options: Any) -> tuple[TufRepository, Far]:  # noqa: ANN401
    repository = TufRepository()
    repository.delegate("release", ["releases/*"], [plain_key("release")], **options)
    repository.target(TARGET, b"{}", role="release")
    return repository.publish(), Far(pin=repository.roots[1])


def test_a_delegated_target() -> None:
    repository, far = delegated()
    assert far.judge(repository.files).target(TARGET) == b"{}"


def test_a_target_outside_of_what_was_delegated() -> None:
    repository, far = delegated()
    repository.target("other/1.0.json", b"x", role="release")
    assert far.judge(repository.publish().files).target("other/1.0.json") is None
    repository.target("releases/deep/1.json", b"x", role="release")
    found = far.judge(repository.publish().files)
    assert found.target("releases/deep/1.json") is None, "a star does not cross folders"


def test_a_role_signed_by_another_roles_key() -> None:
    repository, far = delegated()
    repository.keys["release"] = [plain_key("acme/targets")]
    repository.write("release")
    repository.write("snapshot")
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.signature"


@pytest.mark.parametrize("pinned", [1, 2, 3])
def test_op_11_the_whole_replay_of_a_repository_of_sigstores_shape(pinned: int) -> None:
    """Roots and targets by three of five people, one key online, a role of npm's that delegates."""
    people = [plain_key(f"person {number}") for number in range(7)]
    online = [plain_key("online")]
    repository = TufRepository(
        keys={"root": people[:5], "targets": people[:5], "timestamp": online, "snapshot": online}
    )
    repository.hashed = True
    repository.threshold |= {"root": 3, "targets": 3}
    repository.new_root()
    for first in (1, 2):  # somebody leaves, somebody comes
        repository.keys["root"] = repository.keys["targets"] = people[first : first + 5]
        repository.new_root()
    npm = "registry.npmjs.org"
    repository.delegate(npm, [f"{npm}/*"], people[2:7], threshold=3, terminating=True)
    for path in ("trusted_root.json", "signing_config.v0.2.json", "rekor.pub"):
        repository.target(path, path.encode())
    repository.target(f"{npm}/keys.json", b"keys", role=npm)
    found = Far(pin=repository.roots[pinned + 1]).judge(repository.publish().files)
    assert found.root_version == 4
    assert found.target("trusted_root.json") == b"trusted_root.json"
    assert found.target(f"{npm}/keys.json") == b"keys"
    assert found.target(f"{npm}/none.json") is None
    assert [len(found.roles[role].signers.fingerprints) for role in ("targets", npm)] == [5, 5]


@pytest.mark.parametrize("terminating", [True, False])
def test_a_terminating_delegation_ends_the_search(terminating: bool) -> None:  # noqa: FBT001
    repository = TufRepository()
    repository.delegate("first", ["releases/*"], [plain_key("first")], terminating=terminating)
    repository.delegate("second", ["releases/*"], [plain_key("second")])
    repository.target(TARGET, b"second's", role="second")
    found = Far(pin=repository.roots[1]).judge(repository.publish().files).target(TARGET)
    assert found == (None if terminating else b"second's")


def test_the_first_role_that_lists_a_target_decides() -> None:
    repository = TufRepository()
    for role in ("first", "second"):
        repository.delegate(role, ["releases/*"], [plain_key(role)])
        repository.target(TARGET, role.encode(), role=role)
    repository.delegate("below", ["releases/*"], [plain_key("below")], by="first")
    repository.target(TARGET, b"below", role="below")
    files = repository.publish().files | {f"targets/{TARGET}": b"first"}
    assert Far(pin=repository.roots[1]).judge(files).target(TARGET) == b"first"


def test_roles_that_delegate_to_each_other_end() -> None:
    repository = TufRepository()
    repository.delegate("a", ["releases/*"], [plain_key("a")])
    repository.delegate("b", ["releases/*"], [plain_key("b")], by="a")
    repository.delegations["b"] = [{"name": "a", "paths": ["releases/*"], "terminating": False}]
    assert Far(pin=repository.roots[1]).judge(repository.publish().files).target(TARGET) is None


def test_too_many_roles_for_one_target() -> None:
    repository = TufRepository()
    for number in range(40):
        repository.delegate(f"r{number}", ["releases/*"], [plain_key("r")])
    far = Far(pin=repository.roots[1])
    assert refused(far, repository.publish().files) == "limit.exceeded"


def test_a_role_that_the_snapshot_does_not_list() -> None:
    repository, far = delegated()
    document = repository.snapshot_document()
    del document["meta"]["release.json"]
    repository.write("snapshot", document)
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.incomplete"


@pytest.mark.parametrize("hashes", [{"md5": "0" * 32}, {"sha256": "0" * 64}, {"shake_128": "00"}])
def test_a_target_with_another_hash(hashes: dict[str, str]) -> None:
    repository, far = begun()
    document = repository.targets_document("targets")
    document["targets"][TARGET]["hashes"] = hashes
    repository.write("targets", document)
    repository.write("snapshot")
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.digest"


def test_a_target_whose_hash_is_weak() -> None:
    """The right MD5 is not enough: somebody can find a second file for it."""
    repository, far = begun()
    document = repository.targets_document("targets")
    document["targets"][TARGET]["hashes"] = {"md5": hex_digest(b"{}", "md5")}
    repository.write("targets", document)
    repository.write("snapshot")
    repository.write("timestamp")
    assert refused(far, repository.files) == "trustroot.digest"
