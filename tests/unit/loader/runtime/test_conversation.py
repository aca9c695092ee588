"""A client that stays: asked many times, ended at any moment, never left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.errors import RuntimeAbsentError, RuntimeLoadError
from loader.runtime import launcher as launcher_module
from loader.runtime.calls import Call, Client
from loader.runtime.conversation import Conversation
from loader.runtime.launcher import Launcher

MIB = 1 << 20


def shell(script: str, *, seconds: int = 60) -> Client:
    calls = {
        "serve": Call(arguments=(script,), stays=True, seconds=seconds),
        "next": Call(arguments=("echo on",)),
    }
    return Client(name="sh", path=Path("/bin/sh"), prefix=("-c",), environment={}, calls=calls)


def frame(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(launcher_module, "TEMPORARY", (tmp_path,))
    yield tmp_path
    assert not list(tmp_path.glob("airlock-launcher-*")), "the private folder is left behind"


def ask(talk: Conversation, raw: bytes, *, size_max: int = MIB, seconds: float = 20) -> bytes:
    return talk.ask(iter([frame(raw)]), size_max=size_max, seconds=seconds)


def test_one_process_answers_many_times(private: Path) -> None:
    with Launcher.start(shell(f"echo x >> {private}/starts; exec cat")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        for size in (0, 1, 70_000, 3, 1_000_000):
            assert ask(talk, b"y" * size) == b"y" * size
        assert (private / "starts").read_text() == "x\n"
        talk.close()
        talk.close()
        assert talk.is_over
        assert launcher.run("next").stdout == b"on\n"
        again = Conversation.begin(launcher, "serve")
        assert ask(again, b"z") == b"z"
    assert (private / "starts").read_text() == "x\nx\n"


def test_a_question_that_breaks_off_is_never_heard_to_its_end(private: Path) -> None:
    mark = private / "saw-the-end"

    def broken() -> Iterator[bytes]:
        yield b"x" * 1000
        raise ValueError("no longer verified")

    with Launcher.start(shell(f"cat >/dev/null && touch {mark}")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        with pytest.raises(ValueError, match="no longer"):
            talk.ask(broken(), size_max=MIB, seconds=20)
        assert talk.is_over
        assert launcher.run("next").stdout == b"on\n"
    assert not mark.exists()


@pytest.mark.parametrize(
    "script",
    ["echo why >&2; exit 7", "head -c 10 >/dev/null; echo why >&2; exit 7"],
    ids=["at once", "in the middle"],
)
def test_who_ends_by_itself_is_asked_why(script: str) -> None:
    with Launcher.start(shell(script)) as launcher:
        talk = Conversation.begin(launcher, "serve")
        with pytest.raises(RuntimeLoadError, match=r"ended in the middle.*status 7: 'why'"):
            ask(talk, b"x" * 5_000_000)
        assert talk.is_over
        assert launcher.run("next").stdout == b"on\n"


def test_what_was_said_before_the_end_is_heard() -> None:
    script = r"head -c 10 >/dev/null; printf '\000\000\000\003bye'; exit 1"
    with Launcher.start(shell(script)) as launcher:
        talk = Conversation.begin(launcher, "serve")
        assert ask(talk, b"x" * 5_000_000) == b"bye"
        with pytest.raises(RuntimeLoadError, match="status 1"):
            ask(talk, b"more")


def test_who_does_not_answer_is_stopped_with_its_children() -> None:
    with Launcher.start(shell("cat >/dev/null & sleep 600")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        begin = time.monotonic()
        with pytest.raises(RuntimeLoadError, match="took too long"):
            ask(talk, b"x", seconds=0.3)
        assert time.monotonic() - begin < 10
        assert launcher.run("next").stdout == b"on\n"


def test_who_reads_nothing_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launcher, "stall_seconds", 0.3)
    with Launcher.start(shell("sleep 600")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        with pytest.raises(RuntimeLoadError, match="stopped reading"):
            ask(talk, b"x" * 5_000_000)
        assert talk.is_over
        assert launcher.run("next").stdout == b"on\n"


def test_an_answer_that_is_too_long_is_an_error_and_not_memory() -> None:
    with Launcher.start(shell("exec cat", seconds=1)) as launcher:
        talk = Conversation.begin(launcher, "serve")
        with pytest.raises(RuntimeLoadError):
            ask(talk, b"x" * 1000, size_max=999)
        assert talk.is_over
        assert launcher.run("next").stdout == b"on\n"


def test_an_absent_client_is_said() -> None:
    client = Client(
        name="none",
        path=Path("/nowhere/none"),
        prefix=(),
        environment={},
        calls={"serve": Call(arguments=(), stays=True), "next": Call(arguments=())},
    )
    with Launcher.start(client) as launcher:
        talk = Conversation.begin(launcher, "serve")
        with pytest.raises(RuntimeAbsentError, match="cannot be started"):
            ask(talk, b"x")
        with pytest.raises(RuntimeAbsentError, match="cannot be started"):
            launcher.run("next")


class _StopError(Exception):
    pass


@pytest.mark.parametrize("delay", [0.0002, 0.001, 0.003, 0.01, 0.05, 0.2])
def test_an_interrupt_anywhere_leaves_a_launcher_that_understands(delay: float) -> None:
    def raise_it(*_: object) -> None:
        raise _StopError

    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        with Launcher.start(shell("sleep 0.02; exec cat")) as launcher:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    talk = Conversation.begin(launcher, "serve")
                    for _ in range(5):
                        ask(talk, b"x" * 100_000)
                    talk.close()
            except _StopError:
                pass
            for _ in range(3):
                assert launcher.run("next").stdout == b"on\n"
                assert ask(Conversation.begin(launcher, "serve"), b"z") == b"z"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_client_that_stays_makes_room(private: Path) -> None:
    with Launcher.start(shell(f"echo $$ > {private}/pid; exec cat")) as launcher:
        ask(Conversation.begin(launcher, "serve"), b"x")
        pid = int((private / "pid").read_text())
        assert launcher.run("next").stdout == b"on\n"
        assert not Path(f"/proc/{pid}").exists()


def test_the_client_ends_with_the_launcher(private: Path) -> None:
    with Launcher.start(shell(f"echo $$ > {private}/pid; exec cat")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        ask(talk, b"x")
        pid = int((private / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(RuntimeLoadError):
        ask(talk, b"x")
    talk.close()


def test_a_launcher_that_was_killed_is_said() -> None:
    with Launcher.start(shell("exec cat")) as launcher:
        talk = Conversation.begin(launcher, "serve")
        ask(talk, b"x")
        os.kill(launcher._pid, signal.SIGKILL)
        os.waitpid(launcher._pid, 0)
        with pytest.raises(RuntimeLoadError, match="launcher ended"):
            talk.close()
        assert talk.is_over


def test_a_client_that_is_over_comes_to_its_own_end(private: Path) -> None:
    mark = private / "tidied"
    script = f"head -c 8 >/dev/null; printf '\\0\\0\\0\\004over'; sleep 0.3; touch {mark}; exit 3"
    with Launcher.start(shell(script)) as launcher:
        talk = Conversation.begin(launcher, "serve")
        assert ask(talk, b"why?") == b"over"
        talk.end()
        assert talk.is_over
        assert mark.exists()
        assert launcher.run("next").stdout == b"on\n"


def test_a_client_that_is_over_and_stays_is_stopped() -> None:
    script = "head -c 8 >/dev/null; printf '\\0\\0\\0\\004over'; sleep 600"
    with Launcher.start(shell(script, seconds=1)) as launcher:
        talk = Conversation.begin(launcher, "serve")
        assert ask(talk, b"why?") == b"over"
        talk.end()
        assert launcher.run("next").stdout == b"on\n"
