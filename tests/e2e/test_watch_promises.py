"""What strace sees of `watch`: no socket, no program, no write to a medium (V2, V9, X-4)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.fakes.sigworld.world import World
from tests.forked import Forker
from tests.presence import ROOT

pytestmark = pytest.mark.engine("strace")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], FarSide, Path]:
    """One look at a good, a hostile and a half-copied file, seen by strace."""
    folder = tmp_path_factory.mktemp("traced")
    publisher = Publisher()
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    spool = folder / "spool"
    spool.mkdir()
    publisher.bundle(spool / "good.tar.zst", sequence=2, extra=[Layer.noise(300_000, seed=1)])
    Publisher(World(name="stranger")).bundle(spool / "stranger.tar.zst", sequence=9)
    (spool / "half.tar.zst").write_bytes((spool / "good.tar.zst").read_bytes()[:50_000])
    trace = folder / "trace"
    done = subprocess.run(
        [
            "strace", "-f", "-qq", "-y", "-o", str(trace),
            "-e", "trace=%network,%file,execve,lseek,write,pwrite64",
            *host.command("watch", spool, "--once", "--into", f"oci:{host.loaded}",
                          isolated=False),
        ],
        check=False, capture_output=True, text=True, cwd=ROOT,
        # Without HOME, Python itself looks it up as it starts, and asks nscd.
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert "good.tar.zst: loaded" in done.stdout
    return trace.read_text().splitlines(), host, spool


def test_x_4_v2_what_reads_archives_makes_no_socket_of_any_kind(
    traced: tuple[list[str], FarSide, Path],
) -> None:
    lines, _, _ = traced
    assert [line for line in lines if re.search(r"\b(connect|bind|sendto)\(", line)] == []
    made = [line for line in lines if re.search(r"\bsocket(pair)?\(", line)]
    assert made, "the deliberate attempts"
    assert [line for line in made if "EPERM" not in line] == []
    assert any("AF_UNIX" in line for line in made)


def test_v9_nothing_is_executed(traced: tuple[list[str], FarSide, Path]) -> None:
    lines, _, _ = traced
    assert len([line for line in lines if "execve(" in line and " = 0" in line]) == 1


def test_t47_v10_the_medium_is_only_read_front_to_back_and_never_written(
    traced: tuple[list[str], FarSide, Path],
) -> None:
    lines, _, spool = traced
    opened = [line for line in lines if "openat(" in line and ".tar.zst" in line]
    assert opened
    for line in opened:
        assert "O_RDONLY" in line
        assert "O_NOFOLLOW" in line
    assert [line for line in lines if "lseek(" in line and ".tar.zst" in line] == []
    changing = r"\b(write|pwrite64|unlink|unlinkat|rename|renameat2?|mkdir|mkdirat|truncate)\("
    written = [
        line for line in lines
        if re.search(changing, line) and f"{spool}/" in line.partition("(")[2].partition(">")[0]
    ]  # fmt: skip
    assert written == []


def test_v14_a_crash_in_the_parser_is_one_line_and_the_good_file_is_loaded(
    tmp_path: Path,
) -> None:
    """A real kill from outside, at the first byte that the parser reads of one file."""
    publisher = Publisher()
    with Forker.start() as forker:
        watcher = Watcher.make(forker, publisher, tmp_path)
        publisher.bundle(watcher.spool / "good.tar.zst", sequence=2)
        publisher.bundle(watcher.spool / "old.tar.zst", sequence=1)
        os.mkfifo(watcher.spool / "fifo.tar.zst")
        shutil.copy(watcher.spool / "good.tar.zst", watcher.spool / "crasher.tar.zst")
        partial = watcher.spool / "partial.tar.zst"
        partial.write_bytes((watcher.spool / "good.tar.zst").read_bytes()[:3_000])
        with subprocess.Popen(
            [
                "strace", "-f", "-p", str(forker.pid), "-o", "/dev/null",
                "-P", str(watcher.spool / "crasher.tar.zst"),
                "-e", "trace=read", "-e", "inject=read:signal=SIGKILL",
            ],
            stderr=subprocess.PIPE, text=True,
        ) as tracer:  # fmt: skip
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            seen: dict[str, str] = {}
            for _ in range(4):
                watcher.look()
                seen = watcher.what()
                if "crasher.tar.zst" in seen and seen["crasher.tar.zst"] == "left":
                    break
                assert seen["crasher.tar.zst"] == "failed"
                assert watcher.sequence() == 2, "in the very first look"
            tracer.terminate()
            tracer.stderr.read()
        assert seen["crasher.tar.zst"] == "left"
        assert watcher.outcomes() == [("loaded", 2)]
