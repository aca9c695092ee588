"""A key that counts from one day to another: `valid-from` and `valid-until` of `[anchor.NAME]`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loader.errors import PolicyFileError
from loader.policy.model import Policy
from loader.trust.freshness import Reckoned
from loader.trust.validity import ALWAYS
from tests.fakes import attach
from tests.fakes.sigworld.world import START
from tests.unit.loader.policy.claiming import require
from tests.unit.loader.policy.scene import AS_PACKED, KEY, Scene, encoded

DATED = KEY + 'trusted-root = "acme"\n'
DAY = START.date()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def window(text: str) -> str:
    return f"[anchor.release]\n{text}\n" + AS_PACKED + DATED


def signed(scene: Scene, **options: Any) -> None:  # noqa: ANN401
    act = scene.world.sign_image(scene.image.digest, scene.release, **options)
    attach.attach_bundle(scene.image, encoded(act.bundle()))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"valid-from = {DAY}", ""),
        (f"valid-until = {DAY}", ""),
        (f"valid-from = {DAY}\nvalid-until = {DAY}", ""),
        (f"valid-from = {DAY + timedelta(days=1)}", "signature.unverified"),
        (f"valid-until = {DAY - timedelta(days=1)}", "signature.unverified"),
    ],
)
def test_a067_what_a_key_signed_outside_of_its_days(scene: Scene, text: str, code: str) -> None:
    signed(scene)
    if not code:
        assert scene.run(window(text))
        return
    refusal = scene.refused(window(text))
    assert (refusal.code, refusal.exit_status) == (code, 11)
    assert "outside its window" in refusal.found


@pytest.mark.parametrize("text", [f"valid-from = {DAY}", f"valid-until = {DAY}"])
def test_a067_what_nobody_dates(scene: Scene, text: str) -> None:
    # Without its entry in the log nothing says when; leaving it away must not help.
    signed(scene, log="none")
    stamped = window(text) + 'log = "none"\ntimestamps = 1\n'
    for policy in (window(text), stamped):
        refusal = scene.refused(policy)
        assert (refusal.code, "no verified time" in refusal.found) == ("signature.unverified", True)
    signed(scene, log="none", timestamp=True)
    assert scene.run(stamped)


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        (timedelta(hours=-12, seconds=-1), False),
        (timedelta(hours=-12), True),
        (timedelta(hours=12, seconds=-1), True),
        (timedelta(hours=12), False),
    ],
    ids=["the second before", "the first second", "the last second", "the second behind"],
)
def test_both_days_belong_to_it(scene: Scene, after: timedelta, *, holds: bool) -> None:
    signed(scene, at=START + after)  # the world's noon
    text = window(f"valid-from = {DAY}\nvalid-until = {DAY}")
    if holds:
        assert scene.run(text)
    else:
        assert scene.refused(text).code == "signature.unverified"


def test_what_the_key_sealed(scene: Scene) -> None:
    # A bundle's own signature has no time unless it has a log's or a timestamp's.
    signed(scene)
    rule = (
        f"[anchor.packer]\nvalid-until = {DAY}\n{AS_PACKED}{DATED}"
        '[[image.require]]\nclaim = "bundle-signature"\nkey = "packer"\ntrusted-root = "acme"\n'
        'log = "none"\ntimestamps = 1\n'
    )
    assert "no verified time" in scene.refused(rule, signers=[scene.packer]).found
    statement = scene.statement()
    act = scene.world.sign(statement.raw, scene.packer, log="none", timestamp=True)
    assert scene.run(rule, statement=statement, signatures=[encoded(act.bundle())])


def test_the_file_may_be_anywhere(scene: Scene) -> None:
    here = scene.policy(window(f"valid-until = {DAY}"))
    there = scene.policy(window(f"key = 'anchors/release/key.pub'\nvalid-until = {DAY}"))
    for policy in (here, there):
        key = scene.trust(policy).key("release")
        assert key.valid_for.start is None
        assert key.valid_for.end == datetime(DAY.year, DAY.month, DAY.day, 23, 59, 59, 999999, UTC)
        assert policy.warnings == ()
    assert scene.trust(scene.policy(AS_PACKED + DATED)).key("release").valid_for == ALWAYS


def test_a_report_says_it(scene: Scene) -> None:
    def words(text: str) -> str:
        policy = scene.policy(window(text))
        ages = scene.trust(policy).ages(policy.anchor_rules, Reckoned(clock=START))
        return next(age.words for age in ages if age.name == "release")

    assert words("valid-from = 2024-03-01\nvalid-until = 2026-06-30") == (
        "counts where it signed from 2024-03-01 to 2026-06-30"
    )
    assert words("valid-from = 2024-03-01") == "counts where it signed from 2024-03-01 on"
    assert words("valid-until = 2026-06-30").endswith("from the beginning to 2026-06-30")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (window("valid-from = 2026-02-01\nvalid-until = 2026-01-31"), "ends before it starts"),
        (window("valid-until = '2026-01-31'"), "not a date"),
        (window("valid-until = 2026-01-31T00:00:00Z"), "not a date"),
        (window("valid-until = 2026-01-31\nmax-staleness = '30d'"), "neither an age nor logs"),
        (window("valid-until = 2026-01-31\nwitness = 'warn'"), "neither an age nor logs"),
        ("[anchor.acme]\nvalid-until = 2026-01-31\n" + AS_PACKED + DATED, "is no key"),
        (
            "[anchor.acme]\ntrusted-root = 'r.json'\nvalid-from = 2026-01-31\n" + AS_PACKED + DATED,
            "is no key",
        ),
        (
            "[anchor.release]\nvalid-until = 2026-01-31\n" + AS_PACKED + KEY,
            "nobody would say when this key signed",
        ),
        (
            "[anchor.release]\nvalid-from = 2026-01-31\n[deny-list]\nkey = 'release'\n"
            + AS_PACKED
            + DATED,
            "nobody would say when this key signed",
        ),
        (
            "[anchor.release]\nvalid-until = 2026-01-31\n"
            + AS_PACKED
            + require("vulnerabilities", "max = { critical = 0 }", 'vex = { key = "release" }'),
            "nobody would say when this key signed",
        ),
    ],
)
def test_windows_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(PolicyFileError, match=message):
        Policy.parse(f"schema = 1\n{text}".encode(), where="policy.toml")
