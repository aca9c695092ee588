"""Credentials: found where docker and podman keep them, and sent nowhere else."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from bundler.errors import (
    CredentialError,
    RemoteAuthError,
    RemoteError,
    RemoteProtocolError,
    RemoteUnavailableError,
)
from bundler.registry.client import Repository
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credential, Credentials
from bundler.store import ContentStore
from loader.model.image import ImageManifest
from loader.model.reference import Reference
from tests.fakes import images
from tests.fakes.content import ContentStore as FakeStore
from tests.fakes.faults import Fault, redirect
from tests.fakes.http_values import Request, Response
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import BasicAuth, TokenAuth
from tests.unit.bundler.registry import connect

SECRET = "correct horse"
BASIC = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    store = FakeStore()
    images.image(store, [images.Layer.noise(5000)], tag="1.0.0")
    with FakeRegistry({"acme/app": store, "acme/other": store}) as running:
        yield running


def login(host: str, folder: Path, **entry: str) -> dict[str, str]:
    entry = entry or {"auth": base64.b64encode(f"robot:{SECRET}".encode()).decode()}
    return connect.docker_config(folder, json.dumps({"auths": {host: entry}}))


def opened(client: object, registry: FakeRegistry, name: str = "acme/app") -> Repository:
    return client.repository(  # type: ignore[attr-defined, no-any-return]
        Reference.parse(registry.reference(name, "1.0.0"))
    )


# --- the exchange ---------------------------------------------------------------------------------


def test_basic(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = BasicAuth(password=SECRET)
    with connect.client(connect.settings(registry), login(registry.host, tmp_path)) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
        assert opened(client, registry).tagged("1.0.0") is not None
    assert [r.authorization for r in registry.seen()] == [None, BASIC, BASIC]


@pytest.mark.parametrize("answer_field", ["token", "access_token"])
def test_token_with_a_login(registry: FakeRegistry, tmp_path: Path, answer_field: str) -> None:
    registry.auth = TokenAuth(user="robot", password=SECRET, answer_field=answer_field)
    with connect.client(connect.settings(registry), login(registry.host, tmp_path)) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
    (asked,) = registry.seen("/token")
    assert asked.authorization == BASIC
    assert asked.queries("scope") == ["repository:acme/app:pull"]
    assert all((r.authorization or "Bearer").startswith("Bearer") for r in registry.seen("/v2/"))


def test_token_without_a_login(registry: FakeRegistry) -> None:
    registry.auth = TokenAuth()
    with connect.client(connect.settings(registry)) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
    assert [r.authorization for r in registry.seen("/token")] == [None]


def test_each_repository_has_a_token_of_its_own_and_a_stale_one_is_renewed(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.auth = auth = TokenAuth(user="robot", password=SECRET)
    with connect.client(connect.settings(registry), login(registry.host, tmp_path)) as client:
        for name in ("acme/app", "acme/other", "acme/app"):
            assert opened(client, registry, name).tagged("1.0.0") is not None
        assert len(registry.seen("/token")) == 2
        auth.issued.clear()
        assert opened(client, registry).tagged("1.0.0") is not None
    assert len(registry.seen("/token")) == 3


def test_a_scope_that_asks_for_more_than_reading_is_cut_down(registry: FakeRegistry) -> None:
    registry.auth = TokenAuth()
    challenge = (
        f'Bearer realm="{registry.url}/token",service="s",'
        'scope="repository:acme/app:pull,push,delete registry:catalog:*"'
    )
    registry.faults.append(
        Fault(pattern="/v2/", headers={"WWW-Authenticate": challenge}, status=401)
    )
    with connect.client(connect.settings(registry)) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
    assert registry.seen("/token")[0].queries("scope") == ["repository:acme/app:pull"]


class RefreshTokens(TokenAuth):
    """distribution's OAuth2 endpoint: a form with a refresh token."""

    def token(self, request: Request) -> Response | None:
        if request.path != "/token":
            return None
        form = parse_qs(request.body.decode())
        if request.method != "POST" or form.get("refresh_token") != [SECRET]:
            return Response.error(401, "UNAUTHORIZED")
        self.issued["fresh"] = set(form["scope"])
        return Response.json(200, {"access_token": "fresh"})


