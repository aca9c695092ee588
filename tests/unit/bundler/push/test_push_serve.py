"""One `airlock-push` for a whole run: many questions, and a registry that fails at each request."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundler.push.serve import serve
from bundler.push.settings import PushSettings
from bundler.registry.settings import RegistrySettings
from loader.errors import AirlockError
from loader.model.descriptor import Descriptor
from tests.e2e.failing import KINDS, ONCE, STEP, fails_from
from tests.e2e.loading import descriptor_of
from tests.fakes import attach
from tests.fakes.content import ContentStore, Json
from tests.fakes.distribution import Features
from tests.fakes.faults import Fault
from tests.fakes.images import Image, Layer, hello_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World

SOURCE = "registry.acme.example/acme/app:1"
MIRROR = "mirror/registry.acme.example/acme/app"
END: dict[str, Any] = {"end": True}


def frame(document: object) -> bytes:
    raw = json.dumps(document).encode()
    return len(raw).to_bytes(4, "big") + raw


def blob(raw: bytes, digest: str) -> bytes:
    return frame({"digest": digest, "size": len(raw)}) + raw


@dataclass
class Parcel:
    """An image with one of cosign's tags and one referrer, as the loader hands it over."""

    image: Image
    tag: Descriptor
    referrer: Descriptor

    @property
    def store(self) -> ContentStore:
        return self.image.store

    @property
    def described(self) -> Json:
        manifest = self.store.json(self.image.digest)
        subject = {"subject": self.image.digest}
        return {
            "reference": SOURCE,
            "image": {
                "mediaType": manifest["mediaType"],
                "digest": self.image.digest,
                "size": self.store.size(self.image.digest),
            },
            "platforms": [
                {
                    "platform": "linux/amd64",
                    "manifest": {
                        "mediaType": manifest["mediaType"],
                        "digest": self.image.digest,
                        "size": self.store.size(self.image.digest),
                    },
                }
            ],
            "evidence": [
                {**subject, "store": "signature-tag", "manifest": self.tag.plain()},
                {**subject, "store": "referrer", "manifest": self.referrer.plain()},
            ],
        }

    @property
    def documents(self) -> list[str]:
        manifest = self.store.json(self.image.digest)
        evidence = [str(self.tag.digest), str(self.referrer.digest)]
        return [self.image.digest, manifest["config"]["digest"], *evidence]

    def question(self, call: str, at: str, **further: object) -> bytes:
        blobs = self.store.blobs if call == "push" else self.documents
        said = {"call": call, "name": at, "image": self.described, **further}
        return b"".join(
            (frame(said), *(blob(self.store.read(one), one) for one in blobs), frame(END))
        )

    def all_in(self, there: ContentStore) -> bool:
        return set(self.store.blobs) <= set(there.blobs)


@pytest.fixture(scope="module")
def parcel() -> Parcel:
    return parcel_of(World())


def parcel_of(world: World, *, text: str = "hello\n", shared: Layer | None = None) -> Parcel:
    store, signer = ContentStore(), world.managed("release")
    image = hello_image(store, text=text, extra=[shared] if shared else [])
    tag = attach.attach_tag(image, [world.sign_image_legacy(image.digest, signer).layer()])
    referrer = attach.attach_bundle(image, world.sign_image(image.digest, signer).bundle())
    return Parcel(image, descriptor_of(tag), descriptor_of(referrer))


def settings(registry: FakeRegistry) -> PushSettings:
    reached = RegistrySettings(
        plain_http=frozenset({registry.host}), certificate_folders=(), timing=ONCE
    )
    return PushSettings(registry=reached, repair_referrers_tag=False)


