"""The way to a registry: TLS, plain HTTP, proxies, slow and stubborn servers, trying again."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bundler.errors import (
    CertificateFileError,
    RemoteError,
    RemoteRateLimitError,
    RemoteStalledError,
    RemoteTlsError,
    RemoteUnavailableError,
    RemoteUnreachableError,
)
from bundler.registry.challenge import parse_challenges, reading_scope
from bundler.registry.http import Http
from bundler.registry.proxy import proxies_for
from bundler.registry.retry import Retry, retry_after_seconds
from bundler.registry.settings import RegistrySettings, Timing, api_host
from loader.model.reference import Reference
from tests.fakes import images
from tests.fakes.content import ContentStore
from tests.fakes.faults import Fault, redirect
from tests.fakes.registry import FakeRegistry
from tests.fakes.tls import TlsFiles, private_ca
from tests.unit.bundler.registry import connect


def store() -> ContentStore:
    made = ContentStore()
    images.image(made, [images.Layer.noise(1000)], tag="1.0.0")
    return made


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return private_ca(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(tls: TlsFiles) -> Iterator[FakeRegistry]:
    with FakeRegistry({"acme/app": store()}, tls=tls) as running:
        yield running


def ask(registry: FakeRegistry, chosen: RegistrySettings) -> object:
    with connect.client(chosen) as client:
        reference = Reference.parse(registry.reference("acme/app", "1.0.0"))
        return client.repository(reference).tagged("1.0.0")


# --- TLS ------------------------------------------------------------------------------------------


def test_a_private_authority_is_trusted_when_it_is_named(
    secure: FakeRegistry, tls: TlsFiles, tmp_path: Path
) -> None:
    with pytest.raises(RemoteTlsError) as caught:
        ask(secure, connect.settings())
    assert "--ca-file" in caught.value.hint
    assert ask(secure, connect.settings(ca_files=(tls.authority,)))
    named = {"SSL_CERT_FILE": str(tls.authority)}
    assert ask(secure, connect.settings(environment=named))
    folder = tmp_path / "certs.d" / secure.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(tls.authority.read_bytes())
    assert ask(secure, connect.settings(certificate_folders=(tmp_path / "certs.d",)))


def test_another_hosts_authority_does_not_count(
    secure: FakeRegistry, tls: TlsFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "other.example"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(tls.authority.read_bytes())
    with pytest.raises(RemoteTlsError):
        ask(secure, connect.settings(certificate_folders=(tmp_path,)))


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    wrong = private_ca(tmp_path, hosts=("other.example",))
    with FakeRegistry({"acme/app": store()}, tls=wrong) as registry:
        reference = Reference.parse(f"localhost:{registry.port}/acme/app:1.0.0")
        chosen = connect.settings(ca_files=(wrong.authority,))
        with connect.client(chosen) as client, pytest.raises(RemoteTlsError):
            client.repository(reference).tagged("1.0.0")
        assert registry.requests == []


def client_certificate(folder: Path) -> tuple[bytes, bytes]:
    """Make a certificate of our own and its key, in `openssl`'s ordinary form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "robot")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2045, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), private


def test_a_client_certificate_is_shown_to_its_host_alone(tls: TlsFiles, tmp_path: Path) -> None:
    certificate, key = client_certificate(tmp_path)
    (tmp_path / "clients.pem").write_bytes(certificate)

    class Demanding(TlsFiles):
        def server_context(self) -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(tmp_path / "clients.pem")
            context.verify_mode = ssl.CERT_REQUIRED
            return context

    folder = tmp_path / "certs.d"
    demanding = Demanding(authority=tls.authority, certificate=tls.certificate, key=tls.key)
    with FakeRegistry({"acme/app": store()}, tls=demanding) as registry:
        chosen = connect.settings(ca_files=(tls.authority,), certificate_folders=(folder,))
        for host in ("other.example", registry.host):
            with pytest.raises(RemoteError):
                ask(registry, chosen)
            (folder / host).mkdir(parents=True)
            (folder / host / "client.cert").write_bytes(certificate)
            (folder / host / "client.key").write_bytes(key)
        assert ask(registry, chosen)
        (folder / registry.host / "client.key").unlink()
        with pytest.raises(CertificateFileError) as caught:
            ask(registry, chosen)
        assert "client.key" in caught.value.expected


@pytest.mark.parametrize("text", [None, "", "not a certificate"])
def test_an_authority_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    http = Http(connect.settings(ca_files=(path,)))
    with pytest.raises(CertificateFileError) as caught:
        http.get("https://127.0.0.1:1/", {})
    assert str(path) in caught.value.where
    http.close()