def test_identity_tokens_are_exchanged(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = RefreshTokens()
    known = login(registry.host, tmp_path, identitytoken=SECRET, auth="MDAwMDo=")
    with connect.client(connect.settings(registry), known) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
    assert SECRET not in "".join(r.authorization or "" for r in registry.seen())


def test_registry_tokens_are_shown_as_they_are(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = TokenAuth(issued={"given": {"repository:acme/app:pull"}})
    known = login(registry.host, tmp_path, registrytoken="given")
    with connect.client(connect.settings(registry), known) as client:
        assert opened(client, registry).tagged("1.0.0") is not None
    assert registry.seen("/token") == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 403}, RemoteAuthError),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, RemoteAuthError),
        ({"status": 500}, RemoteUnavailableError),
        ({"body": b"{}"}, RemoteProtocolError),
        ({"body": b"<html>"}, RemoteProtocolError),
        ({"body": b'{"token": "a\\r\\nb"}'}, RemoteProtocolError),
        ({"body": b'{"token": 1}'}, RemoteProtocolError),
        ({"endless": True}, RemoteError),
    ],
)
def test_a_token_service_that_misbehaves(
    registry: FakeRegistry, answer: dict[str, object], expected: type[RemoteError]
) -> None:
    registry.auth = TokenAuth()
    registry.faults.append(Fault(pattern="^/token", on=None, **answer))  # type: ignore[arg-type]
    with connect.client(connect.settings(registry)) as client, pytest.raises(expected):
        opened(client, registry).tagged("1.0.0")


