"""Real engines for tests: each on its own folder, driven by its own client, stopped cleanly.

A test asks for a fixture (``docker_engine``; tests/conftest.py declares them for all) and is marked
with ``@pytest.mark.engine("docker")``: conftest skips, or under REQUIRE=all fails, before a daemon
is started that is not here. Nothing of the machine's own engines is touched: sockets, images
and state lie below one short folder each (a Unix socket's path has room for 107 bytes).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60
"""How long a daemon may take until it answers: dockerd needs about two on an idle machine."""
STOP_SECONDS = 30


class EngineError(RuntimeError):
    """An engine did not start, or its client failed where a test did not expect it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one call of a client did."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client's command line up to the verb, and the environment it is called with."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    def call(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> Ran:
        """Run the client once; a non-zero status is an error unless `check` is off."""
        argv = (*self.argv, *arguments)
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            env={**os.environ, **self.env},
            timeout=300,
        )
        ran = Ran(
            argv=argv,
            status=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )
        if check and ran.status != 0:
            raise EngineError(f"{argv}: status {ran.status}: {ran.stderr or ran.stdout}")
        return ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """A dockerd of the tests, classic store."""

    client: Client
    socket_path: Path
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What points a docker client here."""
        return {"DOCKER_HOST": f"unix://{self.socket_path}"}

    def list(self) -> dict[str, str]:
        """Return every name with its image ID; an image without a name under `<none>@ID`."""
        rows = self.client.call(
            "images", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
        ).stdout.split("\n")
        named = dict(row.rsplit(" ", 1) for row in rows if row)
        ids = {row.rsplit(" ", 1)[1] for row in rows if row.startswith("<none>:")}
        named = {name: image for name, image in named.items() if not name.startswith("<none>:")}
        return named | {f"<none>@{image}": image for image in ids}

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """Return what the daemon says of one image, or None where it has no such image."""
        ran = self.client.call("image", "inspect", reference, check=False)
        return json.loads(ran.stdout)[0] if ran.status == 0 else None

    def run(self, reference: str) -> str:
        """Run a container of the image, without a network, and return what it wrote."""
        return self.client.call("run", "--rm", "--network", "none", reference).stdout

    def clear(self) -> None:
        """Remove every image."""
        ids = self.client.call("images", "--all", "--quiet", "--no-trunc").stdout.split()
        if ids:
            self.client.call("image", "rm", "--force", *sorted(set(ids)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerd:
    """A containerd of the tests, and one namespace in it."""

    client: Client
    socket_path: Path
    namespace: str
    snapshotter: str = "native"

    @property
    def environment(self) -> dict[str, str]:
        """What points a `ctr` here."""
        return {
            "CONTAINERD_ADDRESS": str(self.socket_path),
            "CONTAINERD_NAMESPACE": self.namespace,
            "CONTAINERD_SNAPSHOTTER": self.snapshotter,
        }

    def within(self, namespace: str) -> Containerd:
        """Return the same daemon, seen from another namespace."""
        return Containerd(
            client=Client(argv=(*self.client.argv[:-1], namespace)),
            socket_path=self.socket_path,
            namespace=namespace,
            snapshotter=self.snapshotter,
        )

    def list(self) -> dict[str, str]:
        """Return every image's name with the digest of its target."""
        rows = self.client.call("images", "ls").stdout.splitlines()[1:]
        return {row.split()[0]: row.split()[2] for row in rows}

    def content(self) -> set[str]:
        """Return the digest of every blob in the namespace."""
        return set(self.client.call("content", "ls", "-q").stdout.split())

    def inspect(self, digest: str) -> bytes:
        """Return a small blob of the content store."""
        return self.client.call("content", "get", digest).stdout.encode()

    def run(self, reference: str) -> str:
        """Run a container of the image and return what it wrote."""
        name = f"t{time.monotonic_ns()}"
        return self.client.call(
            "run", "--rm", "--snapshotter", self.snapshotter, reference, name
        ).stdout

    def clear(self) -> None:
        """Remove every image of the namespace, and with them their content."""
        names = self.client.call("images", "ls", "-q").stdout.split()
        if names:
            self.client.call("images", "rm", "--sync", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Podman:
    """A podman store of the tests; there is no daemon."""

    client: Client
    root: Path
    storage_conf: Path

    @property
    def environment(self) -> dict[str, str]:
        """What points a podman at this store."""
        return {"CONTAINERS_STORAGE_CONF": str(self.storage_conf)}

    def list(self) -> dict[str, str]:
        """Return every name with its manifest digest; nameless images under `<none>@ID`."""
        images = json.loads(
            self.client.call("images", "--all", "--no-trunc", "--format", "json").stdout or "[]"
        )
        named = {name: i["Digest"] for i in images for name in i.get("Names") or ()}
        bare = {f"<none>@{i['Id']}": i["Digest"] for i in images if not i.get("Names")}
        return named | bare

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """Return what podman says of one image, or None where it has no such image."""
        ran = self.client.call("image", "inspect", reference, check=False)
        return json.loads(ran.stdout)[0] if ran.status == 0 else None

    def run(self, reference: str) -> str:
        """Run a container of the image, without a network, and return what it wrote."""
        # The store's default limits may exceed what this machine lets anybody set.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        return self.client.call("run", "--rm", "--network", "none", *limits, reference).stdout

    def clear(self) -> None:
        """Remove every image."""
        self.client.call("image", "rm", "--all", "--force")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry on loopback, plain HTTP."""

    host: str
    """`127.0.0.1:PORT`: what stands before the repository in a reference."""
    root: Path
    referrers: bool
    """Whether it answers the referrers API; else clients use the fallback tag."""

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://{self.host}"


# --- starting and stopping ------------------------------------------------------------------------


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Give a short private folder, and take it away with whatever an engine left mounted in it."""
    folder = Path(tempfile.mkdtemp(prefix="airlock-", dir="/tmp"))
    try:
        yield folder
    finally:
        mounted = [
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ]
        for point in sorted((p for p in mounted if p.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def program_path(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"no {name} here: make engines brings it")
    return path


@contextlib.contextmanager
def run_daemon(
    argv: list[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    env: dict[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon until the block ends; it also ends with the test process, however that ends."""
    tether = shutil.which("setpriv")
    command = [tether, "--pdeathsig", "TERM", "--", *argv] if tether else argv
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | (env or {}),
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise EngineError(f"{argv[0]} did not start (status {process.poll()}):\n{tail}")
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def start_docker() -> Iterator[Docker]:
    """Run a dockerd on a folder of its own."""
    daemon, docker = program_path("dockerd"), program_path("docker")
    with short_folder() as folder:
        path = folder / "docker.sock"
        # The client must not read the user's configuration: a context or proxy there would be used.
        client = Client(
            argv=(docker, "--config", str(folder / "config"), "-H", f"unix://{path}"),
            env={"DOCKER_HOST": "", "DOCKER_CONTEXT": ""},
        )
        argv = [
            daemon,
            "--iptables=false",
            "--bridge=none",
            "--storage-driver=vfs",
            f"--data-root={folder / 'data'}",
            f"--exec-root={folder / 'exec'}",
            f"--host=unix://{path}",
            f"--pidfile={folder / 'pid'}",
        ]

        def ready() -> bool:
            return path.exists() and client.call("version", check=False).status == 0

        with run_daemon(argv, ready=ready, log=folder / "log"):
            yield Docker(client=client, socket_path=path, root=folder)


@contextlib.contextmanager
def start_containerd(namespace: str = "airlock-test") -> Iterator[Containerd]:
    """Run a containerd without its Kubernetes plugin, which would want a network."""
    daemon, ctr = program_path("containerd"), program_path("ctr")
    with short_folder() as folder:
        path = folder / "containerd.sock"
        config = folder / "config.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        argv = [
            daemon,
            f"--config={config}",
            f"--root={folder / 'root'}",
            f"--state={folder / 'state'}",
            f"--address={path}",
        ]
        client = Client(argv=(ctr, "--address", str(path), "--namespace", namespace))

        def ready() -> bool:
            return path.exists() and client.call("version", check=False).status == 0

        with run_daemon(argv, ready=ready, log=folder / "log"):
            yield Containerd(client=client, socket_path=path, namespace=namespace)


@contextlib.contextmanager
def start_podman() -> Iterator[Podman]:
    """Give a podman store of its own."""
    podman = program_path("podman")
    with short_folder() as folder:
        conf = folder / "storage.conf"
        conf.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "root"}"\n'
            f'runroot = "{folder / "run"}"\n'
        )
        argv = (
            podman,
            *("--root", str(folder / "root"), "--runroot", str(folder / "run")),
            *("--storage-driver", "vfs"),
        )
        yield Podman(client=Client(argv=argv), root=folder, storage_conf=conf)


@contextlib.contextmanager
def start_docker_registry() -> Iterator[Registry]:
    """Run Debian's docker-registry (distribution 2.8): no referrers API."""
    program = program_path("docker-registry")
    with short_folder() as folder:
        port = free_port()
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}', secret: x}}\n"
        )
        argv = [program, "serve", str(config)]
        host = f"127.0.0.1:{port}"
        with run_daemon(argv, ready=lambda: answers(f"http://{host}/v2/"), log=folder / "log"):
            yield Registry(host=host, root=folder, referrers=False)


@contextlib.contextmanager
def start_olareg() -> Iterator[Registry]:
    """Run olareg: with the referrers API."""
    program = program_path("olareg")
    with short_folder() as folder:
        port = free_port()
        argv = [
            *(program, "serve", "--addr=127.0.0.1", f"--port={port}"),
            *("--store-type=dir", f"--dir={folder / 'data'}"),
        ]
        host = f"127.0.0.1:{port}"
        with run_daemon(argv, ready=lambda: answers(f"http://{host}/v2/"), log=folder / "log"):
            yield Registry(host=host, root=folder, referrers=True)


# --- fixtures -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[Docker]:
    """One dockerd for all tests of a run; see `docker_engine`."""
    with start_docker() as engine:
        yield engine


@pytest.fixture
def docker_engine(docker_daemon: Docker) -> Iterator[Docker]:
    """The dockerd, without images before and after."""
    docker_daemon.clear()
    yield docker_daemon
    docker_daemon.clear()


@pytest.fixture(scope="session")
def containerd_daemon() -> Iterator[Containerd]:
    """One containerd for all tests of a run; see `containerd_engine`."""
    with start_containerd() as engine:
        yield engine


@pytest.fixture
def containerd_engine(containerd_daemon: Containerd) -> Iterator[Containerd]:
    """The containerd, without images before and after."""
    containerd_daemon.clear()
    yield containerd_daemon
    containerd_daemon.clear()


@pytest.fixture(scope="session")
def podman_store() -> Iterator[Podman]:
    """One podman store for all tests of a run; see `podman_engine`."""
    with start_podman() as engine:
        yield engine


@pytest.fixture
def podman_engine(podman_store: Podman) -> Iterator[Podman]:
    """The podman store, without images before and after."""
    podman_store.clear()
    yield podman_store
    podman_store.clear()


@pytest.fixture(scope="session")
def docker_registry() -> Iterator[Registry]:
    """A registry without the referrers API."""
    with start_docker_registry() as registry:
        yield registry


@pytest.fixture(scope="session")
def olareg() -> Iterator[Registry]:
    """A registry with the referrers API."""
    with start_olareg() as registry:
        yield registry
