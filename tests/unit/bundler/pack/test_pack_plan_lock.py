"""What goes into a bundle, in which order, and how a lock leads there again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from bundler.pack.lock import Lock
from bundler.pack.plan import plan
from loader.digest import Digest
from loader.errors import LimitError, MissingError, RefusedError, UsageError
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement, EvidenceEntry, ImageEntry
from loader.model.descriptor import OCI_MANIFEST, Descriptor
from loader.model.reference import Reference
from tests.adversarial.golden import CREATED, Builder, Bundle, dumps, golden
from tests.fakes.sigworld.supplement import MEDIA_TYPE, supplement, written
from tests.fakes.sigworld.world import World


@dataclass
class Blobs:
    """A blob source in memory that notes what it was asked for."""

    blobs: dict[Digest, bytes]

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        if descriptor.digest not in self.blobs:
            raise MissingError("not here", where=where)
        assert descriptor.size <= size_max
        return descriptor.check(self.blobs[descriptor.digest])


def planned(bundle: Bundle, **changes: object) -> BundleStatement:
    return plan(
        changes.get("images", bundle.images),  # type: ignore[arg-type]
        bundle.trust,
        Blobs(dict(bundle.blobs)),
        created=CREATED,
        channel=bundle.channel,
        sequence=bundle.sequence,
        **({"limits": changes["limits"]} if "limits" in changes else {}),  # type: ignore[arg-type]
    )


def test_the_plan_holds_all_that_images_need_and_nothing_else() -> None:
    bundle = golden()
    statement = planned(bundle)
    assert statement == bundle.statement
    assert {m.digest for m in statement.members[2:]} == set(bundle.blobs)
    small = [m.digest for m in statement.metadata[2:]]
    assert small == sorted(small)


def test_layers_stand_by_image_and_then_as_the_image_has_them() -> None:
    bundle = golden()
    other_way = planned(bundle, images=tuple(reversed(bundle.images)))
    first, second, third = planned(bundle).layers
    assert other_way.layers == (third, first, second)


def test_a_layer_that_two_images_share_stands_once() -> None:
    bundle = golden()
    again = replace(bundle.images[1], reference=Reference.parse("registry.example/org/tool:3"))
    statement = planned(bundle, images=(*bundle.images, again))
    assert statement.layers == planned(bundle).layers
    assert len(statement.images) == 3


def test_other_artifacts_travel_whole() -> None:
    builder = Builder()
    config = builder.small("application/vnd.cncf.helm.config.v1+json", b"{}")
    chart = builder.layer(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.plain(),
        # A layer that is a small member already does not travel twice.
        "layers": [chart.plain(), config.plain()],
    }
    manifest = builder.small(OCI_MANIFEST, dumps(document))
    entry = ImageEntry(
        reference=Reference.parse("a.b/chart:1"), image=manifest, platforms=(), evidence=()
    )
    statement = plan([entry], [], Blobs(builder.blobs), created=CREATED)
    assert {m.digest for m in statement.metadata[2:]} == {config.digest, manifest.digest}
    assert [m.digest for m in statement.layers] == [chart.digest]


def test_evidence_that_cannot_be_read_travels_all_the_same() -> None:
    bundle = golden()
    builder = Builder(blobs=dict(bundle.blobs))
    broken = builder.small(OCI_MANIFEST, b"{}")
    as_index = bundle.images[0].image
    item = bundle.images[0].evidence[0]
    images = (
        replace(
            bundle.images[0],
            evidence=(item, replace(item, manifest=broken), replace(item, manifest=as_index)),
        ),
    )
    statement = plan(images, [], Blobs(builder.blobs), created=CREATED)
    assert broken.digest in {m.digest for m in statement.metadata}


def test_what_is_missing_is_said() -> None:
    bundle = golden()
    blobs = dict(bundle.blobs)
    del blobs[bundle.images[0].evidence[0].manifest.digest]
    with pytest.raises(MissingError):
        plan(bundle.images, bundle.trust, Blobs(blobs), created=CREATED)


@pytest.mark.parametrize("name", ["evidence_size_max", "metadata_size_max"])
def test_what_the_reader_would_refuse_is_not_packed(name: str) -> None:
    with pytest.raises(LimitError):
        planned(golden(), limits=replace(DEFAULT_LIMITS, **{name: 300}))
    wide = planned(golden(), limits=replace(DEFAULT_LIMITS, **{name: 10_000}))
    assert wide == golden().statement


def test_an_image_that_contradicts_itself_is_not_packed() -> None:
    bundle = golden()
    wrong = replace(bundle.images[0], platforms=bundle.images[1].platforms)
    with pytest.raises(RefusedError):
        planned(bundle, images=(wrong,))


def test_a_lock_leads_to_the_same_statement_again() -> None:
    bundle = golden()
    statement = bundle.statement
    lock = Lock.parse(Lock.of(statement).write())
    assert lock == Lock.of(statement)
    again = plan(
        lock.images,
        lock.trust,
        Blobs(dict(bundle.blobs)),
        created=lock.created,
        channel=lock.channel,
        sequence=lock.sequence,
        expires=lock.expires,
    )
    assert again.raw == statement.raw


def test_a_lock_is_for_people() -> None:
    raw = Lock.of(golden().statement).write()
    assert raw.endswith(b"}\n")
    assert max(map(len, raw.splitlines())) < 140
    lock = Lock.parse(Lock.of(replace(golden(), channel=None, sequence=None).statement).write())
    assert (lock.channel, lock.sequence, lock.expires) == (None, None, None)
    expiring = replace(golden(), expires=CREATED).statement
    assert Lock.parse(Lock.of(expiring).write()).expires == CREATED


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"extra": 1},
        {"created": "now"},
        {"sequence": 0},
        {"images": [{"reference": "app"}]},
        {"images": None},
    ],
)
def test_a_lock_that_cannot_be_understood_is_a_usage_error(change: dict[str, object]) -> None:
    document = json.loads(Lock.of(golden().statement).write())
    with pytest.raises(UsageError) as refused:
        Lock.parse(json.dumps(document | change).encode())
    assert refused.value.exit_status == 2


def test_evidence_of_the_index_itself_stands_once() -> None:
    bundle = golden()
    first = bundle.images[0]
    twice = (
        *first.evidence,
        EvidenceEntry(
            subject=first.platforms[0].manifest.digest,
            store="referrer",
            manifest=first.evidence[0].manifest,
        ),
    )
    statement = planned(bundle, images=(replace(first, evidence=twice), bundle.images[1]))
    assert statement.metadata[2:] == bundle.statement.metadata[2:]


def test_supplements_stand_in_a_lock_whole() -> None:
    world = World()
    signed = world.sign(b"payload", world.managed("release"))
    raw = written(supplement(signed.entries[0], b"payload"))
    lock = replace(Lock.of(planned(golden())), supplements=(raw,))
    text = lock.write()
    assert Lock.parse(text) == lock
    assert Lock.parse(text).supplements == (raw,), "byte for byte"
    for spoiled in (
        text.replace(b'"logIndex": "', b'"logIndex": "x'),
        text.replace(b'"inclusionProof": {', b'"extra": 1, "inclusionProof": {'),
    ):
        assert spoiled != text
        with pytest.raises(UsageError):
            Lock.parse(spoiled)


def test_a_plan_holds_supplements_as_they_are() -> None:
    bundle = golden()
    raw = written(supplement(World().sign(b"p", World().managed("r")).entries[0], b"p"))
    item = EvidenceEntry(
        subject=Digest.of(b"p"), store="supplement", manifest=Descriptor.make(MEDIA_TYPE, raw)
    )
    image = replace(bundle.images[0], evidence=(*bundle.images[0].evidence, item))
    bundle = replace(bundle, blobs={**bundle.blobs, Digest.of(raw): raw})
    statement = planned(bundle, images=(image, *bundle.images[1:]))
    assert Digest.of(raw) in {member.digest for member in statement.metadata}
