"""Proofs for promises: what an honest log completes, and what a log that lies does not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bundler.registry.settings import RegistrySettings
from bundler.rekor.address import parse_base
from bundler.rekor.client import ANSWER_SIZE_MAX, RekorClient
from bundler.rekor.prove import Proven, prove
from bundler.store import ContentStore
from loader.errors import UsageError
from loader.model.bundle import ImageEntry
from loader.model.supplement import Supplement
from loader.trust.store import TrustStore
from tests.fakes import attach
from tests.fakes.images import hello_index
from tests.fakes.rekor_server import FakeRekor, answer
from tests.fakes.sigworld.encoding import Json, b64
from tests.fakes.sigworld.rekor import Entry
from tests.fakes.sigworld.signed import SignedMessage
from tests.fakes.sigworld.world import World
from tests.unit.bundler.registry.connect import QUICK
from tests.unit.loader.policy.judging import NAME, entry_of
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, Scene, encoded

ROOTED = AS_PACKED + KEY + 'trusted-root = "acme"\n'


@dataclass
class Stage:
    """One image with one legacy signature, collected; and a policy that names the log's root."""

    scene: Scene
    signed: SignedMessage
    store: ContentStore
    slept: list[float]

    @property
    def trust(self) -> TrustStore:
        return self.scene.trust(self.scene.policy(ROOTED))

    @property
    def image(self) -> ImageEntry:
        for digest in self.scene.store.blobs:
            self.store.put(self.scene.store.read(digest))
        return entry_of(self.scene.image)

    @contextlib.contextmanager
    def client(self, *hosts: str) -> Iterator[RekorClient]:
        settings = RegistrySettings(
            plain_http=frozenset(hosts), certificate_folders=(), timing=QUICK
        )
        client = RekorClient(settings, sleep=self.slept.append)
        try:
            yield client
        finally:
            client.close()

    def prove(self, log: FakeRekor, *images: ImageEntry, trust: TrustStore | None = None) -> Proven:
        with self.client(log.host) as client:
            return prove(
                images or (self.image,),
                self.store,
                trust or self.trust,
                client,
                base=log.url,
                parallel_count=2,
            )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    scene = Scene(tmp_path)
    signed = scene.world.sign_image_legacy(scene.image.digest, scene.release, log="v1")
    attach.attach_tag(scene.image, [signed.layer()])
    scene.world.rekor1.grow(9)
    return Stage(scene, signed, ContentStore(tmp_path / "store"), [])


# --- an honest log --------------------------------------------------------------------------------


def test_a_promise_gets_its_proof(stage: Stage) -> None:
    before = stage.image
    with FakeRekor(stage.scene.world.rekor1) as log:
        proven = stage.prove(log, before)
    assert log.asked == [stage.signed.entries[0].log_index]
    assert (proven.proof_count, proven.promise_count, proven.notes) == (1, 1, ())
    [image] = proven.images
    assert image.evidence[:-1] == before.evidence, "the evidence stays as it is"
    item = image.evidence[-1]
    assert item.store == "supplement"
    raw = stage.store.read(item.manifest, where="test", size_max=1 << 20)
    supplement = Supplement.parse(raw, where="test")
    assert supplement.subject == item.subject
    assert supplement.proof.tree_size == stage.scene.world.rekor1.tree.size


def test_the_far_side_counts_it(stage: Stage) -> None:
    with FakeRekor(stage.scene.world.rekor1) as log:
        [image] = stage.prove(log).images
    stage.scene.store.add(
        stage.store.read(image.evidence[-1].manifest, where="test", size_max=1 << 20), "text/plain"
    )
    policy = ROOTED + 'log = "proof"\n'
    assert stage.scene.refused(policy).code == "policy.condition"
    assert stage.scene.run(policy, image).images[0].claims[0].holds == "met"


def test_old_bundles_and_attestations_get_theirs_and_new_ones_need_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    world, image = scene.world, scene.image
    first = world.sign_image(image.digest, world.keyless())
    attach.attach_bundle(image, encoded(first.bundle("0.1", proof=False)))
    second = world.sign_image(image.digest, world.keyless())
    attach.attach_tag(image, [second.layer()], "att")
    third = world.sign_image(image.digest, world.keyless())
    attach.attach_bundle(image, encoded(third.bundle("0.3")))
    fourth = world.sign_image(image.digest, world.keyless(), log="v2")
    attach.attach_bundle(image, encoded(fourth.bundle("0.3")))
    stage = Stage(scene, first, ContentStore(tmp_path / "store"), [])  # type: ignore[arg-type]
    with FakeRekor(world.rekor1) as log:
        proven = stage.prove(log, trust=scene.trust(scene.policy(AS_PACKED + KEYLESS)))
    assert sorted(log.asked) == sorted(one.entries[0].log_index for one in (first, second))
    assert proven.proof_count == 2


