"""Children that crash, hang, lie and babble: each is one line, and the next file is taken."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.config import WatchSettings
from loader.places import Places
from loader.state.watched import Watched
from loader.watch.answer import Answer, Fault
from loader.watch.child import Reporter
from loader.watch.cycle import Cycle, Event, Patience, Task, Tasks
from loader.watch.glance import Glance
from loader.watch.spool import Listing, SpoolFile

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
Behaviour = Callable[[Reporter], None]


def file(name: str, *, age: float = 86_400.0) -> SpoolFile:
    return SpoolFile(name=name, identity=f"id-{name}", size=1, modified_at=NOW.timestamp() - age)


def newer(sequence: int, *, channel: str = "stable") -> Glance:
    return Glance(
        statement=f"sha256:{sequence:064x}",
        channel=channel,
        sequence=sequence,
        created="2026-01-01T00:00:00Z",
        standing="newer",
        refused="",
    )


def answers(glance: Glance) -> Behaviour:
    return lambda report: report.say(Answer(glance=glance).plain())


def fails(code: str) -> Behaviour:
    fault = Fault(code=code, words="so it is", hint="")
    return lambda report: report.say(Answer(fault=fault).plain())


def loads(report: Reporter) -> None:
    report.say({"read": True})
    report.say(Answer(loaded=True).plain())


def dies(_: Reporter) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends(_: Reporter) -> None:
    os._exit(3)


def hangs(_: Reporter) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def babbles(report: Reporter) -> None:
    os.write(report._fd, b"\xff\xff\xff\xff" + b"A" * 1000)
    time.sleep(600)


def forges(report: Reporter) -> None:
    report.say({"fault": None, "glance": None, "loaded": 1, "warnings": [], "admitted": True})


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Callable[[], Watched]]:
    opened: list[Watched] = []

    def open_() -> Watched:
        opened.append(Watched.open(Places.under(tmp_path), at=NOW, under="policy"))
        return opened[-1]

    yield open_
    for one in opened:
        one._db.close()


def look(
    memory: Watched | None,
    heads: dict[str, Behaviour],
    takes: dict[str, Behaviour] | None = None,
    *,
    age: float = 86_400.0,
    attempts: int = 3,
) -> list[Event]:
    def look_task(files: Sequence[SpoolFile]) -> Task:
        def task(report: Reporter) -> None:
            for one in files:
                heads[one.name](report)

        return task

    cycle = Cycle(
        listing=Listing(files=tuple(file(name, age=age) for name in heads), ignored=0, more=False),
        tasks=Tasks(
            look=look_task, take=lambda one: (takes or {}).get(one.name, loads), verb="load"
        ),
        settings=WatchSettings(attempts=attempts),
        memory=memory,
        now=NOW,
        patience=Patience(look=0.5, medium=0.5, runtime=5.0),
    )
    return list(cycle.run())


def what(events: Sequence[Event]) -> dict[str, str]:
    return {event.name: event.what for event in events}


BAD: dict[str, Behaviour] = {
    "dies": dies,
    "ends": ends,
    "hangs": hangs,
    "babbles": babbles,
    "forges": forges,
}


def children() -> set[str]:
    """Return the children of this process, of whom other tests may have some."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_v14_no_bad_file_blocks_a_good_one_in_the_same_cycle(
    memory: Callable[[], Watched],
) -> None:
    heads = {**BAD, "good": answers(newer(10))}
    before, began = children(), time.monotonic()
    events = look(memory(), heads)
    assert what(events) == {**dict.fromkeys(BAD, "failed"), "good": "loaded"}
    assert time.monotonic() - began < 10
    codes = {event.name: event.code for event in events}
    assert codes["hangs"] == "io.stalled"
    assert codes["dies"] == "internal.bug"
    said = {event.name: event.words for event in events}
    assert "SIGKILL" in said["dies"]
    assert "status 3" in said["ends"]
    assert children() == before


@pytest.mark.parametrize("name", BAD)
def test_t39_attempts_without_an_answer_are_counted_and_bounded(
    name: str, memory: Callable[[], Watched]
) -> None:
    seen = [
        what(look(memory(), {name: BAD[name]}, attempts=2))[name] for _ in range(4)
    ]  # each with its memory opened anew
    assert seen == ["failed", "failed", "left", "known"]


@pytest.mark.parametrize("name", BAD)
def test_the_same_while_it_is_loaded(name: str, memory: Callable[[], Watched]) -> None:
    heads = {"bad": answers(newer(12)), "good": answers(newer(11))}
    seen = [what(look(memory(), heads, {"bad": BAD[name]}, attempts=2)) for _ in range(3)]
    assert [one["bad"] for one in seen] == ["failed", "failed", "left"]


