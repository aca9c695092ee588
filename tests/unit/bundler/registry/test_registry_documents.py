"""Manifests and blobs of a registry: what comes back has the digest it is said to have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import (
    RemoteAuthError,
    RemoteDigestError,
    RemoteError,
    RemoteLimitError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteRedirectError,
    RemoteStalledError,
    RemoteTruncatedError,
    RemoteUnavailableError,
    RemoteUnreachableError,
)
from bundler.store import ContentStore
from loader.digest import Digest
from loader.model.descriptor import Descriptor
from loader.model.image import ImageManifest
from loader.model.reference import Reference
from tests.fakes import images
from tests.fakes.content import OCI_INDEX, OCI_MANIFEST
from tests.fakes.content import ContentStore as FakeStore
from tests.fakes.faults import Fault, redirect
from tests.fakes.registry import FakeRegistry
from tests.unit.bundler.registry import connect

MANIFEST = r"/manifests/1\.0\.0$"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    store = FakeStore()
    images.image(store, [images.Layer.noise(300_000)], tag="1.0.0")
    with FakeRegistry({"acme/app": store}) as running:
        yield running


def layer_of(registry: FakeRegistry) -> Descriptor:
    with connect.repository(registry) as repository:
        document = repository.tagged("1.0.0")
    assert document is not None
    return ImageManifest.parse(document.raw, document.descriptor, where="").layers[0]


def test_a_manifest_and_its_layer_arrive_with_their_digests(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    store = ContentStore(tmp_path)
    with connect.repository(registry) as repository:
        document = repository.tagged("1.0.0")
        assert document is not None
        assert document.descriptor.digest == Digest.of(document.raw)
        assert document.descriptor.media_type == OCI_MANIFEST
        again = repository.document(document.descriptor.digest)
        assert again == document
        layer = ImageManifest.parse(document.raw, document.descriptor, where="").layers[0]
        store.fill(layer, lambda offset: repository.blob(layer, offset), where="layer")
    raw = store.path(layer.digest).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == layer.digest.hex
    assert len(raw) == layer.size


def test_what_is_not_there_is_none(registry: FakeRegistry) -> None:
    with connect.repository(registry) as repository:
        assert repository.tagged("2.0.0") is None
        assert repository.document(Digest("0" * 64)) is None


def test_a_blob_that_is_not_there_is_an_error(registry: FakeRegistry, tmp_path: Path) -> None:
    layer = layer_of(registry)
    registry.store("acme/app").blobs.pop(str(layer.digest))
    with connect.repository(registry) as repository, pytest.raises(RemoteError) as caught:
        ContentStore(tmp_path).fill(layer, lambda at: repository.blob(layer, at), where="layer")
    assert caught.value.code == "remote.not-found"


OTHER = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(Fault(pattern=MANIFEST, on=None, status=401), RemoteAuthError, id="401"),
        pytest.param(Fault(pattern=MANIFEST, on=None, status=403), RemoteAuthError, id="403"),
        pytest.param(Fault(pattern=MANIFEST, on=None, status=429), RemoteRateLimitError, id="429"),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, status=500), RemoteUnavailableError, id="500"
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, status=503), RemoteUnavailableError, id="503"
        ),
        pytest.param(Fault(pattern=MANIFEST, on=None, status=204), RemoteProtocolError, id="204"),
        pytest.param(Fault(pattern=MANIFEST, on=None, status=418), RemoteProtocolError, id="418"),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, reset=True), RemoteUnreachableError, id="rst"
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, truncate=100), RemoteTruncatedError, id="cut short"
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, body=OTHER), RemoteDigestError, id="header disagrees"
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, headers={"Docker-Content-Digest": "md5:00"}),
            RemoteDigestError,
            id="header of an unknown digest",
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, headers={"Content-Type": "nonsense"}),
            RemoteProtocolError,
            id="content type",
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, headers={"Content-Encoding": "gzip"}),
            RemoteProtocolError,
            id="encoded",
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, endless=True), RemoteLimitError, id="endless"
        ),
        pytest.param(
            Fault(pattern=MANIFEST, on=None, content_length=50_000_000),
            RemoteLimitError,
            id="announced as huge",
        ),
        pytest.param(
            redirect(MANIFEST, "http://127.0.0.1:9{target}"), RemoteRedirectError, id="elsewhere"
        ),
        pytest.param(redirect(MANIFEST, "{target}"), RemoteRedirectError, id="in circles"),
        pytest.param(redirect(MANIFEST, "ftp://h/x"), RemoteProtocolError, id="no http"),
    ],
)
def test_nothing_else_is_taken_for_absence(
    registry: FakeRegistry, fault: Fault, expected: type[RemoteError]
) -> None:
    registry.faults.append(fault)
    with connect.repository(registry) as repository, pytest.raises(expected) as caught:
        repository.tagged("1.0.0")
    assert type(caught.value) is expected
    assert caught.value.exit_status == 30


def test_a_lie_about_a_digest_is_found_without_the_header(registry: FakeRegistry) -> None:
    with connect.repository(registry) as repository:
        document = repository.tagged("1.0.0")
        assert document is not None
        registry.features.digest_header = False
        registry.store("acme/app").replace(str(document.descriptor.digest), OTHER)
        with pytest.raises(RemoteDigestError):
            repository.document(document.descriptor.digest)


def test_a_layer_with_other_bytes_is_refused_and_not_kept(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    layer = layer_of(registry)
    raw = bytearray(registry.store("acme/app").read(str(layer.digest)))
    raw[-1] ^= 1
    registry.store("acme/app").replace(str(layer.digest), bytes(raw))
    store = ContentStore(tmp_path)
    with connect.repository(registry) as repository, pytest.raises(RemoteDigestError):
        store.fill(layer, lambda at: repository.blob(layer, at), where="layer")
    assert not store.path(layer.digest).exists()
    assert sum(path.stat().st_size for path in (tmp_path / "partial").iterdir()) == 0


def test_plain_http_is_spoken_only_where_it_was_allowed(registry: FakeRegistry) -> None:
    chosen = connect.settings(registry, plain_http=frozenset())
    with connect.client(chosen) as client, pytest.raises(RemoteError) as caught:
        client.repository(Reference.parse(registry.reference("acme/app", "1.0.0"))).tagged("1.0.0")
    assert caught.value.code == "remote.tls"
    assert "--plain-http" in caught.value.hint
    assert registry.requests == []


BLOB_FAULTS = [
    pytest.param({"endless": True}, RemoteProtocolError, id="endless"),
    pytest.param({"content_length": 1}, RemoteProtocolError, id="announced as short"),
    pytest.param({"content_length": 1 << 40}, RemoteProtocolError, id="announced as huge"),
    pytest.param({"truncate": 1000}, RemoteTruncatedError, id="always cut"),
    pytest.param({"truncate": 1000, "reset": True}, RemoteTruncatedError, id="always reset"),
    pytest.param({"drip": 0.2, "drip_size": 10}, RemoteStalledError, id="dripping"),
    pytest.param({"delay": 3.0}, RemoteStalledError, id="silent"),
    pytest.param(
        {"status": 206, "headers": {"Content-Range": "bytes 5-9/10"}}, RemoteProtocolError
    ),
    pytest.param({"status": 206, "body": b"x"}, RemoteProtocolError, id="a part of what"),
    pytest.param({"status": 302, "headers": {"Location": "{target}"}}, RemoteRedirectError),
    pytest.param({"status": 302, "headers": {"Location": "//"}}, RemoteRedirectError),
    pytest.param({"status": 302, "headers": {"Location": "http://["}}, RemoteProtocolError),
    pytest.param({"status": 302, "headers": {"Location": "http://h:x/"}}, RemoteProtocolError),
    pytest.param({"status": 302, "headers": {"Location": "file:///x"}}, RemoteProtocolError),
    pytest.param({"status": 302}, RemoteRedirectError, id="a redirect to nowhere"),
    pytest.param({"status": 403}, RemoteAuthError, id="403"),
]


@pytest.mark.parametrize(("fault", "expected"), BLOB_FAULTS)
def test_a_blob_that_does_not_come_is_an_error_and_takes_no_more_room_than_announced(
    registry: FakeRegistry, tmp_path: Path, fault: dict[str, object], expected: type[RemoteError]
) -> None:
    layer = layer_of(registry)
    registry.faults.append(Fault(pattern="/blobs/", on=None, **fault))  # type: ignore[arg-type]
    store = ContentStore(tmp_path)
    with connect.repository(registry) as repository, pytest.raises(expected) as caught:
        store.fill(layer, lambda at: repository.blob(layer, at), where="layer")
    assert type(caught.value) is expected
    assert not store.holds(layer)
    assert sum(path.stat().st_size for path in (tmp_path / "partial").iterdir()) <= layer.size


def test_a_server_that_knows_no_such_range_is_asked_for_all(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    layer = layer_of(registry)
    raw = registry.store("acme/app").read(str(layer.digest))
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{layer.digest.hex}.part").write_bytes(raw[:5000])
    registry.faults.append(Fault(pattern="/blobs/", on=(1,), status=416))
    store = ContentStore(tmp_path)
    with connect.repository(registry) as repository:
        store.fill(layer, lambda at: repository.blob(layer, at), where="layer")
    assert store.holds(layer)
    assert [request.headers.get("range") for request in registry.seen("/blobs/")] == [
        "bytes=5000-",
        None,
    ]


def test_a_registry_with_a_broken_api_is_asked_by_tag_alone(registry: FakeRegistry) -> None:
    registry.faults.append(Fault(pattern="/referrers/", on=None, status=500))
    subject = Digest("0" * 64)
    with connect.repository(registry) as repository, pytest.raises(RemoteUnavailableError):
        repository.referrers(subject)
    registry.requests.clear()
    configured = frozenset({registry.host})
    with connect.repository(registry, referrers_by_tag=configured) as repository:
        assert repository.referrers(subject).unsupported
    assert registry.requests == []
