"""`[bundle] channels`: what may be written there. What it does: CASES A016 (tests/e2e)."""

from __future__ import annotations

import pytest

from tests.unit.loader.policy.test_policy_file import KEY, parse, refused


def test_channels_are_pinned_where_the_policy_says_so() -> None:
    assert parse(KEY).channels == ()
    assert parse(KEY + '[bundle]\nchannels = ["stable", "lts-2"]\n').channels == ("stable", "lts-2")


@pytest.mark.parametrize(
    "value",
    [
        "[]",
        '"stable"',
        "[1]",
        '[["stable"]]',
        '["Stable"]',
        '[""]',
        '["stable "]',
        '["st\u0430ble"]',
        '["stable\\n"]',
        '["a", "b", "a"]',
        str([f"c{number}" for number in range(65)]),
    ],
)
def test_channels_that_no_bundle_could_have_are_refused(value: str) -> None:
    error = refused(KEY + f"[bundle]\nchannels = {value}\n")
    assert error.where == "policy.toml: bundle.channels"


@pytest.mark.parametrize("table", ["", 'channel = "stable"\n', 'channels = ["a"]\nforce = true\n'])
def test_the_table_bundle_knows_channels_and_nothing_else(table: str) -> None:
    assert "bundle" in refused(KEY + f"[bundle]\n{table}").where
