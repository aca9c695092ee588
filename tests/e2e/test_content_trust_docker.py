"""`docker trust sign` and `docker trust inspect --pretty`, and ours on the same repository (DC-4).

docker signs what it pushes, so a dockerd of the tests pushes to a registry on loopback; trust goes
to a notary-server that DOCKER_CONTENT_TRUST_SERVER names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import Docker, Registry
from tests.notary import PASSPHRASE, Notary, start_notary
from tests.presence import ROOT
from tests.runtime_images import layer

pytestmark = pytest.mark.engine("docker", "docker-registry", "notary")


def docker(
    engine: Docker, notary: Notary, folder: Path, *arguments: str, stdin: bytes | None = None
) -> str:
    """The client with content trust on, as its users have it."""
    done = subprocess.run(
        [*engine.client.argv, *arguments],
        check=False,
        capture_output=True,
        input=stdin,
        timeout=120,
        cwd=folder,
        env={
            **os.environ,
            **engine.client.env,
            "DOCKER_CONTENT_TRUST_SERVER": notary.url,
            "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": PASSPHRASE,
            "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": PASSPHRASE,
        },
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.decode()


def airlock(folder: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bundler.cli", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> list[list[str]]:
    """The words of each line up to what only we print; docker sets columns a little differently."""
    lines = text.partition("\nRoles of ")[0].splitlines()
    return [line.split() for line in lines if line.strip()]


def test_dc_4_the_same_rows_as_docker_prints(
    tmp_path: Path, docker_engine: Docker, docker_registry: Registry
) -> None:
    gun = f"{docker_registry.host}/acme/dct"
    with start_notary(tmp_path / "notary") as notary:
        config = Path(docker_engine.client.argv[docker_engine.client.argv.index("--config") + 1])
        tls = config / "tls" / f"localhost:{notary.port}"
        tls.mkdir(parents=True)
        (tls / "ca.crt").write_bytes(notary.authority.read_bytes())

        def run(*arguments: str, stdin: bytes | None = None) -> str:
            return docker(docker_engine, notary, tmp_path, *arguments, stdin=stdin)

        for tag in ("1.0.0", "1.10.0", "1.9.0"):
            content = layer({"hello": tag.encode()})
            change = 'ENTRYPOINT ["/hello"]'
            run("import", "--change", change, "-", f"{gun}:{tag}", stdin=content)
        for name in ("alice", "bob"):
            run("trust", "key", "generate", name)
            run("trust", "signer", "add", "--key", f"{name}.pub", name, gun)
        for tag in ("1.0.0", "1.10.0", "1.9.0"):
            run("trust", "sign", f"{gun}:{tag}")
        theirs = run("trust", "inspect", "--pretty", gun)
        airlock(
            tmp_path,
            *("trust", "fetch", gun, "-o", "t", "--notary-server", notary.url),
            *("--ca-file", notary.authority),
        )
        # docker's own cache and its private keys lie below its configuration.
        cache = config / "trust"
        ours = airlock(tmp_path, "trust", "inspect", "t", gun)
        assert rows(ours) == rows(theirs)
        assert rows(airlock(tmp_path, "trust", "inspect", cache, gun)) == rows(theirs)
        assert any(row[:1] == ["1.10.0"] and "alice," in row for row in rows(theirs))
        ids = airlock(tmp_path, "trust", "key-id", "alice.pub").split()
        assert (cache / "private" / f"{ids[-1]}.key").is_file()
        one = run("trust", "inspect", "--pretty", f"{gun}:1.9.0")
        assert rows(airlock(tmp_path, "trust", "inspect", "t", f"{gun}:1.9.0")) == rows(one)
