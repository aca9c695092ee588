"""Clients that lie, die, hang and babble: nothing stays that was not there, and it is said why.

CASES A140 to A149 and A189; THREATS T48 and T49. The client is a script (`fake_client.py`).
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    DigestError,
    RuntimeAbsentError,
    RuntimeLoadError,
    RuntimeMismatchError,
    RuntimeTagError,
    RuntimeUndoError,
    UsageError,
)
from loader.runtime.base import Runtime
from loader.runtime.launcher import Launcher
from loader.runtime.targets import open_target, parse_target
from tests.runtime_images import TestImage, make_image, tar_members

NAME = "registry.example/acme/app:1.0"
PROGRAMS = {"docker": "docker", "podman": "podman", "containerd": "ctr"}
State = dict[str, dict[str, Any]]
OTHER = "sha256:" + "e" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One fake runtime on disk."""

    kind: str
    folder: Path
    environment: dict[str, str]

    @property
    def client(self) -> Path:
        return self.folder / PROGRAMS[self.kind]

    def behave(self, **scenario: object) -> None:
        (self.folder / "scenario.json").write_text(json.dumps(scenario))

    def state(self) -> State:
        path = self.folder / "state.json"
        if not path.exists():
            return {"names": {}, "images": {}, "content": {}}
        held: State = json.loads(path.read_text())
        return held

    def preset(self, **state: dict[str, Any]) -> State:
        whole: State = {"names": {}, "images": {}, "content": {}} | state
        (self.folder / "state.json").write_text(json.dumps(whole, sort_keys=True))
        return whole

    def calls(self) -> list[Any]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def told(self) -> list[list[str]]:
        return [call["arguments"] for call in self.calls()]

    def stream(self) -> bytes:
        return (self.folder / "stream").read_bytes()

    def open(self) -> AbstractContextManager[Runtime]:
        return open_target(parse_target(self.kind), self.environment, client=self.client)


Make = Callable[[str], World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Make]:
    listening = []

    def make(kind: str) -> World:
        folder = tmp_path / kind
        folder.mkdir()
        source = Path(__file__).with_name("fake_client.py").read_text()
        program = folder / PROGRAMS[kind]
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
        path = folder / "daemon.sock"
        daemon = socket.socket(socket.AF_UNIX)
        daemon.bind(str(path))
        listening.append(daemon)
        environment = {
            "DOCKER_HOST": f"unix://{path}",
            "CONTAINERD_ADDRESS": str(path),
            "HOME": str(tmp_path),
            "LD_LIBRARY_PATH": "/frozen/_internal",
            "_MEIPASS2": "/frozen",
            "SECRET": "s",
            "HTTP_PROXY": "http://proxy",
        }
        world = World(kind=kind, folder=folder, environment=environment)
        world.behave()
        return world

    yield make
    for daemon in listening:
        daemon.close()


@pytest.fixture(params=list(PROGRAMS))
def world(request: pytest.FixtureRequest, make_world: Make) -> World:
    return make_world(request.param)


def refuse(
    world: World, kind: type[AirlockError], image: TestImage | None = None, **changes: object
) -> AirlockError:
    """Load, expect a refusal, and expect that everything is as it was."""
    before = world.state()
    image = image or make_image("app")
    with world.open() as runtime, pytest.raises(kind) as raised:
        runtime.load(image.request(NAME, **changes))
    after = world.state()
    assert (after["names"], after["images"]) == (before["names"], before["images"])
    return raised.value


def test_honest_client_is_believed(world: World) -> None:
    image = make_image("app")
    with world.open() as runtime:
        receipt = runtime.load(image.request(NAME))
        assert receipt.what == "loaded"
        assert NAME in world.state()["names"]
        runtime.undo(receipt)
    assert world.state()["names"] == {}


