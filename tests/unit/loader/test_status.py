"""One line for Nagios: the worst first, and a status that its plug-ins have."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import StateError
from loader.state.floors import Floors
from loader.state.record import Attempt, AttemptedImage, Failure, Record
from loader.status import NAGIOS, Status, as_json, as_text, nagios

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ONE = Digest.of(b"one")


def record(number: int, at: datetime, **more: Any) -> Record:  # noqa: ANN401
    plain: dict[str, Any] = {"verb": "load", "outcome": "loaded", "at": at, "loader": "0"}
    attempt = Attempt(**(plain | more))
    raw = attempt.encode(number=number, previous=ONE, floors=ONE)
    return Record.parse(raw, where="here")


def status(*records: Record, **more: Any) -> Status:  # noqa: ANN401
    plain: dict[str, Any] = {
        "now": NOW,
        "records": len(records),
        "head": None,
        "held": (),
        "floors": Floors(),
        "note": "",
        "anchors": (),
        "last": records,
        "loaded": next((r for r in records if r.attempt.outcome == "loaded"), None),
        "downgrades": tuple(r for r in records if r.attempt.downgrade),
        "exceptions": (),
        "error": None,
    }
    return Status(**(plain | more))


LOADED = record(1, NOW - timedelta(days=3))
REFUSED = record(
    2, NOW, outcome="refused", failure=Failure(code="policy.no-rule", message="no", where="x")
)
BACK = record(2, NOW, downgrade="the new one | hangs\n")


@pytest.mark.parametrize(
    ("found", "max_age", "level", "words"),
    [
        (status(), None, "OK", "nothing was loaded yet"),
        (status(LOADED), None, "OK", "0 images, last attempt 2026-11-28T12:00:00Z"),
        (status(LOADED), 7, "OK", ""),
        (status(LOADED), 2, "CRITICAL", "nothing was let in since 2026-11-28T12:00:00Z"),
        (status(), 2, "CRITICAL", "nothing was let in ever"),
        (status(REFUSED, LOADED), None, "WARNING", "the last attempt: refused, policy.no-rule"),
        (status(REFUSED, LOADED), 2, "CRITICAL", "nothing was let in since"),
        (status(BACK), None, "WARNING", "the last attempt went back: the new one / hangs\\n"),
        (status(LOADED, floors=Floors(time=NOW + timedelta(days=1))), None, "WARNING", "clock"),
        (status(LOADED, error=StateError("gone")), None, "CRITICAL", "state.damaged: gone"),
        (status(LOADED, unfinished=ONE), None, "WARNING", "to accept the policy"),
    ],
)
def test_one_line_says_the_worst(
    found: Status, max_age: int | None, level: str, words: str
) -> None:
    said, line = nagios(found, max_age=None if max_age is None else timedelta(days=max_age))
    assert said == level
    assert line.startswith(f"AIRLOCK {level}: ")
    assert words in line
    assert line.count("\n") == line.count("|") == 1
    assert said in NAGIOS


def test_what_is_loaded_by_an_exception_is_shown_as_long_as_it_is_there() -> None:
    words = "exception for r.example/a:1: sbom is not as asked, let through until 2026-12-31: A-1"
    found = status(LOADED, exceptions=(words,))
    assert f"EXCEPTED   {words}\n" in as_text(found)
    assert json.loads(as_json(found))["exceptions"] == [words]


def test_a_policy_that_was_not_put_in_place_is_said() -> None:
    found = status(LOADED, policy=ONE, policy_since=NOW, unfinished=ONE)
    assert f"policy     {ONE.short}  judges since 2026-12-01\n" in as_text(found)
    assert f"UNFINISHED to accept the policy {ONE.short} was begun" in as_text(found)
    assert f'"policy_unfinished": "{ONE}"' in as_json(found)
    assert "UNFINISHED" not in as_text(status(LOADED, policy=ONE))


def test_every_downgrade_is_shown_ever_after() -> None:
    old = [record(n, NOW, downgrade=f"reason {n}") for n in range(1, 30)]
    found = status(*old[:5], downgrades=tuple(old))
    text = as_text(found)
    assert all(f"let in because: reason {n}\n" in text for n in range(1, 30))
    assert '"reason 29"' in as_json(found)


def test_hostile_names_are_one_line_of_ascii() -> None:
    image = AttemptedImage(name="a\x1b[31m\nb", packed_as="x", image=ONE)
    one = record(1, NOW, images=(image,))
    from loader.recheck import held_images  # noqa: PLC0415

    text = as_text(status(one, held=held_images([one])))
    assert "\x1b" not in text
    assert "a\\x1b[31m\\nb" in text
