"""`airlock resolve` against a registry: what a tag is now, and which dated tag is meant (DZ-10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checking import Desk, desk

FRESH, OLDER = "20261130-0.10.0-339-g1234abc", "20261128-0.10.0-337-gaaaaaaa"
"""The clock of these tests says 2026-12-01."""


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk(tmp_path, capsys) as made:
        for tag in (OLDER, FRESH):
            made.store.tag(tag, made.image.descriptor)
        yield made


def test_a_tag_is_a_digest(at: Desk) -> None:
    ran = at.ask("resolve", at.tagged)
    assert (ran.status, ran.out) == (0, f"{at.tagged}@{at.image.digest}\n")


def test_dz_10_by_commit_by_date_and_not_too_old(at: Desk) -> None:
    for wish in (("--tag-contains", "1234abc"), ("--newest",)):
        ran = at.ask("resolve", at.name, *wish, "--max-age", "48h")
        assert (ran.status, ran.out) == (0, f"{at.name}:{FRESH}@{at.image.digest}\n")
        assert "1 day old" in ran.err


def test_dz_10_stale_is_refused_with_its_age(at: Desk) -> None:
    ran = at.ask("resolve", at.name, "--tag-contains", "aaaaaaa", "--max-age", "48h")
    assert (ran.status, ran.out) == (18, "")
    assert "3 days old" in ran.err
    assert "expired.tag" in ran.err


def test_dz_10_tags_come_in_pages(at: Desk) -> None:
    at.registry.features.tags_page = 1
    assert at.ask("resolve", at.name, "--newest").out.startswith(f"{at.name}:{FRESH}@")


def test_for_programs(at: Desk) -> None:
    found = at.ask("resolve", at.name, "--newest", "--json").document
    assert found == {
        "schema": "airlock-resolve/1",
        "reference": f"{at.name}:{FRESH}@{at.image.digest}",
        "name": at.name,
        "tag": FRESH,
        "digest": at.image.digest,
        "date": "2026-11-30",
        "age": "1 day",
        "age_days": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("IMAGE:1.0.0", "--newest"), 2),
        (("IMAGE:none",), 30),
        (("IMAGE", "--tag-contains", "0.10.0"), 2),
        (("IMAGE", "--tag-contains", "ccccccc"), 30),
        (("IMAGE", "--newest", "--max-age", "soon"), 2),
        (("IMAGE:1.0.0", "--max-age", "48h"), 2),
        (("OTHER", "--newest"), 30),
    ],
)
def test_what_has_no_answer(at: Desk, arguments: tuple[str, ...], status: int) -> None:
    words = [
        one.replace("IMAGE", at.name).replace("OTHER", f"{at.registry.host}/acme/other")
        for one in arguments
    ]
    ran = at.ask("resolve", *words)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err