def test_a_redirect_never_leaves_tls(secure: FakeRegistry, tls: TlsFiles, tmp_path: Path) -> None:
    del tmp_path
    with FakeRegistry(secure.repositories) as plain:
        secure.faults.append(redirect("/blobs/", f"{plain.url}{{target}}"))
        chosen = connect.settings(plain, ca_files=(tls.authority,))
        with connect.client(chosen) as client:
            repository = client.repository(Reference.parse(secure.reference("acme/app", "1.0.0")))
            document = repository.tagged("1.0.0")
            assert document is not None
            with pytest.raises(RemoteError) as caught:
                list(repository.blob(document.descriptor, 0))
        assert caught.value.code == "remote.redirect"
        assert plain.requests == []


def test_plain_http_is_allowed_by_host_and_port() -> None:
    chosen = RegistrySettings(plain_http=frozenset({"A.example:80", "b.example"}))
    assert chosen.allows_plain_http("a.example")
    assert chosen.allows_plain_http("b.example:80")
    assert not chosen.allows_plain_http("a.example:8080")
    assert not chosen.allows_plain_http("localhost")


def test_a_hosts_name_cannot_lead_out_of_the_folder_of_certificates(
    tmp_path: Path,
) -> None:
    (tmp_path / "ca.crt").write_text("not a certificate")
    (tmp_path / "certs.d").mkdir()
    http = Http(connect.settings(certificate_folders=(tmp_path / "certs.d",)))
    with pytest.raises(RemoteError):  # and not: a certificate that cannot be read
        http.get("https://../x", {})
    http.close()


def test_docker_hub_answers_under_its_own_host() -> None:
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("ghcr.io") == "ghcr.io"


