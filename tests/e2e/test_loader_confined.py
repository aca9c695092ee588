"""The loader seen by strace: one opening of the archive, no network, its own folders alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.fakes.images import Layer
from tests.presence import ROOT

pytestmark = pytest.mark.engine("strace")

NETWORK = re.compile(r"AF_(?!UNIX)[A-Z0-9]+")


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    folder = tmp_path_factory.mktemp("medium")
    path = folder / "bundle.tar.zst"
    publisher.bundle(path, extra=[Layer.noise(3_000_000, seed=1)])
    return path


def traced(host: FarSide, calls: str, *arguments: str | Path) -> tuple[int, list[str]]:
    """Run the loader under strace; return its status and the lines."""
    log = host.root / "strace"
    command = ["strace", "-f", "-y", "-s", "300", "-e", f"trace={calls}", "-o", str(log)]
    done = subprocess.run(
        [*command, *host.command(*arguments, isolated=False)],
        check=False,
        capture_output=True,
        timeout=300,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    return done.returncode, lines


def made(lines: list[str]) -> Iterator[str]:
    """The sockets that were really made."""
    for line in lines:
        if re.search(r"\bsocket(pair)?\(", line) and not re.search(r"= -1 ", line):
            yield line


def test_v2_no_network_socket_is_made(host: FarSide, bundle: Path) -> None:
    status, lines = traced(host, "%network", "load", bundle, "--into", f"oci:{host.loaded}")
    assert status == 0
    tried = [line for line in lines if NETWORK.search(line)]
    assert any("AF_INET, " in line for line in tried), "the deliberate attempt was not seen"
    assert all(line.endswith("EPERM (Operation not permitted)") for line in tried), tried
    assert not [line for line in made(lines) if NETWORK.search(line)]


def test_v2_a_connection_from_inside_would_be_refused_and_seen(tmp_path: Path) -> None:
    # The positive control: the same trace, of a process that tries. Before it is cut off it can.
    program = (
        f"import sys, socket; sys.path.insert(0, {str(ROOT)!r})\n"
        "from loader.confine import cut_off\n"
        "def connect():\n"
        "    try: socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "    except OSError as e: print(e.errno)\n"
        "connect(); cut_off(); connect()\n"
    )
    log = tmp_path / "strace"
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=%network", "-o", log, sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = log.read_text().splitlines()
    assert done.stdout.split() == ["111", "1"], "refused by the peer, then by the filter"
    assert [line for line in made(lines) if "AF_INET" in line], "the trace sees a socket"
    assert len([line for line in lines if "connect(" in line]) == 1


def test_v10_the_medium_is_opened_once_and_read_once(host: FarSide, bundle: Path) -> None:
    """A122, T37: a medium that answers otherwise the second time is not asked a second time."""
    before = sorted((p, p.stat().st_mtime_ns) for p in (bundle.parent, *bundle.parent.iterdir()))
    status, lines = traced(
        host,
        "openat,open,read,pread64,preadv,lseek,mmap,%file,fstat,ftruncate,write",
        "load", bundle, "--into", f"oci:{host.loaded}",
    )  # fmt: skip
    assert status == 0
    mine = [
        line
        for line in lines
        if f"<{bundle}>" in line or re.search(rf'(open|openat|stat)\(.*"{bundle}"', line)
    ]
    opened = [line for line in mine if re.search(r"\bopen(at)?\(", line)]
    assert len(opened) == 1
    for flag in ("O_RDONLY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"):
        assert flag in opened[0]
    others = {match.group(1) for line in mine if (match := re.search(r" (\w+)\(", line))}
    assert others <= {"openat", "read", "fstat", "newfstatat"}, others
    medium = f"{bundle.parent}/"
    written = [
        line
        for line in lines
        if medium in line and re.search(r"O_WRONLY|O_RDWR|O_CREAT|(mkdir|rename|unlink)\w*\(", line)
    ]
    assert written == []
    sizes = [int(line.rsplit("= ", 1)[1].split()[0]) for line in mine if " read(" in line]
    assert sum(sizes) == bundle.stat().st_size, "each byte exactly once"
    assert before == sorted(
        (p, p.stat().st_mtime_ns) for p in (bundle.parent, *bundle.parent.iterdir())
    )


def test_v9_only_the_loaders_own_folders_are_written(host: FarSide, bundle: Path) -> None:
    status, lines = traced(host, "%file,execve", "load", bundle, "--into", f"oci:{host.loaded}")
    assert status == 0
    allowed = (str(host.root / "var"), str(host.root / "run"), str(host.loaded), "/dev/", "/proc/")
    for line in lines:
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|\b(mkdir|rename|unlink|link|symlink)", line):
            paths = re.findall(r'(?:<([^>]+)>, )?"([^"]*)"', line)
            for folder, name in paths:
                path = name if name.startswith("/") else f"{folder}/{name}"
                assert path.startswith(allowed), line
    assert len([line for line in lines if "execve(" in line and "= 0" in line]) == 1


def test_verify_writes_nothing_at_all(host: FarSide, bundle: Path) -> None:
    assert host.load(bundle).status == 0
    status, lines = traced(host, "%file,write,pwrite64,ftruncate", "verify", bundle)
    assert status == 0
    opened = [line for line in lines if re.search(r"O_WRONLY|O_RDWR|O_CREAT", line)]
    assert [line for line in opened if "/dev/null" not in line] == []
    changed = r"\b(mkdir|rename|unlink|link|symlink|chmod|truncate|pwrite64)\w*\("
    assert [line for line in lines if re.search(changed, line)] == []
