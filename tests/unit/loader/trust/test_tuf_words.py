"""What changes from one root to another, in words (OP-10)."""

from __future__ import annotations

import json
import re

import pytest

from loader.errors import TrustRootFormatError
from loader.trust.tuf_words import DelegatorWords, changes
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.world import World
from tests.fakes.tuf_repository import TufRepository, identity_key, plain_key
from tests.unit.loader.trust.tuf_fixtures import REAL


def said(old: bytes, new: bytes) -> tuple[str, ...]:
    return changes(DelegatorWords.parse(old, name="old"), DelegatorWords.parse(new, name="new"))


def test_op_10_keys_thresholds_and_identities() -> None:
    world = World()
    repository = TufRepository(
        keys={"root": [plain_key("a"), plain_key("b")], "targets": [plain_key("t")]}
    )
    old = repository.roots[1]
    repository.keys["root"] = [
        plain_key("b"),
        identity_key(world, person("new@acme.example")),
    ]
    repository.threshold["root"] = 2
    lines = said(old, repository.new_root())
    [gone] = [line for line in lines if line.startswith("-")]
    assert gone.startswith("- root: ecdsa-sha2-nistp256 ")
    assert lines[1:] == (
        "+ root: new@acme.example (https://github.com/login/oauth) @somebody",
        "! root: 2 signatures are enough, before 1",
    )


def test_op_10_a_key_under_another_id_is_the_same_key() -> None:
    repository = TufRepository()
    old = repository.roots[1]
    repository.keys["root"] = [plain_key("acme/root", keyid="abcd")]
    assert said(old, repository.new_root()) == ()


def warned(raw: bytes) -> list[str]:
    """Ids of keys that are not their hashes, as `trust show` and every other report says them."""
    words = DelegatorWords.parse(raw, name="root")
    lines = [f"  warning: {warning}" for warning in words.warnings()]
    assert [line for line in words.lines() if line.startswith("  warning: ")] == lines
    return [one for line in lines for one in re.findall("'[^']+'(?=[,;])", line)]


def test_a087_an_id_that_is_not_the_hash_of_its_key_is_said() -> None:
    repository = TufRepository()
    assert warned(repository.roots[1]) == []
    repository.keys["root"] = [plain_key("acme/root", keyid="abcd")]
    assert warned(repository.new_root()) == ["'abcd'"]


def test_a087_a_thousand_such_ids_are_one_line() -> None:
    """Whoever holds a root writes them, and the line goes into a record that nobody removes."""
    keys = [plain_key(f"acme/{number}", keyid=f"{number:04}") for number in range(40)]
    [line] = DelegatorWords.parse(
        TufRepository(keys={"root": keys}).new_root(), name="root"
    ).warnings()
    assert "'0000'" in line
    assert "and 36 more" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("root", "ids"),
    [
        ("sigstore-root-signing/metadata/root_history/10.root.json", []),
        ("sigstore-root-signing/metadata/root_history/11.root.json", ["'7247f0db"]),
        ("sigstore-root-signing/metadata/root_history/15.root.json", []),
        ("tuf-on-ci-sigstore/metadata/root_history/1.root.json", ["'abcd'"]),
        ("tuf-on-ci-sigstore/metadata/root_history/3.root.json", []),
    ],
)
def test_a087_ids_of_real_roots(root: str, ids: list[str]) -> None:
    assert [
        one[: len(said)] for one, said in zip(warned((REAL / root).read_bytes()), ids, strict=True)
    ] == ids


def test_op_10_delegations() -> None:
    repository = TufRepository()
    repository.delegate("release", ["releases/*"], [plain_key("r")])
    repository.delegate("gone", ["x/*"], [plain_key("r")])
    old = repository.publish().meta["targets"]
    repository.delegations["targets"][0]["paths"] = ["*/*"]
    repository.delegations["targets"][0]["terminating"] = True
    del repository.delegations["targets"][1], repository.targets["gone"]
    repository.delegate("added", ["y/*"], [plain_key("s")], threshold=1)
    lines = said(old, repository.publish().meta["targets"])
    assert lines[0] == "! release: speaks for */*, and nobody after it, before for releases/*"
    assert lines[1] == "- role gone: 1 of 1 for x/*"
    assert lines[2] == "+ role added: 1 of 1 for y/*"
    assert lines[3].startswith("+ added: ecdsa-sha2-nistp256 ")


@pytest.mark.engine("shared")
def test_op_10_sigstores_own_roots() -> None:
    folder = REAL / "sigstore-root-signing/metadata/root_history"
    lines = said(*((folder / f"{n}.root.json").read_bytes() for n in (9, 15)))
    assert "+ root: ecdsa-sha2-nistp256 b3413f6d4ecec928 @lance" in lines
    assert "- root: ecdsa-sha2-nistp256 5330d64c5e6be93d" in lines


def test_a_root_in_words() -> None:
    lines = tuple(DelegatorWords.parse(TufRepository().roots[1], name="r").lines())
    assert lines[0] == "root 1, until 2036-01-01T00:00:00Z"
    assert "  timestamp: 1 of 1" in lines


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_what_delegates_nothing(role: str) -> None:
    raw = TufRepository().publish().meta[role]
    with pytest.raises(TrustRootFormatError):
        DelegatorWords.parse(raw, name="x")


def test_two_kinds_are_not_compared() -> None:
    repository = TufRepository().publish()
    with pytest.raises(TrustRootFormatError, match="two kinds"):
        said(repository.roots[1], repository.meta["targets"])


def test_text_of_others_stays_text() -> None:
    """Whoever writes metadata writes these words, too: they are shown escaped by whoever prints."""
    document = json.loads(TufRepository().roots[1])
    for key in document["signed"]["keys"].values():
        key["x-tuf-on-ci-keyowner"] = ["not", "text"]
    words = DelegatorWords.parse(json.dumps(document).encode(), name="x")
    assert "not" not in "".join(words.lines())
