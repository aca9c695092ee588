"""How a log grew, shown by its own checkpoint and by consistency proofs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import (
    AirlockError,
    CheckpointError,
    ConsistencyError,
    JsonError,
    LimitError,
)
from loader.limits import Limits
from loader.model.growth import LogGrowth
from loader.trust.trusted_root import Log, TrustedRoot
from loader.trust.validity import Validity
from loader.verify.facts import LogTree
from loader.verify.growth import Growth, verify_growth
from tests.fakes.content import encode
from tests.fakes.sigworld import growth as fake
from tests.fakes.sigworld.encoding import b64
from tests.fakes.sigworld.world import World

WORLD = World()
WORLD.rekor1.grow(40)
WORLD.rekor2.grow(40)
LOGS = TrustedRoot.parse(encode(WORLD.trusted_root()), name="acme").logs
SIZES = (1, 2, 7, 8, 13, 31, 32)


def judged(document: Any, logs: tuple[Log, ...] = LOGS) -> Growth:  # noqa: ANN401
    raw = fake.written(document)
    return verify_growth(LogGrowth.parse(raw, where="growth"), logs).value


@pytest.mark.parametrize("name", ["rekor1", "rekor2"])
def test_a_log_continues_its_earlier_trees(name: str) -> None:
    log = getattr(WORLD, name)
    found = judged(fake.growth(log, SIZES))
    expected = {
        LogTree(log=log.log_id.hex(), origin=log.origin, size=size, root_hash=log.tree.head(size))
        for size in (*SIZES, log.tree.size)
    }
    assert found.continues == expected
    assert found.newest == max(expected)
    assert found.name == log.base_url


def test_the_newest_tree_alone() -> None:
    assert len(judged(fake.growth(WORLD.rekor1, ())).continues) == 1
    same = fake.growth(WORLD.rekor1, (WORLD.rekor1.tree.size,))
    assert same["trees"][0]["hashes"] == []
    assert len(judged(same).continues) == 1


def test_a_key_shows_nothing_before_its_window_begins() -> None:
    """A checkpoint has no time: what is known is that the world is at least this old."""
    raw = fake.written(fake.growth(WORLD.rekor1, SIZES))
    growth = LogGrowth.parse(raw, where="growth")
    begins = next(log.valid_for.start for log in LOGS if log.log_id == growth.log_id)
    assert begins is not None
    at_once = verify_growth(growth, LOGS, at=begins)
    assert at_once.value == verify_growth(growth, LOGS).value, "nothing dates the evidence"
    with pytest.raises(CheckpointError, match="trusts yet"):
        verify_growth(growth, LOGS, at=begins - timedelta(seconds=1))
    later = replace(LOGS[0], valid_for=Validity(start=begins, end=begins + timedelta(days=1)))
    assert later.log_id == growth.log_id
    closed = verify_growth(growth, [later], at=begins + timedelta(days=900))
    assert closed.value == at_once.value, "a closed log's last tree is asked for long after"


def _flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


Change = Callable[[Any], None]
CHANGES: dict[str, tuple[Change, type[AirlockError]]] = {
    "another root of an earlier tree": (
        lambda d: d["trees"][2].update(rootHash=_flip(d["trees"][2]["rootHash"])),
        ConsistencyError,
    ),
    "another node of a path": (
        lambda d: d["trees"][2]["hashes"].__setitem__(0, _flip(d["trees"][2]["hashes"][0])),
        ConsistencyError,
    ),
    "a path that ends early": (lambda d: d["trees"][2]["hashes"].pop(), ConsistencyError),
    "a path that goes on": (
        lambda d: d["trees"][2]["hashes"].append(b64(bytes(32))),
        ConsistencyError,
    ),
    "an earlier tree of another size": (
        lambda d: d["trees"][2].update(size="6"),
        ConsistencyError,
    ),
    "a tree that is larger than the newest": (
        lambda d: d["trees"][2].update(size="999"),
        ConsistencyError,
    ),
    "the same size with another root": (
        lambda d: d["trees"].append(
            {"size": str(WORLD.rekor1.tree.size), "rootHash": b64(bytes(32)), "hashes": []}
        ),
        ConsistencyError,
    ),
    "no path": (lambda d: d["trees"][2].update(hashes=[]), ConsistencyError),
    "a checkpoint of another log's key": (
        lambda d: d.update(checkpoint=WORLD.rekor1.checkpoint(signer=WORLD.managed("somebody"))),
        CheckpointError,
    ),
    "a checkpoint with another root": (
        lambda d: d.update(
            checkpoint=d["checkpoint"].replace(b64(WORLD.rekor1.tree.head()), b64(bytes(32)), 1)
        ),
        CheckpointError,
    ),
    "another log's id": (
        lambda d: d.update(logId=WORLD.rekor2.log_id.hex()),
        CheckpointError,
    ),
    "a log that nobody pinned": (lambda d: d.update(logId="00" * 32), CheckpointError),
    "a tree without leaves": (lambda d: d["trees"][2].update(size="0"), JsonError),
    "a size that is none": (lambda d: d["trees"][2].update(size="-7"), JsonError),
    "an unknown field": (lambda d: d.update(more=1), JsonError),
    "an unknown field of a tree": (lambda d: d["trees"][0].update(more=1), JsonError),
    "another schema": (lambda d: d.update(schema=2), JsonError),
    "half an id": (lambda d: d.update(logId="00" * 16), JsonError),
    "a hash of another length": (
        lambda d: d["trees"][2]["hashes"].__setitem__(0, b64(bytes(31))),
        JsonError,
    ),
    "no checkpoint": (lambda d: d.update(checkpoint=""), JsonError),
    "more trees than are taken": (
        lambda d: d.update(trees=d["trees"][:1] * 1025),
        AirlockError,
    ),
    "more nodes than a path can have": (
        lambda d: d["trees"][2].update(hashes=[b64(bytes(32))] * 129),
        AirlockError,
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_does_not_show_it(case: str) -> None:
    change, kind = CHANGES[case]
    document = fake.growth(WORLD.rekor1, SIZES)
    judged(document)
    change(document)
    with pytest.raises(kind):
        judged(document)


def test_a_forked_log_cannot_show_it() -> None:
    """It signs its own tree, and no path leads there from one that is not its own."""
    honest, forked = WORLD.rekor1, WORLD.rekor1.fork(10)
    forked.grow(50)
    document = fake.growth(forked, (5, 10))
    judged(document)
    document["trees"].append(
        {**fake.earlier(forked, 12, forked.tree.size), "rootHash": b64(honest.tree.head(12))}
    )
    with pytest.raises(ConsistencyError):
        judged(document)


def test_it_is_canonical_and_not_large() -> None:
    raw = fake.written(fake.growth(WORLD.rekor1, SIZES))
    with pytest.raises(JsonError):
        LogGrowth.parse(raw.replace(b'{"checkpoint"', b'{ "checkpoint"'), where="growth")
    with pytest.raises(LimitError):
        LogGrowth.parse(raw, where="growth", limits=Limits(log_growth_size_max=len(raw) - 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(AirlockError):
        LogGrowth.parse(raw, where="growth")