# --- time -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def raw_server(pieces: list[bytes], pause: float) -> Iterator[int]:
    """Answer each connection with these pieces, slowly, whatever is asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
                if done.wait(pause):
                    return

    def serve() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 200], id="headers that drip"),
        pytest.param([bytes([byte]) for byte in b"HTTP/1.1 200 OK" * 20], id="a status line"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 200],
            id="chunks of one byte",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"0"] * 200],
            id="a chunk's size that drips",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"a"] * 200], id="a body"
        ),
        pytest.param([], id="nothing at all"),
    ],
)
def test_a_server_that_drips_is_cut_off_in_time(pieces: list[bytes]) -> None:
    with raw_server(pieces or [b""] * 200, pause=0.1) as port:
        host = f"127.0.0.1:{port}"
        http = Http(
            RegistrySettings(
                plain_http=frozenset({host}),
                timing=Timing(read_seconds=3, progress_seconds=0.8, progress_bytes=100_000),
            )
        )
        begin = time.monotonic()
        with pytest.raises(RemoteStalledError), http.get(f"http://{host}/", {}) as answer:
            answer.read(size_max=5000, what="it")
        http.close()
        assert time.monotonic() - begin < 4


def test_a_handshake_that_drips_is_cut_off_in_time() -> None:
    record = b"\x16\x03\x03\x40\x00" + bytes(200)
    with raw_server([bytes([byte]) for byte in record], pause=0.1) as port:
        http = Http(
            RegistrySettings(
                certificate_folders=(),
                timing=Timing(connect_seconds=3, progress_seconds=0.8, progress_bytes=100),
            )
        )
        begin = time.monotonic()
        with pytest.raises(RemoteStalledError):
            http.get(f"https://127.0.0.1:{port}/", {})
        http.close()
        assert time.monotonic() - begin < 4


def test_what_is_being_read_can_be_cut_from_elsewhere() -> None:
    with raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"a", b""], 5) as port:
        host = f"127.0.0.1:{port}"
        http = Http(RegistrySettings(plain_http=frozenset({host})))
        threading.Timer(0.3, http.close).start()
        begin = time.monotonic()
        with pytest.raises(RemoteError), http.get(f"http://{host}/", {}) as answer:
            answer.read(size_max=5000, what="it")
        assert time.monotonic() - begin < 3


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    host = f"127.0.0.1:{port}"
    http = Http(RegistrySettings(plain_http=frozenset({host})))
    with pytest.raises(RemoteUnreachableError) as caught:
        http.get(f"http://{host}/", {})
    assert caught.value.found == "Connection refused"
    http.close()


# --- trying again ---------------------------------------------------------------------------------


def test_pauses_grow_and_stay_within_bounds() -> None:
    slept: list[float] = []
    retry = Retry(
        timing=Timing(attempt_count=6, pause_seconds=1, pause_seconds_max=5),
        sleep=slept.append,
        spread=lambda: 1.0,
    )

    def fail() -> None:
        raise RemoteUnavailableError("no")

    with pytest.raises(RemoteUnavailableError):
        retry.run(fail)
    assert slept == [1, 2, 4, 5, 5]
    slept.clear()
    with pytest.raises(RemoteUnavailableError):
        Retry(timing=Timing(), sleep=slept.append, spread=lambda: 0.0).run(fail)
    assert slept == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "2"}, [2.0, 2.0]),
        ({"Retry-After": "3600"}, []),
        ({"Retry-After": "soon"}, None),
    ],
    ids=["seconds", "an hour", "nonsense"],
)
def test_the_server_may_say_when_to_come_back(
    headers: dict[str, str], expected: list[float] | None
) -> None:
    with FakeRegistry({"acme/app": store()}) as registry:
        registry.faults.append(Fault(pattern="/v2/", on=None, status=429, headers=headers))
        slept: list[float] = []
        with (
            connect.client(connect.settings(registry), slept=slept) as client,
            pytest.raises(RemoteRateLimitError) as caught,
        ):
            client.repository(Reference.parse(registry.reference("acme/app", "1.0.0"))).tagged(
                "1.0.0"
            )
    if expected is None:
        assert len(slept) == 2
        assert max(slept) < 1
    else:
        assert slept == expected
    if expected == []:
        assert "3600" in caught.value.hint


def test_what_is_forbidden_is_not_asked_for_again() -> None:
    with FakeRegistry({"acme/app": store()}) as registry:
        registry.faults.append(Fault(pattern="/v2/", on=None, status=403))
        with pytest.raises(RemoteError):
            ask(registry, connect.settings(registry))
        assert len(registry.requests) == 1


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("0", None, 0.0),
        ("-1", None, None),
        ("9" * 40, None, 999_999_999.0),
        ("Sat, 21 Nov 2026 10:00:07 GMT", None, None),
        ("Sat, 21 Nov 2026 09:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT", 0.0),
        ("Sat, 99 Nov 2026 09:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, date: str | None, expected: float | None) -> None:
    assert retry_after_seconds(value, date) == expected


# --- small grammars -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic", [("basic", "", "")]),
        ('Bearer realm="https://a/t",service="s"', [("bearer", "https://a/t", "s")]),
        ('bearer Realm="https://a/t" , SERVICE=s', [("bearer", "https://a/t", "s")]),
        ('Bearer realm="a\\"b"', [("bearer", 'a"b', "")]),
        (
            'Basic realm="x", Bearer realm="https://a/t",service="s"',
            [("basic", "x", ""), ("bearer", "https://a/t", "s")],
        ),
        ('Bearer realm="one",realm="two"', [("bearer", "one", "")]),
        ("=", []),
        ('Bearer realm="unfinished', [("bearer", "", "")]),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, str, str]]) -> None:
    found = parse_challenges(header)
    assert [(c.scheme, c.realm, c.service) for c in found][: len(expected)] == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", "repository:org/app:pull"),
        ("repository:org/app:pull,push", "repository:org/app:pull"),
        ("repository:a:pull repository:b:push", "repository:a:pull repository:b:pull"),
        ("registry:catalog:*", "repository:org/app:pull"),
        ("aws", "aws"),
    ],
)
def test_scopes(asked: str, expected: str) -> None:
    assert reading_scope(asked, "org/app") == expected


PROXIES = {"HTTPS_PROXY": "proxy.example:3128", "http_proxy": "http://plain.example"}


@pytest.mark.parametrize(
    ("url", "extra", "expected"),
    [
        ("https://r.example/", {}, "http://proxy.example:3128"),
        ("http://r.example/", {}, "http://plain.example"),
        ("https://r.example/", {"https_proxy": "http://first"}, "http://first"),
        ("https://r.example/", {"NO_PROXY": "r.example"}, None),
        ("https://r.example/", {"NO_PROXY": ".example"}, None),
        ("https://r.example/", {"NO_PROXY": "*.example, x"}, None),
        ("https://r.example/", {"NO_PROXY": "r.example:5000"}, "http://proxy.example:3128"),
        ("https://r.example:5000/", {"NO_PROXY": "r.example:5000"}, None),
        ("https://rr.example/", {"NO_PROXY": "r.example"}, "http://proxy.example:3128"),
        ("https://r.example/", {"NO_PROXY": "*"}, None),
        ("https://10.1.2.3/", {"NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/", {"NO_PROXY": "10.0.0.0/8,nonsense/x"}, "http://proxy.example:3128"),
        ("https://localhost:5000/", {}, None),
        ("https://127.0.0.1/", {}, None),
        ("https://[::1]/", {}, None),
    ],
)
def test_proxies(url: str, extra: dict[str, str], expected: str | None) -> None:
    assert next(iter(proxies_for(url, PROXIES | extra).values()), None) == expected


def test_a_proxy_is_used_and_gets_no_credentials_of_the_registry() -> None:
    with FakeRegistry() as proxy:
        chosen = connect.settings(
            environment={"http_proxy": proxy.url}, plain_http=frozenset({"registry.example"})
        )
        with connect.client(chosen) as client:
            reference = Reference.parse("registry.example/org/app:1")
            assert client.repository(reference).tagged("1") is None  # the proxy's 404
    (request,) = proxy.requests
    assert request.target == "http://registry.example/v2/org/app/manifests/1"
    assert request.authorization is None
