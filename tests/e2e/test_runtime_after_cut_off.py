"""A loader without network still reaches its runtimes: through the launcher forked before.

The process that loads is one of its own, because what `cut_off` takes away never comes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests import presence
from tests.engines import Containerd, Docker, Podman

NAME = "registry.example/acme/app:1.0"
PROGRAM = textwrap.dedent(
    """
    import json, os, socket, sys
    from loader.confine import cut_off
    from loader.runtime.targets import open_target, parse_target
    from tests.runtime_images import make_image

    def may_connect():
        try:
            socket.socket().close()
        except OSError:
            return False
        return True

    with open_target(parse_target(sys.argv[1]), os.environ) as runtime:
        before = may_connect()
        cut_off()
        after = may_connect()
        receipt = runtime.load(make_image("cut off").request(sys.argv[2]))
        print(json.dumps([before, after, receipt.what, str(receipt.digest)]))
    """
)


def load_without_network(engine: Docker | Podman | Containerd, target: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, target, NAME],
        check=False,
        capture_output=True,
        text=True,
        cwd=presence.ROOT,
        env=os.environ | engine.environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    before, after, what, digest = json.loads(done.stdout)
    assert (before, after, what) == (True, False, "loaded")
    assert engine.run(NAME) == "cut off\n"
    return str(digest)


@pytest.mark.engine("docker")
def test_docker_is_reached_without_network(docker_engine: Docker) -> None:
    digest = load_without_network(docker_engine, "docker")
    assert docker_engine.list() == {NAME: digest}


@pytest.mark.engine("podman")
def test_podman_is_reached_without_network(podman_engine: Podman) -> None:
    digest = load_without_network(podman_engine, "podman")
    assert podman_engine.list() == {NAME: digest}


@pytest.mark.engine("containerd")
def test_containerd_is_reached_without_network(containerd_engine: Containerd) -> None:
    digest = load_without_network(containerd_engine, "containerd:airlock-test")
    assert containerd_engine.list()[NAME] == digest
