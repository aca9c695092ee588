"""The disk is full where `airlock-push` keeps what it is to send: said, and what follows works."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from loader.errors import RuntimeLoadError
from loader.runtime.asking import Asker
from loader.runtime.launcher import Launcher
from loader.runtime.push_program import PushProgram
from loader.runtime.push_stream import question
from loader.runtime.registry import push_client
from loader.runtime.relocation import Destination
from tests.fakes.images import Layer
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World
from tests.unit.bundler.push.test_push_serve import MIRROR, parcel_of

FULL_AT = 1024
"""What `ulimit -f` counts in: 512 bytes or 1 KiB."""


def test_the_question_behind_a_full_disk_is_answered(tmp_path: Path) -> None:
    program = tmp_path / "airlock-push"
    beside = Path(sys.executable).parent / "airlock-push"
    program.write_text(f'#!/bin/sh\nulimit -f {FULL_AT}\nexec {beside} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    parcel = parcel_of(World(), shared=Layer.noise(4 << 20))
    with FakeRegistry() as registry:
        folder = tmp_path / "config" / "airlock"
        folder.mkdir(parents=True)
        (folder / "registries.toml").write_text(f'schema = 1\nplain-http = ["{registry.host}"]\n')
        environment = {**os.environ, "XDG_CONFIG_HOME": str(folder.parent)}
        at = f"{registry.host}/{MIRROR}:1"
        destination = Destination.parse(f"{registry.host}/mirror")
        client = push_client(environment, destination, client=program)
        with Launcher.start(client) as launcher:
            talk = PushProgram(launcher, Asker(launcher))
            with (
                pytest.raises(RuntimeLoadError, match="could not do it"),
                talk.asked("push", iter([parcel.question("push", at)]), slow=True),
            ):
                pass
            # What was begun is put back behind a failure: that asks again.
            with talk.asked("named", question("named", at)) as fields:
                assert fields.optional_text("current") is None
            talk.close()