def test_stream_holds_verified_blobs_and_no_name_of_a_tag(world: World) -> None:
    image = make_image("app", absent=("s390x",))
    with world.open() as runtime:
        runtime.load(image.request(NAME))
    members = list(tar_members(world.stream()))
    assert len(world.stream()) % 10240 == 0
    blobs = {name: raw for name, raw in members if name.startswith("blobs/")}
    wanted = image.blobs.blobs
    if world.kind == "docker":
        # Layers are decompressed on their way, and stand under what the config calls them.
        layers = {gzip.decompress(raw) for raw in wanted.values() if raw[:2] == b"\x1f\x8b"}
        wanted = {Digest.of(raw): raw for raw in (*layers, wanted[image.config])}
    if world.kind == "podman":
        wanted = {d: raw for d, raw in wanted.items() if d != image.top}
    assert blobs == {f"blobs/sha256/{digest.hex}": raw for digest, raw in wanted.items()}
    others = [name for name, _ in members if name not in blobs]
    assert others == (["manifest.json"] if world.kind == "docker" else ["oci-layout", "index.json"])
    assert members[-1][0] == others[-1]
    assert NAME.encode() not in world.stream()


def test_lying_client_is_caught_and_its_image_removed(world: World) -> None:
    """A140: it takes the stream, and says another image."""
    world.behave(load="lie")
    refuse(world, RuntimeMismatchError)


def test_client_that_loads_nothing_is_caught(world: World) -> None:
    """A141: it says yes, and the image is not there."""
    world.behave(load="nothing")
    error = refuse(world, RuntimeMismatchError)
    assert error.found == "nothing"


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("docker", "other-layers"),
        ("podman", "other-digest"),
        ("containerd", "other-digest"),
        ("containerd", "lose-a-blob"),
    ],
)
def test_partial_lies_are_caught(make_world: Make, kind: str, how: str) -> None:
    world = make_world(kind)
    world.behave(load=how)
    refuse(world, RuntimeMismatchError)


def test_client_that_names_something_else_is_caught(world: World) -> None:
    image = make_image("app")
    world.behave(tag="elsewhere")
    with world.open() as runtime, pytest.raises(RuntimeMismatchError):
        runtime.load(image.request(NAME))
    assert NAME not in world.state()["names"]
    assert str(image.config) not in world.state()["images"]


def test_client_that_fails_after_its_import_is_cleaned_up(world: World) -> None:
    world.behave(load="fail-after")
    error = refuse(world, RuntimeLoadError)
    assert "no space left" in error.found


@pytest.mark.parametrize("at", [0, 512, 3000])
def test_client_that_dies_in_the_middle_leaves_nothing(world: World, at: int) -> None:
    world.behave(stream="die", bytes=at)
    error = refuse(world, RuntimeLoadError)
    assert "connection reset" in error.found
    assert error.exit_status == 21


def test_client_that_stops_reading_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launcher, "stall_seconds", 0.3)
    world.behave(stream="hang")
    started = time.monotonic()
    error = refuse(world, RuntimeLoadError, make_image(layers=[os.urandom(4 << 20)]))
    assert "stopped reading" in error.message
    assert time.monotonic() - started < 20


def test_blob_that_changed_is_never_finished(world: World) -> None:
    image = make_image("app")
    image.blobs.swap(image.kept[0].manifest.layers[-1].digest, b"evil")
    refuse(world, DigestError, image)
    assert not (world.folder / "stream").exists()


def test_interrupt_is_passed_on_and_undone(world: World) -> None:
    image = make_image("app")

    def interrupted(_digest: object) -> NoReturn:
        raise KeyboardInterrupt

    with world.open() as runtime, pytest.raises(KeyboardInterrupt):
        runtime.load(
            image.request(NAME, blobs=type("B", (), {"open": staticmethod(interrupted)})())
        )
    assert world.state()["names"] == {}


def test_noise_is_cut_and_escaped(world: World) -> None:
    """A147: escape sequences, secrets, ten megabytes."""
    world.behave(flood=10 << 20, status=1)
    text = str(refuse_any(world))
    assert len(text) < 2000
    assert text.isascii()
    assert text.isprintable()


def refuse_any(world: World) -> AirlockError:
    with world.open() as runtime, pytest.raises(AirlockError) as raised:
        runtime.load(make_image("app").request(NAME))
    return raised.value


def test_flooding_client_that_works_still_works(world: World) -> None:
    world.behave(flood=10 << 20)
    with world.open() as runtime:
        assert runtime.load(make_image("app").request(NAME)).what == "loaded"