def answers(raw: bytes) -> list[Any]:
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        found.append(json.loads(raw[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def asked(registry: FakeRegistry, *questions: bytes, below: str = "mirror") -> list[Any]:
    said = io.BytesIO()
    serve(f"{registry.host}/{below}", io.BytesIO(b"".join(questions)), said, settings(registry))
    return answers(said.getvalue())


def loaded(registry: FakeRegistry, parcel: Parcel, *, name: str = MIRROR) -> list[Any]:
    """What the loader asks to have one image there."""
    at = f"{registry.host}/{name}:1"
    return asked(registry, parcel.question("look", at), parcel.question("push", at))


def test_look_push_look_and_take_away(parcel: Parcel) -> None:
    with FakeRegistry() as registry:
        at = f"{registry.host}/{MIRROR}:1"
        before, done, after, named, gone = asked(
            registry,
            parcel.question("look", at),
            parcel.question("push", at, current=None),
            parcel.question("look", at),
            frame({"call": "named", "name": at}),
            frame({"call": "remove", "name": at}),
        )
    assert before["current"] is None
    assert not before["whole"]
    assert done["current"] == parcel.image.digest
    assert {*done["read_back"]} == {*parcel.store.blobs}
    assert (after["whole"], after["missing"]) == (True, [])
    assert named == {"current": parcel.image.digest}
    assert gone == {"current": None}


def test_a_blob_that_was_read_back_is_asked_elsewhere_and_read_when_that_is_wanted() -> None:
    world, shared = World(), Layer.noise(100_000)
    digest = shared.blob.digest
    one, two = (parcel_of(world, text=text, shared=shared) for text in "ab")
    with FakeRegistry() as registry:
        first, second = f"{registry.host}/mirror/a/a:1", f"{registry.host}/mirror/a/b:1"
        _, read, _, again, anew = asked(
            registry,
            one.question("look", first),
            one.question("push", first),
            two.question("look", second),
            two.question("push", second),
            two.question("check", second, anew=True),
        )
        sent = [r for r in registry.seen("/uploads/", "PUT") if digest[7:] in r.target]
    assert digest in read["read_back"]
    assert digest in again["asked"]
    assert digest not in again["read_back"]
    assert digest in anew["read_back"]
    assert anew["asked"] == []
    assert len(sent) == 1


@pytest.mark.parametrize(
    "name",
    [
        "registry.example/other/team:1",
        "HOST/mirrored/team:1",
        "HOST/mirror:1",
        "HOST/other/mirror/team:1",
    ],
)
@pytest.mark.parametrize("call", ["named", "remove", "look", "push"])
def test_t51_nothing_outside_of_the_destination_is_touched(
    parcel: Parcel, call: str, name: str
) -> None:
    with FakeRegistry() as registry:
        at = name.replace("HOST", registry.host)
        has_image = call in {"look", "push"}
        question = parcel.question(call, at) if has_image else frame({"call": call, "name": at})
        [said] = asked(registry, question)
        assert "outside of the destination" in said["problem"]
        assert registry.requests == []


def test_a_failure_is_answered_and_the_next_question_begins_anew(parcel: Parcel) -> None:
    with FakeRegistry() as registry:
        at = f"{registry.host}/{MIRROR}:1"
        registry.faults.append(Fault(pattern="/blobs/", method="HEAD", status=403))
        failed, named, done = asked(
            registry,
            parcel.question("look", at),
            frame({"call": "named", "name": at}),
            parcel.question("push", at),
        )
    assert failed["problem"].startswith("error[remote.")
    assert "over" not in failed
    assert named == {"current": None}
    assert done["current"] == parcel.image.digest


def test_what_is_no_question_ends_it(parcel: Parcel) -> None:
    with FakeRegistry() as registry:
        at = f"{registry.host}/{MIRROR}:1"
        said = io.BytesIO()
        stream = io.BytesIO(parcel.question("push", at)[:-9] + b"\xff" * 20)
        with pytest.raises(AirlockError):
            serve(f"{registry.host}/mirror", stream, said, settings(registry))
        [problem] = answers(said.getvalue())
        assert "problem" in problem
        assert problem["over"] is True
        assert registry.requests == []


def test_somebody_else_sets_the_tag_between_look_and_push(parcel: Parcel) -> None:
    with FakeRegistry() as registry:
        theirs = hello_image(registry.store(MIRROR), text="theirs\n", tag="1")
        _, done = loaded(registry, parcel)
        assert "somebody else has set the tag meanwhile" in done["problem"]
        assert registry.store(MIRROR).tags["1"] == theirs.digest


def test_a_registry_that_compares_loses_no_tag_that_is_set_in_the_last_moment(
    parcel: Parcel,
) -> None:
    with FakeRegistry(features=Features(conditions=True)) as registry:
        store = registry.store(MIRROR)
        theirs: list[str] = []

        def race() -> None:
            theirs.append(hello_image(store, text="theirs\n", tag="1").digest)

        registry.faults.append(Fault(pattern="/manifests/1$", method="PUT", before=race))
        _, done = loaded(registry, parcel)
        assert "somebody else has set the tag meanwhile" in done["problem"]
        assert store.tags["1"] == theirs[0]


@pytest.mark.parametrize("status", [400, 501])
def test_a_registry_that_refuses_conditions_is_asked_without(parcel: Parcel, status: int) -> None:
    with FakeRegistry() as registry:
        registry.faults.append(
            Fault(pattern="/manifests/1$", method="PUT", status=status, swallow=True)
        )
        _, done = loaded(registry, parcel)
        assert done["current"] == parcel.image.digest
        first, second = registry.seen("/manifests/1$", "PUT")
        assert first.headers.get("if-none-match") == "*"
        assert "if-none-match" not in second.headers


@pytest.mark.parametrize(
    ("kind", "by_tag"), [*((kind, True) for kind in KINDS), ("500", False), ("wrong", False)]
)
def test_fi_25_a_registry_that_fails_from_each_request_on(
    parcel: Parcel, kind: str, *, by_tag: bool
) -> None:
    """Every request of a whole push in turn; asked again, it converges (A144)."""
    number = 1 + list(KINDS).index(kind)
    failures = 0
    while True:
        with FakeRegistry(features=Features(referrers=not by_tag)) as registry:
            fault = fails_from(number, kind)
            registry.faults.append(fault)
            said = loaded(registry, parcel)
            there = registry.store(MIRROR)
            if "1" in there.tags:
                assert parcel.all_in(there), "a tag before its evidence"
            if fault.count < number:
                assert said[-1]["current"] == parcel.image.digest
                break
            failures += "problem" in said[-1]
            registry.faults.clear()
            said = loaded(registry, parcel)
            assert said[-1].get("current") == parcel.image.digest, said
            assert there.tags["1"] == parcel.image.digest
            assert parcel.all_in(there)
        number += STEP
    assert failures >= 5


def test_fi_25_one_failure_at_each_request_is_waited_out(parcel: Parcel) -> None:
    for kind in ("500", "429", "reset", "truncated"):
        number = 1 + list(KINDS).index(kind)
        while True:
            with FakeRegistry(features=Features(referrers=False)) as registry:
                fault = Fault(pattern="", on=(number,), **KINDS[kind])  # type: ignore[arg-type]
                registry.faults.append(fault)
                said = loaded(registry, parcel)
                assert said[-1].get("current") == parcel.image.digest, said
                if fault.count < number:
                    break
            number += 2 * len(KINDS)


def test_settings_are_read_before_anything_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "airlock"
    folder.mkdir()
    (folder / "registries.toml").write_text("schema = 1\nplain-http = 5\n")
    with pytest.raises(AirlockError):
        PushSettings.read({"XDG_CONFIG_HOME": str(tmp_path)})
