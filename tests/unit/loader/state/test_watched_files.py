"""What `watch` remembers: patience and verdicts, and that losing it loses nothing else."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loader.errors import StatePermissionError
from loader.places import Places
from loader.state.watched import Watched

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def opened(folder: Path, *, at: datetime = NOW, under: str = "policy 1") -> Watched:
    return Watched.open(Places.under(folder), at=at, under=under)


def judge(folder: Path, code: str) -> None:
    with opened(folder) as memory:
        memory.see(["a"])
        memory.judged("a", code=code, words="why")


@pytest.mark.parametrize("code", ["container.truncated", "signature.invalid", "loaded"])
def test_a_verdict_stands_under_the_same_policy_anchors_and_loader(
    code: str, tmp_path: Path
) -> None:
    judge(tmp_path, code)
    with opened(tmp_path) as memory:
        assert (memory.see(["a"])["a"].code, memory.see(["a"])["a"].words) == (code, "why")
        assert memory.see(["b"])["b"].code is None
    with opened(tmp_path, under="policy 2") as memory:
        assert memory.see(["a"])["a"].code is None


@pytest.mark.parametrize(
    ("code", "hours", "stands"),
    [
        ("container.truncated", 1000, False),  # forgotten: nobody saw it for a month
        ("container.truncated", 600, True),
        ("loaded", 600, True),
        ("expired.bundle", 23, True),
        ("expired.bundle", 25, False),
        ("expired.bundle", -1, False),  # a clock that was ahead then
        ("trustroot.missing", 25, False),
    ],
)
def test_what_time_has_a_part_in_is_judged_again_after_a_day(
    code: str,
    hours: int,
    stands: bool,  # noqa: FBT001 - a column of the table
    tmp_path: Path,
) -> None:
    judge(tmp_path, code)
    with opened(tmp_path, at=NOW + timedelta(hours=hours)) as memory:
        memory.see(["another"])  # a look at a folder in which it is no more
        assert (memory.see(["a"])["a"].code == code) is stands


def test_attempts_are_counted_and_taken_back(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path) as memory:
            memory.see(["a"])
            memory.begin("a", doing="load")
    with opened(tmp_path) as memory:
        assert memory.see(["a"])["a"].attempts == 2
        memory.answered("a")
        assert memory.see(["a"])["a"].attempts == 1
        memory.judged("a", code="loaded", words="")
        assert memory.see(["a"])["a"].attempts == 0
        memory.answered("a")
        assert memory.see(["a"])["a"].attempts == 0


@pytest.mark.parametrize("damage", ["text", "cut", "zeros", "another", "link"])
def test_a_damaged_file_is_begun_anew(damage: str, tmp_path: Path) -> None:
    judge(tmp_path, "loaded")
    path = Places.under(tmp_path).watched
    match damage:
        case "text":
            path.write_text("no database at all, and long enough to be read as one\n" * 100)
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])
        case "zeros":
            path.write_bytes(path.read_bytes()[:4096] + bytes(4096))
        case "another":
            path.unlink()
            db = sqlite3.connect(path)
            db.execute("CREATE TABLE files (identity TEXT)")
            db.commit()
            db.close()
        case _:
            target = tmp_path / "target"
            path.rename(target)
            path.symlink_to(target)
    with opened(tmp_path) as memory:
        assert memory.see(["a"])["a"].code is None
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_of_state_that_others_may_write_is_refused(tmp_path: Path) -> None:
    state = Places.under(tmp_path).state
    state.mkdir(parents=True)
    state.chmod(0o777)
    with pytest.raises(StatePermissionError):
        opened(tmp_path)
