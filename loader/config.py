"""This host's own settings, `/etc/airlock/config.toml`: what is done, never what is accepted.

Nothing here can let anything in: that is the policy's alone. A host without the file has the
defaults; an unknown key is an error, because a setting that nobody reads is one that somebody
relies on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from loader.errors import ConfigFileError, PolicyFileError, shown
from loader.limits import DEFAULT_LIMITS
from loader.policy import toml

if TYPE_CHECKING:
    from loader.policy.toml import Table

SCHEMA: Final = 1
FileSystems: TypeAlias = Literal["local", "any"]
_FILE_SYSTEMS: Final[dict[str, FileSystems]] = {"local": "local", "any": "any"}
_ARGUMENT_COUNT_MAX: Final = 64


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration file."""

    watch: WatchSettings = WatchSettings()

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> Self:
        """Return the settings that these bytes write.

        Raises:
            ConfigFileError: not TOML, an unknown key, or a value of another type.
        """
        try:
            table = toml.parse(raw, where=where, size_max=DEFAULT_LIMITS.policy_size_max)
            table.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
            table.only(("schema", "watch"))
            watch = _watch(table.table("watch")) if table.has("watch") else WatchSettings()
        except PolicyFileError as e:
            raise ConfigFileError(
                e.message.replace("the policy", "the configuration"),
                where=where if e.where in {"", where} else f"{where}: {e.where}",
                expected=e.expected,
                found=e.found,
                hint=e.hint,
            ) from e
        return cls(watch=watch)


def _watch(table: Table) -> WatchSettings:
    table.only(
        (
            "into", "attempts", "interval-seconds", "settle-seconds", "file-systems",
            "health", "health-seconds", "hook", "hook-seconds",
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
    )


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
