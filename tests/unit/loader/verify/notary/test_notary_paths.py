"""Beginnings of names: what `startswith` says, without asking it a quarter of a billion times."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from loader.verify.notary.paths import Paths
from tests.fakes.notaryworld import Key, Repository
from tests.unit.loader.verify.notary.judged import GUN, judged

texts = st.text(alphabet="ab/é\U0001f600", max_size=6)


@given(st.lists(texts, max_size=12), texts)
def test_it_says_what_one_by_one_would(paths: list[str], name: str) -> None:
    assert Paths(paths).cover(name) == any(name.startswith(path) for path in paths)


def test_no_path_covers_nothing_and_the_empty_one_everything() -> None:
    assert not Paths([]).cover("")
    assert not Paths([]).cover("x")
    assert Paths(["", "a"]).cover("x")


def test_a088_a_thousand_paths_for_each_of_many_roles_cost_little() -> None:
    """One by one, 100 roles of 1,024 paths below 1,024 are a hundred million comparisons."""
    world = Repository(gun=GUN)
    world.delegate("targets/team", paths=tuple(f"a{number}/" for number in range(1024)))
    key = Key.bare("somebody")
    for role in range(100):
        paths = tuple(f"b{number}" for number in range(1023))
        world.delegate(f"targets/team/r{role}", key, paths=(*paths, "a7/x"), published=False)
    world.targets["targets/team"] = {}
    files = world.publish()
    began = time.process_time()
    trust = judged(files, world.root_ids)
    assert time.process_time() - began < 5
    assert len(trust.unpublished) == 100
