"""The operator's own commands: whether what was loaded works, and what is to happen then.

Named in config.toml, never by a bundle. Each runs behind a launcher of its own, forked before this
process cut itself off: a health check may need the network that the loader gives up. What it is
told on standard input is a JSON document of verified values; on the command line stands one word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import rfc8785

from loader.errors import OperatorCommandError, RuntimeLoadError, UnhealthyError
from loader.runtime.calls import Call, Client
from loader.runtime.clients import check_client, clean_environment
from loader.runtime.launcher import Launcher

if TYPE_CHECKING:
    from loader.config import Command
    from loader.model.strictjson import JsonObject

Occasion: TypeAlias = Literal["check", "loaded", "put-back"]
_OCCASIONS: Final[tuple[Occasion, ...]] = ("check", "loaded", "put-back")


class OperatorCommand:
    """One command behind its launcher."""

    __slots__ = ("_launcher", "name")

    def __init__(self, name: str, launcher: Launcher) -> None:
        self.name = name
        self._launcher = launcher

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, command: Command | None, *, name: str, environment: Mapping[str, str]
    ) -> Iterator[OperatorCommand | None]:
        """Fork its launcher, while this process has one thread and still its network.

        Raises:
            RuntimeAbsentError: there is no such program.
            RuntimeLoadError: others may change it.
        """
        if command is None:
            yield None
            return
        client = Client(
            name=name,
            path=check_client(command.path),
            prefix=command.arguments,
            environment=clean_environment(environment),
            calls={
                word: Call(arguments=(word,), stdin=True, seconds=command.seconds)
                for word in _OCCASIONS
            },
        )
        with Launcher.start(client) as launcher:
            yield cls(name, launcher)

    def run(self, occasion: Occasion, document: JsonObject) -> None:
        """Run it.

        Raises:
            OperatorCommandError: it did not succeed, or did not end in time.
        """
        try:
            done = self._launcher.run(occasion, stdin=[rfc8785.dumps(document)])
        except RuntimeLoadError as e:
            raise OperatorCommandError(
                f"the {self.name} command did not end well",
                where=str(self._launcher.client.path),
                expected=e.expected,
                found=e.message,
            ) from e
        if done.status:
            raise OperatorCommandError(
                f"the {self.name} command says no",
                where=str(self._launcher.client.path),
                expected="exit status 0",
                found=f"{done.status}: {done.stderr}",
            )

    def expect_healthy(self, document: JsonObject) -> None:
        """Ask whether what was just loaded works.

        Raises:
            UnhealthyError: it says no, or nothing in time.
        """
        try:
            self.run("check", document)
        except OperatorCommandError as e:
            raise UnhealthyError(
                "what was loaded does not work, says the health command",
                where=e.where,
                expected=e.expected,
                found=e.found,
                hint="every name points again to what it pointed to before",
            ) from e
