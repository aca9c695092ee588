from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from loader.digest import Digest
from loader.errors import (
    DigestError,
    FormatError,
    LimitError,
    MissingError,
    OciError,
    OciPlatformError,
)
from loader.graph import ImageGraph, read_graph, same_platform
from loader.limits import Limits
from loader.model.bundle import ImageEntry, PlatformManifest
from loader.model.descriptor import Platform
from tests.fakes import images
from tests.fakes.content import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, ContentStore
from tests.fakes.images import Image
from tests.unit.loader.policy.judging import NAME, Blobs, described, entry_of


@pytest.fixture
def store() -> ContentStore:
    return ContentStore()


def graph(image: Image, **options: object) -> ImageGraph:
    entry = entry_of(image, **options)  # type: ignore[arg-type]
    return read_graph(entry, Blobs(image.store))


def test_an_index_of_two_platforms(store: ContentStore) -> None:
    image = images.hello_index(store)
    found = graph(image)
    assert [str(kept.platform) for kept in found.kept] == ["linux/amd64", "linux/arm64/v8"]
    assert [str(index.descriptor.digest) for index in found.indexes] == [image.digest]
    assert found.digests == {
        Digest.parse(d) for d in (image.digest, *(c.digest for c in image.children))
    }
    assert all(kept.listed_by == {Digest.parse(image.digest)} for kept in found.kept)
    assert len(found.layers) == 2
    assert len(found.metadata) == 5


def test_only_kept_platforms_count(store: ContentStore) -> None:
    found = graph(images.hello_index(store), platforms=["linux/amd64"])
    assert [str(kept.platform) for kept in found.kept] == ["linux/amd64"]
    assert len(found.digests) == 2


@pytest.mark.parametrize("docker", [False, True])
def test_a_single_manifest_is_its_own_platform(store: ContentStore, docker: bool) -> None:  # noqa: FBT001
    image = images.hello_image(store, docker=docker)
    found = graph(image)
    assert found.indexes == ()
    assert [str(kept.digest) for kept in found.kept] == [image.digest]
    assert found.digests == {Digest.parse(image.digest)}
    assert found.kept[0].listed_by == frozenset()


def test_other_artifacts_have_no_platform(store: ContentStore) -> None:
    chart = images.artifact(store, "application/vnd.cncf.helm.config.v1+json", [(b"x", "a/b")])
    found = graph(chart)
    assert (found.kept[0].platform, found.kept[0].config) == (None, None)
    both = images.index(store, [chart, images.artifact(store, "a/b", [(b"y", "a/b")])])
    entry = replace(entry_of(both), platforms=())
    assert len(read_graph(entry, Blobs(store)).kept) == 2


def test_nested_indexes_are_walked_once_each(store: ContentStore) -> None:
    inner = images.hello_index(store, tag=None)
    middle = images.index(store, [inner, inner])
    top = images.index(store, [middle, inner])
    blobs = Blobs(store)
    found = read_graph(entry_of(inner), blobs)
    entry = replace(entry_of(inner), image=described(top.descriptor))
    blobs.reads.clear()
    found = read_graph(entry, blobs)
    assert len(found.indexes) == 3
    assert found.kept[0].listed_by == {Digest.parse(i.digest) for i in (inner, middle, top)}
    assert len(blobs.reads) == len(set(blobs.reads)) == 7


def test_nesting_has_an_end(store: ContentStore) -> None:
    image = inner = images.hello_index(store, tag=None)
    for _ in range(3):
        image = images.index(store, [image])
    entry = replace(entry_of(inner), image=described(image.descriptor))
    with pytest.raises(LimitError, match="nested"):
        read_graph(entry, Blobs(store))


def test_an_image_lists_so_many_manifests(store: ContentStore) -> None:
    image = images.hello_index(store)
    with pytest.raises(LimitError):
        read_graph(entry_of(image), Blobs(store), limits=Limits(image_descriptor_count_max=1))


def test_attestations_are_no_platforms(store: ContentStore) -> None:
    one = images.hello_image(store)
    note = images.attestation_manifest(store, one, [(b"{}", "https://slsa.dev/provenance/v1")])
    image = images.index(store, [one], attestations=[note])
    assert len(graph(image).kept) == 1
    entry = entry_of(image)
    stolen = PlatformManifest(
        platform=Platform.parse("unknown/unknown"), manifest=described(note.descriptor)
    )
    with pytest.raises(OciPlatformError, match="does not list"):
        read_graph(replace(entry, platforms=(stolen,)), Blobs(store))


def manifest_of(store: ContentStore, image: Image, **changes: object) -> Image:
    document = {**image.manifest, **changes}
    return Image(store=store, descriptor=store.add_json(document, OCI_MANIFEST))


def with_config(store: ContentStore, image: Image, **changes: object) -> Image:
    config = store.add_json({**image.config, **changes}, OCI_CONFIG)
    return manifest_of(store, image, config=config)


def test_a_config_names_the_platform_of_its_index(store: ContentStore) -> None:
    image = images.hello_image(store)
    entry = replace(
        entry_of(image),
        platforms=(
            PlatformManifest(
                platform=Platform.parse("linux/arm64"), manifest=described(image.descriptor)
            ),
        ),
    )
    with pytest.raises(OciPlatformError, match="another platform"):
        read_graph(entry, Blobs(store))


