"""TUF repositories captured from a web server, a tuf-on-ci folder and a client's cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundler.errors import RemoteNotFoundError, RemoteProtocolError
from bundler.registry.settings import RegistrySettings
from bundler.tuf.capture import Captured, TufSource, capture, open_place
from bundler.tuf.layout import LiveFiles
from loader.errors import LimitError, TrustRootError, UsageError
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_replay import replay
from tests.fakes.tuf_repository import CarriedFiles, TufRepository, plain_key
from tests.presence import ROOT

TARGET = "releases/app/1.0.json"


@pytest.fixture
def repository() -> TufRepository:
    """Three roots, a delegated role, a target that is not asked for."""
    found = TufRepository()
    found.rotate("root")
    found.rotate("timestamp")
    found.delegate("release", ["releases/*/*"], [plain_key("release")])
    found.target(TARGET, b'{"digest": "x"}', role="release")
    found.target("trusted_root.json", b"{}")
    found.target("large.bin", b"x" * 1000)
    return found.publish()


class _Server(ThreadingHTTPServer):
    files: Mapping[str, bytes]
    asked: list[str]
    absent: int = 404


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        path = self.path.removeprefix("/tuf/")
        server.asked.append(path)
        raw = server.files.get(path)
        self.send_response(server.absent if raw is None else 200)
        self.send_header("Content-Length", str(len(raw or b"")))
        self.end_headers()
        self.wfile.write(raw or b"")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(files: Mapping[str, bytes], *, absent: int = 404) -> Iterator[tuple[str, _Server]]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files, server.asked, server.absent = files, [], absent
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tuf", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(*hosts: str) -> RegistrySettings:
    return RegistrySettings(plain_http=frozenset(hosts))


def captured(place: str, pin: bytes, *targets: str) -> Captured:
    host = place.partition("://")[2].partition("/")[0]
    opened = open_place(place, settings(host), sleep=lambda _: None)
    try:
        return capture(TufPin(root=pin), opened, targets, name="acme", keys=None)
    finally:
        opened.close()


def expect_followed(files: Mapping[str, bytes], repository: TufRepository) -> None:
    """What was captured is enough for a host that pinned any of the roots."""
    for root in repository.roots.values():
        found = replay(CarriedFiles(files), TufPin(root=root), name="acme")
        assert found.root_version == 3
        assert found.target(TARGET) == b'{"digest": "x"}'
    assert set(files) == {
        "1.root.json",
        "2.root.json",
        "3.root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "release.json",
        f"targets/{TARGET}",
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder


@pytest.mark.parametrize("absent", [404, 403])
@pytest.mark.parametrize("pinned", [1, 2, 3])
def test_from_a_server(pinned: int, absent: int, repository: TufRepository) -> None:
    with served(repository.served(), absent=absent) as (url, server):
        found = captured(url, repository.roots[pinned], TARGET, "no-such-target")
    expect_followed(found.files, repository)
    assert len(server.asked) == len(set(server.asked)), "each is asked for once"
    assert not [path for path in server.asked if "large" in path]


def test_from_a_server_that_has_the_metadata_at_the_top(repository: TufRepository) -> None:
    """As Sigstore's own has it."""
    files = {path.removeprefix("metadata/"): raw for path, raw in repository.served().items()}
    with served(files) as (url, _):
        expect_followed(captured(url, repository.roots[1], TARGET).files, repository)


def test_from_tuf_on_cis_folder(tmp_path: Path, repository: TufRepository) -> None:
    folder = write(tmp_path, repository.git())
    expect_followed(captured(str(folder), repository.roots[2], TARGET).files, repository)


def test_from_a_published_site_in_a_folder(tmp_path: Path, repository: TufRepository) -> None:
    folder = write(tmp_path, repository.served())
    expect_followed(captured(str(folder), repository.roots[1], TARGET).files, repository)


def test_from_what_was_captured_before(tmp_path: Path, repository: TufRepository) -> None:
    first = captured(str(write(tmp_path / "a", repository.git())), repository.roots[1], TARGET)
    first.write(tmp_path / "b")
    again = captured(str(tmp_path / "b"), repository.roots[1], TARGET)
    assert again.files == first.files


def test_from_a_cache_somewhere_below(tmp_path: Path, repository: TufRepository) -> None:
    """`~/.sigstore/root/tuf-repo-cdn.sigstore.dev/`: the newest root alone, and targets."""
    cache = {f"{role}.json": raw for role, raw in repository.meta.items()}
    cache |= {"root.json": repository.roots[3], f"targets/{TARGET}": b'{"digest": "x"}'}
    write(tmp_path / "root/tuf-repo.example", cache)
    found = captured(str(tmp_path), repository.roots[3], TARGET)
    assert "3.root.json" in found.files
    with pytest.raises(TrustRootError):
        captured(str(tmp_path), repository.roots[1], TARGET)  # root 2 is not in the cache


def test_two_repositories_below_are_not_guessed(tmp_path: Path, repository: TufRepository) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, repository.git())
    with pytest.raises(UsageError, match="not one TUF repository"):
        captured(str(tmp_path), repository.roots[1])


def test_nothing_there(tmp_path: Path, repository: TufRepository) -> None:
    with served({}) as (url, _), pytest.raises(RemoteNotFoundError):
        captured(url, repository.roots[1])
    with pytest.raises(UsageError):
        captured(str(tmp_path / "none"), repository.roots[1])


def test_a_server_that_fails(repository: TufRepository) -> None:
    with served({}, absent=418) as (url, _), pytest.raises(RemoteProtocolError):
        captured(url, repository.roots[1])


def test_plain_http_has_to_be_allowed(repository: TufRepository) -> None:
    with served(repository.served()) as (url, _), pytest.raises(UsageError, match="plain HTTP"):
        open_place(url, settings(), sleep=lambda _: None)


def test_what_does_not_hold_is_not_captured(tmp_path: Path, repository: TufRepository) -> None:
    files = repository.git()
    document = json.loads(files["metadata/release.json"])
    document["signed"]["version"] += 1
    files["metadata/release.json"] = json.dumps(document).encode()
    with pytest.raises(TrustRootError):
        captured(str(write(tmp_path, files)), repository.roots[1], TARGET)


def test_endless_data(tmp_path: Path, repository: TufRepository) -> None:
    files = repository.git() | {"metadata/timestamp.json": b" " * 20_000}
    with pytest.raises(LimitError):
        captured(str(write(tmp_path, files)), repository.roots[1])


def test_a_version_that_leads_out_of_the_folder(tmp_path: Path, repository: TufRepository) -> None:
    """Names come from metadata that is not verified yet: they are looked for below the folder."""
    (tmp_path / "secret").write_bytes(b"secret")
    folder = write(tmp_path / "repository", repository.git())
    live = LiveFiles(open_place(str(folder), settings(), sleep=lambda _: None))
    assert live.look("targets/../../secret") is None
    assert live.look("../secret") is None


@pytest.mark.parametrize("text", ["acme", "acme=", "=x", ""])
def test_a_source_without_a_place(text: str) -> None:
    with pytest.raises(UsageError):
        TufSource.parse(text)


def test_a_built_in_anchor_alone_is_its_publishers_repository() -> None:
    for name in ("sigstore", "github"):
        found = TufSource.parse(name)
        assert (found.anchor, found.place.startswith("https://")) == (name, True)
        assert (ROOT / "trust-roots" / name / "root.json").is_file(), (
            "there is a root to begin with"
        )
    assert TufSource.parse("sigstore=/mnt/cache").place == "/mnt/cache"
