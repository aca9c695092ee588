"""Sigstore identities as keys of TUF roles (tuf-on-ci): exactly one, once, offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loader.trust.trusted_root import TrustedRoot
from loader.verify.keyless import SigstoreKeys
from tests.fakes.sigworld.identity import person, workflow
from tests.fakes.sigworld.world import World
from tests.fakes.tuf_repository import TufRepository, identity_key
from tests.unit.loader.trust.tuf_far import TARGET, Far, refused

WORLD = World()
MAINTAINER = person("maintainer@acme.example")
ONLINE = workflow("acme/tuf", file="online-sign.yml", ref="refs/heads/main")


def on_ci(**options: Any) -> TufRepository:  # noqa: ANN401
    person_key = identity_key(WORLD, MAINTAINER, **options)
    online = identity_key(WORLD, ONLINE)
    repository = TufRepository(
        keys={
            "root": [person_key],
            "targets": [person_key],
            "snapshot": [online],
            "timestamp": [online],
        }
    )
    repository.target(TARGET, b"{}")
    return repository.publish()


def keys(world: World = WORLD) -> SigstoreKeys:
    raw = json.dumps(world.trusted_root()).encode()
    return SigstoreKeys(trusted_root=TrustedRoot.parse(raw, name="acme"))


@pytest.mark.parametrize("sig", ["", "hex", "base64"])
@pytest.mark.parametrize("version", ["0.2", "0.3"])
def test_identities_sign_a_repository(sig: str, version: str) -> None:
    repository = on_ci(sig=sig, version=version)
    found = Far(pin=repository.roots[1]).judge(repository.files, keys=keys())
    assert found.target(TARGET) == b"{}"
    assert found.signed_at is not None


KEYLESS: dict[str, Callable[[], tuple[TufRepository, SigstoreKeys | None]]] = {
    "nothing to judge by": lambda: (on_ci(), None),
    "another instance": lambda: (on_ci(), keys(World("other"))),
    "no log": lambda: (on_ci(log="none"), keys()),
    "no time": lambda: (on_ci(log="v2", timestamp=False), keys()),
    "another `sig`": lambda: (on_ci(sig="0011"), keys()),
}


@pytest.mark.parametrize("case", KEYLESS)
def test_an_identitys_signature_that_does_not_count(case: str) -> None:
    repository, verifier = KEYLESS[case]()
    assert refused(Far(pin=repository.roots[1]), repository.files, keys=verifier) == (
        "trustroot.signature"
    )


@pytest.mark.parametrize(
    "other",
    [
        person("other@acme.example"),
        person("maintainer@acme.example", "https://accounts.google.com"),
        person("maintainer@acme.example.org"),
    ],
    ids=["another person", "another issuer", "a longer name"],
)
def test_an_identity_is_exactly_one(other: Any) -> None:  # noqa: ANN401
    repository = on_ci()
    honest = repository.keys["targets"][0]
    forged = replace(honest, sign=identity_key(WORLD, other).sign)
    repository.write("targets", by=[forged])
    repository.write("snapshot")
    repository.write("timestamp")
    far = Far(pin=repository.roots[1])
    assert refused(far, repository.files, keys=keys()) == "trustroot.signature"


def test_one_identity_under_two_key_ids_counts_once() -> None:
    repository = on_ci()
    one = repository.keys["targets"][0]
    repository.keys["targets"] = [one, replace(one, keyid="abcd")]
    repository.threshold["targets"] = 2
    repository.new_root()
    far = Far(pin=repository.roots[1])
    assert refused(far, repository.publish().files, keys=keys()) == "trustroot.signature"
