"""What time it is, and how old that makes an anchor: FORMATS §4.3, with a clock of our own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.trust.anchors import AnchorRule
from loader.trust.freshness import (
    MAX_STALENESS_DEFAULT,
    AnchorAge,
    Dates,
    Reckoned,
    age_of,
    days,
)
from loader.trust.trusted_root import TrustedRoot
from tests.fakes.content import encode
from tests.fakes.sigworld.trustroot import rekor_log, trusted_root
from tests.fakes.sigworld.world import START, World

PACKED = datetime(2026, 8, 25, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = 365 * DAY


def aged(
    dates: Dates, time: Reckoned, *, limit: timedelta | None = None
) -> tuple[str, str, AnchorAge]:
    rule = None if limit is None else AnchorRule(name="acme", max_staleness=limit)
    age = age_of("acme", dates, rule, time, where="trusted_root.json")
    return age.holds, "" if age.problem is None else age.problem.code, age


@pytest.mark.parametrize(
    ("clock", "floor", "evidence", "at", "source"),
    [
        (PACKED, None, None, PACKED, "clock"),
        (PACKED + DAY, PACKED, PACKED, PACKED + DAY, "clock"),
        (datetime(1970, 1, 1, tzinfo=UTC), PACKED + DAY, PACKED, PACKED + DAY, "floor"),
        (PACKED - YEAR, PACKED - DAY, PACKED, PACKED, "evidence"),
        (PACKED - YEAR, None, PACKED, PACKED, "evidence"),
        (PACKED, PACKED, PACKED, PACKED, "evidence"),
    ],
    ids=["clock alone", "ahead", "A111 no battery", "behind the evidence", "no floor", "equal"],
)
def test_the_latest_time_is_used_and_named(
    clock: datetime,
    floor: datetime | None,
    evidence: datetime | None,
    at: datetime,
    source: str,
) -> None:
    time = Reckoned(clock=clock, floor=floor, evidence=evidence)
    assert (time.at, time.source) == (at, source)
    assert time.behind == at - clock


EXPIRES = PACKED + 7 * DAY


@pytest.mark.parametrize(
    ("clock", "evidence", "limit", "holds", "code"),
    [
        (PACKED, PACKED, None, "fresh", ""),
        (EXPIRES, PACKED, None, "fresh", ""),
        (PACKED + 60 * DAY, PACKED, None, "late", ""),
        (PACKED + 400 * DAY, PACKED, None, "stale", "trustroot.stale"),
        (EXPIRES + MAX_STALENESS_DEFAULT, PACKED, None, "late", ""),
        (EXPIRES + MAX_STALENESS_DEFAULT + DAY, PACKED, None, "stale", "trustroot.stale"),
        (PACKED + 400 * DAY, PACKED, 2 * YEAR, "late", ""),
        (EXPIRES + 3 * DAY, PACKED, 2 * DAY, "stale", "trustroot.stale"),
        (PACKED + 400 * DAY, EXPIRES + DAY, 9 * YEAR, "expired", "trustroot.expired"),
        (EXPIRES + DAY, EXPIRES + DAY, 9 * YEAR, "expired", "trustroot.expired"),
        (datetime(1970, 1, 1, tzinfo=UTC), EXPIRES + DAY, None, "expired", "trustroot.expired"),
        (datetime(1970, 1, 1, tzinfo=UTC), PACKED, None, "fresh", ""),
        (PACKED + 10 * YEAR, PACKED, None, "stale", "trustroot.stale"),
        (PACKED + 60 * DAY, None, None, "late", ""),
    ],
    ids=[
        "fresh",
        "the last second",
        "OP-9 sixty days later",
        "OP-9 four hundred days later",
        "the last second of the limit",
        "past the limit",
        "a limit of the policy's",
        "a stricter one",
        "expired when it was packed: no limit helps",
        "packed and loaded too late",
        "A086 a clock set back hides no expiry",
        "A111 no battery",
        "A112 ten years ahead",
        "nothing dates the evidence",
    ],
)
def test_what_expires(
    clock: datetime, evidence: datetime | None, limit: timedelta | None, holds: str, code: str
) -> None:
    time = Reckoned(clock=clock, evidence=evidence)
    found_holds, found_code, age = aged(Dates(expires_at=EXPIRES), time, limit=limit)
    assert (found_holds, found_code) == (holds, code)
    assert bool(age.warning) == (holds == "late")
    if age.problem is not None:
        assert age.problem.exit_status == 15
        assert "trusted_root.json" in age.problem.where
    if code == "trustroot.stale":
        assert age.problem is not None
        assert "this host's clock" in age.problem.message, "it says which time was used"


def test_what_the_host_remembers_was_not_packed_with_this_bundle() -> None:
    """It grows old like the bundle that brought it: said up to the limit, then refused."""
    remembered = Dates(expires_at=EXPIRES, carried=False)
    for days_later, holds in ((30, "late"), (89, "late"), (91, "stale")):
        at = EXPIRES + days_later * DAY
        assert aged(remembered, Reckoned(clock=at, evidence=at))[0] == holds
        assert aged(remembered, Reckoned(clock=PACKED - YEAR, evidence=at))[0] == holds
        assert aged(Dates(expires_at=EXPIRES), Reckoned(clock=at, evidence=at))[0] == "expired"


def test_the_floor_lets_things_grow_stale_as_well() -> None:
    time = Reckoned(clock=PACKED - YEAR, floor=PACKED + 400 * DAY, evidence=PACKED)
    holds, code, age = aged(Dates(expires_at=EXPIRES), time)
    assert (holds, code) == ("stale", "trustroot.stale")
    assert age.problem is not None
    assert "that this host ever saw" in age.problem.message


@pytest.mark.parametrize(
    ("clock", "limit", "holds"),
    [
        (PACKED + 20 * YEAR, None, "fresh"),
        (PACKED + 89 * DAY, 90 * DAY, "fresh"),
        (PACKED + 91 * DAY, 90 * DAY, "stale"),
        (PACKED - DAY, 90 * DAY, "fresh"),
    ],
    ids=["no limit, only an age", "within", "older", "a log that begins tomorrow"],
)
def test_a_root_without_an_expiry_has_an_age(
    clock: datetime, limit: timedelta | None, holds: str
) -> None:
    found, _, age = aged(Dates(dated_at=PACKED), Reckoned(clock=clock), limit=limit)
    assert found == holds
    assert age.age == max(clock - PACKED, timedelta())
    assert "newest date 2026-08-25" in age.words


def test_a_key_has_no_age() -> None:
    holds, code, age = aged(Dates(), Reckoned(clock=PACKED + 50 * YEAR), limit=DAY)
    assert (holds, code, age.age) == ("undated", "", None)


def test_a_trusted_root_is_as_old_as_its_newest_part() -> None:
    world = World()
    root = TrustedRoot.parse(encode(world.trusted_root()), name="acme")
    assert root.dated_at == world.since
    later = rekor_log(world.rekor2, start=START)
    only = trusted_root(logs=[later], ct_logs=[], authorities=[], timestamp_authorities=[])
    root = TrustedRoot.parse(encode(only), name="acme")
    assert root.dated_at == START


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(), "0 hours"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=47, minutes=59), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (400 * DAY, "400 days"),
    ],
)
def test_lengths_of_time(length: timedelta, words: str) -> None:
    assert days(length) == words


instants = st.integers(-40_000, 40_000).map(lambda n: PACKED + n * timedelta(hours=7))


@given(instants, st.none() | instants, st.none() | instants, st.integers(0, 900))
def test_setting_the_clock_back_makes_nothing_fresher_than_evidence_says(
    clock: datetime, floor: datetime | None, evidence: datetime | None, back: int
) -> None:
    order = ["fresh", "late", "stale", "expired"]
    dates = Dates(expires_at=EXPIRES)
    time = Reckoned(clock=clock, floor=floor, evidence=evidence)
    verified = [at for at in (floor, evidence) if at is not None]
    holds = aged(dates, time)[0]
    earlier = aged(dates, Reckoned(clock=clock - back * DAY, floor=floor, evidence=evidence))[0]
    assert order.index(earlier) <= order.index(holds)
    if verified:
        without = aged(dates, Reckoned(clock=max(verified), floor=floor, evidence=evidence))[0]
        assert order.index(earlier) >= order.index(without), "the verified times still count"
