from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    ClockBehindError,
    ExpiredError,
    LogIndexRollbackError,
    NameRollbackError,
    ReplayError,
    RollbackError,
    TrustRootExpiredError,
    TrustRootStaleError,
    UsageError,
)
from loader.model.fields import Fields
from loader.policy.facts import LogSighting
from loader.state.admission import Admission, Candidate, CandidateName, consider
from loader.state.floors import Floors
from loader.trust.freshness import AnchorAge, Dates, Reckoned, age_of
from loader.verify.facts import LogTree

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
APP = "registry.example/org/app:1"
IMAGES = tuple(Digest.of(bytes([i])) for i in range(8))


def candidate(
    sequence: int | None = 10,
    *,
    channel: str | None = "stable",
    at: datetime | None = NOW - 30 * DAY,
    image: int = 0,
    statement: int | None = None,
    by_time: bool = True,
    vouched: bool = True,
    log_index: int | None = None,
    expires: datetime | None = None,
    name: str = APP,
) -> Candidate:
    return Candidate(
        statement=Digest.of(f"{channel} {sequence if statement is None else statement}".encode()),
        channel=channel,
        sequence=sequence,
        vouched=vouched,
        expires=expires,
        names=(
            CandidateName(
                name=name,
                image=IMAGES[image],
                at=at,
                by_time=by_time,
                positions=() if log_index is None else (("key", "rekor", log_index),),
            ),
        ),
        time=at,
    )


def come(
    given: Candidate,
    floors: Floors,
    *,
    now: datetime = NOW,
    clock: str = "warn",
    reason: str | None = None,
    anchor: Dates | None = None,
) -> Admission:
    def ages(time: Reckoned) -> tuple[AnchorAge, ...]:
        return () if anchor is None else (age_of("acme", anchor, None, time),)

    return consider(given, floors, now=now, clock=clock, allow_downgrade=reason, ages=ages)  # type: ignore[arg-type]


AFTER_TEN = come(candidate(10), Floors()).floors


def test_the_first_bundle_sets_the_floors() -> None:
    assert AFTER_TEN.channels["stable"].sequence == 10
    assert AFTER_TEN.names[APP].at == AFTER_TEN.time == NOW - 30 * DAY


@pytest.mark.parametrize(
    "next_one",
    [
        candidate(11),
        candidate(11, at=NOW - 29 * DAY, image=1),
        candidate(1, channel="other"),
        candidate(None, channel=None),
        candidate(11, at=NOW - 40 * DAY),  # the same image, with an older signature alone
        candidate(11, at=NOW - 40 * DAY, image=1, name="registry.example/org/app:2"),
        candidate(11, at=NOW - 40 * DAY, image=1, by_time=False),
    ],
    ids=["A104 higher", "newer image", "A104 other channel", "no channel", "same image",
         "other tag", "policy does not mind"],
)  # fmt: skip
def test_what_is_not_older_comes_in(next_one: Candidate) -> None:
    admission = come(next_one, AFTER_TEN)
    assert not admission.repeat
    assert admission.floors.covers(AFTER_TEN)


def test_the_same_bundle_again_is_no_rollback() -> None:
    """A101."""
    admission = come(candidate(10), AFTER_TEN)
    assert admission.repeat
    assert admission.floors == AFTER_TEN


@pytest.mark.parametrize(
    ("next_one", "kind", "code"),
    [
        (candidate(9), RollbackError, "rollback.sequence"),
        (candidate(10, statement=99), ReplayError, "replay.equivocation"),
        (candidate(11, at=NOW - 31 * DAY, image=1), NameRollbackError, "rollback.name"),
        (candidate(11, at=None, image=1), NameRollbackError, "rollback.name"),
        (candidate(9, vouched=False), RollbackError, "rollback.sequence"),
    ],
    ids=["A100", "A102", "A115", "no verified time", "unsigned statement"],
)
def test_what_is_older_stays_out(next_one: Candidate, kind: type[AirlockError], code: str) -> None:
    with pytest.raises(kind) as error:
        come(next_one, AFTER_TEN)
    assert (error.value.code, error.value.exit_status) == (code, 16)


