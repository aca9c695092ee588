"""config.toml: what it may say, and that nothing in it is read past."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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
vars = { release = "2026", line = "stable" }
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
        variables={"release": "2026", "line": "stable"},
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
        ("schema = 1\n[watch]\nvars = {}", "an empty table asks for nothing"),
        ("schema = 1\n[watch]\nvars = { release = 2026 }", "not a string"),
        ('schema = 1\n[watch]\nvars = { tag = "1" }', "not the name of a variable that can be"),
        ('schema = 1\n[watch]\nvars = { a = "{b}" }', "not a value that a variable can have"),
        ("schema = 1\nschema = 1", "the configuration is not TOML"),
    ],
)
def test_anything_else_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        Config.parse(text.encode(), where="config.toml")
    assert said in f"{refused.value}; {refused.value.hint}"
    assert refused.value.exit_status == 2
    assert "config.toml" in refused.value.where


def _key(path: Path) -> Path:
    key = Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_a_host_that_others_sign_for(tmp_path: Path) -> None:
    for name in ("host", "anna", "ben"):
        _key(tmp_path / f"{name}.pub")
    path = tmp_path / "config.toml"
    path.write_text("""
schema = 1
[ledger]
sign-command = ["/usr/libexec/sign", "--slot", "9c"]
public-key = "host.pub"
[policy]
keys = ["anna.pub", "ben.pub"]
threshold = 2
[floors]
stable = 10
""")
    config = Config.read(path)
    assert config.sign_command is not None
    assert config.sign_command.command.path == Path("/usr/libexec/sign")
    assert config.sign_command.key.algorithm == "Ed25519"
    assert config.policy_keys is not None
    assert [key.name for key in config.policy_keys.keys] == ["anna.pub", "ben.pub"]
    assert config.policy_keys.threshold == 2
    assert config.floors == {"stable": 10}


def test_a_host_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    assert Config.read(tmp_path / "config.toml") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[ledger]\npublic-key = "host.pub"', "a key is missing"),
        ('[ledger]\nsign-command = ["/bin/x"]', "a key is missing"),
        ('[ledger]\nsign-command = ["x"]\npublic-key = "host.pub"', "an absolute path"),
        ('[ledger]\nsign-command = ["/bin/x"]\npublic-key = "none.pub"', "cannot be used"),
        ('[policy]\nkeys = ["host.pub"]\nthreshold = 0', "expected 1 to 1"),
        ('[policy]\nkeys = ["host.pub"]\nthreshold = 2', "expected 1 to 1"),
        ('[policy]\nkeys = ["host.pub"]', "a key is missing"),
        ('[policy]\nkeys = ["host.pub", "same.pub"]\nthreshold = 2', "one key under two names"),
        ("[policy]\nkeys = []\nthreshold = 1", "not an array of files"),
        ('[policy]\nkeys = "host.pub"\nthreshold = 1', "not an array of files"),
        ("[floors]\nStable = 1", "not a channel's name"),
        ('[floors]\nstable = "1"', "not an integer in range"),
        ('[ledger]\nsigncommand = ["/bin/x"]', "the nearest known key is 'sign-command'"),
    ],
)
def test_a_host_is_not_told_half(tmp_path: Path, text: str, said: str) -> None:
    """A169: what nobody reads would be a check that nobody makes."""
    raw = _key(tmp_path / "host.pub").read_bytes()
    (tmp_path / "same.pub").write_bytes(raw)
    (tmp_path / "config.toml").write_text(f"schema = 1\n{text}\n")
    with pytest.raises(ConfigFileError) as refused:
        Config.read(tmp_path / "config.toml")
    assert said in f"{refused.value}; {refused.value.hint}"


def test_a_file_that_others_may_write_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("schema = 1\n")
    path.chmod(0o666)
    with pytest.raises(ConfigFileError, match="others may write"):
        Config.read(path)
