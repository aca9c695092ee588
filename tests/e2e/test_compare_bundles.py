"""`airlock compare` with a bundle on one side, and `airlock diff` between two."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from loader.digest import Digest
from loader.model.bundle import EvidenceEntry
from tests.e2e.loading import REPOSITORY, Publisher, descriptor_of
from tests.e2e.test_compare import compare, run
from tests.engines import Docker
from tests.fakes import attach
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image, hello_index


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


def pack(publisher: Publisher, path: Path, store: ContentStore, *tags: str, days: int = 0) -> None:
    """Pack what is tagged so."""
    entries = []
    for tag in tags:
        found = hello_index(store, version=tag, tag=None)
        entries.append(publisher.entry(found, tag=tag, days=days))
    publisher.pack(path, store, entries, sequence=days + 1)


def test_a_layout_against_a_bundle(publisher: Publisher, tmp_path: Path) -> None:
    store = ContentStore()
    image = hello_index(store, tag="1.0.0")
    bundle = tmp_path / "bundle.tar.zst"
    publisher.pack(bundle, store, [publisher.entry(image, tag="1.0.0")])
    layout = str(store.write_layout(tmp_path / "layout", only=["1.0.0"]))
    status, said = compare(tmp_path, layout, str(bundle))
    assert (status, said["verdict"]) == (0, "identical")
    other = ContentStore()
    hello_index(other, version="1.0.1", tag="1.0.0")
    status, said = compare(tmp_path, str(other.write_layout(tmp_path / "b")), str(bundle))
    assert status == 1
    paths = [one["path"] for one in said["platforms"][0]["differences"]]
    assert ["linux/amd64", "layer 1/1 (fake)", "hello", "content"] in paths
    assert not list((tmp_path / "cache").iterdir())


def test_one_of_several_images_of_a_bundle(publisher: Publisher, tmp_path: Path) -> None:
    store = ContentStore()
    bundle = tmp_path / "bundle.tar.zst"
    pack(publisher, bundle, store, "1.0.0", "2.0.0")
    done = run(tmp_path, str(bundle), str(bundle))
    assert done.returncode == 2
    assert f"{REPOSITORY}:2.0.0" in done.stderr
    chosen = f"{bundle}#{REPOSITORY}:2.0.0"
    assert compare(tmp_path, chosen, chosen)[0] == 0
    assert compare(tmp_path, chosen, f"{bundle}#{REPOSITORY}:1.0.0")[0] == 1


def test_a_bundle_that_is_damaged_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.zst"
    publisher.bundle(bundle, extra=[Layer.noise(300_000)])
    other = tmp_path / "other.tar.zst"
    publisher.bundle(other, version="2", extra=[Layer.noise(300_000, seed=1)])
    raw = bytearray(bundle.read_bytes())
    raw[-100_000] ^= 1
    bundle.write_bytes(raw)
    done = run(tmp_path, str(bundle), str(other))
    assert done.returncode == 19
    assert not list((tmp_path / "cache").iterdir())


def test_diff_says_what_changed(publisher: Publisher, tmp_path: Path) -> None:
    old, new = tmp_path / "old.tar.zst", tmp_path / "new.tar.zst"
    before, after = ContentStore(), ContentStore()
    first = hello_image(before, version="1")
    gone = hello_image(before, version="gone")
    publisher.pack(
        old,
        before,
        [publisher.entry(first, tag="1"), publisher.entry(gone, tag="gone")],
        sequence=1,
    )
    second = hello_image(after, version="1.1")
    entry = publisher.entry(second, tag="1")
    identity = publisher.world.keyless()
    said = publisher.world.sign_image(second.digest, identity)
    bundle = attach.attach_bundle(second, said.bundle())
    more = EvidenceEntry(
        subject=Digest.parse(second.digest), store="referrer", manifest=descriptor_of(bundle)
    )
    entry = replace(entry, evidence=(*entry.evidence, more))
    came = hello_image(after, version="came")
    publisher.pack(new, after, [entry, publisher.entry(came, tag="came")], sequence=2)
    done = run(tmp_path, str(old), str(new), verb="diff")
    assert done.returncode == 1, done.stderr
    text = done.stdout
    assert f"{REPOSITORY}:gone\n  image went: {gone.digest}\n" in text
    assert f"{REPOSITORY}:came\n  image came: {came.digest}\n" in text
    assert f"{REPOSITORY}:1\n  points to: {first.digest} → {second.digest}\n" in text
    assert "  signer came: https://github.com/" in text
    assert "channel: stable 1 → stable 2" in text
    assert "NOT VERIFIED" in text
    said_json = json.loads(run(tmp_path, str(old), str(new), "--json", verb="diff").stdout)
    assert said_json["schema"] == "airlock-diff/1"
    assert {one["subject"] for one in said_json["changes"]} > {f"{REPOSITORY}:1", "bundle"}
    same = run(tmp_path, str(old), str(old), verb="diff")
    assert same.returncode == 0
    assert "changes   none" in same.stdout


def test_diff_says_which_evidence_of_the_same_image_came_and_went(
    publisher: Publisher, tmp_path: Path
) -> None:
    """A scan that is made anew: as many pieces as before, and none of them the same."""
    paths = tmp_path / "old.tar.zst", tmp_path / "new.tar.zst"
    manifests = []
    for position, path in enumerate(paths):
        store = ContentStore()
        image = hello_image(store, version="1")
        entry = publisher.entry(image, tag="1")
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://example.org/scan/v1",
            "subject": [{"name": "x", "digest": {"sha256": image.digest.partition(":")[2]}}],
            "predicate": {"day": position},
        }
        said = publisher.world.sign_statement(statement, publisher.release)
        bundle = attach.attach_bundle(image, said.bundle())
        manifests.append(store.json(bundle["digest"])["layers"][0]["digest"])
        more = EvidenceEntry(
            subject=Digest.parse(image.digest), store="referrer", manifest=descriptor_of(bundle)
        )
        publisher.pack(path, store, [replace(entry, evidence=(*entry.evidence, more))])
    done = run(tmp_path, *map(str, paths), verb="diff")
    assert done.returncode == 1
    what = "evidence, attestation of https://example.org/scan/v1"
    assert f"{REPOSITORY}:1\n  {what} went: {manifests[0]}\n" in done.stdout
    assert f"\n  {what} came: {manifests[1]}\n" in done.stdout
    assert "changes   2 " in done.stdout


@pytest.mark.parametrize("form", ["tag", "bundle", "bundle without a log"])
def test_diff_says_that_another_key_signed(publisher: Publisher, tmp_path: Path, form: str) -> None:
    """Dangerzone's signatures name nobody: the key is told by the log, or by a hint."""
    keys = [publisher.world.managed("one"), publisher.world.managed("two")]
    paths = tmp_path / "old.tar.zst", tmp_path / "new.tar.zst"
    for key, path in zip(keys, paths, strict=True):
        store = ContentStore()
        image = hello_image(store, version="1")
        if form == "tag":
            legacy = publisher.world.sign_image_legacy(image.digest, key, log="v1")
            manifest = attach.attach_tag(image, [legacy.layer()])
        else:
            log = "v1" if form == "bundle" else "none"
            said = publisher.world.sign_image(image.digest, key, log=log)
            manifest = attach.attach_bundle(image, said.bundle())
        entry = publisher.entry(image, tag="1")
        one = EvidenceEntry(
            subject=Digest.parse(image.digest),
            store="signature-tag" if form == "tag" else "referrer",
            manifest=descriptor_of(manifest),
        )
        publisher.pack(path, store, [replace(entry, evidence=(one,))])
    done = run(tmp_path, *map(str, paths), verb="diff")
    assert done.returncode == 1, done.stderr
    names = [f"the key sha256:{_fingerprint(key.public_pem)}" for key in keys]
    assert f"  signer went: {names[0]}\n" in done.stdout
    assert f"  signer came: {names[1]}\n" in done.stdout