def test_one_entry_is_asked_for_once_whatever_names_its_image_has(stage: Stage) -> None:
    image = stage.image
    other = entry_of(stage.scene.image, f"{NAME}:latest")
    with FakeRekor(stage.scene.world.rekor1) as log:
        proven = stage.prove(log, image, other)
    assert len(log.asked) == 1
    assert proven.images[0].evidence == proven.images[1].evidence


def test_a_promise_that_does_not_hold_is_not_asked_about(stage: Stage) -> None:
    layer = stage.signed.layer()
    name = "dev.sigstore.cosign/bundle"
    said = json.loads(layer.annotations[name])
    said["Payload"]["logIndex"] += 1
    layer.annotations[name] = json.dumps(said)
    attach.attach_tag(stage.scene.image, [layer])
    with FakeRekor(stage.scene.world.rekor1) as log:
        proven = stage.prove(log)
    assert (log.asked, proven.promise_count) == ([], 0)


def test_a_log_that_no_root_names_is_not_asked(stage: Stage) -> None:
    trust = stage.scene.trust(stage.scene.policy(AS_PACKED + KEY))
    with FakeRekor(stage.scene.world.rekor1) as log:
        assert stage.prove(log, trust=trust).images == (stage.image,)
    assert log.asked == []


def test_a_log_that_is_busy_at_first_is_asked_again(stage: Stage) -> None:
    with FakeRekor(stage.scene.world.rekor1, statuses=[503]) as log:
        assert stage.prove(log).proof_count == 1
    assert len(log.asked) == 2
    assert len(stage.slept) == 1


def test_a_log_learns_what_is_asked_and_no_more(stage: Stage) -> None:
    with FakeRekor(stage.scene.world.rekor1, statuses=[503, 503]) as log:
        assert stage.prove(log).proof_count == 0
        log.status = 200
        assert stage.prove(log).proof_count == 1
        with stage.client(log.host) as client:
            for _ in range(2):
                client.entry(log.url, stage.signed.entries[0].log_index)
    assert len(log.told) == 5
    for headers in log.told:
        assert set(headers) <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert headers["user-agent"] == "airlock"


def test_the_address_is_the_trusted_roots(stage: Stage) -> None:
    """Without another one, the log's own base URL is asked: here nothing can be there."""
    with stage.client() as client:
        proven = prove(
            (stage.image,), stage.store, stage.trust, client, base=None, parallel_count=1
        )
    [note] = proven.notes
    assert note.startswith("https://rekor1.acme.example: a promise stays without proof: remote.")


# --- a log that lies, or does not answer ----------------------------------------------------------


def _entry(**changes: Any) -> Callable[[Json, Entry], Json]:  # noqa: ANN401
    def lie(said: Json, _: Entry) -> Json:
        return {name: {**value, **changes} for name, value in said.items()}

    return lie


def _proof(**changes: Any) -> Callable[[Json, Entry], Json]:  # noqa: ANN401
    def lie(said: Json, _: Entry) -> Json:
        for value in said.values():
            value["verification"]["inclusionProof"] |= changes
        return said

    return lie


def _another(said: Json, entry: Entry) -> Json:
    """The honest answer about another entry."""
    del said
    return answer(replace(entry, leaf_index=2, log_index=2, body=b'{"filler":2}'))


def _fork(said: Json, entry: Entry) -> Json:
    fork = entry.log.fork(3)
    fork.grow(12)
    [value] = said.values()
    proof = value["verification"]["inclusionProof"]
    size = proof["treeSize"]
    proof["checkpoint"] = fork.checkpoint(size)
    proof["rootHash"] = fork.tree.head(size).hex()
    proof["hashes"] = [node.hex() for node in fork.tree.inclusion(entry.leaf_index, size)]
    return said


def _forged(said: Json, entry: Entry) -> Json:
    stranger = World("eve").managed("stranger")
    [value] = said.values()
    value["verification"]["inclusionProof"]["checkpoint"] = entry.log.checkpoint(signer=stranger)
    return said


