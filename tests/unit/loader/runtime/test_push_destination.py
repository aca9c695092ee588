"""T51: whoever takes over the loader's process has the launcher's table, and no more than that."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import rfc8785

from loader.errors import InternalError
from loader.runtime.calls import Client
from loader.runtime.launcher import Launcher
from loader.runtime.pipes import read_frame, write_frame
from loader.runtime.registry import push_client
from loader.runtime.relocation import Destination

ELSEWHERE = "registry.example/other/team:1"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "airlock-push"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ran\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def client(program: Path) -> Client:
    return push_client(os.environ, Destination.parse("registry.example/prefix"), client=program)


def test_the_destination_is_on_the_command_line_that_the_launcher_was_forked_with(
    client: Client,
) -> None:
    assert client.command("serve", ())[1:] == ("serve", "registry.example/prefix")
    assert client.command("version", ())[1:] == ("version",)
    assert set(client.calls) == {"serve", "version"}


@pytest.mark.parametrize(
    ("call", "operands"),
    [
        ("serve", ("registry.example/other",)),
        ("serve", ("--destination=registry.example/other",)),
        ("push", (ELSEWHERE,)),
        ("version", (ELSEWHERE,)),
    ],
)
def test_nothing_else_can_be_said_on_it(
    client: Client, program: Path, call: str, operands: tuple[str, ...]
) -> None:
    with pytest.raises(InternalError):
        client.command(call, operands)
    with Launcher.start(client) as launcher:
        write_frame(launcher._requests, rfc8785.dumps({"call": call, "operands": [*operands]}))
        said = read_frame(launcher._answers, size_max=4096, deadline=time.monotonic() + 20)
        assert b"problem" in said
        for _ in ("stdout", "stderr"):
            assert read_frame(launcher._answers, size_max=4096) == b""
        assert not (program.parent / "ran").exists()
        launcher.run("version")
    assert (program.parent / "ran").read_text() == "version\n"
