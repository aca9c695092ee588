"""Writing to a registry: uploads that break off, mounts, and what a registry may not answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bundler.errors import (
    RemoteDigestError,
    RemoteError,
    RemoteProtocolError,
    RemoteTruncatedError,
    RemoteUnavailableError,
)
from bundler.registry.challenge import writing_scope
from bundler.registry.oras_client import RegistryClient
from bundler.registry.streams import checked
from bundler.registry.writer import RegistryWriter
from loader.model.descriptor import Descriptor
from loader.model.reference import Reference
from tests.fakes.content import OCI_MANIFEST
from tests.fakes.faults import Fault
from tests.fakes.registry import FakeRegistry
from tests.unit.bundler.registry.connect import client as connect
from tests.unit.bundler.registry.connect import settings


def reference(registry: FakeRegistry) -> Reference:
    return Reference.parse(registry.reference("acme/app", "1.0.0"))


RAW = bytes(range(256)) * 2048
BLOB = Descriptor.make("application/octet-stream", RAW)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[RegistryClient]:
    with connect(settings(registry)) as made:
        yield made


@pytest.fixture
def writer(registry: FakeRegistry, client: RegistryClient) -> RegistryWriter:
    return client.writer(reference(registry))


def read(offset: int) -> Iterator[bytes]:
    for at in range(offset, len(RAW), 1 << 16):
        yield RAW[at : min(at + (1 << 16), len(RAW))]


def push(writer: RegistryWriter) -> list[int]:
    told: list[int] = []
    writer.push_blob(BLOB, read, advance=told.append)
    assert sum(told) == len(RAW)
    return told


def test_a_blob_goes_in_one_request(registry: FakeRegistry, writer: RegistryWriter) -> None:
    assert not writer.has_blob(BLOB)
    push(writer)
    assert writer.has_blob(BLOB)
    assert registry.store("acme/app").read(str(BLOB.digest)) == RAW
    (put,) = registry.seen("/uploads/", "PUT")
    assert put.headers["content-length"] == str(len(RAW))
    assert "transfer-encoding" not in put.headers


def test_a_blob_of_nothing(registry: FakeRegistry, writer: RegistryWriter) -> None:
    empty = Descriptor.make("application/octet-stream", b"")
    writer.push_blob(empty, lambda _: iter(()), advance=lambda _: None)
    assert registry.store("acme/app").read(str(empty.digest)) == b""


def test_an_upload_goes_on_where_the_registry_has_it(
    registry: FakeRegistry, writer: RegistryWriter
) -> None:
    half = len(RAW) // 2

    def broke_off() -> None:
        (upload,) = registry.distribution._uploads.values()
        upload[:] = RAW[:half]

    registry.faults.append(
        Fault(
            pattern=r"/uploads/[0-9a-f-]+\?digest",
            method="PUT",
            status=503,
            swallow=True,
            before=broke_off,
        )
    )
    push(writer)
    (patch,) = registry.seen("/uploads/", "PATCH")
    assert patch.headers["content-range"] == f"{half}-{len(RAW) - 1}"
    assert registry.store("acme/app").read(str(BLOB.digest)) == RAW


def test_an_upload_that_is_forgotten_begins_anew(
    registry: FakeRegistry, writer: RegistryWriter
) -> None:
    registry.faults.append(
        Fault(
            pattern=r"/uploads/[0-9a-f-]+\?digest",
            method="PUT",
            status=500,
            before=registry.distribution._uploads.clear,
        )
    )
    push(writer)
    assert len(registry.seen("/uploads/", "POST")) == 2
    assert registry.store("acme/app").read(str(BLOB.digest)) == RAW


def test_an_upload_that_fails_for_ever_ends(registry: FakeRegistry, writer: RegistryWriter) -> None:
    registry.faults.append(
        Fault(pattern="/uploads/", method="PUT", on=None, status=500, swallow=True)
    )
    with pytest.raises(RemoteUnavailableError):
        push(writer)
    assert str(BLOB.digest) not in registry.store("acme/app").blobs


def test_a_refusal_is_not_tried_again(registry: FakeRegistry, writer: RegistryWriter) -> None:
    registry.faults.append(Fault(pattern="/uploads/", method="PUT", on=None, status=400))
    with pytest.raises(RemoteProtocolError):
        push(writer)
    assert len(registry.seen("/uploads/", "PUT")) == 1


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "rubbish"])
def test_a_registry_that_took_something_else(
    registry: FakeRegistry, writer: RegistryWriter, digest: str
) -> None:
    wrong = {"Docker-Content-Digest": digest}
    registry.faults.append(Fault(pattern="/uploads/", method="PUT", on=None, headers=wrong))
    with pytest.raises(RemoteDigestError):
        push(writer)


def test_an_upload_without_an_address(registry: FakeRegistry, writer: RegistryWriter) -> None:
    registry.faults.append(
        Fault(pattern="/uploads/", method="POST", on=None, without=("Location",))
    )
    with pytest.raises(RemoteProtocolError):
        push(writer)


def test_something_of_another_size_under_the_digest(
    registry: FakeRegistry, writer: RegistryWriter
) -> None:
    registry.store("acme/app").blobs[str(BLOB.digest)] = RAW[:-1]
    with pytest.raises(RemoteDigestError):
        writer.has_blob(BLOB)


def test_a_mount_and_a_registry_that_does_not_mount(
    registry: FakeRegistry, writer: RegistryWriter
) -> None:
    assert not writer.mount(BLOB, source="acme/base")
    assert registry.distribution._uploads == {}  # what nobody needs is taken back
    registry.store("acme/base").blobs[str(BLOB.digest)] = RAW
    assert writer.mount(BLOB, source="acme/base")
    assert writer.has_blob(BLOB)


def test_a_manifest_by_digest_and_by_tag(registry: FakeRegistry, writer: RegistryWriter) -> None:
    raw = b'{"schemaVersion":2,"mediaType":"%s"}' % OCI_MANIFEST.encode()
    described = Descriptor.make(OCI_MANIFEST, raw)
    writer.put_manifest(raw, described)
    writer.put_manifest(raw, described, tag="1.0")
    store = registry.store("acme/app")
    assert store.tags == {"1.0": str(described.digest)}
    assert store.read(str(described.digest)) == raw


def test_a_source_that_lies_about_its_bytes_keeps_the_last_piece() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (RAW[:100], RAW[100:-1], b"?")

    passed: list[bytes] = []
    with pytest.raises(RemoteDigestError):
        passed.extend(checked(chunks(), BLOB, offset=0, where="source"))  # type: ignore[arg-type]
    assert len(b"".join(passed)) < len(RAW)


@pytest.mark.parametrize("offset", [0, 1, 100, 101, len(RAW) - 1])
def test_bytes_from_an_offset_on(offset: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (RAW[:100], RAW[100:])

    found = b"".join(checked(chunks(), BLOB, offset=offset, where=""))  # type: ignore[arg-type]
    assert found == RAW[offset:]


def test_a_blob_that_ends_early_is_not_finished(
    registry: FakeRegistry, writer: RegistryWriter
) -> None:
    with pytest.raises((RemoteTruncatedError, RemoteError)):
        writer.push_blob(BLOB, lambda _: iter((RAW[:10],)), advance=lambda _: None)
    assert str(BLOB.digest) not in registry.store("acme/app").blobs


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", "repository:a/b:pull,push"),
        ("repository:a/b:pull", "repository:a/b:pull,push"),
        ("repository:a/b:*", "repository:a/b:pull,push"),
        ("repository:a/b:delete,push", "repository:a/b:pull,push"),
        ("registry:catalog:*", "repository:a/b:pull,push"),
        (
            "repository:a/b:push repository:c/d:pull,push",
            "repository:a/b:pull,push repository:c/d:pull",
        ),
    ],
)
def test_a_token_to_push_is_for_this_repository_alone(asked: str, expected: str) -> None:
    assert writing_scope(asked, "a/b") == expected


def test_the_login_for_writing_is_another_one(
    registry: FakeRegistry, client: RegistryClient
) -> None:
    ours = client._door(reference(registry), writes=True)
    theirs = client._door(reference(registry), writes=False)
    assert ours._authenticator is not theirs._authenticator
