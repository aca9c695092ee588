"""Collecting from a registry: all evidence from every store, or an error; never quietly less."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bundler.errors import (
    RemoteAuthError,
    RemoteDigestError,
    RemoteError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteRedirectError,
    RemoteStalledError,
    RemoteUnavailableError,
    SourceError,
)
from loader.errors import AirlockError, LimitError, OciPlatformError
from loader.limits import DEFAULT_LIMITS
from loader.model.descriptor import Descriptor
from tests.e2e.collecting import Told, gather
from tests.fakes import attach, content, images
from tests.fakes.content import OCI_MANIFEST, ContentStore, Json
from tests.fakes.faults import Fault, redirect
from tests.fakes.registry import FakeRegistry

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"


@dataclass
class Layer:
    """A layer of a signature; nothing here looks into it."""

    blob: bytes
    media_type: str = SIMPLE_SIGNING
    annotations: dict[str, str] = field(default_factory=dict)

    def descriptor(self) -> Json:
        described = Descriptor.make(self.media_type, self.blob).plain()
        return {**described, "annotations": self.annotations}


@pytest.fixture
def image() -> images.Image:
    return images.hello_index(ContentStore())


@pytest.fixture
def registry(image: images.Image) -> Iterator[FakeRegistry]:
    with FakeRegistry({"acme/app": image.store}) as running:
        yield running


def collected(
    registry: FakeRegistry, cache: Path, **options: object
) -> tuple[set[tuple[str, str]], tuple[str, ...]]:
    """Return the evidence as (store, subject) pairs, and the notes."""
    (one,), _ = gather(
        [registry.reference("acme/app", "1.0.0")],
        cache,
        plain_http=[registry.host],
        **options,  # type: ignore[arg-type]
    )
    return {(item.store, str(item.subject)) for item in one.entry.evidence}, one.notes


def test_an_image_with_all_its_platforms_is_there_afterwards(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    told = Told()
    reference = registry.reference("acme/app", "1.0.0")
    (one,), store = gather([reference], tmp_path, plain_http=[registry.host], told=told)
    assert str(one.entry.image.digest) == image.digest
    assert [str(kept.platform) for kept in one.entry.platforms] == ["linux/amd64", "linux/arm64/v8"]
    for descriptor in (*one.graph.metadata, *one.graph.layers):
        raw = store.read(descriptor, where="", size_max=1 << 30)
        assert raw == image.store.read(str(descriptor.digest))
    configs = [kept.manifest.config for kept in one.graph.kept]
    assert told.expected == told.advanced
    assert told.advanced == sum(d.size for d in (*configs, *one.graph.layers))


def test_evidence_is_united_from_every_store_for_index_and_platforms(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    first, second = image.children
    attach.attach_tag(image, [Layer(b"index sig")], "sig")
    attach.attach_tag(first, [Layer(b"sig of the first")], "sig")
    attach.attach_tag(second, [Layer(b"att of the second", DSSE)], "att")
    attach.attach_tag(image, [Layer(b"sbom", "text/spdx")], "sbom")
    attach.attach_bundle(image, b"{}")
    attach.attach_bundle(second, b"{ }")
    found, notes = collected(registry, tmp_path)
    assert found == {
        ("signature-tag", image.digest),
        ("sbom-tag", image.digest),
        ("signature-tag", first.digest),
        ("attestation-tag", second.digest),
        ("referrer", image.digest),
        ("referrer", second.digest),
    }
    assert notes == ()


@pytest.mark.parametrize("fallback", ["bare", "full"])
def test_the_fallback_tag_counts_where_there_is_no_api(
    registry: FakeRegistry,
    image: images.Image,
    tmp_path: Path,
    fallback: attach.Fallback,
) -> None:
    registry.features.referrers = False
    attach.attach_bundle(image, b"{}", fallback=fallback)
    attach.attach_experimental(image, [Layer(b"x")], fallback=fallback)
    found, _ = collected(registry, tmp_path)
    assert found == {("referrer", image.digest)}


def test_the_fallback_tag_counts_beside_the_api_too(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    # Pushed by a client that did not see the API: the tag lists one, the API another.
    hidden = attach.attach_bundle(image, b"{}", fallback="bare")
    attach.attach_bundle(image, b"{ }")
    listed = [d for d in image.store.referrers(image.digest) if d["digest"] != hidden["digest"]]
    index = {"schemaVersion": 2, "mediaType": content.OCI_INDEX, "manifests": listed}
    registry.faults.append(
        Fault(pattern=f"/referrers/{image.digest}", on=None, body=content.encode(index))
    )
    (one,), _ = gather(
        [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
    )
    assert len(one.entry.evidence) == 2


def test_ghcr_redirects_referrers_to_its_web_page_and_nobody_follows(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    attach.attach_bundle(image, b"{}", fallback="bare")
    with FakeRegistry() as elsewhere:
        registry.faults.append(redirect(r"/referrers/", f"{elsewhere.url}{{target}}", status=303))
        found, _ = collected(registry, tmp_path)
        assert elsewhere.requests == []
    assert found == {("referrer", image.digest)}


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_a_registry_says_in_many_ways_that_it_has_no_referrers(
    registry: FakeRegistry, image: images.Image, tmp_path: Path, status: int
) -> None:
    attach.attach_bundle(image, b"{}", fallback="bare")
    registry.faults.append(Fault(pattern=r"/referrers/", on=None, status=status))
    found, _ = collected(registry, tmp_path)
    assert found == {("referrer", image.digest)}


LOOKUPS = [
    pytest.param(r"\.sig$", id="sig"),
    pytest.param(r"\.att$", id="att"),
    pytest.param(r"\.sbom$", id="sbom"),
    pytest.param(r"/manifests/sha256-[0-9a-f]{64}$", id="fallback"),
    pytest.param(r"/referrers/", id="referrers"),
]
FAILURES = [
    pytest.param({"status": 401}, RemoteAuthError, id="401"),
    pytest.param({"status": 403}, RemoteAuthError, id="403"),
    pytest.param({"status": 429}, RemoteRateLimitError, id="429"),
    pytest.param({"status": 500}, RemoteUnavailableError, id="500"),
    pytest.param({"status": 502}, RemoteUnavailableError, id="502"),
    pytest.param({"status": 200, "body": b"<html>"}, AirlockError, id="a web page"),
    pytest.param({"status": 200, "body": b""}, AirlockError, id="nothing"),
    pytest.param(
        {"status": 200, "body": b"<html>", "headers": {"Content-Type": "text/html"}},
        AirlockError,
        id="a web page that says so",
    ),
    pytest.param(
        {"status": 200, "body": b"{}", "headers": {"Content-Type": OCI_MANIFEST}},
        AirlockError,
        id="an empty object",
    ),
    pytest.param({"reset": True}, RemoteError, id="reset"),
]


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize(("failure", "expected"), FAILURES)
def test_a_failed_look_up_of_evidence_ends_the_pack(
    registry: FakeRegistry,
    tmp_path: Path,
    lookup: str,
    failure: dict[str, object],
    expected: type[AirlockError],
) -> None:
    registry.faults.append(Fault(pattern=lookup, on=None, **failure))  # type: ignore[arg-type]
    with pytest.raises(expected):
        collected(registry, tmp_path)


@pytest.mark.parametrize("fault", [{"delay": 3.0}, {"drip": 0.4, "drip_size": 20}])
def test_silence_and_drips_end_the_pack(
    registry: FakeRegistry, tmp_path: Path, fault: dict[str, float]
) -> None:
    pattern = r"\.sig$" if "delay" in fault else r"/manifests/sha256:"
    registry.faults.append(Fault(pattern=pattern, on=None, **fault))  # type: ignore[arg-type]
    with pytest.raises(RemoteStalledError):
        collected(registry, tmp_path)


def test_a_moment_of_trouble_is_waited_out(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    attach.attach_tag(image, [Layer(b"sig")])
    registry.faults += [
        Fault(pattern=r"\.sig$", status=503, headers={"Retry-After": "0"}),
        Fault(pattern=r"/blobs/", reset=True, truncate=10),
    ]
    found, _ = collected(registry, tmp_path)
    assert ("signature-tag", image.digest) in found


def test_cosign_copy_left_the_image_under_its_fallback_tag(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    registry.features.referrers = False
    image.store.tag("sha256-" + image.digest.removeprefix("sha256:"), image.descriptor)
    first = image.children[0]
    image.store.tag("sha256-" + first.digest.removeprefix("sha256:"), first.descriptor)
    found, notes = collected(registry, tmp_path)
    assert found == set()
    assert len(notes) == 2
    assert all("ignored" in note for note in notes)


def test_a_referrer_of_something_else_is_left_out(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    other = attach.attach_bundle(image.children[0], b"{}")
    attach.fallback_tag(image, [other])
    found, notes = collected(registry, tmp_path, platforms=["linux/arm64"])
    assert found == set()
    assert "speaks of" in notes[0]


def test_a_referrer_that_makes_no_sense_is_said_and_does_no_harm(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    broken = image.store.add(b'{"schemaVersion": 2}', OCI_MANIFEST)
    good = attach.attach_bundle(image, b"{}")
    attach.fallback_tag(image, [broken, good])
    found, notes = collected(registry, tmp_path)
    assert found == {("referrer", image.digest)}
    assert "cannot be read" in notes[0]


def test_pruned_referrers_are_said_and_do_no_harm(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    gone = attach.attach_bundle(image, b"{ }", fallback="full")
    attach.attach_bundle(image, b"{}", fallback="full")
    attach.drop_manifest(image.store, gone["digest"])
    found, notes = collected(registry, tmp_path)
    assert found == {("referrer", image.digest)}
    assert len(notes) == 1
    assert "pruned" in notes[0]


def test_referrers_come_in_pages(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    registry.features.referrers_page = 2
    for number in range(5):
        attach.attach_bundle(image, b" " * number + b"{}")
    (one,), _ = gather(
        [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
    )
    assert len(one.entry.evidence) == 5


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("<http://127.0.0.1:1/v2/acme/app/referrers/x>; rel=next", RemoteRedirectError),
        ("</v2/other/repo/referrers/x>; rel=next", RemoteRedirectError),
        ("<{target}>; rel=next", RemoteProtocolError),
    ],
    ids=["another host", "another repository", "no end"],
)
def test_a_next_page_is_not_followed_anywhere(
    registry: FakeRegistry, tmp_path: Path, link: str, expected: type[RemoteError]
) -> None:
    registry.faults.append(Fault(pattern=r"/referrers/", on=None, headers={"Link": link}))
    with pytest.raises(expected):
        collected(registry, tmp_path)


def test_a_list_that_was_filtered_unasked_is_not_taken_for_all(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.faults.append(
        Fault(pattern=r"/referrers/", on=None, headers={"OCI-Filters-Applied": "artifactType"})
    )
    with pytest.raises(RemoteProtocolError):
        collected(registry, tmp_path)


def test_more_referrers_than_the_limit_are_an_error_that_names_it(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    for number in range(4):
        attach.attach_bundle(image, b" " * number + b"{}")
    with pytest.raises(LimitError) as caught:
        collected(registry, tmp_path, limits=replace(DEFAULT_LIMITS, referrer_count_max=3))
    assert "referrer_count_max" in caught.value.hint


def test_evidence_too_large_for_the_far_side_is_an_error(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    attach.attach_bundle(image, b" " * 2000)
    for limits in (
        replace(DEFAULT_LIMITS, evidence_size_max=1000),
        replace(DEFAULT_LIMITS, image_evidence_size_max=1000),
    ):
        with pytest.raises(LimitError):
            collected(registry, tmp_path, limits=limits)


def test_a_huge_referrer_of_another_kind_is_left_behind(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    images.artifact(
        image.store,
        "application/vnd.example.index",
        [(b" " * 2000, "a/b")],
        subject=image.descriptor,
    )
    found, notes = collected(
        registry, tmp_path, limits=replace(DEFAULT_LIMITS, evidence_size_max=1000)
    )
    assert found == set()
    assert "left out" in notes[0]


def test_buildkit_attestations_come_with_the_platforms_they_speak_of(
    tmp_path: Path,
) -> None:
    store = ContentStore()
    platforms = [images.hello_image(store, platform=p) for p in ("linux/amd64", "linux/arm64")]
    attested = [
        images.attestation_manifest(store, one, [(b'{"n":%d}' % n, "https://slsa.dev/x")])
        for n, one in enumerate(platforms)
    ]
    images.index(store, platforms, attestations=attested, tag="1.0.0")
    with FakeRegistry({"acme/app": store}) as registry:
        both, _ = collected(registry, tmp_path / "both")
        assert both == {("buildkit", one.digest) for one in platforms}
        one, _ = collected(registry, tmp_path / "one", platforms=["linux/arm64"])
        assert one == {("buildkit", platforms[1].digest)}
        attach.drop_manifest(store, attested[1].digest)
        none, notes = collected(registry, tmp_path / "none", platforms=["linux/arm64"])
        assert none == set()
        assert "not there" in notes[0]


def test_one_platform_of_two_keeps_the_index_and_fetches_nothing_else(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    reference = registry.reference("acme/app", "1.0.0")
    (one,), store = gather(
        [reference], tmp_path, plain_http=[registry.host], platforms=["linux/arm64"]
    )
    assert str(one.entry.image.digest) == image.digest
    assert [str(kept.platform) for kept in one.entry.platforms] == ["linux/arm64/v8"]
    assert store.path(one.entry.image.digest).exists()
    asked = {request.path.rpartition("/")[2] for request in registry.seen(r"/(blobs|manifests)/")}
    assert image.children[0].digest not in asked
    assert image.children[0].manifest["config"]["digest"] not in asked


def test_a_platform_that_is_not_there_is_an_error_that_says_what_is(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    with pytest.raises(OciPlatformError) as caught:
        collected(registry, tmp_path, platforms=["linux/s390x"])
    assert "linux/arm64/v8" in caught.value.found


def test_a_tag_that_moves_between_two_requests_changes_nothing(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    def move() -> None:
        images.hello_index(image.store, version="6.6.6")

    # It has moved when the second request for anything arrives.
    registry.faults.append(Fault(pattern=r"/manifests/1\.0\.0$", after=move))
    (one,), _ = gather(
        [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
    )
    assert str(one.entry.image.digest) == image.digest
    assert len(registry.seen(r"/manifests/1\.0\.0$")) == 1


def test_a_reference_with_a_digest_gets_that_or_nothing(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    right = f"{registry.host}/acme/app:9.9@{image.digest}"
    (one,), _ = gather([right], tmp_path, plain_http=[registry.host])
    assert str(one.entry.reference) == right
    registry.store("acme/app").replace(image.digest, image.children[0].raw)
    with pytest.raises(RemoteDigestError):
        gather([right], tmp_path / "other", plain_http=[registry.host])


def test_charts_and_other_artifacts_are_carried_as_they_are(tmp_path: Path) -> None:
    store = ContentStore()
    chart = images.artifact(
        store, "application/vnd.cncf.helm.config.v1+json", [(b"chart", "a/chart")], tag="1.0.0"
    )
    attach.attach_bundle(chart, b"{}")
    with FakeRegistry({"acme/app": store}) as registry:
        (one,), kept = gather(
            [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
        )
    assert one.entry.platforms == ()
    assert [item.store for item in one.entry.evidence] == ["referrer"]
    assert all(kept.path(layer.digest).exists() for layer in one.graph.layers)


def test_indexes_may_be_nested(tmp_path: Path) -> None:
    store = ContentStore()
    inner = images.hello_index(store, tag=None)
    images.index(store, [inner], tag="1.0.0")
    with FakeRegistry({"acme/app": store}) as registry:
        (one,), _ = gather(
            [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
        )
    assert len(one.graph.indexes) == 2
    assert len(one.entry.platforms) == 2


def test_docker_media_types_are_as_good(tmp_path: Path) -> None:
    store = ContentStore()
    image = images.hello_index(store, docker=True)
    attach.attach_tag(image, [Layer(b"x")], docker=True)
    with FakeRegistry({"acme/app": store}) as registry:
        found, _ = collected(registry, tmp_path)
    assert found == {("signature-tag", image.digest)}


def test_a_missing_platform_manifest_is_an_error(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    attach.drop_manifest(image.store, image.children[1].digest)
    with pytest.raises(RemoteNotFoundError) as caught:
        collected(registry, tmp_path)
    assert "-p" in caught.value.hint
    (one,), _ = gather(
        [registry.reference("acme/app", "1.0.0")],
        tmp_path,
        plain_http=[registry.host],
        platforms=["linux/amd64"],
    )
    assert len(one.entry.platforms) == 1


def test_the_same_image_twice_is_an_error(registry: FakeRegistry, tmp_path: Path) -> None:
    reference = registry.reference("acme/app", "1.0.0")
    with pytest.raises(SourceError):
        gather([reference, reference], tmp_path, plain_http=[registry.host])


# --- interrupted ----------------------------------------------------------------------------------


def heavy(store: ContentStore, size: int = 3 << 20) -> images.Image:
    return images.image(store, [images.Layer.noise(size)], tag="1.0.0")


def test_a_connection_that_breaks_goes_on_where_it_broke(tmp_path: Path) -> None:
    store = ContentStore()
    image = heavy(store)
    layer = image.manifest["layers"][0]
    pattern = f"/blobs/{layer['digest']}"
    cut = Fault(pattern=pattern, on=(1, 2), truncate=1 << 20, reset=True)
    with FakeRegistry({"acme/app": store}, faults=[cut]) as registry:
        told = Told()
        gather(
            [registry.reference("acme/app", "1.0.0")],
            tmp_path,
            plain_http=[registry.host],
            told=told,
        )
        ranges = [request.headers.get("range") for request in registry.seen(pattern)]
    assert ranges[0] is None
    begun = [int((text or "").removeprefix("bytes=").rstrip("-")) for text in ranges[1:]]
    assert begun == sorted(begun)
    assert begun[0] > 0
    assert told.advanced == told.expected


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, ranges: bool) -> None:  # noqa: FBT001
    store = ContentStore()
    image = heavy(store)
    layer = image.manifest["layers"][0]
    pattern = f"/blobs/{layer['digest']}"
    cut = Fault(pattern=pattern, on=(1, 2, 3), truncate=1 << 20)
    cut.status = None
    with FakeRegistry({"acme/app": store}, faults=[cut]) as registry:
        registry.features.ranges = ranges
        reference = registry.reference("acme/app", "1.0.0")
        registry.faults.append(Fault(pattern=pattern, on=None, status=404))
        with pytest.raises(RemoteError):
            gather([reference], tmp_path, plain_http=[registry.host])
        (part,) = [p for p in (tmp_path / "partial").iterdir() if p.stat().st_size]
        kept = part.stat().st_size
        assert kept >= 1 << 20
        registry.faults.clear()
        registry.requests.clear()
        (one,), content = gather([reference], tmp_path, plain_http=[registry.host])
        (again,) = registry.seen(pattern)
    assert again.headers["range"] == f"bytes={kept}-"
    raw = content.path(one.graph.layers[0].digest).read_bytes()
    assert raw == store.read(layer["digest"])
    assert not part.exists()


def test_a_partial_file_that_was_damaged_is_not_gone_on_with(tmp_path: Path) -> None:
    store = ContentStore()
    layer = heavy(store).manifest["layers"][0]
    partial = tmp_path / "partial"
    partial.mkdir(parents=True)
    (partial / f"{layer['digest'].removeprefix('sha256:')}.part").write_bytes(b"x" * 1000)
    with FakeRegistry({"acme/app": store}) as registry:
        told = Told()
        (one,), content = gather(
            [registry.reference("acme/app", "1.0.0")],
            tmp_path,
            plain_http=[registry.host],
            told=told,
        )
    assert content.holds(one.graph.layers[0])
    assert told.advanced == told.expected


def test_what_is_there_is_not_fetched_again_unless_it_was_damaged(
    registry: FakeRegistry, image: images.Image, tmp_path: Path
) -> None:
    collected(registry, tmp_path)
    registry.requests.clear()
    collected(registry, tmp_path)
    assert registry.seen(r"/blobs/") == []
    layer = image.children[0].manifest["layers"][0]["digest"]
    path = tmp_path / "blobs" / "sha256" / layer.removeprefix("sha256:")
    raw = bytearray(path.read_bytes())
    raw[5] ^= 1
    path.write_bytes(raw)
    collected(registry, tmp_path)
    assert [request.path.rpartition("/")[2] for request in registry.seen(r"/blobs/")] == [layer]
    assert path.read_bytes() == image.store.read(layer)


def test_two_packs_at_once_share_the_work(tmp_path: Path) -> None:
    store = ContentStore()
    layer = heavy(store).manifest["layers"][0]
    slow = Fault(pattern=f"/blobs/{layer['digest']}", on=(1,), drip=0.01, drip_size=1 << 16)
    failures: list[BaseException] = []
    with FakeRegistry({"acme/app": store}, faults=[slow]) as registry:

        def pack() -> None:
            try:
                gather(
                    [registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host]
                )
            except BaseException as e:  # noqa: BLE001  # the other thread's failure is the test's
                failures.append(e)

        both = [threading.Thread(target=pack) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert failures == []
        assert len(registry.seen(f"/blobs/{layer['digest']}")) == 1


def test_the_first_error_is_the_one_that_is_told(tmp_path: Path) -> None:
    store = ContentStore()
    layers = [images.Layer.noise(1 << 20, seed=n) for n in range(4)]
    images.image(store, layers, tag="1.0.0")
    bad = layers[2].blob.digest
    with FakeRegistry({"acme/app": store}) as registry:
        registry.faults += [
            Fault(pattern=f"/blobs/{bad}", on=None, status=403),
            Fault(pattern=r"/blobs/sha256", on=None, drip=0.2, drip_size=1 << 16),
        ]
        with pytest.raises(RemoteAuthError) as caught:
            gather([registry.reference("acme/app", "1.0.0")], tmp_path, plain_http=[registry.host])
    assert bad in caught.value.where


def test_an_image_of_docker_schema_1_is_refused_with_a_reason(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.faults.append(
        Fault(
            pattern=r"/manifests/1\.0\.0$",
            body=b'{"schemaVersion":1}',
            headers={"Content-Type": kind},
            without=("Docker-Content-Digest",),
        )
    )
    with pytest.raises(AirlockError) as caught:
        collected(registry, tmp_path)
    assert "v1+prettyjws" in str(caught.value)


def test_a_manifest_that_is_both_kinds_is_refused(tmp_path: Path) -> None:
    store = ContentStore()
    images.image(store, [], tag="1.0.0")
    both = {**store.json(store.tags["1.0.0"]), "manifests": []}
    store.tag("1.0.0", store.add_json(both, OCI_MANIFEST))
    with FakeRegistry({"acme/app": store}) as registry, pytest.raises(AirlockError) as caught:
        collected(registry, tmp_path)
    assert caught.value.code == "oci.format"
