"""T51: whoever takes over the loader's process has the launcher's table, and no more than that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.errors import InternalError, RuntimeAbsentError
from loader.model.reference import Reference
from loader.runtime.calls import Client
from loader.runtime.launcher import Launcher
from loader.runtime.registry import push_client
from loader.runtime.relocation import Destination

DIGEST = f"sha256:{'a' * 64}"
ELSEWHERE = (
    "registry.example/other/team:1",
    "registry.example/prefix:1",
    "registry.example/prefixed/team:1",
    "registry.example:5000/prefix/team:1",
    "evil.example/registry.example/prefix/team:1",
)
CALLS = ("named", "look", "push", "check", "point", "remove")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "airlock-push"
    path.write_text(f"#!/bin/sh\nprintf ran >> {tmp_path}/ran\necho {{}}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def client(program: Path) -> Client:
    destination = Destination.parse("registry.example/prefix")
    return push_client(os.environ, destination, client=program)


@pytest.fixture
def launcher(client: Client) -> Iterator[Launcher]:
    with Launcher.start(client) as started:
        yield started


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_names_anything_outside_of_the_destination(
    client: Client, call: str, name: str
) -> None:
    further = (DIGEST,) if call == "point" else ()
    assert client.command(call, ("registry.example/prefix/source/team:1", *further))
    with pytest.raises(InternalError, match="outside of the target"):
        client.command(call, (name, *further))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_launcher_starts_nothing_for_such_a_name(
    launcher: Launcher, program: Path, name: str
) -> None:
    with pytest.raises(RuntimeAbsentError, match="outside of the target"):
        launcher.run("push", name, stdin=iter((b"",)))
    assert not (program.parent / "ran").exists()
    assert launcher.run("named", "registry.example/prefix/source/team:1").status == 0


@pytest.mark.parametrize("text", ["registry.example", "localhost:5000/a/b", "docker.io/x"])
def test_every_name_that_an_image_gets_may_be_said(program: Path, text: str) -> None:
    destination = Destination.parse(text)
    client = push_client(os.environ, destination, client=program)
    for source in ("docker.io/library/alpine:3", f"ghcr.io/a/b@{DIGEST}"):
        name = str(destination.of(Reference.parse(source)))
        assert client.command("named", (name,))[-1] == name
