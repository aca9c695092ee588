"""`watch` when what is around it fails (CASES FI-24, FI-45, FI-47, FI-48).

A journal that is gone or takes nothing, a medium that hangs, a parser that dies or lies.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from loader.config import WatchSettings
from loader.errors import AirlockError, InternalError
from loader.model.strictjson import JsonObject
from loader.places import Places
from loader.policy.model import Policy
from loader.run import Host
from loader.state.watched import Watched
from loader.trust.store import TrustStore
from loader.watch import tasks
from loader.watch.child import Reporter
from loader.watch.cycle import Cycle, Event, Patience, Task, Tasks
from loader.watch.spool import Listing, Spool, SpoolFile
from tests.e2e.loading import SIGNED_AT, Publisher
from tests.e2e.test_watch_stick import made, plugged_in
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.fakes.sigworld.world import World
from tests.forked import Forker
from tests.presence import ROOT

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    with Forker.start() as forker:
        yield Watcher.make(forker, Publisher(), tmp_path)


# --- the journal ----------------------------------------------------------------------------------


def closed() -> int:
    """The end of a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full() -> int:
    """The end of a pipe that is full, whose other end is open and never read."""
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return writer


@pytest.mark.parametrize("output", [closed, full])
def test_fi_45_a_journal_that_is_gone_or_takes_nothing_holds_nobody_up(
    output: Callable[[], int], watcher: Watcher
) -> None:
    watcher.publisher.bundle(watcher.spool / "1.tar.zst", sequence=1)
    watcher.publisher.bundle(watcher.spool / "beta.tar.zst", sequence=7, channel="beta", tag="b")
    (watcher.spool / "broken.tar.zst").write_bytes(b"\0" * 5000)
    os.utime(watcher.spool / "broken.tar.zst", (0, 0))
    writer = output()
    began = time.monotonic()
    done = subprocess.run(
        watcher.host.command(
            "watch", watcher.spool, "--once", "--into", f"oci:{watcher.host.loaded}", isolated=False
        ),
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=ENVIRONMENT,
    )  # fmt: skip
    os.close(writer)
    assert time.monotonic() - began < 30
    assert "io.output" in done.stderr
    assert done.returncode == 19, "the broken file's: it came first"
    outcomes = watcher.outcomes()
    assert ("loaded", 1) in outcomes
    assert ("loaded", 7) in outcomes
    assert watcher.look().status == 0
    assert set(watcher.what().values()) == {"known"}