@pytest.mark.parametrize(
    ("said", "config", "agree"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm", "linux/arm/v6", False),
        ("linux/amd64", "linux/amd64/v1", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_variants_have_several_spellings(
    store: ContentStore,
    said: str,
    config: str,
    agree: bool,  # noqa: FBT001
) -> None:
    image = images.hello_image(store)
    os, architecture, *variant = config.split("/")
    other = with_config(
        store, image, os=os, architecture=architecture, variant=variant[0] if variant else ""
    )
    entry = replace(
        entry_of(other),
        platforms=(
            PlatformManifest(platform=Platform.parse(said), manifest=described(other.descriptor)),
        ),
    )
    if agree:
        assert read_graph(entry, Blobs(store)).kept[0].platform == Platform.parse(said)
    else:
        with pytest.raises(OciPlatformError):
            read_graph(entry, Blobs(store))


def test_same_platform_is_not_os_blind() -> None:
    assert same_platform(Platform.parse("linux/arm64"), Platform.parse("linux/arm64/v8"))
    assert not same_platform(Platform.parse("linux/arm64"), Platform.parse("darwin/arm64"))


def test_the_index_and_the_statement_say_the_same_platform(store: ContentStore) -> None:
    image = images.hello_index(store)
    entry = entry_of(image)
    swapped = tuple(
        replace(one, platform=other.platform)
        for one, other in zip(entry.platforms, reversed(entry.platforms), strict=True)
    )
    with pytest.raises(OciPlatformError, match="statement names another platform"):
        read_graph(replace(entry, platforms=swapped), Blobs(store))


def test_as_many_layers_as_diff_ids(store: ContentStore) -> None:
    image = images.hello_image(store)
    none = with_config(store, image, rootfs={"type": "layers", "diff_ids": []})
    with pytest.raises(OciError, match="number of layers"):
        graph(none)


def test_a_blob_has_one_size(store: ContentStore) -> None:
    image = images.hello_image(store)
    layer = image.manifest["layers"][0]
    longer = {**layer, "size": layer["size"] + 1}
    both = manifest_of(store, image, layers=[layer, longer])
    ids = image.config["rootfs"]["diff_ids"]
    both = with_config(store, both, rootfs={"type": "layers", "diff_ids": ids * 2})
    with pytest.raises(OciError, match="two sizes"):
        graph(both)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda e: replace(e, platforms=()), OciPlatformError),
        (lambda e: replace(e, platforms=e.platforms * 2), OciPlatformError),
        (lambda e: replace(e, platforms=(replace(e.platforms[0], manifest=e.image),)), OciError),
        (
            lambda e: replace(
                e,
                platforms=(
                    replace(
                        e.platforms[0],
                        manifest=replace(e.platforms[0].manifest, size=1),
                    ),
                ),
            ),
            OciError,
        ),
        (
            lambda e: replace(e, reference=replace(e.reference, digest=Digest("0" * 64))),
            OciError,
        ),
        (lambda e: replace(e, image=replace(e.image, size=e.image.size + 1)), DigestError),
        (lambda e: replace(e, image=replace(e.image, digest=Digest("0" * 64))), MissingError),
        (
            lambda e: replace(
                e, image=replace(e.image, media_type=e.platforms[0].manifest.media_type)
            ),
            FormatError,
        ),
        (lambda e: replace(e, image=replace(e.image, media_type="text/plain")), OciError),
    ],
)
def test_a_statement_that_contradicts_its_image_is_refused(
    store: ContentStore, change: Callable[[ImageEntry], ImageEntry], error: type[Exception]
) -> None:
    entry = entry_of(images.hello_index(store))
    with pytest.raises(error):
        read_graph(change(entry), Blobs(store))


def test_an_index_lists_indexes_and_manifests_only(store: ContentStore) -> None:
    odd = images.index(
        store, [Image(store=store, descriptor=store.add(b"layer", "application/x-tar"))]
    )
    entry = replace(entry_of(images.hello_image(store)), image=described(odd.descriptor))
    with pytest.raises(OciError, match="neither index nor manifest"):
        read_graph(entry, Blobs(store))


def test_a_manifest_listed_twice_is_described_once(store: ContentStore) -> None:
    one = images.hello_image(store)
    other = {**one.descriptor, "platform": {"os": "linux", "architecture": "arm64"}}
    image = images.index(store, [one, Image(store=store, descriptor=other)])
    with pytest.raises(OciError, match="two ways"):
        read_graph(replace(entry_of(one), image=described(image.descriptor)), Blobs(store))


def test_a_reference_may_pin_its_digest(store: ContentStore) -> None:
    image = images.hello_index(store)
    assert graph(image, reference=f"{NAME}:1.0.0@{image.digest}").entry.reference.digest is not None


def test_platforms_belong_to_container_images(store: ContentStore) -> None:
    chart = images.artifact(store, "application/x.chart", [(b"x", "a/b")])
    platform = PlatformManifest(
        platform=Platform.parse("linux/amd64"), manifest=described(chart.descriptor)
    )
    entry = replace(entry_of(chart), platforms=(platform,))
    with pytest.raises(OciPlatformError, match="no container image"):
        read_graph(entry, Blobs(store))
    both = images.index(store, [chart])
    with pytest.raises(OciPlatformError, match="no container image"):
        read_graph(replace(entry, image=described(both.descriptor)), Blobs(store))


def test_a_document_is_what_its_descriptor_says(store: ContentStore) -> None:
    image = images.hello_image(store)
    lies = {**image.descriptor, "mediaType": OCI_INDEX}
    top = images.index(store, [image, Image(store=store, descriptor=lies)])
    entry = replace(entry_of(image), image=described(top.descriptor))
    with pytest.raises(OciError, match="something else"):
        read_graph(entry, Blobs(store))


def test_one_manifest_is_the_image_itself(store: ContentStore) -> None:
    one, other = images.hello_image(store), images.hello_image(store, text="other")
    entry = replace(entry_of(one), platforms=entry_of(other).platforms)
    with pytest.raises(OciPlatformError, match="one platform"):
        read_graph(entry, Blobs(store))
