"""policies/docker-content-trust.toml, as it is, on a repository of its shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import AirlockError
from loader.judge import judge, judge_statement
from loader.policy.model import Policy
from loader.trust.freshness import Reckoned
from loader.trust.store import TrustStore
from tests.fakes.notaryworld import AT, Repository
from tests.presence import ROOT
from tests.unit.loader.policy.judging import CREATED, Blobs, entry_of, statement_of, write
from tests.unit.loader.policy.test_content_trust import Trusted

PATH = ROOT / "policies/docker-content-trust.toml"
NAME = "docker.io/acme/nut"


def judged(tmp_path: Path, pinned: Repository | None = None) -> TrustStore:
    scene = Trusted(folder=tmp_path)
    scene.notary = world = Repository(gun=NAME)
    world.delegate("targets/releases")
    world.delegate("targets/sudo-bot")
    for role in ("targets/releases", "targets/sudo-bot"):
        world.tag("latest", scene.top, role=role)
    world.publish()
    pins = {"trust_pinning": {"certs": {"docker.io/acme/*": (pinned or world).root_ids}}}
    write(tmp_path, {"anchors/hub/notary-root.json": json.dumps(pins).encode()})
    policy = Policy.parse(PATH.read_bytes(), where=PATH.name)
    store = TrustStore.open(policy, policy_directory=tmp_path, builtin=tmp_path / "nowhere")
    statement = statement_of(
        entry_of(scene.image, f"{NAME}:latest"),
        blobs=Blobs(scene.store),
        trust=(scene.carried(gun=NAME),),
    )
    claims = judge_statement(statement, (), policy=policy, trust=store, now=CREATED)
    found = judge(
        statement, claims, Blobs(scene.store), policy=policy, trust=store, now=CREATED
    ).value
    assert found.images[0].name.how == "content-trust"
    (age,) = found.renewal.trust.ages(policy.anchor_rules, Reckoned(clock=AT))
    assert (age.holds, age.max_staleness) == ("fresh", policy.anchor_rules[0].max_staleness)
    return store


def test_what_its_own_signers_signed_is_taken(tmp_path: Path) -> None:
    assert judged(tmp_path)


def test_another_root_key_is_not(tmp_path: Path) -> None:
    with pytest.raises(AirlockError) as caught:
        judged(tmp_path, Repository(gun=NAME, name="other"))
    assert caught.value.code == "trustroot.notary"