def test_fi_45_where_all_went_well_but_nobody_heard_it_the_status_says_so(watcher: Watcher) -> None:
    watcher.publisher.bundle(watcher.spool / "1.tar.zst", sequence=1)
    writer = closed()
    done = subprocess.run(
        watcher.host.command(
            "watch", watcher.spool, "--once", "--into", f"oci:{watcher.host.loaded}", isolated=False
        ),
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=ENVIRONMENT,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 20, done.stderr
    assert watcher.sequence() == 1


# --- a medium that hangs, a head that lies --------------------------------------------------------


def the_host(watcher: Watcher) -> Host:
    folder = watcher.host.root / "etc/airlock"
    policy = Policy.parse((folder / "policy.toml").read_bytes(), where="policy.toml")
    places = Places.under(watcher.host.root)
    trust = TrustStore.open(policy, policy_directory=folder, anchors_directory=places.anchors)
    return Host(places=places, policy=policy, trust=trust, now=SIGNED_AT, version="0")


def explained(e: Exception) -> AirlockError:
    return InternalError(repr(e))


def looked(
    spool: Spool,
    host: Host,
    memory: Watched,
    *,
    look: Callable[[Sequence[SpoolFile]], Task] | None = None,
    listing: Listing | None = None,
    seconds: float = 1.0,
) -> list[Event]:
    """Look once, with real heads and real judging, and less patience than usual."""
    cycle = Cycle(
        listing=listing or spool.list(),
        tasks=Tasks(
            look=look
            or (lambda files: tasks.look_at(files, spool.fd, host, explained, target=None)),
            take=lambda file: tasks.verify_one(file, spool.fd, host, explained),
            verb="verify",
        ),
        settings=WatchSettings(attempts=2),
        memory=memory,
        now=host.now,
        patience=Patience(look=seconds, medium=seconds, runtime=60.0),
    )
    return list(cycle.run())


@pytest.mark.engine("fusefat")
def test_fi_24_a_medium_that_hangs_is_given_up_and_read_when_it_answers(
    watcher: Watcher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    watcher.publisher.bundle(bundle, sequence=1, extra=[Layer.noise(3_000_000, seed=1)])
    image = made(tmp_path / "stick.img", bundle)
    host = the_host(watcher)
    with (
        plugged_in(image, watcher.spool) as stick,
        Spool.open(watcher.spool, file_systems="any") as spool,
        Watched.open(host.places, at=host.now, under="policy") as memory,
    ):
        listing = spool.list()
        stick.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            [event] = looked(spool, host, memory, listing=listing)
        finally:
            stick.send_signal(signal.SIGCONT)
        assert (event.what, event.code, event.status) == ("failed", "io.stalled", 20), event.words
        assert time.monotonic() - began < 15
        [event] = looked(spool, host, memory, seconds=30.0)
        assert event.what == "proposed", event.words


def test_fi_48_a_head_that_was_made_up_by_a_turned_parser_moves_nothing_in(
    watcher: Watcher,
) -> None:
    """Whoever takes over what reads heads can claim any; all of it is judged when it is loaded."""
    watcher.publisher.bundle(watcher.spool / "good.tar.zst", sequence=2)
    Publisher(World(name="stranger")).bundle(watcher.spool / "turned.tar.zst", sequence=9)
    host = the_host(watcher)
    with (
        Spool.open(watcher.spool) as spool,
        Watched.open(host.places, at=host.now, under="policy") as memory,
    ):

        def look(files: Sequence[SpoolFile]) -> Task:
            def task(report: Reporter) -> None:
                class Lies(Reporter):
                    def say(self, document: JsonObject) -> None:
                        head = document["glance"]
                        assert isinstance(head, dict)
                        report.say({**document, "glance": {**head, "refused": None}})

                tasks.look_at(files, spool.fd, host, explained, target=None)(
                    Lies(report._fd, report._word)
                )

            return task

        events = {event.name: event for event in looked(spool, host, memory, look=look)}
    assert events["turned.tar.zst"].what == "refused"
    assert events["turned.tar.zst"].code == "signature.unverified"
    assert events["good.tar.zst"].what == "proposed"


def test_fi_47_a_parser_that_the_system_kills_is_one_line(watcher: Watcher) -> None:
    """By the filter of system calls (SIGSYS), or for its memory (SIGKILL); the core goes on."""
    watcher.publisher.bundle(watcher.spool / "good.tar.zst", sequence=2)
    shutil.copy(watcher.spool / "good.tar.zst", watcher.spool / "bad.tar.zst")
    host = the_host(watcher)
    with (
        Spool.open(watcher.spool) as spool,
        Watched.open(host.places, at=host.now, under="policy") as memory,
    ):
        for number, name in ((signal.SIGSYS, "SIGSYS"), (signal.SIGKILL, "SIGKILL")):

            def look(files: Sequence[SpoolFile], number: int = number) -> Task:
                def task(report: Reporter) -> None:
                    class Dies(Reporter):
                        def wait_for_word(self) -> None:
                            super().wait_for_word()
                            os.kill(os.getpid(), number)

                    dies = files[0].name == "bad.tar.zst"
                    kind = Dies if dies else Reporter
                    tasks.look_at(files, spool.fd, host, explained, target=None)(
                        kind(report._fd, report._word)
                    )

                return task

            events = {event.name: event for event in looked(spool, host, memory, look=look)}
            assert events["bad.tar.zst"].what == "failed"
            assert name in events["bad.tar.zst"].words
            assert events["good.tar.zst"].what == "proposed"
        events = {event.name: event for event in looked(spool, host, memory)}
        assert events["bad.tar.zst"].what == "left", "two attempts, and no third"
