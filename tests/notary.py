"""A real Notary server and its client, on loopback with a private authority, each for one test.

Debian's package has both. The server keeps everything in memory; the client's folder holds keys
under one passphrase. Private keys never leave the test's folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.engines import EngineError, free_port, program_path, run_daemon, short_folder
from tests.fakes.tls import private_ca

PASSPHRASE = "passphrase of the tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """A server that answers, and the client that publishes to it."""

    port: int
    authority: Path
    folder: Path
    """The client's: keys and its cache."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, *arguments: str | Path, check: bool = True) -> str:
        """What the client writes; an error where it fails."""
        argv = [
            program_path("notary"),
            *("-s", self.url, "--tlscacert", str(self.authority), "-d", str(self.folder)),
            *map(str, arguments),
        ]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            **{f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in _ROLES},
        }
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=env,
            input="yes\n",  # to whether a root key is to be rotated
        )
        if check and done.returncode != 0:
            raise EngineError(f"{argv}: {done.stderr or done.stdout}")
        return done.stdout

    def add(self, gun: str, tag: str, raw: bytes, *, roles: str = "") -> None:
        """Sign a tag for these bytes, as `notary addhash` does, and publish."""
        more = ("-r", roles) if roles else ()
        digest = hashlib.sha256(raw).hexdigest()
        self.client("addhash", gun, tag, str(len(raw)), "--sha256", digest, *more, "-p")


_ROLES = ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")


@contextlib.contextmanager
def start_notary(folder: Path) -> Iterator[Notary]:
    """Run a server until the block ends; `folder` is the client's."""
    server = program_path("notary-server")
    with short_folder() as private:
        files = private_ca(private)
        port = free_port()
        configuration = {
            "server": {
                "http_addr": f"127.0.0.1:{port}",
                "tls_cert_file": str(files.certificate),
                "tls_key_file": str(files.key),
            },
            "trust_service": {
                "type": "local",
                "hostname": "",
                "port": "",
                "key_algorithm": "ecdsa",
            },
            "logging": {"level": "error"},
            "storage": {"backend": "memory"},
        }
        path = private / "server.json"
        path.write_text(json.dumps(configuration))

        def ready() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        argv = [server, "-config", str(path), "-logf", "logfmt"]
        with run_daemon(argv, ready=ready, log=private / "log"):
            folder.mkdir(parents=True, exist_ok=True)
            # The authority outlives the server: a test goes on once that is stopped.
            authority = folder / "web-ca.pem"
            authority.write_bytes(files.authority.read_bytes())
            yield Notary(port=port, authority=authority, folder=folder)