def test_a_wrong_password_is_an_error_without_the_password(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.auth = BasicAuth(password="another")
    known = login(registry.host, tmp_path)
    with (
        connect.client(connect.settings(registry), known) as client,
        pytest.raises(RemoteAuthError) as caught,
    ):
        opened(client, registry).tagged("1.0.0")
    error = caught.value
    assert SECRET not in f"{error!r} {error} {error.hint}"
    assert SECRET not in repr(Credentials(known, helper=HelperPrograms(environment={})))
    assert SECRET not in repr(Credential(password=SECRET, identity_token=SECRET))


def test_no_login_for_a_registry_that_wants_one_says_how_to_get_one(
    registry: FakeRegistry,
) -> None:
    registry.auth = BasicAuth()
    with connect.client(connect.settings(registry)) as client, pytest.raises(RemoteAuthError) as e:
        opened(client, registry).tagged("1.0.0")
    assert "login" in e.value.hint


# --- nowhere else ---------------------------------------------------------------------------------


def test_a_blob_elsewhere_is_fetched_without_credentials(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.auth = TokenAuth(user="robot", password=SECRET)
    with FakeRegistry(registry.repositories) as cdn:
        registry.faults.append(redirect("/blobs/", f"{cdn.url}{{target}}"))
        known = login(registry.host, tmp_path)
        with connect.client(connect.settings(registry, cdn), known) as client:
            repository = opened(client, registry)
            document = repository.tagged("1.0.0")
            assert document is not None
            layer = ImageManifest.parse(document.raw, document.descriptor, where="").layers[0]
            store = ContentStore(tmp_path / "cache")
            store.fill(layer, lambda offset: repository.blob(layer, offset), where="layer")
        assert store.holds(layer)
        assert [request.authorization for request in cdn.requests] == [None]


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_challenge_from_elsewhere_is_not_answered(
    registry: FakeRegistry, tmp_path: Path, scheme: str
) -> None:
    registry.auth = TokenAuth(user="robot", password=SECRET)
    wanting = BasicAuth() if scheme == "basic" else TokenAuth(user="robot")
    with FakeRegistry(registry.repositories, auth=wanting) as thief:
        registry.faults.append(redirect("/blobs/", f"{thief.url}{{target}}"))
        # Even a login for that host: it was not the one that was asked.
        known = connect.docker_config(
            tmp_path,
            json.dumps(
                {
                    "auths": {
                        host: {"username": "robot", "password": SECRET}
                        for host in (registry.host, thief.host)
                    }
                }
            ),
        )
        with connect.client(connect.settings(registry, thief), known) as client:
            repository = opened(client, registry)
            document = repository.tagged("1.0.0")
            assert document is not None
            layer = ImageManifest.parse(document.raw, document.descriptor, where="").layers[0]
            with pytest.raises(RemoteAuthError):
                list(repository.blob(layer, 0))
        assert {request.authorization for request in thief.requests} == {None}
        assert len(thief.requests) == 1


def test_a_login_is_not_sent_to_a_realm_over_plain_http(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    with FakeRegistry() as thief:
        registry.auth = TokenAuth(user="robot", password=SECRET, realm=f"{thief.url}/token")
        known = login(registry.host, tmp_path)
        with (
            connect.client(connect.settings(registry), known) as client,
            pytest.raises(RemoteAuthError) as caught,
        ):
            opened(client, registry).tagged("1.0.0")
        assert "--plain-http" in caught.value.hint
        assert thief.requests == []


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        'Bearer realm="ftp://host/token"',
        'Bearer realm="https://user@host/token"',
        'Bearer realm="https://[::1/token"',
        'Bearer realm="https://host/token",service="a\\"b"',
        "Bearer realm=",
        "Basic",
    ],
)
def test_challenges_that_lead_nowhere(
    registry: FakeRegistry, tmp_path: Path, challenge: str
) -> None:
    registry.faults.append(
        Fault(pattern="/v2/", on=None, status=401, headers={"WWW-Authenticate": challenge})
    )
    known = login("another.example", tmp_path)
    with connect.client(connect.settings(registry), known) as client, pytest.raises(RemoteError):
        opened(client, registry).tagged("1.0.0")
    assert all(request.authorization is None for request in registry.requests)


def test_the_login_of_another_host_stays_at_home(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = BasicAuth(password=SECRET)
    known = login(f"{registry.host}0", tmp_path)
    with connect.client(connect.settings(registry), known) as client, pytest.raises(RemoteError):
        opened(client, registry).tagged("1.0.0")
    assert {request.authorization for request in registry.requests} == {None}


def test_netrc_and_the_variables_of_oras_are_not_read(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.auth = BasicAuth(password=SECRET)
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login robot password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("ORAS_USER", "robot")
    monkeypatch.setenv("ORAS_PASS", SECRET)
    with connect.client(connect.settings(registry)) as client, pytest.raises(RemoteAuthError):
        opened(client, registry).tagged("1.0.0")
    assert {request.authorization for request in registry.requests} == {None}


# --- where credentials are ------------------------------------------------------------------------


def found(environment: dict[str, str], registry: str, repository: str = "org/app") -> str | None:
    helper = HelperPrograms(environment=environment)
    credential = Credentials(environment, helper=helper).for_registry(registry, repository)
    if credential is None:
        return None
    return credential.identity_token or f"{credential.user}:{credential.password}"


def config(path: Path, **entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    return path


def entry(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_files_are_looked_at_in_order(tmp_path: Path) -> None:
    known = {
        "HOME": str(tmp_path / "home"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }
    host = "registry.example"
    assert found(known, host) is None
    config(tmp_path / "home/.docker/config.json", auths={host: entry("docker:1")})
    assert found(known, host) == "docker:1"
    config(tmp_path / "home/.config/containers/auth.json", auths={host: entry("config:1")})
    assert found(known, host) == "config:1"
    config(tmp_path / "run/containers/auth.json", auths={host: entry("run:1")})
    assert found(known, host) == "run:1"
    named = config(tmp_path / "named.json", auths={"other.example": entry("named:1")})
    known["REGISTRY_AUTH_FILE"] = str(named)
    assert found(known, host) is None
    assert found(known, "other.example") == "named:1"
    known["REGISTRY_AUTH_FILE"] = str(tmp_path / "absent.json")
    with pytest.raises(CredentialError):
        found(known, host)


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("registry.example", "registry.example"),
        ("https://registry.example", "registry.example"),
        ("https://registry.example/v2/", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry.example/org", "registry.example"),
        ("registry.example/org/app", "registry.example"),
    ],
)
def test_what_entries_may_be_called(tmp_path: Path, name: str, registry: str) -> None:
    config(tmp_path / "config.json", auths={name: entry("me:pass:word")})
    assert found({"DOCKER_CONFIG": str(tmp_path)}, registry) == "me:pass:word"


def test_the_most_exact_entry_wins(tmp_path: Path) -> None:
    config(
        tmp_path / "config.json",
        auths={
            "r.example": entry("host:1"),
            "r.example/org": entry("org:1"),
            "r.example/org/app": entry("app:1"),
        },
    )
    known = {"DOCKER_CONFIG": str(tmp_path)}
    assert found(known, "r.example", "org/app") == "app:1"
    assert found(known, "r.example", "org/application") == "org:1"
    assert found(known, "r.example", "organisation/app") == "host:1"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths": []}',
        '{"auths": {"r.example": []}}',
        '{"auths": {"r.example": {"auth": "not base64!"}}}',
        '{"auths": {"r.example": {"auth": 7}}}',
        '{"auths": {"r.example": {"auth": "/w=="}}}',
        '{"credHelpers": {"r.example": 1}}',
        '{"auths": {}, "auths": {}}',
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        found(connect.docker_config(tmp_path, text), "r.example")
    assert "not base64!" not in str(caught.value)
    assert caught.value.exit_status == 2


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.defpath}", "DOCKER_CONFIG": str(folder)}


ANSWER = (
    "read -r server; "
    """printf '{"ServerURL":"%s","Username":"me","Secret":"of %s"}' "$server" "$server" """
)


def test_a_helper_for_one_host(tmp_path: Path) -> None:
    known = helper(tmp_path, "vault", f'test "$1" = get && {ANSWER}')
    config(
        tmp_path / "config.json",
        credHelpers={"r.example": "vault"},
        auths={"r.example": entry("inline:1"), "other.example": entry("inline:2")},
    )
    assert found(known, "r.example") == "me:of r.example"
    assert found(known, "other.example") == "inline:2"


def test_a_store_for_every_host_without_an_entry_of_its_own(tmp_path: Path) -> None:
    known = helper(tmp_path, "desktop", ANSWER)
    config(tmp_path / "config.json", credsStore="desktop", auths={"r.example": {}})
    assert found(known, "r.example") == "me:of r.example"
    assert found(known, "docker.io") == "me:of https://index.docker.io/v1/"


def test_a_helper_may_give_a_refresh_token(tmp_path: Path) -> None:
    known = helper(tmp_path, "h", """echo '{"Username":"<token>","Secret":"refresh"}'""")
    config(tmp_path / "config.json", credsStore="h")
    assert found(known, "r.example") == "refresh"


def test_a_helper_that_keeps_nothing_means_anonymous(tmp_path: Path) -> None:
    known = helper(tmp_path, "h", "echo credentials not found in native keychain; exit 1")
    config(tmp_path / "config.json", credsStore="h")
    assert found(known, "r.example") is None


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("h", "echo the keychain is locked >&2; exit 1"),
        ("h", "echo not json"),
        ("h", """echo '{"Username":"only"}'"""),
        ("absent", "exit 0"),
        ("../../bin/sh", "exit 0"),
    ],
)
def test_a_helper_that_fails_is_an_error_and_not_anonymous(
    tmp_path: Path, name: str, script: str
) -> None:
    known = helper(tmp_path, "h", script)
    config(tmp_path / "config.json", credHelpers={"r.example": name})
    with pytest.raises(CredentialError):
        found(known, "r.example")


def test_a_helper_is_asked_once(tmp_path: Path) -> None:
    known = helper(tmp_path, "h", f"echo x >> {tmp_path}/count; {ANSWER}")
    config(tmp_path / "config.json", credsStore="h")
    credentials = Credentials(known, helper=HelperPrograms(environment=known))
    for _ in range(3):
        credentials.for_registry("r.example", "org/app")
    assert (tmp_path / "count").read_text() == "x\n"
