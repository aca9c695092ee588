"""The host as its own witness: one history of each log, from bundle to bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import LogForkError, UnwitnessedError
from loader.policy.facts import LogSighting
from loader.state.log_memory import Standing, compare, remember
from loader.trust.memory import Seen, TrustKey, covers
from loader.verify.facts import LogTree
from loader.verify.growth import Growth

LOG, NAME, ORIGIN = "c0" * 32, "https://rekor.example", "rekor.example - 1"
Memory = dict[TrustKey, Seen]


def tree(size: int, branch: str = "", *, origin: str = ORIGIN) -> LogTree:
    root_hash = hashlib.sha256(f"{size}{branch}".encode()).digest()
    return LogTree(log=LOG, origin=origin, size=size, root_hash=root_hash)


def growth(*trees: LogTree) -> Growth:
    return Growth(name=NAME, newest=max(trees), continues=frozenset(trees))


def come(
    *trees: LogTree | None,
    proofs: Sequence[Growth] = (),
    memory: Memory | None = None,
    channel: str | None = "stable",
    required: bool = False,
    others: Sequence[LogTree] = (),
) -> tuple[Standing, ...]:
    counting = [LogSighting(log=LOG, name=NAME, tree=one) for one in trees]
    return compare(
        [*counting, *(LogSighting(log=LOG, name=NAME, tree=one) for one in others)],
        counting,
        proofs,
        memory or {},
        channel=channel,
        required={LOG} if required else (),
    )


def after(standings: Sequence[Standing], memory: Memory | None = None) -> Memory:
    return {**(memory or {}), **remember(standings, channel="stable")}


TEN = after(come(tree(10)))


def test_the_first_bundle_is_remembered() -> None:
    [one] = come(tree(10))
    assert (one.holds, one.problem) == ("first", None)
    assert "first time, 10 leaves" in one.words
    [(kind, name)] = TEN
    assert (kind, name) == ("log", f"{LOG}:stable:{ORIGIN}")


def test_a_proof_from_the_remembered_tree_is_a_witness() -> None:
    [one] = come(tree(15), proofs=[growth(tree(10), tree(15), tree(20))], memory=TEN, required=True)
    assert (one.holds, one.problem) == ("witnessed", None)
    assert one.words == "witnessed, 20 leaves: it grew from 10"
    assert after([one], TEN) == after(come(tree(20)))


def test_the_same_tree_again_is_one() -> None:
    [one] = come(tree(10), memory=TEN, required=True)
    assert (one.holds, one.keep) == ("witnessed", None)


@pytest.mark.parametrize(
    ("trees", "proofs", "why"),
    [
        ((tree(20),), [], "that this host remembers"),
        ((tree(20),), [growth(tree(15), tree(20))], "that this host remembers"),
        ((tree(20), tree(7)), [growth(tree(10), tree(20))], "no proof for 1 of the trees"),
        ((tree(5),), [growth(tree(5))], "that this host remembers"),
        ((tree(5),), [growth(tree(5), tree(8))], "that this host remembers"),
        ((None,), [], "a promise is of no tree"),
        ((tree(20), None), [growth(tree(10), tree(20))], "a promise is of no tree"),
    ],
    ids=["no proof", "from another tree", "evidence apart", "an older tree", "older proofs",
         "a promise alone", "a promise beside"],
)  # fmt: skip
def test_what_is_not_witnessed(
    trees: tuple[LogTree | None, ...], proofs: list[Growth], why: str
) -> None:
    """It is said; where policy wants a witness it is refused, and the memory never moves."""
    standings = come(*trees, proofs=proofs, memory=TEN)
    said = [one for one in standings if one.holds == "unwitnessed"]
    assert [why in one.why for one in said] == [True]
    assert all(one.problem is None for one in standings)
    if said[0].origin and tree(10) not in {t for g in proofs for t in g.continues}:
        assert after(standings, TEN) == TEN
    [refused] = [
        one.problem
        for one in come(*trees, proofs=proofs, memory=TEN, required=True)
        if one.problem is not None
    ]
    assert isinstance(refused, UnwitnessedError)
    assert (refused.exit_status, why in refused.found) == (14, True)


@pytest.mark.parametrize(
    ("trees", "proofs", "others"),
    [
        ((tree(10, "fork"),), [], ()),
        ((tree(20),), [growth(tree(10, "fork"), tree(20))], ()),
        ((tree(20),), [growth(tree(10), tree(20, "fork"))], ()),
        ((tree(20), tree(20, "fork")), [], ()),
        ((tree(20),), [], (tree(20, "fork"),)),
        ((), [growth(tree(20)), growth(tree(20, "fork"))], ()),
    ],
    ids=["evidence", "a proof", "evidence beside a proof", "two pieces of evidence",
         "evidence that does not count", "two checkpoints"],
)  # fmt: skip
def test_two_histories_are_refused(
    trees: tuple[LogTree, ...], proofs: list[Growth], others: tuple[LogTree, ...]
) -> None:
    with pytest.raises(LogForkError) as fork:
        come(*trees, proofs=proofs, memory=TEN, others=others)
    assert fork.value.exit_status == 11
    assert "leaves" in fork.value.where


def test_what_another_channel_saw_is_compared_as_well() -> None:
    """It is no link, as its packer keeps other heads; but it may show a fork."""
    [one] = come(tree(20), memory=TEN, channel="other")
    assert one.holds == "first"
    with pytest.raises(LogForkError):
        come(tree(10, "fork"), memory=TEN, channel="other")
    with pytest.raises(LogForkError):
        come(tree(10, "fork"), memory=TEN, channel=None)


@pytest.mark.parametrize("required", [True, False])
def test_another_tree_under_the_same_key_is_another_log(required: bool) -> None:  # noqa: FBT001
    """Rekor v1 begins one with each shard, and so can whoever stole its key: it is said."""
    [one] = come(tree(10, "other", origin="rekor.example - 2"), memory=TEN, required=required)
    assert (one.holds, one.beside, one.problem) == ("first", 1, None)
    assert one.words == "seen for the first time, 10 leaves, beside 1 other tree of the same key"
    [again] = come(tree(10), memory=TEN)
    assert again.beside == 0
    [elsewhere] = come(tree(20), memory=TEN, channel="other")
    assert (elsewhere.holds, elsewhere.beside) == ("first", 0), "the same tree, in another channel"


def test_two_trees_that_continue_a_third_may_have_parted() -> None:
    """A fork behind a common beginning: neither proof may speak for the other's tree."""
    left = growth(tree(5), tree(10), tree(30))
    right = growth(tree(5), tree(20, "fork"))
    [one] = come(tree(30), tree(20, "fork"), proofs=[left, right], memory=TEN, required=True)
    assert one.holds == "unwitnessed"
    chained = growth(tree(5), tree(10))
    [one] = come(tree(5), proofs=[growth(tree(10), tree(30)), chained], memory=TEN, required=True)
    assert one.holds == "witnessed"


def test_several_trees_at_first_need_a_proof_too() -> None:
    [one] = come(tree(10), tree(20), required=True)
    assert one.holds == "unwitnessed"
    [one] = come(tree(10), tree(20), proofs=[growth(tree(10), tree(20))], required=True)
    assert (one.holds, one.keep) == ("first", tree(20))


def test_a_reason_moves_the_memory_and_never_back() -> None:
    [one] = come(tree(20), memory=TEN, required=True)
    assert after([one], TEN) == after(come(tree(20)))
    [one] = come(tree(5), memory=TEN, required=True)
    assert after([one], TEN) == TEN


sizes = st.integers(1, 9)
stories = st.lists(
    st.tuples(st.sets(sizes, max_size=3), st.sets(sizes, max_size=4), st.booleans()), max_size=8
)


@settings(deadline=None)
@given(stories)
def test_the_memory_never_shrinks(story: list[tuple[set[int], set[int], bool]]) -> None:
    memory: Memory = {}
    for trees, proven, required in story:
        proofs = [growth(*map(tree, proven))] if proven else []
        standings = come(*map(tree, trees), proofs=proofs, memory=memory, required=required)
        now = after(standings, memory)
        assert all(covers(now[key], seen) for key, seen in memory.items())
        memory = now
