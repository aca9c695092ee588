"""Capturing content trust: from servers that lie, race or never end, and from caches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import RemoteError, RemoteNotFoundError
from bundler.notary.captured import Captured, read_cache, repositories_in
from bundler.notary.server import NotaryServers, server_of
from bundler.notary.sources import verify
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.settings import RegistrySettings
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import AirlockError, NotaryError, UsageError
from tests.e2e.collecting import QUICK
from tests.fakes.notary_server import FakeNotary
from tests.fakes.notaryworld import Repository

GUN = "registry.acme.example/acme/app"


def published(roots: int = 1) -> Repository:
    world = Repository(gun=GUN)
    world.delegate("targets/releases")
    world.delegate("targets/alice")
    world.tag("v1", b"list", role="targets/releases")
    world.publish()
    for _ in range(roots - 1):
        world.rotate_root()
        world.publish()
    return world


def capture(server: FakeNotary, gun: str = GUN, *, plain: bool = True) -> Captured:
    settings = RegistrySettings(
        plain_http=frozenset({server.host} if plain else set()),
        certificate_folders=(),
        timing=QUICK,
    )
    client = NotaryServers(
        settings, Credentials({}, helper=HelperPrograms(environment={})), sleep=lambda _: None
    )
    try:
        return client.capture(server.url, gun)
    finally:
        client.close()


@pytest.fixture
def world() -> Repository:
    return published()


@pytest.fixture
def server(world: Repository) -> Iterator[FakeNotary]:
    with FakeNotary(world) as made:
        yield made


def test_all_roles_and_every_root() -> None:
    world = published(roots=3)
    with FakeNotary(world) as server:
        found = capture(server)
    assert found.files == world.files
    assert verify(found, None).said("v1")
    assert server.asked[0] == "timestamp.json"
    assert all(len(name.split(".")[-2]) == 64 for name in server.asked[1:6])


def test_roots_that_the_server_forgot_are_said() -> None:
    with FakeNotary(published(roots=3)) as server:
        server.lies["1.root.json"] = 404
        found = capture(server)
    assert set(found.files) >= {"2.root", "3.root", "root"}
    assert found.notes == ("the server has no root 1: no chain leads from it, or an older one",)


def test_published_while_it_was_asked(world: Repository, server: FakeNotary) -> None:
    # The timestamp is of the state before; all else is asked by hash, and still there.
    old = world.files["timestamp"]
    world.tag("v2", b"list 2")
    world.publish()
    server.publish(world)
    server.lies["timestamp.json"] = old
    found = capture(server)
    assert not verify(found, None).said("v2")


def test_a_bearer_token_for_reading_alone(world: Repository) -> None:
    with FakeNotary(world, token="secret") as server:
        assert capture(server).files
    assert server.scopes == [f"repository:{GUN}:pull"]


def test_nothing_there(server: FakeNotary) -> None:
    with pytest.raises(RemoteNotFoundError):
        capture(server, "registry.acme.example/acme/other")


def test_plain_http_is_not_by_itself_allowed(server: FakeNotary) -> None:
    with pytest.raises(UsageError) as caught:
        capture(server, plain=False)
    assert "--plain-http" in caught.value.hint
    assert server.asked == []


@pytest.mark.parametrize("role", ["snapshot", "root", "targets", "targets/releases"])
@pytest.mark.parametrize("lie", ["another", "longer", "gone", "down"])
def test_a_server_that_contradicts_itself(
    world: Repository, server: FakeNotary, role: str, lie: str
) -> None:
    raw = world.files[role]
    name = f"{role}.{hashlib.sha256(raw).hexdigest()}.json"
    lies: dict[str, bytes | int] = {
        "another": b"x" * len(raw),
        "longer": raw + b" ",
        "gone": 404,
        "down": 503,
    }
    server.lies[name] = lies[lie]
    with pytest.raises(RemoteError):
        capture(server)


@pytest.mark.parametrize("raw", [b"", b"{}", b"<html>", b"[" * 5000, b'{"signed":{}}'])
def test_a_timestamp_that_is_none(server: FakeNotary, raw: bytes) -> None:
    server.lies["timestamp.json"] = raw or b" "
    with pytest.raises(RemoteError):
        capture(server)


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json"])
def test_endless_data_is_cut(world: Repository, name: str) -> None:
    if name != "timestamp.json":
        world.rotate_root()
        world.publish()
    with FakeNotary(world, endless=name) as server, pytest.raises(RemoteError):
        capture(server)


# --- where docker would ask -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gun", "named", "variable", "address"),
    [
        ("docker.io/library/alpine", None, "", "https://notary.docker.io"),
        ("ghcr.io/acme/app", None, "", "https://ghcr.io"),
        ("localhost:5000/a", None, "", "https://localhost:5000"),
        ("docker.io/a/b", None, "https://n.example", "https://n.example"),
        ("docker.io/a/b", "https://m.example:4443/", "https://n.example", "https://m.example:4443"),
    ],
)
def test_where_it_is_asked(gun: str, named: str | None, variable: str, address: str) -> None:
    environment = {"DOCKER_CONTENT_TRUST_SERVER": variable}
    assert server_of(gun, named, RegistrySettings(environment=environment)) == address


def test_a_registry_without_tls_has_its_server_there_too() -> None:
    settings = RegistrySettings(plain_http=frozenset({"localhost:5000"}))
    assert server_of("localhost:5000/a", None, settings) == "http://localhost:5000"
    assert server_of("localhost:5000/a", "https://localhost:5000", settings).startswith("https:")


def test_https_that_was_named_is_not_undone_by_plain_http(server: FakeNotary) -> None:
    settings = RegistrySettings(
        plain_http=frozenset({server.host}), certificate_folders=(), timing=QUICK
    )
    client = NotaryServers(
        settings, Credentials({}, helper=HelperPrograms(environment={})), sleep=lambda _: None
    )
    with pytest.raises(RemoteError):
        client.capture(f"https://{server.host}", GUN)
    client.close()
    assert server.asked == []


@pytest.mark.parametrize("address", ["n.example", "ftp://n.example", "https://", "https://n/path"])
def test_no_address_of_a_server(address: str) -> None:
    with pytest.raises(UsageError):
        server_of("docker.io/a/b", address, RegistrySettings())


# --- caches ---------------------------------------------------------------------------------------


def test_what_was_written_is_a_cache(tmp_path: Path, world: Repository) -> None:
    captured = Captured(gun=GUN, files=world.files, origin="here")
    captured.write(tmp_path)
    assert repositories_in(tmp_path) == (GUN,)
    found = read_cache(tmp_path, GUN)
    assert found.files == world.files
    assert found.notes == ()
    assert read_cache(tmp_path / "tuf" / GUN / "metadata", GUN).files == world.files


def test_a_cache_of_docker_holds_keys_and_no_older_roots(tmp_path: Path, world: Repository) -> None:
    files = {name: raw for name, raw in world.files.items() if not name.endswith(".root")}
    Captured(gun=GUN, files=files, origin="here").write(tmp_path)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / f"{'a' * 64}.key").write_bytes(b"secret")
    metadata = tmp_path / "tuf" / GUN / "metadata"
    for name in ("changelist.json", "..json", "root.json.part", "targets/..json"):
        (metadata / name).write_bytes(b"secret")
    found = read_cache(tmp_path, GUN)
    assert set(found.files) == set(files)
    assert "older roots are not in this cache" in found.notes[0]


def test_a_cache_that_is_none(tmp_path: Path) -> None:
    for action in (
        lambda: repositories_in(tmp_path),
        lambda: repositories_in(tmp_path / "nowhere"),
        lambda: read_cache(tmp_path, GUN),
        lambda: read_cache(tmp_path, "../../etc"),
    ):
        with pytest.raises(UsageError):
            action()


def test_a_pipe_in_a_cache_does_not_hang(tmp_path: Path, world: Repository) -> None:
    Captured(gun=GUN, files=world.files, origin="here").write(tmp_path)
    path = tmp_path / "tuf" / GUN / "metadata" / "targets" / "bob.json"
    os.mkfifo(path)
    with pytest.raises(UsageError):
        read_cache(tmp_path, GUN)


def test_a_huge_file_in_a_cache(tmp_path: Path, world: Repository) -> None:
    Captured(gun=GUN, files=world.files, origin="here").write(tmp_path)
    with (tmp_path / "tuf" / GUN / "metadata" / "targets" / "bob.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError) as caught:
        read_cache(tmp_path, GUN)
    assert "too large" in caught.value.message


def test_a_broken_cache_is_not_shown_as_if_it_held(tmp_path: Path, world: Repository) -> None:
    world.files["targets"] += b" "
    Captured(gun=GUN, files=world.files, origin="here").write(tmp_path)
    with pytest.raises(NotaryError):
        verify(read_cache(tmp_path, GUN), None)


def test_carried_as_an_entry_of_the_statement(tmp_path: Path, world: Repository) -> None:
    store = ContentStore(tmp_path)
    entry = Captured(gun=GUN, files=world.files, origin="here").carried("hub", store)
    assert (entry.kind, entry.repository, entry.anchor) == ("notary", GUN, "hub")
    held = {
        name: store.read(blob, where=name, size_max=1 << 20)
        for name, blob in zip(entry.names, entry.blobs, strict=True)
    }
    assert held == {f"{name}.json": raw for name, raw in world.files.items()}
    assert all(
        Digest.of(raw) == blob.digest for raw, blob in zip(held.values(), entry.blobs, strict=True)
    )


def test_a_hostile_name_in_a_snapshot_asks_for_nothing(world: Repository) -> None:
    def change(role: str, signed: dict[str, dict[str, object]]) -> None:
        if role == "snapshot":
            signed["meta"]["targets/../../../../etc"] = signed["meta"]["targets"]

    world.change = change
    world.publish()
    with FakeNotary(world) as server, pytest.raises(AirlockError):
        capture(server)
    assert [name for name in server.asked if "etc" in name] == []
