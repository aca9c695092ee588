"""This host's own settings, `/etc/airlock/config.toml`: what is done, never what is accepted.

Nothing here can let anything in: that is the policy's alone (`[policy]` only names who may propose
one). A host without the file has the defaults; an unknown key is an error, because a setting that
nobody reads is one that somebody relies on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from loader.errors import (
    AirlockError,
    ConfigFileError,
    InterruptedLoadError,
    LocalError,
    PolicyFileError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, KIB
from loader.model.bundle import SEQUENCE_MAX
from loader.places import expect_private, read_small_file
from loader.policy import toml
from loader.policy.variables import expect_variables
from loader.trust.keys import PublicKey

if TYPE_CHECKING:
    from loader.policy.toml import Table

SCHEMA: Final = 1
FileSystems: TypeAlias = Literal["local", "any"]
_FILE_SYSTEMS: Final[dict[str, FileSystems]] = {"local": "local", "any": "any"}
_ARGUMENT_COUNT_MAX: Final = 64
_KEY_COUNT_MAX: Final = 64
_KEY_SIZE_MAX: Final = 16 * KIB
_CHANNEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program of the operator's, with its first arguments. No shell sees it."""

    path: Path
    """Absolute."""
    arguments: tuple[str, ...]
    seconds: int
    """How long it may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """`[watch]`: what `airlock-loader watch` does on this host."""

    into: str | None = None
    """The runtime, as `--into` writes it."""
    attempts: int = 3
    """How often a file may end an attempt with no answer at all before it is left alone."""
    interval_seconds: int = 60
    """Between two looks, where no timer starts each."""
    settle_seconds: int = 300
    """For how long a file that changed may look broken without being held so."""
    file_systems: FileSystems = "local"
    """Whether the folder may lie on a network's file system, or one that a program makes up."""
    health: Command | None = None
    """Says whether what was just loaded works, by its exit status."""
    hook: Command | None = None
    """Runs after something was loaded, or put back."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What is filled into the policy, as `--var` does it; one on the command line stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignCommand:
    """`[ledger]`: a program that signs records for this host, in place of a key in a file."""

    command: Command
    """It reads a record on standard input, and writes a signature in base64."""
    key: PublicKey
    """What its signatures are compared with before anything is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyKeys:
    """`[policy]`: who may change this host's policy across the gap, and how many of them it takes.

    They let nothing in by themselves: an operator accepts, and sees what changes.
    """

    keys: tuple[PublicKey, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration file."""

    watch: WatchSettings = WatchSettings()
    sign_command: SignCommand | None = None
    policy_keys: PolicyKeys | None = None
    floors: Mapping[str, int] = field(default_factory=dict)
    """`[floors]`: by channel, the lowest sequence that even a new host accepts (CASES A106)."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the settings of this host's file; without one, the defaults.

        Raises:
            ConfigFileError: as `parse`; or others may write to it.
        """
        where = shown(str(path))[1:-1]
        try:
            expect_private(path.stat(), where=where)
            raw = read_small_file(
                path, size_max=DEFAULT_LIMITS.policy_size_max, what="the configuration"
            )
        except FileNotFoundError:
            return cls()
        except InterruptedLoadError:
            raise
        except (LocalError, OSError) as e:
            raise ConfigFileError(
                "the configuration cannot be used", where=where, found=str(e)
            ) from e
        return cls.parse(raw, where=where, folder=path.parent)

    @classmethod
    def parse(cls, raw: bytes, *, where: str, folder: Path | None = None) -> Self:
        """Return the settings that these bytes write.

        Args:
            raw: the file.
            where: its name, for messages.
            folder: where the paths of key files start from; None is the working directory.

        Raises:
            ConfigFileError: not TOML, an unknown key, a value of another type, or a key file that
                cannot be used.
        """
        try:
            table = toml.parse(raw, where=where, size_max=DEFAULT_LIMITS.policy_size_max)
            table.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
            table.only(("schema", "watch", "ledger", "policy", "floors"))
            keys = _KeyFiles(folder or Path())
            return cls(
                watch=_watch(table.table("watch")) if table.has("watch") else WatchSettings(),
                sign_command=_sign_command(table.table("ledger"), keys)
                if table.has("ledger")
                else None,
                policy_keys=_policy_keys(table.table("policy"), keys)
                if table.has("policy")
                else None,
                floors=_floors(table.table("floors")) if table.has("floors") else {},
            )
        except PolicyFileError as e:
            raise ConfigFileError(
                e.message.replace("the policy", "the configuration"),
                where=where if e.where in {"", where} else f"{where}: {e.where}",
                expected=e.expected,
                found=e.found,
                hint=e.hint,
            ) from e


def _watch(table: Table) -> WatchSettings:
    table.only(
        (
            "into", "attempts", "interval-seconds", "settle-seconds", "file-systems",
            "health", "health-seconds", "hook", "hook-seconds", "vars",
        )
    )  # fmt: skip
    usual = WatchSettings()
    return WatchSettings(
        into=table.optional_text("into"),
        attempts=_number(table, "attempts", usual.attempts, maximum=100),
        interval_seconds=_number(table, "interval-seconds", usual.interval_seconds, maximum=86_400),
        settle_seconds=_number(table, "settle-seconds", usual.settle_seconds, maximum=86_400),
        file_systems=table.word("file-systems", _FILE_SYSTEMS)
        if table.has("file-systems")
        else usual.file_systems,
        health=_command(table, "health", seconds=60),
        hook=_command(table, "hook", seconds=60),
        variables=_variables(table) if table.has("vars") else {},
    )


def _variables(table: Table) -> dict[str, str]:
    given = dict(table.text_map("vars"))
    expect_variables(given, where=table.at("vars"))
    return given


def _number(table: Table, name: str, usual: int, *, maximum: int) -> int:
    return table.integer(name, minimum=1, maximum=maximum) if table.has(name) else usual


def _command(table: Table, name: str, *, seconds: int) -> Command | None:
    """Read a command: an array of strings, the first an absolute path."""
    limit = f"{name}-seconds"
    if not table.has(name):
        if table.has(limit):
            raise PolicyFileError(f"a time for a {name} that is not there", where=table.at(limit))
        return None
    value = table.value(name)
    words = value if isinstance(value, list) else []
    texts = [word for word in words if isinstance(word, str) and word.isprintable()]
    if (
        not 0 < len(texts) <= _ARGUMENT_COUNT_MAX
        or len(texts) != len(words)
        or not texts[0].startswith("/")
    ):
        raise PolicyFileError(
            "not a command",
            where=table.at(name),
            expected='an array of strings, the first an absolute path: ["/usr/local/bin/healthy"]',
            found=shown(value),
        )
    return Command(
        path=Path(texts[0]),
        arguments=tuple(texts[1:]),
        seconds=_number(table, limit, seconds, maximum=3600),
    )


@dataclass(frozen=True, slots=True)
class _KeyFiles:
    """Public keys beside the configuration."""

    folder: Path

    def read(self, name: str, *, where: str) -> PublicKey:
        try:
            raw = read_small_file(self.folder / name, size_max=_KEY_SIZE_MAX, what="a key")
            return PublicKey.parse(raw, name=name)
        except InterruptedLoadError:
            raise
        except AirlockError as e:
            raise PolicyFileError(
                "a key that the configuration names cannot be used", where=where, found=str(e)
            ) from e


def _sign_command(table: Table, keys: _KeyFiles) -> SignCommand:
    table.only(("sign-command", "sign-command-seconds", "public-key"))
    command = _command(table, "sign-command", seconds=60)
    if command is None:
        raise PolicyFileError("a key is missing", where=table.at("sign-command"))
    return SignCommand(
        command=command, key=keys.read(table.text("public-key"), where=table.at("public-key"))
    )


def _policy_keys(table: Table, files: _KeyFiles) -> PolicyKeys:
    table.only(("keys", "threshold"))
    where = table.at("keys")
    value = table.value("keys")
    names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(names) != len(value) or not names:
        raise PolicyFileError("not an array of files", where=where, found=shown(value))
    if len(names) > _KEY_COUNT_MAX:
        raise PolicyFileError("too many keys", where=where, expected=f"at most {_KEY_COUNT_MAX}")
    keys = tuple(files.read(name, where=where) for name in names)
    if len({key.spki for key in keys}) != len(keys):
        # Two names of one key would let one person be two.
        raise PolicyFileError("one key under two names", where=where)
    return PolicyKeys(keys=keys, threshold=table.integer("threshold", minimum=1, maximum=len(keys)))


def _floors(table: Table) -> dict[str, int]:
    for name in table.names:
        if _CHANNEL.fullmatch(name) is None:
            raise PolicyFileError("not a channel's name", where=table.at(shown(name)))
    return {name: table.integer(name, minimum=1, maximum=SEQUENCE_MAX) for name in table.names}
