"""Clocks that are wrong, as a host behind a gap has them: libfaketime around the whole loader.

Evidence is of 2026-01-15 and later; the trusted root's newest date is a year before. Each case runs
once with the loader as it is installed and once with the frozen one.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.loading import POLICY, FarSide, Publisher, Ran
from tests.presence import FROZEN

pytestmark = pytest.mark.engine("faketime")
PROGRAMS = [
    pytest.param((sys.executable, "-m", "loader"), id="installed"),
    pytest.param((str(FROZEN),), id="frozen", marks=pytest.mark.engine("frozen")),
]
SIGNED = "2026-01-15T12:00:00Z"
"""What the log says of the first bundle's signature."""


class Clock:
    """A host whose clock says what it is told to."""

    def __init__(self, folder: Path, publisher: Publisher, program: tuple[str, ...]) -> None:
        self.root = publisher.write_host(folder / "host")
        self.loaded = folder / "loaded"
        self.program = program
        self.policy = self.root / "etc/airlock/policy.toml"

    def at(self, text: str) -> FarSide:
        """The host, at a time: `-f` takes what moves as well."""
        # Linux' monotonic clock does not follow a wall clock that is set.
        front = ("faketime", "--exclude-monotonic", "-f", text)
        return FarSide(self.root, self.loaded, program=(*front, *self.program))

    def says(self, extra: str) -> None:
        """Put a line behind the trusted root's in the policy."""
        root = 'trusted-root = "trusted_root.json"\n'
        self.policy.write_text(POLICY.replace(root, root + extra))

    @property
    def floor(self) -> str:
        """The newest verified time that the host keeps."""
        [(_, at)] = self.at("@2026-06-01 00:00:00").memory()["times"]
        return str(at)


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    publisher.bundle(folder / "1.tar.zst", sequence=1)
    publisher.bundle(folder / "2.tar.zst", sequence=2, days=1, version="1.1.0")
    ends = datetime(2026, 7, 1, tzinfo=UTC)
    publisher.bundle(folder / "ends.tar.zst", sequence=3, expires=ends)
    return folder


@pytest.fixture(params=PROGRAMS)
def clock(request: pytest.FixtureRequest, tmp_path: Path, publisher: Publisher) -> Clock:
    return Clock(tmp_path, publisher, request.param)


def code(ran: Ran) -> Any:  # noqa: ANN401
    return ran.verdict["code"]


def test_a111_no_battery(clock: Clock, bundles: Path) -> None:
    """FI-37, 1970: what evidence proves is taken for now, and that the clock is wrong is said."""
    ran = clock.at("@1970-01-01 00:01:00").load(bundles / "1.tar.zst")
    assert ran.status == 0, ran.err
    time = ran.verdict["time"]
    assert time["clock"].startswith("1970-01-01T00:0"), "it goes on from there"
    assert (time["used"], time["by"]) == (SIGNED, "evidence")
    [warning] = [text for text in ran.verdict["warnings"] if "clock" in text]
    assert "1970-01-01" in warning
    assert SIGNED in warning
    assert clock.floor == SIGNED
    ended = clock.at("@1970-01-01 00:01:00").load(bundles / "ends.tar.zst")
    assert ended.status == 0, "it ends after all that is proven: 1970 does not end it, nor do we"


@pytest.mark.parametrize("year", [2036, 2038, 2100, 9999])
def test_a112_years_ahead(clock: Clock, bundles: Path, year: int) -> None:
    """What has an end has ended by that clock; the floor is what evidence says, not the clock."""
    host = clock.at(f"@{year}-01-20 00:00:00")
    ran = host.load(bundles / "1.tar.zst")
    assert ran.status == 0, ran.err
    assert (ran.verdict["time"]["by"], clock.floor) == ("clock", SIGNED)
    before = host.untouched()
    ended = host.load(bundles / "ends.tar.zst")
    assert (ended.status, code(ended)) == (18, "expired.bundle")
    assert "this host's clock" in ended.err
    assert (host.untouched(), clock.floor) == (before, SIGNED)
    set_right = clock.at("@2026-06-01 00:00:00").load(bundles / "ends.tar.zst")
    assert set_right.status == 0, "a clock that was ahead once has spoiled nothing"


def test_a_clock_that_is_set_back_between_two_loads(clock: Clock, bundles: Path) -> None:
    assert clock.at("@2026-06-01 00:00:00").load(bundles / "2.tar.zst").status == 0
    back = clock.at("@2020-01-01 00:00:00")
    before = back.untouched()
    old = back.load(bundles / "1.tar.zst")
    assert (old.status, code(old)) == (16, "rollback.sequence"), "an older clock lets nothing in"
    assert back.untouched() == before
    ran = back.load(bundles / "2.tar.zst")
    assert ran.status == 0
    time = ran.verdict["time"]
    assert time["floor"] == "2026-01-16T12:00:00Z" == time["used"]
    assert any("2020-01-01" in text and "set the clock" in text for text in ran.verdict["warnings"])
    clock.policy.write_text(POLICY.replace("schema = 1", 'schema = 1\ntime = { clock = "strict" }'))
    strict = back.load(bundles / "2.tar.zst")
    assert (strict.status, code(strict)) == (18, "clock.behind")


