"""What is attached has the structure that real tools gave to the shared fixtures."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.fakes import attach
from tests.fakes.content import ContentStore, Json, read_layout
from tests.fakes.images import Image, hello_index
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import unb64
from tests.fakes.sigworld.signed import Layer
from tests.fakes.sigworld.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def image() -> Image:
    return hello_index(ContentStore())


@pytest.fixture
def real(shared_dir: Path, tmp_path: Path) -> Callable[[str], ContentStore]:
    def unpack(name: str) -> ContentStore:
        with tarfile.open(shared_dir / "fixtures" / "layouts" / f"{name}.tar.gz") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    path = tmp_path / name / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())
        return read_layout(tmp_path / name)

    return unpack


def shape(value: Any) -> Any:  # noqa: ANN401
    """Keys, order and kinds of a JSON value, without its contents; JSON in strings is opened."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value[:1]]
        case str() if value.startswith("{"):
            return shape(json.loads(value))
        case str() if value.startswith("-----BEGIN"):
            return [value.splitlines()[0], value.endswith("\n")]
        case _:
            return type(value).__name__


def ordered(value: Any) -> str:  # noqa: ANN401
    """The shape as text, so that the order of keys counts."""
    return json.dumps(shape(value), indent=1)


def tagged(store: ContentStore, suffix: str) -> Json:
    [digest] = [d for tag, d in store.tags.items() if tag.endswith(suffix)]
    return store.json(digest)


def referrer(store: ContentStore) -> Json:
    [index] = [store.json(d) for tag, d in store.tags.items() if tag.startswith("sha256-")]
    return store.json(index["manifests"][0]["digest"])


def bundle_of(store: ContentStore) -> Json:
    return store.json(referrer(store)["layers"][0]["digest"])


def bodies(bundle: Json) -> list[Any]:
    entries = bundle["verificationMaterial"].get("tlogEntries", [])
    return [json.loads(unb64(entry["canonicalizedBody"])) for entry in entries]


@pytest.mark.parametrize(
    ("name", "keyless", "log", "timestamp"),
    [
        ("kl-legacy", True, "v1", False),
        ("kp-legacy", False, "none", False),
        ("kp-legacy-rekor1", False, "v1", False),
        ("kp-legacy-tsa", False, "none", True),
        ("kl-legacy-tsa", True, "v1", True),
    ],
)
def test_legacy_signature_is_shaped_as_cosign_shapes_it(
    world: World,
    image: Image,
    real: Callable[[str], ContentStore],
    *,
    name: str,
    keyless: bool,
    log: str,
    timestamp: bool,
) -> None:
    signer = world.keyless() if keyless else world.managed()
    signed = world.sign_image_legacy(image.digest, signer, log=log, timestamp=timestamp)
    attach.attach_tag(image, [signed.layer()])
    ours, theirs = tagged(image.store, ".sig"), tagged(real(name), ".sig")
    layer, other = ours["layers"][0], theirs["layers"][0]
    assert shape(ours) == shape(theirs)
    assert {**layer, "annotations": None, "digest": None} == {
        **other,
        "annotations": None,
        "digest": None,
    }
    bundle = "dev.sigstore.cosign/bundle"
    if bundle in layer["annotations"]:
        body, other_body = (
            json.loads(unb64(json.loads(one["annotations"][bundle])["Payload"]["body"]))
            for one in (layer, other)
        )
        assert ordered(body) == ordered(other_body)


def test_legacy_attestation_is_shaped_as_cosign_shapes_it(
    world: World, image: Image, real: Callable[[str], ContentStore]
) -> None:
    said = statements.statement(
        image.digest,
        statements.SLSA_V1,
        statements.slsa_v1(),
        name="registry.acme.example/acme/app",
        version=statements.STATEMENT_V01,
    )
    signed = world.sign_statement(said, world.keyless())
    attach.attach_tag(image, [signed.layer()], "att")
    store = real("kl-legacy-att")
    ours, theirs = tagged(image.store, ".att"), tagged(store, ".att")
    assert shape(ours["layers"]) == shape(theirs["layers"])
    envelope, other = (
        one.json(document["layers"][0]["digest"])
        for one, document in ((image.store, ours), (store, theirs))
    )
    assert ordered(envelope) == ordered(other)
    assert set(json.loads(unb64(envelope["payload"]))) == set(json.loads(unb64(other["payload"])))