def test_log_indexes_are_compared_where_policy_says_so() -> None:
    after = come(candidate(11, image=1, log_index=500, by_time=False), Floors()).floors
    assert after.logs == {("key", "rekor"): 500}
    with pytest.raises(LogIndexRollbackError) as error:
        come(candidate(12, image=2, log_index=499, by_time=False), after)
    assert error.value.exit_status == 16
    assert come(candidate(12, image=2, log_index=501), after).floors.logs["key", "rekor"] == 501
    # The image that is there already has the index that it has, and other names have theirs.
    assert come(candidate(12, image=1, log_index=499), after).floors.logs == after.logs
    # Without the policy's word an index says nothing: a new shard begins at 0 (THREATS T31).
    assert come(candidate(12, image=2), after).floors.logs == after.logs


def test_a_reason_lets_the_older_in_and_lowers_no_floor() -> None:
    admission = come(candidate(9, at=NOW - 31 * DAY, image=1), AFTER_TEN, reason="1.9 is broken")
    assert admission.reason == "1.9 is broken"
    assert len(admission.downgrades) == 2
    assert admission.floors == AFTER_TEN


def test_a_reason_that_was_not_needed_is_not_recorded() -> None:
    assert come(candidate(11), AFTER_TEN, reason="just in case").reason is None


def test_no_reason_lets_in_a_second_bundle_of_one_sequence() -> None:
    with pytest.raises(ReplayError):
        come(candidate(10, statement=99), AFTER_TEN, reason="I want it")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_reason_is_words(reason: str) -> None:
    with pytest.raises(UsageError):
        come(candidate(11), AFTER_TEN, reason=reason)


def test_an_unsigned_statement_raises_no_channel() -> None:
    # Else whoever carries a stick could shut a channel for good: sequence 2^53 - 1, signed by none.
    floors = come(candidate(2**53 - 1, vouched=False), AFTER_TEN).floors
    assert floors.channels == AFTER_TEN.channels


@pytest.mark.parametrize("year", [1970, 2038, 2100, 9999])
def test_the_local_clock_raises_nothing(year: int) -> None:
    now = datetime(year, 1, 20, tzinfo=UTC)
    admission = come(candidate(11), AFTER_TEN, now=now)
    assert admission.floors == come(candidate(11), AFTER_TEN).floors
    assert bool(admission.warnings) == (year == 1970)


def test_a_clock_behind_the_floor_is_said_or_refused() -> None:
    before = NOW - 31 * DAY
    [said] = come(candidate(11), AFTER_TEN, now=before).warnings
    assert "set the clock" in said
    with pytest.raises(ClockBehindError) as error:
        come(candidate(11), AFTER_TEN, now=before, clock="strict")
    assert error.value.exit_status == 18


@pytest.mark.parametrize(
    ("now", "expires", "refused"),
    [
        (NOW, NOW + DAY, False),
        (NOW, NOW, False),
        (NOW, NOW - DAY, True),
        (datetime(1970, 1, 1, tzinfo=UTC), NOW - 31 * DAY, True),
        (datetime(1970, 1, 1, tzinfo=UTC), NOW - 29 * DAY, False),
        (datetime(2100, 1, 1, tzinfo=UTC), NOW + DAY, True),
    ],
    ids=["fresh", "last second", "A110", "A111 clock back, floor decides", "A111", "A112"],
)
def test_a_bundle_expires_by_the_later_of_clock_and_floor(
    now: datetime,
    expires: datetime,
    refused: bool,  # noqa: FBT001 - a column of the table
) -> None:
    if not refused:
        come(candidate(11, expires=expires), AFTER_TEN, now=now)
        return
    with pytest.raises(ExpiredError) as error:
        come(candidate(11, expires=expires), AFTER_TEN, now=now)
    assert error.value.exit_status == 18


