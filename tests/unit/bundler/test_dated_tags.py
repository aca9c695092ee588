"""Tags by their dates, as Dangerzone's nightly images have them (DZ-10)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from bundler.dated_tags import Wish, choose, date_of, expect_fresh
from bundler.duration import parse_duration
from bundler.errors import RemoteNotFoundError, StaleTagError
from loader.errors import UsageError

TAGS = (
    "20250907-0.10.0-337-gaaaaaaa",
    "20250909-0.10.0-339-g1234abc",
    "20250908-0.10.0-338-gbbbbbbb",
    "latest",
    "0.10.0",
    "sha256-" + "ab" * 32 + ".sig",
)
NOW = datetime(2025, 9, 11, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("20250909-0.10.0-339-g1234abc", date(2025, 9, 9)),
        ("2025-09-09", date(2025, 9, 9)),
        ("nightly-20250909", date(2025, 9, 9)),
        ("nightly.20250909.1", date(2025, 9, 9)),
        ("20251399-20250909", date(2025, 9, 9)),
        ("20250230", None),
        ("g20250909", None),
        ("120250909", None),
        ("20250909a", None),
        ("2025-0909", None),
        ("1.2.3", None),
        ("latest", None),
    ],
)
def test_the_date_in_a_tag(tag: str, found: date | None) -> None:
    assert date_of(tag) == found


@pytest.mark.parametrize(
    ("wish", "tag"),
    [
        (Wish(newest=True), "20250909-0.10.0-339-g1234abc"),
        (Wish(contains="bbbbbbb"), "20250908-0.10.0-338-gbbbbbbb"),
        (Wish(contains="g1234abc", newest=True), "20250909-0.10.0-339-g1234abc"),
        (Wish(contains="latest"), "latest"),
    ],
)
def test_dz_10_the_tag_that_is_meant(wish: Wish, tag: str) -> None:
    for tags in (TAGS, tuple(reversed(TAGS))):
        assert choose(tags, wish, where="") == tag


def test_dz_10_numbers_of_one_day_are_compared_as_numbers() -> None:
    tags = ("20250909-0.9.0-99-gaaa", "20250909-0.10.0-100-gbbb", "20250909-0.10.0-11-gccc")
    assert choose(tags, Wish(newest=True), where="") == "20250909-0.10.0-100-gbbb"


def test_dz_10_several_tags_are_no_answer() -> None:
    with pytest.raises(UsageError) as caught:
        choose(TAGS, Wish(contains="0.10.0"), where="")
    assert "--newest" in caught.value.hint


@pytest.mark.parametrize("wish", [Wish(contains="ccccccc"), Wish(contains="sha256-", newest=True)])
def test_dz_10_no_tag_is_no_answer(wish: Wish) -> None:
    with pytest.raises(RemoteNotFoundError) as caught:
        choose(TAGS, wish, where="")
    assert "20250909" in caught.value.found


def test_no_tag_at_all() -> None:
    with pytest.raises(RemoteNotFoundError):
        choose((), Wish(newest=True), where="")


@pytest.mark.parametrize(
    ("tag", "max_age", "stale"),
    [
        ("20250909-a", "48h", False),
        ("20250908-a", "48h", True),
        ("20250911-a", "1h", False),
        ("20250912-a", "48h", False),  # a builder east of here
        ("20250913-a", "48h", True),
        ("29991231-a", "9y", True),
    ],
)
def test_dz_10_the_age_of_a_tag(tag: str, max_age: str, *, stale: bool) -> None:
    span = parse_duration(max_age, where="")
    if not stale:
        expect_fresh(tag, span, now=NOW, where="")
        return
    with pytest.raises(StaleTagError) as caught:
        expect_fresh(tag, span, now=NOW, where="")
    assert caught.value.exit_status == 18
    assert "old" in caught.value.found


def test_dz_10_a_tag_without_a_date_has_no_age() -> None:
    with pytest.raises(UsageError):
        expect_fresh("latest", timedelta(days=2), now=NOW, where="")


def test_a_tag_of_digits_alone_costs_nothing() -> None:
    assert choose(("9" * 128, "20250909"), Wish(newest=True), where="") == "20250909"
