"""The bench's own arithmetic: who is measured, what a ratio is, when a goal is missed."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from scripts.benchmarks import image
from scripts.benchmarks.processes import (
    CommandError,
    Contender,
    Measured,
    Ran,
    Spawner,
    compare,
    pipe,
)
from scripts.benchmarks.scene import break_statement_signature
from scripts.benchmarks.table import Goal, Results, Row, Section
from tests.e2e.loading import FarSide, Publisher

HUNDRED_MB = "x = bytearray(100_000_000); x[::4096] = bytes(len(x[::4096]))"


def ran(seconds: float, memory_size: int = 0) -> Ran:
    return Ran(
        status=0, seconds=seconds, cpu_seconds=0, memory_size=memory_size, stdout="", stderr=""
    )


def test_memory_is_the_childs_and_not_its_parents(tmp_path: Path) -> None:
    ballast = bytearray(b"x") * 200_000_000
    with Spawner(tmp_path) as spawner:
        small = spawner.run(["true"])
        large = spawner.run([sys.executable, "-c", HUNDRED_MB])
    del ballast
    assert small.memory_size < 20_000_000
    assert 100_000_000 < large.memory_size < 140_000_000


def test_memory_is_that_of_the_largest_in_a_pipeline(tmp_path: Path) -> None:
    with Spawner(tmp_path) as spawner:
        both = spawner.run(pipe([sys.executable, "-c", HUNDRED_MB], ["cat"]))
    assert both.memory_size > 100_000_000


def test_a_command_that_fails_ends_the_bench(tmp_path: Path) -> None:
    with Spawner(tmp_path) as spawner:
        with pytest.raises(CommandError, match="status 3, not 0"):
            spawner.run(["sh", "-c", "echo why >&2; exit 3"])
        with pytest.raises(CommandError, match="status 1, not 0"):
            spawner.run(pipe(["false"], ["cat"]))
        with pytest.raises(CommandError, match="status 127"):
            spawner.run(["no-such-program"])
        assert spawner.run(["sh", "-c", "exit 3"], expect=3).status == 3


def test_contenders_take_turns_and_begin_in_a_state_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def contender(name: str) -> Contender:
        def prepare() -> None:
            with log.open("a") as file:
                file.write(f"before {name}\n")

        return Contender(name=name, command=["sh", "-c", f"echo {name} >> {log}"], prepare=prepare)

    with Spawner(tmp_path) as spawner:
        measured = compare(spawner, [contender("a"), contender("b")], count=3, say=lambda _: None)
    ran_in_order = [line for line in log.read_text().splitlines() if "before" not in line]
    assert ran_in_order == ["a", "b", "b", "a", "a", "b"]
    assert log.read_text().count("before") == 6
    assert [len(one.runs) for one in measured] == [3, 3]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    ours = Measured((ran(1, 5), ran(9, 7), ran(1, 6)))
    peer = Measured((ran(2), ran(10), ran(1)))
    assert ours.ratio_to(peer) == 0.9
    assert ours.seconds == 1
    assert ours.memory_size == 7


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.6, "met"), (0.61, "missed"), (None, "not measured")]
)
def test_a_goal_is_met_up_to_its_limit(value: float | None, verdict: str) -> None:
    goal = Goal(what="it", unit="ratio", limit=0.6, value=value, why="no peer")
    assert goal.verdict == verdict
    assert verdict in str(goal)
    assert "0.60 x" in str(goal)


def test_what_is_missing_is_said_in_text_and_json() -> None:
    row = Row(name="crane pull", command="crane pull …", missing="no crane on PATH; make engines")
    goal = Goal(what="it", unit="bytes", limit=0, value=1)
    section = Section(title="Packing", rows=(row,), goals=(goal,))
    results = Results(at="now", machine="here", sections=[section])
    assert "not measured: no crane on PATH; make engines" in str(section)
    assert "missed" in results.ending()
    document = json.loads(json.dumps(results.as_json()))
    assert document["sections"][0]["rows"][0]["missing"] == "no crane on PATH; make engines"
    assert document["sections"][0]["goals"][0]["verdict"] == "missed"


def test_the_image_is_the_same_each_time_and_its_layers_are_real(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(image.make(folder, size=1_000_000))
    assert made[0].image.digest == made[1].image.digest
    assert 1_000_000 <= made[0].packed_size < 100_000_000
    for packed, plain in zip(made[0].packed, made[0].plain, strict=True):
        with tarfile.open(packed, "r:gz") as archive:
            assert all(member.isreg() and member.size for member in archive)
        assert plain.stat().st_size > packed.stat().st_size
    image.write_docker_archive(made[0], tmp_path / "docker.tar.zst")
    raw = (tmp_path / "docker.tar.zst").read_bytes()
    opened = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True)
    with tarfile.open(fileobj=opened, mode="r|") as archive:
        names = [member.name for member in archive]
    assert names[-1] == "manifest.json"
    assert len(names) == len(image.SHARES) + 2


def test_only_the_statements_signature_is_broken(tmp_path: Path) -> None:
    publisher = Publisher()
    publisher.bundle(tmp_path / "genuine")
    break_statement_signature(tmp_path / "genuine", tmp_path / "broken")
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.verify(tmp_path / "genuine").status == 0
    refused = host.verify(tmp_path / "broken")
    assert refused.status == 11
    assert refused.verdict["archive"]["layers_read"] == 0