@pytest.mark.parametrize("reason", [None, "the operator wants it"])
def test_a_stale_anchor_admits_nothing(reason: str | None) -> None:
    """No reason of an operator's lets it pass: it would count for every bundle to come."""
    anchor = Dates(expires_at=NOW - 100 * DAY)
    with pytest.raises(TrustRootStaleError) as stale:
        come(candidate(11, at=NOW - 120 * DAY), Floors(), anchor=anchor, reason=reason)
    assert stale.value.exit_status == 15
    with pytest.raises(TrustRootExpiredError):
        come(candidate(11), Floors(), anchor=anchor, reason=reason)


def test_an_anchor_that_expired_since_is_said() -> None:
    admission = come(candidate(11), Floors(), anchor=Dates(expires_at=NOW - 10 * DAY))
    assert admission.warnings == (
        "anchor acme: expired 10 days ago, 2026-11-11T00:00:00Z, taken up to 90 days",
    )


def test_an_anchors_age_is_looked_at_before_the_sequence() -> None:
    with pytest.raises(TrustRootStaleError):
        come(candidate(9), AFTER_TEN, anchor=Dates(expires_at=NOW - 30 * DAY), now=NOW + 61 * DAY)


@pytest.mark.parametrize("vouched", [True, False])
def test_a_channel_that_nobody_signed_keeps_no_heads_of_its_own(vouched: bool) -> None:  # noqa: FBT001
    """Otherwise each new name on a stick would be a log that is seen for the first time."""
    floors = Floors()
    for size, channel, holds in (
        (5, "a", "first"),
        (9, "b", "first" if vouched else "unwitnessed"),
    ):
        tree = LogTree(log="c0" * 32, origin="rekor", size=size, root_hash=bytes([size]) * 32)
        seen = (LogSighting(log=tree.log, name="rekor", tree=tree),)
        one = candidate(1, channel=channel, vouched=vouched)
        admission = come(replace(one, sightings=seen, counting=seen), floors)
        assert [log.holds for log in admission.logs] == [holds]
        floors = admission.floors
    expected = {"a", "b"} if vouched else {"-"}
    assert {name.split(":")[1] for _, name in floors.trust} == expected


def test_a117_a_new_log_counts_from_the_beginning() -> None:
    """A newer shard of Rekor has an id of its own, and indexes that begin again."""
    floors = come(candidate(10, log_index=5_000_000), Floors()).floors
    new = candidate(11, image=1, log_index=3, at=NOW)
    [name] = new.names
    new = replace(new, names=(replace(name, positions=(("key", "rekor-2", 3),)),))
    admission = come(new, floors)
    assert admission.floors.logs == {("key", "rekor"): 5_000_000, ("key", "rekor-2"): 3}


def test_sequence_is_looked_at_before_names_and_names_before_expiry() -> None:
    old = candidate(9, at=NOW - 31 * DAY, image=1, expires=NOW - DAY)
    with pytest.raises(RollbackError) as error:
        come(old, AFTER_TEN)
    assert error.value.code == "rollback.sequence"
    with pytest.raises(NameRollbackError):
        come(replace(old, sequence=11), AFTER_TEN)


times = st.none() | st.integers(0, 400).map(lambda n: NOW - n * DAY)
candidates = st.builds(
    candidate,
    st.none() | st.integers(1, 6),
    channel=st.sampled_from(["a", "b"]),
    at=times,
    image=st.integers(0, 7),
    statement=st.none() | st.integers(0, 3),
    by_time=st.booleans(),
    vouched=st.booleans(),
    log_index=st.none() | st.integers(0, 9),
    expires=times,
    name=st.sampled_from([APP, APP + ".1"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(candidates, st.booleans(), st.integers(-500, 500)), max_size=12))
def test_floors_never_fall_whatever_comes(
    story: list[tuple[Candidate, bool, int]],
) -> None:
    floors = Floors()
    for one, reason, days in story:
        try:
            after = come(one, floors, now=NOW + days * DAY, reason="why" if reason else None).floors
        except AirlockError:
            continue
        assert after.covers(floors)
        assert Floors.parse(Fields(after.plain(), "")) == after
        floors = after