def test_client_that_says_too_much_is_not_understood(world: World) -> None:
    world.behave(babble=3 << 20)
    assert "more than can be understood" in str(refuse_any(world))
    assert world.state()["names"] == {}


@pytest.mark.parametrize("how", ["nonsense", "refuse"])
def test_answer_that_makes_no_sense_is_no_absence(world: World, how: str) -> None:
    image = make_image("app")
    world.preset(
        images={str(image.config): {"layers": [], "digest": OTHER}},
        names={NAME: str(image.config) if world.kind != "containerd" else OTHER},
    )
    world.behave(inspect=how)
    error = refuse(world, RuntimeLoadError)
    assert error.exit_status == 21


def test_foreign_name_stays(world: World) -> None:
    """A142, T49: what somebody else put under the name is not replaced."""
    world.preset(images={OTHER: {"layers": [], "digest": OTHER}}, names={NAME: OTHER})
    error = refuse(world, RuntimeTagError)
    assert error.found == OTHER
    assert not (world.folder / "stream").exists()


def test_name_that_we_set_before_is_moved_and_put_back(world: World) -> None:
    before = world.preset(images={OTHER: {"layers": [], "digest": OTHER}}, names={NAME: OTHER})
    image = make_image("app")
    with world.open() as runtime:
        receipt = runtime.load(image.request(NAME, owned=Digest.parse(OTHER)))
        assert world.state()["names"][NAME] != OTHER
        assert any("before" in note for note in receipt.notes)
        runtime.undo(receipt)
    assert world.state()["names"] == before["names"]
    assert world.state()["images"] == before["images"]


def test_second_load_sends_nothing(world: World) -> None:
    """A148: it is there already; the digest is asked for all the same."""
    image = make_image("app")
    with world.open() as runtime:
        runtime.load(image.request(NAME))
        (world.folder / "stream").unlink()
        image.blobs.opened.clear()
        assert runtime.load(image.request(NAME)).what == "already-there"
    assert image.blobs.opened == []
    assert not (world.folder / "stream").exists()


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_undo_that_fails_is_said(make_world: Make, kind: str) -> None:
    world = make_world(kind)
    world.behave(tag="refuse", remove="refuse")
    image = make_image("app")
    with world.open() as runtime, pytest.raises(RuntimeUndoError, match="being used") as raised:
        runtime.load(image.request(NAME))
    assert raised.value.exit_status == 21
    assert "refused" in raised.value.found


def test_client_inherits_nothing_of_ours(world: World, tmp_path: Path) -> None:
    """A189: no variable, file, folder or ignored signal of ours."""
    secret = (tmp_path / "secret").open("wb")
    os.set_inheritable(secret.fileno(), True)  # noqa: FBT003 - its signature
    try:
        with world.open() as runtime:
            runtime.load(make_image("app").request(NAME))
    finally:
        secret.close()
    for call in world.calls():
        assert set(call["environment"]) <= {"HOME", "PATH", "LC_ALL", "LC_CTYPE", "TMPDIR"}
        assert call["environment"]["PATH"].startswith("/usr/local/sbin:")
        assert call["folder"] == "/"
        # 3 is the folder that the fake itself lists its files with.
        assert set(call["files"]) <= {"0", "1", "2", "3"}
        assert call["files"]["0"] == "/dev/null" or "/stdin" in call["files"]["0"]


def test_library_path_of_before_the_freeze_is_restored(make_world: Make) -> None:
    """A189, T45: not the one with our own libraries."""
    world = make_world("docker")
    world.environment["LD_LIBRARY_PATH_ORIG"] = "/opt/lib"
    with world.open():
        pass
    assert world.calls()[0]["environment"]["LD_LIBRARY_PATH"] == "/opt/lib"


def test_several_platforms_are_refused(world: World) -> None:
    image = make_image("app", architectures=("amd64", "arm64"))
    refuse(world, UsageError, image, selection=image.kept)


def test_docker_that_keeps_images_in_containerd_is_not_guessed_at(make_world: Make) -> None:
    world = make_world("docker")
    world.behave(info="containerd")
    with pytest.raises(RuntimeLoadError, match="containerd"), world.open():
        pass