def test_an_attempt_is_written_down_before_it_begins(
    memory: Callable[[], Watched], tmp_path: Path
) -> None:
    """Whoever is killed with everything around it finds the count on its next start."""
    pid = os.fork()
    if not pid:

        def kills_all(_: Reporter) -> None:
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)

        look(memory(), {"deadly": answers(newer(1))}, {"deadly": kills_all})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with Watched.open(Places.under(tmp_path), at=NOW, under="policy") as again:
        assert again.see(["id-deadly"])["id-deadly"].attempts == 1


@pytest.mark.parametrize(
    ("code", "then"),
    [
        ("runtime.absent", ["failed", "failed", "failed", "failed"]),
        ("busy.lock", ["failed", "failed", "failed", "failed"]),
        ("nospace.disk", ["failed", "failed", "failed", "failed"]),
        ("runtime.unhealthy", ["refused", "known", "known", "known"]),
        ("signature.invalid", ["refused", "known", "known", "known"]),
        ("rollback.sequence", ["refused", "known", "known", "known"]),
        ("digest.mismatch", ["refused", "known", "known", "known"]),
    ],
)
def test_a_verdict_is_kept_and_a_fault_of_this_machine_is_tried_again(
    code: str, then: list[str], memory: Callable[[], Watched]
) -> None:
    heads = {"one": answers(newer(1))}
    seen = [what(look(memory(), heads, {"one": fails(code)}, attempts=2))["one"] for _ in range(4)]
    assert seen == then


@pytest.mark.parametrize(
    ("code", "older"),
    [
        ("runtime.absent", "older"),
        ("nospace.disk", "older"),
        ("busy.lock", "older"),
        ("io.input", "loaded"),
        ("signature.invalid", "loaded"),
        ("runtime.unhealthy", "loaded"),
    ],
)
def test_whether_an_older_bundle_takes_the_place_of_the_newest(
    code: str, older: str, memory: Callable[[], Watched]
) -> None:
    heads = {"old": answers(newer(11)), "new": answers(newer(12))}
    assert what(look(memory(), heads, {"new": fails(code)}))["old"] == older


def test_a_malformed_file_that_was_touched_just_now_waits(memory: Callable[[], Watched]) -> None:
    events = look(memory(), {"one": fails("container.truncated")}, age=10)
    assert what(events) == {"one": "waiting"}
    assert [event.status for event in events] == [0]
    events = look(memory(), {"one": fails("container.truncated")}, age=1000)
    assert what(events) == {"one": "refused"}
    assert [event.status for event in events] == [19]


def test_no_more_than_a_hundred_refused_statements_are_recorded_in_one_cycle(
    memory: Callable[[], Watched],
) -> None:
    refused = newer(1)
    heads = {
        f"{number}": answers(
            Glance(
                statement=f"sha256:{number:064x}",
                channel=None,
                sequence=0,
                created=refused.created,
                standing="newer",
                refused="signature.unverified",
            )
        )
        for number in range(130)
    }
    takes = dict.fromkeys(heads, fails("signature.unverified"))
    assert len(look(memory(), heads, takes)) == 100
    assert [e.what for e in look(memory(), heads, takes)].count("refused") == 30


def test_that_a_file_is_older_is_news_once(memory: Callable[[], Watched]) -> None:
    heads = {"old": answers(newer(11)), "new": answers(newer(12))}
    first = {event.name: event for event in look(memory(), heads)}
    assert (first["old"].what, first["old"].is_news) == ("older", True)
    behind = answers(replace(newer(11), standing="older"))
    again = {event.name: event for event in look(memory(), {"old": behind})}
    assert (again["old"].what, again["old"].is_news) == ("older", False)
    current = answers(replace(newer(11), standing="same"))
    changed = {event.name: event for event in look(memory(), {"old": current})}
    assert (changed["old"].what, changed["old"].is_news) == ("current", True)
    assert look(None, {"old": current})[0].is_news, "a dry run remembers nothing"


def test_a_file_that_the_medium_cannot_tell_of_is_said_each_time(
    memory: Callable[[], Watched],
) -> None:
    """It has no identity: nothing is remembered of it, and it is never opened."""
    lost = replace(file("lost"), identity="", fault="Input/output error")
    for _ in range(5):
        opened = memory()
        cycle = Cycle(
            listing=Listing(files=(lost, file("good")), ignored=0, more=False),
            tasks=Tasks(
                look=lambda files: (
                    lambda report: [  # type: ignore[arg-type,return-value]
                        answers(newer(10))(report) for _ in files
                    ]
                ),
                take=lambda _: loads,
                verb="load",
            ),
            settings=WatchSettings(attempts=3),
            memory=opened,
            now=NOW,
        )
        events = {event.name: event for event in cycle.run()}
        assert events["lost"].what == "failed"
        assert (events["lost"].code, events["lost"].status) == ("io.spool", 20)
        assert "Input/output error" in events["lost"].words
        assert events["good"].what in {"loaded", "known"}
