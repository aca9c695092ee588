"""config.toml: what it may say, and that nothing in it is read past."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config import Command, Config, WatchSettings
from loader.errors import ConfigFileError

WHOLE = b"""
schema = 1
[watch]
into = "docker"
attempts = 5
interval-seconds = 30
settle-seconds = 20
file-systems = "any"
health = ["/usr/local/bin/healthy", "--app", "scanner"]
health-seconds = 90
hook = ["/usr/local/bin/loaded"]
"""


def test_a_whole_file() -> None:
    assert Config.parse(WHOLE, where="config.toml").watch == WatchSettings(
        into="docker",
        attempts=5,
        interval_seconds=30,
        settle_seconds=20,
        file_systems="any",
        health=Command(
            path=Path("/usr/local/bin/healthy"), arguments=("--app", "scanner"), seconds=90
        ),
        hook=Command(path=Path("/usr/local/bin/loaded"), arguments=(), seconds=60),
    )


def test_without_a_table_there_are_the_defaults() -> None:
    assert Config.parse(b"schema = 1", where="config.toml") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a key is missing; at config.toml: schema"),
        ("schema = 2", "not an integer in range"),
        ("schema = 1\nwatch = 1", "not a table"),
        ("schema = 1\n[wacht]", "the nearest known key is 'watch'"),
        ("schema = 1\n[watch]\nallow-downgrade = true", "unknown key"),
        ("schema = 1\n[watch]\nattempts = 0", "expected 1 to 100"),
        ("schema = 1\n[watch]\nattempts = true", "not an integer in range"),
        ('schema = 1\n[watch]\nhealth = "/bin/true"', "not a command"),
        ('schema = 1\n[watch]\nhealth = ["true"]', "an absolute path"),
        ("schema = 1\n[watch]\nhealth = []", "not a command"),
        ('schema = 1\n[watch]\nhealth = ["/bin/sh", 1]', "not a command"),
        ("schema = 1\n[watch]\nhealth-seconds = 5", "a time for a health that is not there"),
        ('schema = 1\n[watch]\nfile-systems = "nfs"', 'expected "local", "any"'),
        ("schema = 1\nschema = 1", "the configuration is not TOML"),
    ],
)
def test_anything_else_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        Config.parse(text.encode(), where="config.toml")
    assert said in f"{refused.value}; {refused.value.hint}"
    assert refused.value.exit_status == 2
    assert "config.toml" in refused.value.where