def test_daemon_that_does_not_answer_is_absent(make_world: Make) -> None:
    world = make_world("docker")
    world.behave(info="refuse")
    with pytest.raises(RuntimeAbsentError, match="does not answer"), world.open():
        pass


@pytest.mark.parametrize("kind", ["docker", "containerd"])
@pytest.mark.parametrize("what", ["absent", "file", "link", "folder"])
def test_socket_must_be_one(make_world: Make, kind: str, what: str) -> None:
    """A145, FI-25: a file, a link, nothing, or one that nobody answers at."""
    world = make_world(kind)
    path = world.folder / "daemon.sock"
    real = path.rename(world.folder / "real.sock")
    match what:
        case "file":
            path.write_text("")
        case "link":
            path.symlink_to(real)
        case "folder":
            path.mkdir()
        case _:
            pass
    kind_of = RuntimeAbsentError if what == "absent" else RuntimeLoadError
    with pytest.raises(kind_of), world.open():
        pass
    assert world.calls() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.may_skip("only root can give a file to somebody else")
def test_socket_and_client_of_somebody_else_are_refused(make_world: Make) -> None:
    world = make_world("docker")
    os.chown(world.folder / "daemon.sock", 12345, 12345)
    with pytest.raises(RuntimeLoadError, match="belongs to somebody else"), world.open():
        pass
    os.chown(world.folder / "daemon.sock", 0, 0)
    os.chown(world.client, 12345, 12345)
    with pytest.raises(RuntimeLoadError, match="changed by somebody else"), world.open():
        pass


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_client_that_others_may_change_is_refused(make_world: Make, mode: int) -> None:
    world = make_world("docker")
    world.client.chmod(mode)
    with pytest.raises(RuntimeLoadError), world.open():
        pass


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://host", "unix://relative", "x"])
def test_docker_across_a_network_is_refused(make_world: Make, host: str) -> None:
    world = make_world("docker")
    world.environment["DOCKER_HOST"] = host
    with pytest.raises(RuntimeLoadError, match="not on this machine"), world.open():
        pass


def test_podman_across_a_network_is_refused(make_world: Make) -> None:
    world = make_world("podman")
    world.environment["CONTAINER_HOST"] = "ssh://host"
    with pytest.raises(RuntimeLoadError, match="another machine"), world.open():
        pass


def test_path_is_not_searched(
    make_world: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A146: a program of that name earlier in PATH is not taken."""
    world = make_world("podman")
    monkeypatch.setenv("PATH", str(world.folder))
    monkeypatch.setattr("loader.runtime.clients.CLIENT_FOLDERS", (tmp_path / "system",))
    with (
        pytest.raises(RuntimeAbsentError, match="no podman"),
        open_target(parse_target("podman"), world.environment | {"PATH": str(world.folder)}),
    ):
        pass
    shutil.copytree(world.folder, tmp_path / "system", ignore=shutil.ignore_patterns("*.sock"))
    with open_target(parse_target("podman"), world.environment) as runtime:
        assert isinstance(runtime.probe(), str)
    assert world.calls() == []


@pytest.mark.parametrize("name", ["../x", "-n", "a b", "a" * 77, "k8s_", ""])
def test_namespace_must_be_a_name(make_world: Make, name: str) -> None:
    world = make_world("containerd")
    world.environment["CONTAINERD_NAMESPACE"] = name
    if not name:
        with world.open() as runtime:
            assert runtime.name == "containerd"
        return
    with pytest.raises(UsageError, match="namespace"), world.open():
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("oci:out/dir", "oci:out/dir"),
        ("oci:C:\\x", "oci:C:\\x"),
        ("docker", "docker"),
        ("podman", "podman"),
        ("containerd", "containerd"),
        ("containerd:k8s.io", "containerd:k8s.io"),
    ],
)
def test_targets_are_parsed(text: str, shown: str) -> None:
    assert str(parse_target(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "oci", "oci:", "docker:", "docker:x", "podman:y", "containerd:", "Docker", "register:x"],
)
def test_other_targets_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="target"):
        parse_target(text)


def test_runtime_protocol_is_kept(world: World) -> None:
    with world.open() as runtime:
        checked: Runtime = runtime
        assert checked.name == world.kind
        assert checked.probe()
