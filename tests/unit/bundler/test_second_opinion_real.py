"""sigstore-python as an oracle: on whatever real tools made and we accept, it never disagrees."""

from __future__ import annotations

import tarfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bundler.second_opinion import SecondOpinion, second_opinion
from bundler.store import ContentStore
from loader.judge import judge, judge_statement
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests.fakes.images import Image
from tests.unit.loader.policy.judging import NAME, Blobs, entry_of, statement_of, write
from tests.unit.loader.test_judge_fixtures import (
    FIXTURES,
    Fixture,
    _listed,
    policy_of,
    read_store,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LEAST_AGREED = 20
"""So that a list which came to excuse everything would be noticed."""
pytestmark = pytest.mark.usefixtures("shared_dir")


def opinion_on(fixture: Fixture, folder: Path) -> SecondOpinion:
    layout = folder / "layout"
    with tarfile.open(FIXTURES / fixture["layout"]) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                write(layout, {member.name: file.read()})
    found = read_store(layout)
    policy = Policy.parse(policy_of(fixture).encode(), where=fixture["id"])
    trust = TrustStore.open(policy, policy_directory=FIXTURES)
    image = Image(store=found, descriptor=found.describe(fixture["image"]["digest"]))
    blobs = Blobs(found)
    statement = statement_of(entry_of(image, f"{NAME}:{fixture['image']['tag']}"), blobs=blobs)
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=NOW)
    judgement = judge(statement, claims, blobs, policy=policy, trust=trust, now=NOW).value
    store = ContentStore(folder / "store")
    for digest in found.blobs:
        store.put(found.read(digest))
    for anchor in trust.anchors:
        store.put(Path(anchor.origin).read_bytes())
    return second_opinion(judgement, store, trust)


def test_it_disagrees_with_no_fixture_that_passes(tmp_path: Path) -> None:
    agreed, silent = 0, Counter[str]()
    for fixture in _listed():
        if fixture["expect"] == "pass":
            opinion = opinion_on(fixture, tmp_path / fixture["id"])
            agreed += opinion.agreed
            silent.update(opinion.silent)
    assert agreed >= LEAST_AGREED, silent
