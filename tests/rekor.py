"""A real Rekor v1 for tests: rekor-server over Trillian over PostgreSQL, as the public log ran.

All of it lives below one short folder and ends with the test process. PostgreSQL listens on a
socket in that folder alone, and runs as `postgres` where the tests run as root: it refuses to be
root. The log's key and tree are new each time: nothing that another log promised is in it.

rekor-server opens port 2112 on every address for its metrics, and cannot be told not to; where it
is taken, it goes on without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.engines import EngineError, answers, free_port, program_path, run_daemon, short_folder
from tests.fakes.sigworld.encoding import b64
from tests.presence import TRILLIAN_TABLES

HOSTNAME = "rekor.airlock.example"
"""What the log calls itself in its checkpoints, before the number of its tree."""
_LOOPBACK = "127.0.0.1"
_STOP = signal.SIGKILL
"""Asked politely these servers take a quarter of a minute, to keep what is thrown away here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekor:
    """A log that answers."""

    url: str
    spki: bytes
    """DER of its public key."""
    public_key: Path
    """The same as PEM: what `SIGSTORE_REKOR_PUBLIC_KEY` names."""

    @property
    def host(self) -> str:
        """Address and port."""
        return self.url.removeprefix("http://")

    @property
    def log_id(self) -> bytes:
        """The digest of its key."""
        return hashlib.sha256(self.spki).digest()

    def state(self) -> dict[str, Any]:
        """What it says of itself: the tree's size, root and checkpoint."""
        return self.ask("/api/v1/log")

    def ask(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            found: dict[str, Any] = json.loads(response.read())
        return found

    def trusted_root(self, *, name: str | None = None) -> bytes:
        """Return a `trusted_root.json` that trusts this log and nothing else."""
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                {
                    "baseUrl": name or self.url,
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": b64(self.spki),
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "validFor": {"start": "2020-01-01T00:00:00Z"},
                    },
                    "logId": {"keyId": b64(self.log_id)},
                }
            ],
        }
        return json.dumps(document).encode()


@contextlib.contextmanager
def start_rekor() -> Iterator[Rekor]:
    """Run a log with a key of its own and an empty tree, until the block ends."""
    with short_folder() as folder, contextlib.ExitStack() as stack:
        database = stack.enter_context(_postgres(folder))
        rpc = stack.enter_context(_trillian(folder, database))
        key = ec.generate_private_key(ec.SECP256R1())
        signer, public = folder / "rekor.key", folder / "rekor.pub"
        signer.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        port = free_port()
        url = f"http://{_LOOPBACK}:{port}"
        argv = [
            *(program_path("rekor-server"), "serve", "--enable_retrieve_api=false"),
            *("--rekor_server.address", _LOOPBACK, "--port", str(port)),
            *("--rekor_server.hostname", HOSTNAME, "--rekor_server.signer", str(signer)),
            *("--trillian_log_server.address", _LOOPBACK),
            *("--trillian_log_server.port", str(rpc), "--trillian_log_server.tlog_id", "0"),
        ]
        ready = f"{url}/api/v1/log"
        stack.enter_context(
            run_daemon(argv, ready=lambda: answers(ready), log=folder / "rekor.log", stop=_STOP)
        )
        yield Rekor(
            url=url,
            spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public_key=public,
        )


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL with Trillian's tables, and give the address of that database."""
    data = folder / "pg"
    data.mkdir(mode=0o700)
    tether: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        folder.chmod(0o711)
        os.chown(data, user.pw_uid, user.pw_gid)
        # Changing the user cuts the tether of `run_daemon`: tied again behind it.
        tether = [
            *(program_path("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups"),
            *("--pdeathsig", "QUIT", "--"),
        ]
    _run(*tether, program_path("initdb"), "-D", str(data), "-U", "trillian", "-A", "trust",
         "--no-sync", "--locale=C", "--encoding=UTF8", cwd=data)  # fmt: skip
    argv = [
        *(*tether, program_path("postgres"), "-D", str(data), "-k", str(data)),
        *("-c", "listen_addresses=", "-c", "fsync=off"),
    ]
    psql = [program_path("psql"), "-h", str(data), "-U", "trillian", "-v", "ON_ERROR_STOP=1", "-q"]

    def ready() -> bool:
        return _works(*psql, "-d", "postgres", "-c", "SELECT 1")

    with run_daemon(argv, ready=ready, log=folder / "postgres.log"):
        _run(*psql, "-d", "postgres", "-c", "CREATE DATABASE trillian", cwd=folder)
        _run(*psql, "-d", "trillian", "-f", str(TRILLIAN_TABLES), cwd=folder)
        yield f"postgresql:///trillian?host={data}&user=trillian"


@contextlib.contextmanager
def _trillian(folder: Path, database: str) -> Iterator[int]:
    """Run Trillian's server and its signer, which adds what arrived to the tree; give the port."""
    with (
        _trillian_part("trillian_log_server", folder, database) as port,
        _trillian_part(
            "trillian_log_signer",
            folder,
            database,
            *("--force_master", "--sequencer_interval=100ms", "--batch_size=100"),
        ),
    ):
        yield port


@contextlib.contextmanager
def _trillian_part(name: str, folder: Path, database: str, *more: str) -> Iterator[int]:
    port, http_port = free_port(), free_port()
    argv = [
        *(program_path(name), "--quota_system=noop", "--storage_system=postgresql"),
        *(f"--postgresql_uri={database}", "--alsologtostderr", "--etcd_servers="),
        *(f"--rpc_endpoint={_LOOPBACK}:{port}", f"--http_endpoint={_LOOPBACK}:{http_port}"),
        *more,
    ]
    ready = f"http://{_LOOPBACK}:{http_port}/healthz"
    with run_daemon(argv, ready=lambda: answers(ready), log=folder / f"{name}.log", stop=_STOP):
        yield port


def _works(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True, timeout=30).returncode == 0


def _run(*argv: str, cwd: Path) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120, cwd=cwd)
    if done.returncode != 0:
        raise EngineError(f"{argv}: status {done.returncode}: {done.stderr or done.stdout}")


def wait_for(size: int, rekor: Rekor, *, seconds: float = 30) -> None:
    """Wait until the log's tree has so many leaves."""
    deadline = time.monotonic() + seconds
    while rekor.state()["treeSize"] < size:
        if time.monotonic() > deadline:
            raise EngineError(f"the log still has {rekor.state()['treeSize']} leaves, not {size}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def rekor() -> Iterator[Rekor]:
    """One log for all tests of a run; others' entries may be in it."""
    with start_rekor() as log:
        yield log