LIES: dict[str, Callable[[Json, Entry], Json | bytes]] = {
    "another entry": _another,
    "another body": _entry(body=b64(b'{"another":"body"}')),
    "another index": _entry(logIndex=7),
    "another time": _entry(integratedTime=1),
    "another log": _entry(logID="00" * 32),
    "another leaf": _proof(logIndex=3),
    "another size": _proof(treeSize=12),
    "another root": _proof(rootHash="07" * 32),
    "another path": _proof(hashes=["08" * 32]),
    "no path": _proof(hashes=[]),
    "another history, signed": _fork,
    "a checkpoint by another key": _forged,
    "a checkpoint that is none": _proof(checkpoint="hello"),
    "no checkpoint": _proof(checkpoint=""),
    "65 hashes": _proof(hashes=["08" * 32] * 65),
    "a short hash": _proof(hashes=["08"]),
    "hashes that are numbers": _proof(hashes=[8]),
    "a negative leaf": _proof(logIndex=-1),
    "a size of 30 digits": _proof(treeSize=10**30),
    "no proof": _entry(verification={}),
    "a body that is no base64": _entry(body="%%%"),
    "two entries": lambda said, _: {**said, "0" * 80: {}},
    "no entry": lambda _, __: {},
    "an entry that is a list": lambda _, __: {"0": []},
    "a list": lambda _, __: b"[]",
    "nothing": lambda _, __: b"",
    "garbage": lambda _, __: b"\x00\xff" * 100,
    "a page": lambda _, __: b"<html>please log in</html>",
    "deep": lambda _, __: b"[" * 10_000,
    "a fraction": lambda _, __: b'{"0":{"logIndex":1.5}}',
    "too much": lambda _, __: b" " * (ANSWER_SIZE_MAX + 1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_log_that_lies_is_said_and_adds_nothing(stage: Stage, lie: str) -> None:
    image = stage.image
    with FakeRekor(stage.scene.world.rekor1, lie=LIES[lie]) as log:
        proven = stage.prove(log, image)
    assert (proven.images, proven.proof_count) == ((image,), 0)
    [note] = proven.notes
    assert "a promise stays without proof: remote." in note
    assert stage.slept == [], "a lie is not asked for twice"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "remote.not-found"),
        (500, "remote.unavailable"),
        (429, "remote.rate-limit"),
        (302, "remote.protocol"),
        (403, "remote.protocol"),
    ],
)
def test_a_log_that_does_not_answer_is_said(stage: Stage, status: int, code: str) -> None:
    image = stage.image
    with FakeRekor(stage.scene.world.rekor1, status=status) as log:
        proven = stage.prove(log, image)
    assert proven.images == (image,)
    assert f"a promise stays without proof: {code}: " in proven.notes[0]


def test_an_endless_answer_ends(stage: Stage) -> None:
    with FakeRekor(stage.scene.world.rekor1, endless=True) as log:
        proven = stage.prove(log)
    assert "remote.limit" in proven.notes[0]


def test_a_log_that_is_down_is_asked_twice_and_no_more(stage: Stage) -> None:
    for number in range(4):
        signed = stage.scene.world.sign_image_legacy(
            stage.scene.image.digest, stage.scene.world.managed(f"s{number}"), log="v1"
        )
        image = hello_index(stage.scene.store, tag=f"1.{number}", version=f"1.{number}")
        attach.attach_tag(image, [signed.layer()])
    images = [
        entry_of(hello_index(stage.scene.store, version=f"1.{n}"), f"{NAME}:1.{n}")
        for n in range(4)
    ]
    assert stage.image
    with FakeRekor(stage.scene.world.rekor1, status=500) as log, stage.client(log.host) as client:
        proven = prove(images, stage.store, stage.trust, client, base=log.url, parallel_count=1)
    assert len(log.asked) == 2
    assert "4 promises stay without proof: remote.unavailable" in proven.notes[0]


def test_plain_http_wants_to_be_allowed(stage: Stage) -> None:
    image = stage.image
    with FakeRekor(stage.scene.world.rekor1) as log, stage.client() as client:
        proven = prove((image,), stage.store, stage.trust, client, base=log.url, parallel_count=1)
    assert log.asked == []
    assert "plain HTTP" in proven.notes[0]


@pytest.mark.parametrize(
    "text",
    ["", "rekor.example", "ftp://rekor.example", "https://", "https://a@b", "https://a:b",
     "https://a?b", "https://a#b", "https://[::1"],
)  # fmt: skip
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_base(text, where="--rekor-url")


def test_addresses() -> None:
    assert parse_base("https://rekor.example/log/", where="") == "https://rekor.example/log"
