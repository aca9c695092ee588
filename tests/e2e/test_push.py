"""`load --into registry:`: verified blobs and evidence go to a registry through airlock-push."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.model.bundle import EvidenceEntry, ImageEntry
from tests.e2e.loading import REPOSITORY, FarSide, Publisher, Ran, descriptor_of
from tests.fakes import attach
from tests.fakes.content import ContentStore
from tests.fakes.distribution import Features
from tests.fakes.faults import Fault, redirect
from tests.fakes.images import Layer, hello_image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import TokenAuth
from tests.fakes.tls import private_ca

MIRROR = "mirror/registry.acme.example/acme/app"


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(params=[True, False], ids=["referrers API", "referrers tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(features=Features(referrers=request.param)) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    with FakeRegistry(features=Features(referrers=False)) as running:
        yield running


class Enclave(FarSide):
    """A host that loads into a registry of its enclave."""

    def push(self, bundle: Path, registry: FakeRegistry, *options: str) -> Ran:
        folder = self.root / "config" / "airlock"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "registries.toml").write_text(f'schema = 1\nplain-http = ["{registry.host}"]\n')
        return self.reach("load", bundle, "--into", f"registry:{registry.host}/mirror", *options)

    def reach(self, *arguments: str | Path) -> Ran:
        """Run the loader where airlock-push can reach loopback."""
        environment = {"HOME": str(self.root), "XDG_CONFIG_HOME": str(self.root / "config")}
        return self.run(*arguments, "--json", isolated=False, environment=environment)


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> Enclave:
    return Enclave(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


def full_bundle(publisher: Publisher, path: Path, *, sequence: int = 1) -> ContentStore:
    """A two-platform image with a signature under a tag and a bundle as a referrer."""
    store = ContentStore()
    image = hello_index(store, tag="1")
    entry = publisher.entry(image, tag="1", days=sequence)
    said = publisher.world.sign_image(image.digest, publisher.release)
    referrer = attach.attach_bundle(image, said.bundle())
    more = EvidenceEntry(
        subject=Digest.parse(image.digest), store="referrer", manifest=descriptor_of(referrer)
    )
    entry = ImageEntry(
        reference=entry.reference,
        image=entry.image,
        platforms=entry.platforms,
        evidence=(*entry.evidence, more),
    )
    publisher.pack(path, store, [entry], sequence=sequence)
    return store


def tags(registry: FakeRegistry) -> dict[str, str]:
    store = registry.store(MIRROR)
    return {tag: at for tag, at in store.tags.items() if not tag.startswith("sha256-")}


def writes(registry: FakeRegistry) -> list[str]:
    return [r.target for r in registry.requests if r.method not in {"GET", "HEAD"}]


def test_image_and_evidence_are_in_the_registry(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    store = full_bundle(publisher, bundle)
    ran = host.push(bundle, registry)
    assert ran.status == 0, ran.err + ran.out
    there = registry.store(MIRROR)
    top = store.tags["1"]
    assert tags(registry) == {"1": top}
    for digest in store.manifests:
        if digest in there.manifests:
            assert there.read(digest) == store.read(digest)
    assert set(store.manifests) <= set(there.manifests)
    name = f"sha256-{top.removeprefix('sha256:')}"
    assert there.tags[f"{name}.sig"] == store.tags[f"{name}.sig"]
    assert len(there.referrers(top)) == 1
    if not registry.features.referrers:
        [listed] = there.json(there.tags[name])["manifests"]
        assert listed["digest"] == there.referrers(top)[0]["digest"]
        assert listed["annotations"]
    # The ledger and the report speak of the source's name.
    [image] = ran.verdict["images"]
    assert image["reference"] == f"{REPOSITORY}:1"
    assert f"in the registry as {registry.host}/{MIRROR}:1" in json.dumps(image)


def test_everything_is_read_back_before_the_tag(
    host: Enclave, publisher: Publisher, plain: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    store = full_bundle(publisher, bundle)
    assert host.push(bundle, plain).status == 0
    asked = [(r.method, r.path.rpartition("/")[2]) for r in plain.requests]
    tag = asked.index(("PUT", "1"))
    before = {what for method, what in asked[:tag] if method == "GET"}
    wanted = set(store.blobs)
    assert wanted <= before


def test_the_second_time_nothing_is_written(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    assert host.push(bundle, registry).status == 0
    count = len(writes(registry))
    ran = host.push(bundle, registry)
    assert ran.status == 0, ran.err
    assert len(writes(registry)) == count
    assert ran.verdict["images"][0]["loaded"]["what"] == "already-there"


def test_nothing_is_asked_before_the_verdict(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle, signed=False)
    ran = host.push(bundle, registry)
    assert ran.status == 10
    assert registry.requests == []


def test_dz_8_verify_local_reads_the_registry(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    store = full_bundle(publisher, bundle)
    assert host.push(bundle, registry).status == 0
    bundle.unlink()
    ran = host.reach("verify-local", f"{REPOSITORY}:1")
    assert ran.status == 0, ran.err + ran.out
    [image] = ran.verdict["images"]
    assert (image["policy"], image["runtime"]) == ("accepted", "same")
    there = registry.store(MIRROR)
    top = there.tags["1"]
    # Somebody's other image under the tag.
    there.tags["1"] = hello_image(there, text="theirs\n").digest
    ran = host.reach("verify-local", "--all")
    assert (ran.status, ran.verdict["code"]) == (1, "drift.changed"), ran.err + ran.out
    there.tags["1"] = top
    # A layer that has rotted.
    [child, _] = store.json(store.tags["1"])["manifests"]
    layer = store.json(child["digest"])["layers"][0]["digest"]
    whole = there.blobs.pop(layer)
    ran = host.reach("verify-local", "--all")
    assert (ran.status, ran.verdict["code"]) == (1, "drift.changed"), ran.err + ran.out
    there.blobs[layer] = b"x" * store.size(layer)
    ran = host.reach("verify-local", "--all")
    assert (ran.status, ran.verdict["code"]) == (1, "drift.changed"), ran.err + ran.out
    assert "does not give back what was verified" in ran.err
    there.blobs[layer] = whole
    # Denied since, and still there.
    policy = host.root / "etc/airlock/policy.toml"
    policy.write_text(policy.read_text() + f'\n[[deny]]\ndigest = "{top}"\nreason = "CVE-1"\n')
    ran = host.reach("verify-local", "--all")
    assert (ran.status, ran.verdict["images"][0]["runtime"]) == (17, "same")
    there.tags.pop("1")
    ran = host.reach("verify-local", "--all")
    assert "drift.gone" in ran.out
    assert ran.status == 17, "what decides is that it would not be let in today"


def test_a_registry_that_is_not_there_is_said_and_hides_no_verdict(
    host: Enclave, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.bundle(tmp_path / "1.tar.zst")
    with FakeRegistry() as registry:
        assert host.push(tmp_path / "1.tar.zst", registry).status == 0
    ran = host.reach("verify-local", "--all")
    assert ran.status == 21, ran.out
    [image] = ran.verdict["images"]
    assert (image["policy"], image["runtime"]) == ("accepted", "unknown")


def test_a_tag_that_is_not_ours_is_not_taken(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    theirs = hello_image(registry.store(MIRROR), text="theirs\n", tag="1")
    ran = host.push(bundle, registry)
    assert ran.status == 21, ran.err
    assert "another image under this name" in ran.err
    assert tags(registry) == {"1": theirs.digest}
    assert writes(registry) == []
    assert host.memory()["names"] == []


def test_a_newer_bundle_moves_our_own_tag(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    one, two = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    publisher.bundle(one, sequence=1, days=1, version="1")
    publisher.bundle(two, sequence=2, days=2, version="2")
    assert host.push(one, registry).status == 0
    first = tags(registry)["1"]
    ran = host.push(two, registry)
    assert ran.status == 0, ran.err
    assert tags(registry)["1"] != first
    assert f"pointed to {first} before" in ran.out


def test_the_second_image_fails_and_the_first_ones_tag_is_put_back(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, version=tag), tag=tag, days=1) for tag in ("a", "b")
    ]
    bundle = tmp_path / "1.tar.zst"
    publisher.pack(bundle, store, entries)
    registry.faults.append(Fault(pattern=r"/manifests/b$", method="PUT", on=None, status=403))
    ran = host.push(bundle, registry)
    assert ran.status == 21, ran.err
    assert tags(registry) == {}
    assert host.memory()["names"] == []
    registry.faults.clear()
    assert host.push(bundle, registry).status == 0
    assert set(tags(registry)) == {"a", "b"}


@pytest.mark.parametrize("had", [True, False], ids=["our tag", "no tag"])
def test_what_somebody_else_tags_during_a_push_outlives_the_undo(
    host: Enclave, publisher: Publisher, plain: FakeRegistry, tmp_path: Path, *, had: bool
) -> None:
    one, two = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    publisher.bundle(one, sequence=1, days=1, version="1")
    publisher.bundle(two, sequence=2, days=2, version="2")
    if had:
        assert host.push(one, plain).status == 0
    theirs: list[str] = []

    def race() -> None:
        theirs.append(hello_image(plain.store(MIRROR), text="theirs\n", tag="1").digest)

    plain.faults.append(Fault(pattern="/uploads/", method="POST", before=race))
    ran = host.push(two, plain)
    assert ran.status == 21, ran.err
    assert "somebody else has set the tag meanwhile" in ran.err
    assert tags(plain) == {"1": theirs[0]}


def test_what_somebody_else_tags_behind_the_first_image_outlives_its_undo(
    host: Enclave, publisher: Publisher, plain: FakeRegistry, tmp_path: Path
) -> None:
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, version=tag), tag=tag, days=1) for tag in ("a", "b")
    ]
    bundle = tmp_path / "1.tar.zst"
    publisher.pack(bundle, store, entries)
    theirs: list[str] = []

    def race() -> None:
        theirs.append(hello_image(plain.store(MIRROR), text="theirs\n", tag="a").digest)

    plain.faults.append(
        Fault(pattern=r"/manifests/b$", method="PUT", on=None, status=403, before=race)
    )
    assert host.push(bundle, plain).status == 21
    assert tags(plain) == {"a": theirs[0]}


def test_one_platform_of_several_goes_without_the_index(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    store = full_bundle(publisher, bundle)
    ran = host.push(bundle, registry, "--platform", "linux/arm64")
    assert ran.status == 0, ran.err
    [_, arm] = store.json(store.tags["1"])["manifests"]
    assert tags(registry) == {"1": arm["digest"]}
    assert store.tags["1"] not in registry.store(MIRROR).manifests


def test_blobs_of_another_image_are_mounted(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    store = ContentStore()
    shared = Layer.noise(200_000)
    entries = [
        publisher.entry(
            hello_image(store, version=name, extra=[shared]),
            tag="1",
            repository=f"registry.acme.example/acme/{name}",
        )
        for name in ("a", "b", "c")
    ]
    bundle = tmp_path / "1.tar.zst"
    publisher.pack(bundle, store, entries)
    ran = host.push(bundle, registry)
    assert ran.status == 0, ran.err
    sent = [r for r in registry.seen("/uploads/", "PUT") if shared.blob.digest[7:] in r.target]
    assert len(sent) == 1
    assert len(registry.seen(r"/uploads/\?mount=", "POST")) >= 2


# --- a registry that lies, or fails ---------------------------------------------------------------


@pytest.mark.parametrize("what", ["manifest", "layer", "evidence"])
def test_a144_what_comes_back_is_something_else(
    host: Enclave, publisher: Publisher, plain: FakeRegistry, tmp_path: Path, what: str
) -> None:
    bundle = tmp_path / "1.tar.zst"
    store = full_bundle(publisher, bundle)
    child = store.json(store.tags["1"])["manifests"][0]["digest"]
    layer = store.json(child)["layers"][0]["digest"]
    signature = next(digest for tag, digest in store.tags.items() if tag.endswith(".sig"))
    digest = {"manifest": child, "layer": layer, "evidence": signature}[what]
    size = store.size(digest)
    # Not on the first look: there it would only not be there.
    plain.faults.append(
        Fault(pattern=f"{digest}$", method="GET", on=range(1, 99), body=b"x" * size)
    )
    ran = host.push(bundle, plain)
    assert ran.status == 21, ran.err
    assert tags(plain) == {}
    assert host.memory()["names"] == []


def test_a144_uploads_that_lead_elsewhere(
    host: Enclave, publisher: Publisher, registry: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    with FakeRegistry() as elsewhere:
        registry.faults.append(redirect(r"/uploads/", f"{elsewhere.url}{{target}}", method="POST"))
        assert host.push(bundle, registry).status == 21
        assert elsewhere.requests == []
    assert tags(registry) == {}


@pytest.mark.parametrize("number", [1, 2, 5, 9, 14, 20, 27, 35, 50])
def test_fi_25_a_registry_that_fails_from_a_request_on(
    host: Enclave, publisher: Publisher, plain: FakeRegistry, tmp_path: Path, number: int
) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    plain.faults.append(
        Fault(pattern="", on=range(number, 10_000), status=403, swallow=bool(number % 2))
    )
    ran = host.push(bundle, plain)
    if ran.status == 0:
        pytest.fail(f"there is no request {number}")
    assert ran.status == 21
    plain.faults.clear()
    ran = host.push(bundle, plain)
    assert ran.status == 0, ran.err
    assert set(tags(plain)) == {"1"}
    assert host.quarantine() == []


def test_there_is_no_registry(host: Enclave, publisher: Publisher, tmp_path: Path) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    with FakeRegistry() as gone:
        pass
    ran = host.push(bundle, gone)
    assert ran.status == 21
    assert "no connection" in ran.err


def test_a_private_authority_our_own_certificate_and_a_login(
    host: Enclave, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    files = replace(private_ca(tmp_path / "tls"), asks_clients=True)
    config = host.root / "config" / "airlock"
    with FakeRegistry(tls=files, auth=TokenAuth(user="robot")) as registry:
        target = ("load", bundle, "--into", f"registry:{registry.host}/mirror")
        assert host.reach(*target).status == 21  # nobody vouches for it
        config.mkdir(parents=True)
        shutil.copy(files.authority, config / "ca.pem")
        settings = 'schema = 1\nca-files = ["ca.pem"]\ncerts-d = ["certs.d"]\n'
        (config / "registries.toml").write_text(settings)
        assert host.reach(*target).status == 21  # it wants to know who we are
        certificates = config / "certs.d" / registry.host
        certificates.mkdir(parents=True)
        shutil.copy(files.certificate, certificates / "client.cert")
        shutil.copy(files.key, certificates / "client.key")
        ran = host.reach(*target)
        assert (ran.status, "login" in ran.err or "refuses us" in ran.err) == (21, True), ran.err
        docker = host.root / ".docker"
        docker.mkdir()
        entry = {"auth": base64.b64encode(b"robot:secret").decode()}
        (docker / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
        ran = host.reach(*target)
        assert ran.status == 0, ran.err
        assert set(tags(registry)) == {"1"}
        assert "secret" not in ran.out + ran.err


@pytest.mark.parametrize(
    "text", ["registry:", "registry:Upper/x", "registry:h/UP", "registry:h//x"]
)
def test_a_target_that_is_none(host: Enclave, tmp_path: Path, text: str) -> None:
    ran = host.run("load", tmp_path / "x", "--into", text)
    assert ran.status == 2
    assert "Traceback" not in ran.err


def test_the_program_is_beside_the_loader() -> None:
    assert os.access(Path(sys.executable).parent / "airlock-push", os.X_OK)
