"""Five bundles over five weeks: one old, one half-copied, one denied later, one unhealthy clock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.loading import SIGNED_AT, Publisher
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.forked import Forker

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@pytest.fixture
def calendar(tmp_path: Path, forker: Forker) -> Watcher:
    publisher = Publisher()
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    for week in range(1, 6):
        publisher.bundle(
            bundles / f"week-{week}.tar.zst",
            sequence=week,
            version=f"1.{week}",
            days=7 * week,
            extra=[Layer.noise(100_000, seed=week)],
        )
    return Watcher.make(forker, publisher, tmp_path)


def arrives(watcher: Watcher, week: int, *, at: datetime, part: float = 1.0) -> Path:
    """Copy a week's bundle, or a part of it, into the folder."""
    name = f"week-{week}.tar.zst"
    raw = (watcher.spool.parent / "bundles" / name).read_bytes()
    path = watcher.spool / name
    path.write_bytes(raw[: int(len(raw) * part)])
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def test_five_weeks_of_an_appliance(calendar: Watcher, tmp_path: Path) -> None:
    start = SIGNED_AT + timedelta(hours=12)

    def looks(week: int, *, minutes: int = 0) -> dict[str, str]:
        calendar.look(at=start + week * WEEK + timedelta(minutes=minutes))
        return calendar.what()

    # The first stick.
    arrives(calendar, 1, at=start + WEEK)
    assert looks(1) == {"week-1.tar.zst": "loaded"}
    assert looks(1, minutes=15) == {"week-1.tar.zst": "known"}

    # The second is pulled out too early. The timer looks twice; then somebody copies it again.
    arrives(calendar, 2, at=start + 2 * WEEK, part=0.6)
    assert looks(2)["week-2.tar.zst"] == "waiting"
    assert looks(2, minutes=2)["week-2.tar.zst"] == "waiting"
    assert calendar.sequence() == 1
    arrives(calendar, 2, at=start + 2 * WEEK + timedelta(minutes=20))
    assert looks(2, minutes=21)["week-2.tar.zst"] == "loaded"

    # Somebody empties the folder and drops last week's bundle again, with the new one.
    for path in calendar.spool.iterdir():
        path.unlink()
    arrives(calendar, 2, at=start + 3 * WEEK)
    arrives(calendar, 3, at=start + 3 * WEEK)
    assert looks(3) == {"week-3.tar.zst": "loaded", "week-2.tar.zst": "older"}
    # And alone: there is nothing that goes back.
    (calendar.spool / "week-3.tar.zst").unlink()
    assert looks(3, minutes=30) == {"week-2.tar.zst": "older"}
    assert calendar.sequence() == 3

    # Week four is loaded, and denied on the day after.
    arrives(calendar, 4, at=start + 4 * WEEK)
    assert looks(4)["week-4.tar.zst"] == "loaded"
    image = str(calendar.host.records()[-1]["images"][0]["image"])
    policy = calendar.host.root / "etc/airlock/policy.toml"
    policy.write_text(
        f'{policy.read_text()}\n[[deny]]\ndigest = "{image}"\nreason = "CVE-2026-1234: recalled"\n'
    )
    other = tmp_path / "another host"
    assert not other.exists()
    again = calendar.forker.run(
        *("--root", calendar.host.root, "verify", "--json"),
        calendar.spool / "week-4.tar.zst",
        folder=tmp_path,
        at=start + 4 * WEEK + timedelta(days=1),
    )
    assert (again.status, again.code) == (17, "denied.listed")
    # The folder still has it: under the new policy it is the same bundle, and nothing is reloaded.
    assert looks(4, minutes=24 * 60 + 5)["week-4.tar.zst"] in {"current", "refused"}
    assert calendar.outcomes()[-1][0] in {"loaded", "refused"}

    # Week five takes its place. By then the clock's battery is dead: a warning, and no floor falls.
    arrives(calendar, 5, at=start + 5 * WEEK)
    calendar.look(at=datetime(1970, 1, 2, tzinfo=SIGNED_AT.tzinfo))
    assert calendar.what()["week-5.tar.zst"] == "loaded"
    assert calendar.sequence() == 5
    assert any("set the clock" in text for text in calendar.host.records()[-1]["warnings"])

    loaded = [sequence for outcome, sequence in calendar.outcomes() if outcome == "loaded"]
    assert loaded == [1, 2, 3, 4, 5]
    assert calendar.host.quarantine() == []
    audited = calendar.forker.run("--root", calendar.host.root, "audit", "verify", folder=tmp_path)
    assert audited.status == 0, audited.err
    shutil.rmtree(calendar.spool)