def _fingerprint(pem: bytes) -> str:
    key = load_pem_public_key(pem)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def test_diff_of_what_is_no_bundle(publisher: Publisher, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.zst"
    publisher.bundle(bundle)
    (tmp_path / "text").write_bytes(b"hello" * 100)
    done = run(tmp_path, str(bundle), str(tmp_path / "text"), verb="diff")
    assert done.returncode == 19
    assert "Traceback" not in done.stderr


@pytest.mark.engine("docker")
def test_dz_11_docker_save_of_a_real_docker(
    publisher: Publisher,
    tmp_path: Path,
    docker_engine: Docker,
) -> None:
    """docker 20 keeps no manifest, and writes layers as plain tars."""
    store = ContentStore()
    image = hello_image(store, docker=True, tag="1", extra=[Layer.of({"etc/x": b"y\n"})])
    bundle = tmp_path / "bundle.tar.zst"
    publisher.pack(bundle, store, [publisher.entry(image, tag="1")])
    archive = tmp_path / "docker.tar"
    config = image.manifest["config"]["digest"]
    raw = _docker_archive(store, image.manifest, config)
    docker_engine.client.call("load", stdin=raw)
    docker_engine.client.call("save", "--output", str(archive), "acme/app:1")
    status, said = compare(tmp_path, str(archive), str(bundle))
    assert (status, said["verdict"]) == (3, "same-content"), said


def _docker_archive(store: ContentStore, manifest: dict[str, Any], config: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        names = []
        for position, layer in enumerate(manifest["layers"]):
            names.append(f"{position}.tar")
            blob = store.read(layer["digest"])
            raw = gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob
            member = tarfile.TarInfo(names[-1])
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
        listed = [{"Config": "c.json", "RepoTags": ["acme/app:1"], "Layers": names}]
        for name, raw in (
            ("c.json", store.read(config)),
            ("manifest.json", json.dumps(listed).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return out.getvalue()
