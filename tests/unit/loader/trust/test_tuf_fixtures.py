"""The 36 TUF cases of ../shared/fixtures, made by tuf-on-ci's own tools, judged by our replay."""

from __future__ import annotations

from typing import Any

import pytest

from loader.errors import TrustRootError
from tests.unit.loader.trust import tuf_fixtures

pytestmark = pytest.mark.engine("shared")
CASES = {case["id"]: case for case in tuf_fixtures.cases()}
# What is wrong with each, in our words; the others that must fail list no such target, or expired.
CODES = {
    "rollback-repository": "trustroot.rollback",
    "tampered-target": "trustroot.digest",
    "tampered-release": "trustroot.signature",
    "tampered-timestamp": "trustroot.signature",
    "mix-snapshot": "trustroot.version",
    "mix-release": "trustroot.version",
    "mix-new-timestamp-old-rest": "trustroot.version",
    # `optional`: python-tuf stays at root 1 and is content. We want no chain with a hole in it.
    "missing-root-link": "trustroot.incomplete",
    "threshold-duplicate": "trustroot.format",
}
EXPIRED = {
    "expired-timestamp": "timestamp",
    "expired-snapshot": "snapshot",
    "expired-release": "release",
    "expired-root": "root",
}
UNLISTED = {"withdrawn", "unknown-target", "outside-delegation"}


def judged(case: dict[str, Any]) -> str:
    try:
        found = tuf_fixtures.replayed(case)
        target = found.target(case["target"])
    except TrustRootError as e:
        return e.code
    if target is None:
        return "unlisted"
    expired = tuf_fixtures.expired(found)
    if expired:
        return f"expired: {', '.join(sorted(expired))}"
    assert case["digest"].encode() in target
    return "pass"


def test_there_are_as_many_as_there_were() -> None:
    assert len(CASES) == 36


@pytest.mark.parametrize("name", CASES)
def test_tuf_fixture(name: str) -> None:
    expected = (
        "pass"
        if CASES[name]["expect"] == "pass"
        else f"expired: {EXPIRED[name]}"
        if name in EXPIRED
        else "unlisted"
        if name in UNLISTED
        else CODES.get(name, "trustroot.signature")
    )
    assert judged(CASES[name]) == expected