def test_a113_a_clock_that_runs_backwards(clock: Clock, bundles: Path) -> None:
    """Ten minutes back at every look: one look counts to the end."""
    ran = clock.at("@2026-06-01 00:00:00 i-600").verify(bundles / "ends.tar.zst")
    assert ran.status == 0, ran.err
    calm = clock.at("@2026-06-01 00:00:00").verify(bundles / "ends.tar.zst")
    verdicts = [one.verdict for one in (ran, calm)]
    for verdict in verdicts:
        for name in ("clock", "used"):
            del verdict["time"][name]
        for anchor in verdict["anchors"]:
            anchor.pop("age_seconds")
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("step", ["i-315576000", "i315576000"], ids=["back", "on"])
def test_fi_35_a_clock_that_jumps_ten_years_at_every_look_raises_no_floor(
    clock: Clock, bundles: Path, step: str
) -> None:
    """Between verdict and memory, too: what is kept is what evidence says."""
    ran = clock.at(f"@2026-06-01 00:00:00 {step}").load(bundles / "1.tar.zst")
    assert ran.status == 0, ran.err
    assert clock.floor == SIGNED
    assert clock.at("@2026-06-01 00:00:00").load(bundles / "2.tar.zst").status == 0


def test_fi_36_no_patience_is_counted_by_the_wall_clock(
    clock: Clock, bundles: Path, tmp_path: Path
) -> None:
    """A machine that slept: the clock is an hour further at every look, and nothing is late."""
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(bundles / "1.tar.zst", spool)
    host = clock.at("@2026-06-01 00:00:00 i3600")
    ran = host.run("watch", spool, "--once", "--into", f"oci:{host.loaded}")
    assert ran.status == 0, ran.out + ran.err
    assert "1.tar.zst: loaded: " in ran.out


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "right/UTC", "Nowhere/Nothing", ":"])
@pytest.mark.parametrize("at", ["@2026-10-25 02:30:00", "@2016-12-31 23:59:60"])
def test_a114_zones_folds_and_leap_seconds(clock: Clock, bundles: Path, zone: str, at: str) -> None:
    def verdict(**environment: str) -> str:
        ran = clock.at(at).run("verify", bundles / "1.tar.zst", "--json", environment=environment)
        assert ran.status == 0, ran.err
        found = ran.verdict
        del found["time"]["clock"], found["warnings"]
        if found["time"]["by"] == "clock":
            del found["time"]["used"]
        for anchor in found["anchors"]:
            anchor.pop("age_seconds")
        return json.dumps(found)

    assert verdict(TZ=zone) == verdict()


def test_a_trusted_root_that_grew_old(clock: Clock, bundles: Path) -> None:
    """A year old when the image was signed; the policy takes it for 400 days."""
    clock.says('max-staleness = "400d"\n')
    near = clock.at("@2026-01-20 00:00:00").load(bundles / "1.tar.zst")
    assert near.status == 0, near.err
    [anchor] = [one for one in near.verdict["anchors"] if one["name"] == "acme"]
    assert anchor["dated_at"] == "2025-01-15T12:00:00Z"
    assert (anchor["holds"], anchor["age_seconds"] // 86400) == ("fresh", 369)
    later = clock.at("@2026-06-01 00:00:00")
    before = later.untouched()
    ran = later.load(bundles / "2.tar.zst")
    assert (ran.status, code(ran)) == (15, "trustroot.stale"), ran.err
    assert "this host's clock" in ran.err
    assert "found 501 days" in ran.err
    assert later.untouched() == before
    set_back = clock.at("@1999-01-01 00:00:00").load(bundles / "2.tar.zst")
    assert set_back.status == 0, "by the verified times alone it is 366 days old"
    assert "1999" in " ".join(set_back.verdict["warnings"])
    clock.says('max-staleness = "365d"\n')
    hidden = clock.at("@1999-01-01 00:00:00").load(bundles / "2.tar.zst")
    assert (hidden.status, code(hidden)) == (15, "trustroot.stale"), "setting back hides no age"
    assert "that this host ever saw" in hidden.err or "in the bundle" in hidden.err


def test_people_see_which_time_was_used(clock: Clock, bundles: Path) -> None:
    ran = clock.at("@2026-06-01 00:00:00").run("verify", bundles / "1.tar.zst")
    assert "  time       2026-06-01T00:0" in ran.out
    assert "this host's clock" in ran.out
    assert "  anchor     acme: 501 days old (newest date 2025-01-15)" in ran.out
    assert "has no age" not in ran.out, "a key says nothing of the kind, and no line either"
    explained = clock.at("@2026-06-01 00:00:00").run("verify", bundles / "1.tar.zst", "--explain")
    assert "  anchor     release: has no age" in explained.out
