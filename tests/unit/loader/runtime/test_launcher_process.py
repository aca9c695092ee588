"""The launcher: what it may be told, how it ends, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.errors import InternalError, RuntimeAbsentError, RuntimeLoadError
from loader.runtime import launched
from loader.runtime import launcher as launcher_module
from loader.runtime.calls import Call, Client, Operand
from loader.runtime.launcher import Launcher
from loader.runtime.pipes import PipeClosedError, PipeStalledError, read_frame, write_frame

DIGEST = "sha256:" + "a" * 64


def shell(**calls: Call) -> Client:
    return Client(name="sh", path=Path("/bin/sh"), prefix=("-c",), environment={}, calls=calls)


def says(script: str, *, seconds: int = 60, stdin: bool = False, size: int = 1 << 20) -> Call:
    return Call(arguments=(script,), seconds=seconds, stdin=stdin, stdout_size_max=size)


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(launcher_module, "TEMPORARY", (tmp_path,))
    yield tmp_path
    assert not list(tmp_path.glob("airlock-launcher-*")), "the private folder is left behind"


def test_status_and_both_streams_come_back() -> None:
    with Launcher.start(shell(go=says("echo out; echo err >&2; exit 7"))) as launcher:
        done = launcher.run("go")
        assert (done.status, done.stdout, done.stderr) == (7, b"out\n", "'err'")
        assert launcher.run("go") == done


def test_stream_arrives_whole() -> None:
    chunks = [os.urandom(100_000) for _ in range(50)]
    with Launcher.start(shell(go=says("sha256sum", stdin=True))) as launcher:
        done = launcher.run("go", stdin=iter(chunks))
        again = launcher.run("go", stdin=iter([b"".join(chunks)]))
    assert done.took_all
    assert done.stdout == again.stdout
    assert len(done.stdout.split()[0]) == 64


def test_client_that_does_not_want_the_rest_is_no_error() -> None:
    with Launcher.start(shell(go=says("head -c 10", stdin=True))) as launcher:
        done = launcher.run("go", stdin=iter([b"x" * (1 << 20)] * 20))
        assert done.stdout == b"x" * 10
        assert not done.took_all


def test_aborted_client_never_sees_an_end(private: Path) -> None:
    mark = private / "saw-the-end"

    def broken() -> Iterator[bytes]:
        yield b"x" * 1000
        raise ValueError("no longer verified")

    calls = shell(go=says(f"cat >/dev/null && touch {mark}", stdin=True), next=says("echo on"))
    with Launcher.start(calls) as launcher:
        with pytest.raises(ValueError, match="no longer"):
            launcher.run("go", stdin=broken())
        assert launcher.run("next").stdout == b"on\n"
    assert not mark.exists()


def test_hanging_client_is_stopped_with_its_children() -> None:
    script = "sleep 300 & echo $!; wait"
    with Launcher.start(shell(go=says(script, seconds=1))) as launcher:
        started = time.monotonic()
        with pytest.raises(RuntimeLoadError, match="took too long"):
            launcher.run("go")
        assert time.monotonic() - started < 15


def test_time_counts_from_the_end_of_the_stream() -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.5)
            yield b"x"

    calls = shell(
        go=says("wc -c", seconds=1, stdin=True), hang=says("sleep 99", stdin=True, seconds=1)
    )
    with Launcher.start(calls) as launcher:
        assert launcher.run("go", stdin=slow()).stdout.strip() == b"4"
        with pytest.raises(RuntimeLoadError, match="took too long"):
            launcher.run("hang", stdin=iter([b"x"]))


def test_too_much_output_is_an_error_and_not_memory() -> None:
    client = shell(go=says("head -c 9000000 /dev/zero", size=1000))
    with (
        Launcher.start(client) as launcher,
        pytest.raises(RuntimeLoadError, match="more than can be understood"),
    ):
        launcher.run("go")


def test_absent_client_is_said() -> None:
    client = Client(
        name="x", path=Path("/nonexistent/x"), prefix=(), environment={}, calls={"go": says("")}
    )
    with Launcher.start(client) as launcher, pytest.raises(RuntimeAbsentError):
        launcher.run("go")


TABLE = {
    "tag": Call(arguments=("tag", Operand.DIGEST, Operand.NAME)),
    "ls": Call(arguments=("ls", Operand.FILTERS)),
    "import": Call(arguments=("--platform", Operand.PLATFORM)),
}


@pytest.mark.parametrize(
    ("call", "operands"),
    [
        ("run", ("x",)),
        ("tag", (DIGEST,)),
        ("tag", (DIGEST, "r.example/a:1", "r.example/b:1")),
        ("tag", ("--help", "r.example/a:1")),
        ("tag", (DIGEST, "-v/:/host")),
        ("tag", (DIGEST, "a b")),
        ("tag", (DIGEST, "r.example/a:1\n")),
        ("tag", (DIGEST, "short:1")),
        ("tag", (DIGEST.upper(), "r.example/a:1")),
        ("ls", ("labels.x==y",)),
        ("ls", ("digest==sha256:x",)),
        ("ls", ("name==--x",)),
        ("import", ("linux/amd64;reboot",)),
        ("import", ("--all-platforms",)),
    ],
)
def test_table_admits_nothing_else(call: str, operands: tuple[str, ...]) -> None:
    client = Client(name="x", path=Path("/bin/true"), prefix=(), environment={}, calls=TABLE)
    with pytest.raises(InternalError):
        client.command(call, operands)


def test_table_admits_what_it_should() -> None:
    client = Client(name="x", path=Path("/bin/x"), prefix=("-n",), environment={}, calls=TABLE)
    assert client.command("tag", (DIGEST, "r.example/a:1")) == (
        *("/bin/x", "-n", "tag"),
        *(DIGEST, "r.example/a:1"),
    )
    filters = ("name==r.example/a:1", f"digest=={DIGEST}")
    assert client.command("ls", filters) == ("/bin/x", "-n", "ls", *filters)
    assert client.command("import", ("linux/arm/v7",))[2:] == ("--platform", "linux/arm/v7")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"{}",
        b'{"call":"go","operands":["x"]}',
        b'{"call":"other","operands":[]}',
        b'{"call":"go","call":"go","operands":[]}',
        b"\xff",
        b"[" * 1000,
    ],
)
def test_launcher_looks_again_at_what_a_turned_loader_asks(request_bytes: bytes) -> None:
    # Past `Launcher.run`: straight into the pipe, as code that took over the loader could write.
    with Launcher.start(shell(go=says("echo ran"))) as launcher:
        write_frame(launcher._requests, request_bytes)
        answer = read_frame(launcher._answers, size_max=1 << 16)
        assert b'"problem"' in answer
        assert read_frame(launcher._answers, size_max=0) == b""
        assert read_frame(launcher._answers, size_max=0) == b""
        assert launcher.run("go").stdout == b"ran\n"


def test_frame_that_is_too_long_ends_the_launcher() -> None:
    with Launcher.start(shell(go=says("echo ran"))) as launcher:
        os.write(launcher._requests, (launched.REQUEST_SIZE_MAX + 1).to_bytes(4, "big"))
        with pytest.raises(PipeClosedError):
            read_frame(launcher._answers, size_max=100)


def test_frame_that_does_not_come_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(PipeStalledError):
            read_frame(reader, size_max=10, deadline=time.monotonic() + 0.05)
    finally:
        os.close(reader)
        os.close(writer)


def test_launcher_that_was_killed_is_said() -> None:
    with Launcher.start(shell(go=says("echo ran"))) as launcher:
        os.kill(launcher._pid, signal.SIGKILL)
        with pytest.raises(RuntimeLoadError, match="launcher ended"):
            launcher.run("go")


def test_launcher_does_not_mind_control_c() -> None:
    with Launcher.start(shell(go=says("echo ran"))) as launcher:
        os.kill(launcher._pid, signal.SIGINT)
        assert launcher.run("go").stdout == b"ran\n"


class _StopError(Exception):
    pass


@pytest.mark.parametrize("delay", [0.0002, 0.001, 0.003, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("call", ["quick", "slow", "quick-stream", "slow-stream"])
def test_interrupt_anywhere_leaves_a_launcher_that_understands(call: str, delay: float) -> None:
    calls = {
        "quick": says("echo quick"),
        "slow": says("sleep 99; echo slow"),
        "quick-stream": says("cat; echo end", stdin=True),
        "slow-stream": says("cat; sleep 99; echo end", stdin=True),
        "next": says("echo next"),
        "next-stream": says("wc -c", stdin=True),
    }

    def raise_it(*_: object) -> None:
        raise _StopError

    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        with Launcher.start(shell(**calls)) as launcher:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    stdin = iter([b"x" * 1000] * 50) if "stream" in call else None
                    launcher.run(call, stdin=stdin)
            except _StopError:
                pass
            for _ in range(3):
                assert launcher.run("next").stdout == b"next\n"
                assert launcher.run("next-stream", stdin=iter([b"abc"])).stdout.strip() == b"3"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ended_launcher_says_so_again() -> None:
    launcher = Launcher.start(shell(go=says("echo ran")))
    launcher.close()
    launcher.close()
    with pytest.raises(RuntimeLoadError, match="ended before"):
        launcher.run("go")


def test_client_that_ends_early_does_not_confuse_the_next_call() -> None:
    calls = shell(early=says("exit 3", stdin=True), go=says("echo ran"))
    with Launcher.start(calls) as launcher:
        for _ in range(30):
            assert launcher.run("early", stdin=iter([b"x"])).status == 3
            assert launcher.run("go").stdout == b"ran\n"


def test_killed_loader_takes_client_and_folder_along(private: Path) -> None:
    pid_file = private / "pid"
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from loader.runtime import launcher
        from loader.runtime.calls import Call, Client
        from loader.runtime.launcher import Launcher
        launcher.TEMPORARY = (Path({str(private)!r}),)
        script = "echo $$ > {pid_file}; cat > /dev/null; sleep 300"
        client = Client(name="sh", path=Path("/bin/sh"), prefix=("-c",), environment={{}},
                        calls={{"go": Call(arguments=(script,), stdin=True)}})
        def forever():
            while True:
                yield b"x" * 65536
        Launcher.start(client).run("go", stdin=forever())
        """
    )
    loader = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[4])
    _wait(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
    client = int(pid_file.read_text())
    loader.kill()
    loader.wait()
    _wait(lambda: not Path(f"/proc/{client}").exists() or _is_zombie(client))
    _wait(lambda: not list(private.glob("airlock-launcher-*")))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
