"""Every fault that can be scripted is what a client then sees, and nothing else is spoilt."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import requests

from tests.fakes.faults import Fault, redirect
from tests.fakes.images import Image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import BasicAuth
from tests.fakes.tls import private_ca

REPOSITORY = "acme/app"


def at(registry: FakeRegistry, rest: str) -> str:
    return f"{registry.url}/v2/{REPOSITORY}/{rest}"


def layer_of(image: Image) -> str:
    return str(image.children[0].manifest["layers"][0]["digest"])


def test_status_strikes_on_the_named_requests_only(
    registry: FakeRegistry, session: requests.Session
) -> None:
    registry.faults = [
        Fault(pattern="/manifests/", on={1, 3}, status=429, headers={"Retry-After": "7"})
    ]
    url = at(registry, "manifests/1.0.0")
    session.get(at(registry, "tags/list"))
    got = [session.get(url) for _ in range(4)]
    assert [one.status_code for one in got] == [429, 200, 429, 200]
    assert got[0].headers["Retry-After"] == "7"


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 500, 501, 503])
def test_every_status_can_be_scripted(
    registry: FakeRegistry, session: requests.Session, status: int
) -> None:
    registry.faults = [Fault(pattern=".", on=None, status=status)]
    assert session.get(f"{registry.url}/v2/").status_code == status
    assert session.head(f"{registry.url}/v2/").status_code == status


def test_redirect_keeps_path_and_shows_who_got_the_password(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    registry.auth = BasicAuth()
    with FakeRegistry({REPOSITORY: image.store}) as other:
        registry.faults = [redirect("/blobs/", f"{other.url}{{target}}")]
        got = session.get(
            at(registry, f"blobs/{layer_of(image)}"),
            headers={"Authorization": "Basic cm9ib3Q6c2VjcmV0"},
            allow_redirects=False,
        )
        assert got.status_code == 307
        assert got.headers["Location"] == other.url + f"/v2/{REPOSITORY}/blobs/{layer_of(image)}"
        assert other.seen() == []
        assert session.get(got.headers["Location"]).status_code == 200
        assert [one.authorization for one in other.seen()] == [None]


def test_truncated_body(registry: FakeRegistry, image: Image) -> None:
    registry.faults = [Fault(pattern="/blobs/", truncate=10)]
    url = at(registry, f"blobs/{layer_of(image)}")
    with urllib.request.urlopen(url) as got, pytest.raises(http.client.IncompleteRead) as short:
        got.read()
    assert len(short.value.partial) == 10
    with urllib.request.urlopen(url) as got:
        assert len(got.read()) == image.store.size(layer_of(image))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("truncate", [None, 10])
def test_reset_connection(image: Image, tmp_path: Path, *, tls: bool, truncate: int | None) -> None:
    files = private_ca(tmp_path) if tls else None
    context = ssl.create_default_context(cafile=str(files.authority)) if files else None
    faults = [Fault(pattern="/blobs/", reset=True, truncate=truncate)]
    with FakeRegistry({REPOSITORY: image.store}, tls=files, faults=faults) as registry:
        url = at(registry, f"blobs/{layer_of(image)}")
        with pytest.raises((ConnectionError, urllib.error.URLError, http.client.IncompleteRead)):
            urllib.request.urlopen(url, context=context).read()
        with urllib.request.urlopen(url, context=context) as got:
            assert got.status == 200


def test_wrong_bytes_lengths_and_headers(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    size = len(image.raw)
    registry.faults = [
        Fault(pattern="/manifests/", on={1}, body=b"{}"),
        Fault(pattern="/manifests/", on={1}, headers={"Docker-Content-Digest": "sha256:0"}),
        Fault(pattern="/manifests/", on={1}, without={"Content-Type"}),
        Fault(pattern="/manifests/", on={1}, content_length=size + 5, method="HEAD"),
        Fault(pattern="/manifests/", on={1}, content_length=size - 5),
        Fault(pattern="/manifests/", on={1}, content_length=size + 5),
    ]
    url = at(registry, "manifests/1.0.0")
    assert session.get(url).content == b"{}"
    assert session.get(url).headers["Docker-Content-Digest"] == "sha256:0"
    assert "Content-Type" not in session.get(url).headers
    assert session.head(url).headers["Content-Length"] == str(size + 5)
    session.close()  # the server ends a connection whose length it lied about, sooner or later
    assert session.get(url).content == image.raw[:-5]
    session.close()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(url)
    assert session.get(url).content == image.raw


def test_tag_that_moves_between_two_requests(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    newer = hello_index(image.store, version="1.0.1", tag=None)
    registry.faults = [
        Fault(pattern="/manifests/1.0.0$", after=lambda: image.store.tag("1.0.0", newer.descriptor))
    ]
    url = at(registry, "manifests/1.0.0")
    assert [session.head(url).headers["Docker-Content-Digest"] for _ in range(2)] == [
        image.digest,
        newer.digest,
    ]


def test_endless_body_has_no_length_and_does_not_stop(
    registry: FakeRegistry, session: requests.Session
) -> None:
    registry.faults = [Fault(pattern="/manifests/", endless=True)]
    with session.get(at(registry, "manifests/1.0.0"), stream=True) as got:
        assert "Content-Length" not in got.headers
        read = 0
        for chunk in got.iter_content(1 << 20):
            read += len(chunk)
            if read > 20 << 20:
                break
    assert session.get(at(registry, "manifests/1.0.0")).status_code == 200


def test_slow_body_and_late_answer(
    registry: FakeRegistry, image: Image, session: requests.Session
) -> None:
    registry.faults = [Fault(pattern="/manifests/", drip=0.02, drip_size=100, delay=0.1)]
    before = time.monotonic()
    assert session.get(at(registry, "manifests/1.0.0")).content == image.raw
    assert time.monotonic() - before >= 0.1 + 0.02 * (len(image.raw) // 100)


def test_stopping_does_not_wait_for_a_slow_answer(image: Image) -> None:
    registry = FakeRegistry({REPOSITORY: image.store}, faults=[Fault(pattern=".", delay=30)])
    before = time.monotonic()
    with registry, pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{registry.url}/v2/", timeout=0.2)
    assert time.monotonic() - before < 5
