"""The registry speaks the distribution API to clients that know nothing of it, and errs on cue."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import requests

from tests.fakes import attach
from tests.fakes.content import OCI_MANIFEST, ContentStore
from tests.fakes.distribution import Features
from tests.fakes.images import Image, Layer, artifact, hello_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import BasicAuth, TokenAuth
from tests.fakes.sigworld.world import World
from tests.fakes.tls import private_ca

REPOSITORY = "acme/app"
ACCEPT = {"Accept": "application/vnd.oci.image.index.v1+json"}


def at(registry: FakeRegistry, rest: str) -> str:
    return f"{registry.url}/v2/{REPOSITORY}/{rest}"


def layer_of(image: Image) -> str:
    return str(image.children[0].manifest["layers"][0]["digest"])


# Reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_manifest_by_tag_and_digest(
    registry: FakeRegistry, image: Image, session: requests.Session, method: str
) -> None:
    for reference in ("1.0.0", image.digest):
        got = session.request(method, at(registry, f"manifests/{reference}"), headers=ACCEPT)
        assert got.status_code == 200
        assert got.headers["Docker-Content-Digest"] == image.digest
        assert got.headers["Content-Type"] == image.descriptor["mediaType"]
        assert int(got.headers["Content-Length"]) == len(image.raw)
        assert got.content == (image.raw if method == "GET" else b"")
    assert [r.method for r in registry.seen()] == [method] * 2
    assert registry.seen("/manifests/1.0.0$")[0].headers["accept"] == ACCEPT["Accept"]


def test_blob_whole_and_in_part(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    digest = layer_of(image)
    whole = session.get(at(registry, f"blobs/{digest}"))
    assert f"sha256:{hashlib.sha256(whole.content).hexdigest()}" == digest
    for asked, start, stop in (("bytes=0-0", 0, 1), ("bytes=7-", 7, None), ("bytes=3-9", 3, 10)):
        part = session.get(at(registry, f"blobs/{digest}"), headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == whole.content[start:stop]
        assert part.headers["Content-Range"].startswith(f"bytes {start}-")
    past = session.get(
        at(registry, f"blobs/{digest}"), headers={"Range": f"bytes={len(whole.content)}-"}
    )
    assert past.status_code == 416
    registry.features.ranges = False
    ignored = session.get(at(registry, f"blobs/{digest}"), headers={"Range": "bytes=3-9"})
    assert (ignored.status_code, ignored.content) == (200, whole.content)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v2/{REPOSITORY}/manifests/none", "MANIFEST_UNKNOWN"),
        (f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        ("/v2/other/app/manifests/1.0.0", "NAME_UNKNOWN"),
        ("/v2/other/app/tags/list", "NAME_UNKNOWN"),
        ("/somewhere", "NOT_FOUND"),
    ],
)
def test_what_is_not_there(
    registry: FakeRegistry, session: requests.Session, path: str, code: str
) -> None:
    got = session.get(registry.url + path)
    assert got.status_code == 404
    assert got.json()["errors"][0]["code"] == code


def test_tags_in_pages(registry: FakeRegistry, image: Image, session: requests.Session) -> None:
    for tag in ("a", "b", "c", "d"):
        image.store.tag(tag, image.descriptor)
    registry.features.tags_page = 2
    url, tags = at(registry, "tags/list"), []
    while url:
        got = session.get(url)
        tags += got.json()["tags"]
        link = got.links.get("next")
        url = registry.url + link["url"] if link else ""
    assert tags == ["1.0.0", "a", "b", "c", "d"]
    assert len(registry.seen("/tags/list")) == 3


def test_huge_blob_is_streamed(registry: FakeRegistry, session: requests.Session) -> None:
    layer = Layer.noise(40 << 20)
    digest = registry.store(REPOSITORY).add_stream(layer.blob, "x")["digest"]
    sha256 = hashlib.sha256()
    with session.get(at(registry, f"blobs/{digest}"), stream=True) as got:
        for chunk in got.iter_content(1 << 20):
            sha256.update(chunk)
    assert f"sha256:{sha256.hexdigest()}" == digest


# Referrers -------------------------------------------------------------------------------------


@pytest.fixture
def signed(image: Image) -> Image:
    world = World()
    for hour in range(3):
        bundle = world.sign_image(image.digest, world.managed()).bundle()
        attach.attach_bundle(image, bundle, created=f"2026-01-15T1{hour}:00:00Z")
    artifact(image.store, "text/other", [(b"x", "text/plain")], subject=image.descriptor)
    return image


def test_referrers_in_pages_and_filtered(
    registry: FakeRegistry, signed: Image, session: requests.Session
) -> None:
    registry.features.referrers_page = 2
    for wanted, expected in ((None, 4), (attach.BUNDLE_TYPE, 3)):
        url: str = at(registry, f"referrers/{signed.digest}")
        params = {} if wanted is None else {"artifactType": wanted}
        found, pages = [], 0
        while url:
            got = session.get(url, params=params)
            assert got.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
            applied = got.headers.get("OCI-Filters-Applied")
            assert applied == (None if wanted is None else "artifactType")
            found += got.json()["manifests"]
            pages += 1
            link = got.links.get("next")
            url, params = (registry.url + link["url"] if link else ""), {}
        assert (len({one["digest"] for one in found}), pages) == (expected, 2)


def test_filter_that_is_not_applied_is_not_claimed(
    registry: FakeRegistry, signed: Image, session: requests.Session
) -> None:
    registry.features.referrers_filter = False
    got = session.get(
        at(registry, f"referrers/{signed.digest}"), params={"artifactType": "text/other"}
    )
    assert len(got.json()["manifests"]) == 4
    assert "OCI-Filters-Applied" not in got.headers


def test_without_referrers_api(
    registry: FakeRegistry, signed: Image, session: requests.Session
) -> None:
    registry.features.referrers = False
    assert session.get(at(registry, f"referrers/{signed.digest}")).status_code == 404


# Who is there ----------------------------------------------------------------------------------


def challenge(got: requests.Response) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', got.headers["WWW-Authenticate"]))


def test_token_flow(registry: FakeRegistry, session: requests.Session) -> None:
    registry.auth = TokenAuth()
    url = at(registry, "manifests/1.0.0")
    refused = session.get(url)
    assert refused.status_code == 401
    asked = challenge(refused)
    assert asked["scope"] == f"repository:{REPOSITORY}:pull"
    realm = asked.pop("realm")
    token = session.get(realm, params=asked).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert session.get(url, headers=bearer).status_code == 200
    assert registry.seen("/manifests/")[-1].authorization == f"Bearer {token}"
    other = session.get(f"{registry.url}/v2/other/app/manifests/1", headers=bearer)
    assert challenge(other)["error"] == "insufficient_scope"
    assert session.put(url, headers=bearer, data=b"{}").status_code == 401
    registry.auth.issued.clear()
    assert session.get(url, headers=bearer).status_code == 401


def test_token_service_elsewhere_with_password(
    registry: FakeRegistry, session: requests.Session
) -> None:
    auth = TokenAuth(user="robot", answer_field="access_token")
    with FakeRegistry(auth=auth) as service:
        auth.realm = f"{service.url}/token"
        registry.auth = auth
        url = at(registry, "blobs/uploads/")
        asked = challenge(session.post(url))
        realm = asked.pop("realm")
        assert asked["scope"] == f"repository:{REPOSITORY}:pull,push"
        assert session.get(realm, params=asked).status_code == 401
        token = session.get(realm, params=asked, auth=("robot", "secret")).json()["access_token"]
        assert len(service.seen("^/token")) == 2
    got = session.post(url, headers={"Authorization": f"Bearer {token}"})
    assert got.status_code == 202


def test_basic_authentication(registry: FakeRegistry, session: requests.Session) -> None:
    registry.auth = BasicAuth()
    url = at(registry, "manifests/1.0.0")
    assert session.get(url).headers["WWW-Authenticate"].startswith("Basic ")
    assert session.get(url, auth=("robot", "wrong")).status_code == 401
    assert session.get(url, auth=("robot", "secret")).status_code == 200
    junk = "Basic " + base64.b64encode(b"\xff\xfe").decode()
    assert session.get(url, headers={"Authorization": junk}).status_code == 401


def test_tls_with_a_private_authority(image: Image, tmp_path: Path) -> None:
    files = private_ca(tmp_path)
    with FakeRegistry({REPOSITORY: image.store}, tls=files) as registry:
        url = at(registry, "manifests/1.0.0")
        assert url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(files.authority))
        with urllib.request.urlopen(url, context=trusting) as got:
            assert got.read() == image.raw
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url, context=ssl.create_default_context())


# Writing ---------------------------------------------------------------------------------------


def push(session: requests.Session, registry: FakeRegistry, one: Image, tag: str) -> None:
    target = f"{registry.url}/v2/mirror/app"
    document = one.manifest
    for described in (document["config"], *document["layers"]):
        raw, digest = one.store.read(described["digest"]), described["digest"]
        start = session.post(f"{target}/blobs/uploads/")
        place = registry.url + start.headers["Location"]
        half = len(raw) // 2
        first = session.patch(place, data=raw[:half], headers={"Content-Range": f"0-{half - 1}"})
        assert first.headers["Range"] == f"0-{half - 1}"
        wrong = session.patch(place, data=b"x", headers={"Content-Range": "9999-9999"})
        assert wrong.status_code == 416
        done = session.put(place, params={"digest": digest}, data=iter([raw[half:]]))
        assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, digest)
    put = session.put(
        f"{target}/manifests/{tag}", data=one.raw, headers={"Content-Type": OCI_MANIFEST}
    )
    assert (put.status_code, put.headers["Docker-Content-Digest"]) == (201, one.digest)


def test_push_in_chunks_then_pull(registry: FakeRegistry, session: requests.Session) -> None:
    one = hello_image(ContentStore())
    push(session, registry, one, "2.0.0")
    got = session.get(f"{registry.url}/v2/mirror/app/manifests/2.0.0")
    assert got.content == one.raw
    assert registry.store("mirror/app").json(one.manifest["config"]["digest"]) == one.config


def test_push_at_once_and_mount(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    uploads = f"{registry.url}/v2/mirror/app/blobs/uploads/"
    raw = b"at once"
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert session.post(uploads, params={"digest": digest}, data=raw).status_code == 201
    wrong = session.post(uploads, params={"digest": digest}, data=b"other")
    assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
    mount = {"mount": layer_of(image), "from": REPOSITORY}
    assert session.post(uploads, params=mount).status_code == 201
    assert set(registry.store("mirror/app").blobs) == {digest, layer_of(image)}
    assert session.post(uploads, params={**mount, "from": "nowhere"}).status_code == 202


def test_manifest_needs_its_blobs_and_names_its_subject(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    elsewhere = ContentStore()
    made = artifact(elsewhere, "text/x", [(b"x", "text/plain")], subject=image.descriptor)
    url = at(registry, f"manifests/{made.digest}")
    headers = {"Content-Type": OCI_MANIFEST}
    missing = session.put(url, data=made.raw, headers=headers)
    assert missing.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    image.store.merge(elsewhere)
    put = session.put(url, data=made.raw, headers=headers)
    assert put.headers["OCI-Subject"] == image.digest
    wrong = session.put(
        at(registry, f"manifests/sha256:{'0' * 64}"), data=made.raw, headers=headers
    )
    assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
    registry.features.referrers = False
    assert "OCI-Subject" not in session.put(url, data=made.raw, headers=headers).headers


def test_command_serves_a_layout(image: Image, tmp_path: Path) -> None:
    image.store.write_layout(tmp_path)
    command = [sys.executable, "-m", "tests.fakes.registry", "--layout", str(tmp_path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            host, _, rest = process.stdout.readline().strip().partition("/")
            name, _, tag = rest.partition(":")
            url = f"http://{host}/v2/{name}/manifests/{tag}"
            with urllib.request.urlopen(url) as got:
                assert json.loads(got.read()) == image.manifest
        finally:
            process.terminate()


def test_features_are_honest_about_digests(image: Image, session: requests.Session) -> None:
    plain = Features(digest_header=False)
    with FakeRegistry({REPOSITORY: image.store}, features=plain) as registry:
        got = session.get(at(registry, "manifests/1.0.0"))
        assert "Docker-Content-Digest" not in got.headers