@pytest.mark.parametrize(
    ("name", "keyless", "log", "timestamp"),
    [
        ("kl-bundle", True, "v2", True),
        ("kl-bundle-rekor1", True, "v1", False),
        ("kl-bundle-rekor1-tsa", True, "v1", True),
        ("kl-bundle-notlog", True, "none", True),
        ("kp-bundle", False, "none", False),
        ("kp-bundle-tsa", False, "none", True),
        ("kp-bundle-rekor1", False, "v1", False),
        ("kp-bundle-rekor2", False, "v2", True),
    ],
)
def test_bundle_is_shaped_as_cosign_shapes_it(
    world: World,
    image: Image,
    real: Callable[[str], ContentStore],
    *,
    name: str,
    keyless: bool,
    log: str,
    timestamp: bool,
) -> None:
    signer = world.keyless() if keyless else world.managed()
    signed = world.sign_image(image.digest, signer, log=log, timestamp=timestamp)
    attach.attach_bundle(image, signed.bundle(), fallback="full")
    ours, theirs = image.store, real(name)
    assert ordered(referrer(ours)) == ordered(referrer(theirs))
    assert ordered(bundle_of(ours)) == ordered(bundle_of(theirs))
    assert ordered(bodies(bundle_of(ours))) == ordered(bodies(bundle_of(theirs)))
    fallback = f"sha256-{image.digest.removeprefix('sha256:')}"
    [index] = [theirs.json(d) for tag, d in theirs.tags.items() if tag.startswith("sha256-")]
    assert ordered(ours.json(ours.tags[fallback])) == ordered(index)


def test_certificate_has_the_extensions_of_a_real_one(
    world: World, real: Callable[[str], ContentStore]
) -> None:
    raw = bundle_of(real("kl-bundle"))["verificationMaterial"]["certificate"]["rawBytes"]
    theirs = x509.load_der_x509_certificate(unb64(raw))
    ours = world.keyless().certificate
    assert ours is not None
    listed = [
        [(extension.oid.dotted_string, extension.critical) for extension in one.extensions]
        for one in (ours, theirs)
    ]
    assert sorted(listed[0]) == sorted(listed[1])
    assert ours.signature_algorithm_oid == theirs.signature_algorithm_oid
    assert ours.not_valid_after_utc - ours.not_valid_before_utc == (
        theirs.not_valid_after_utc - theirs.not_valid_before_utc
    )


def test_trusted_root_is_shaped_as_cosign_shapes_it(world: World, shared_dir: Path) -> None:
    theirs = json.loads((shared_dir / "fixtures" / "trust" / "trusted_root.json").read_bytes())
    assert ordered(world.trusted_root()) == ordered(theirs)
    assert len(world.trusted_root()["tlogs"]) == len(theirs["tlogs"])


def test_experimental_referrer_is_shaped_as_cosign_shapes_it(
    world: World, image: Image, real: Callable[[str], ContentStore]
) -> None:
    signed = world.sign_image_legacy(image.digest, world.managed(), log="none")
    attach.attach_experimental(image, [signed.layer()], fallback="bare")
    theirs = real("kp-legacy-referrer")
    assert ordered(referrer(image.store)) == ordered(referrer(theirs))


def test_bare_fallback_tag_has_no_annotations_and_grows(world: World, image: Image) -> None:
    signed = world.sign_image(image.digest, world.keyless())
    for created in ("2026-01-15T12:00:02Z", "2026-01-15T12:00:03Z", "2026-01-15T12:00:03Z"):
        attach.attach_bundle(image, signed.bundle(), created=created, fallback="bare")
    tag = image.digest.replace(":", "-")
    listed = image.store.json(image.store.tags[tag])["manifests"]
    assert [sorted(one) for one in listed] == [["artifactType", "digest", "mediaType", "size"]] * 2
    assert {one["digest"] for one in listed} == {
        one["digest"] for one in image.store.referrers(image.digest)
    }


def test_pruned_referrer_stays_in_the_fallback_tag(world: World, image: Image) -> None:
    bundle = world.sign_image(image.digest, world.managed()).bundle()
    described = attach.attach_bundle(image, bundle, fallback="full")
    attach.drop_manifest(image.store, described["digest"])
    tag = image.digest.replace(":", "-")
    assert image.store.json(image.store.tags[tag])["manifests"][0]["digest"] == described["digest"]
    assert image.store.referrers(image.digest) == []


def test_other_repository_and_prefix_for_signatures(world: World, image: Image) -> None:
    elsewhere = ContentStore()
    signed = world.sign_image_legacy(image.digest, world.managed())
    attach.attach_tag(image, [signed.layer()], store=elsewhere, prefix="p-", docker=True)
    assert list(elsewhere.tags) == [f"p-{image.digest.replace(':', '-')}.sig"]
    assert list(image.store.tags) == ["1.0.0"]


def test_bill_of_materials_hangs_under_its_own_tag(image: Image) -> None:
    document = Layer(media_type="text/spdx", blob=b"SPDXVersion: SPDX-2.3\n")
    attach.attach_tag(image, [document], "sbom")
    [layer] = tagged(image.store, ".sbom")["layers"]
    assert image.store.read(layer["digest"]) == document.blob
    assert "annotations" not in layer
