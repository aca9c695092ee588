"""The fixed table of what a runtime's client may be told: one shape of command line per call.

The table is filled before the launcher forks; afterwards the loader, which parses hostile bytes,
can only name a call and give operands. Each operand has a grammar of its own, none of which lets it
begin with `-`, so no operand becomes an option and none reaches a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from loader.digest import Digest
from loader.errors import InternalError, OciError, shown
from loader.limits import MIB
from loader.model.descriptor import Platform
from loader.model.reference import Reference

_CONTAINERD_FILTER: Final = re.compile(r"(name|digest)==(.+)", re.ASCII)


class Operand(Enum):
    """A place in a command line that the caller fills."""

    DIGEST = "a digest, sha256:…"
    NAME = "a full image reference"
    PLATFORM = "os/architecture[/variant]"
    FILTERS = "one or more containerd filters, name==… or digest==…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing a client is asked to do."""

    arguments: tuple[str | Operand, ...]
    stdin: bool = False
    """Whether the caller streams bytes into it."""
    stdout_size_max: int = 1 * MIB
    """Bytes of output that are kept; a client that says more is not understood."""
    seconds: int = 120
    """How long it may take: without a stream from its start, with one from the stream's end."""
    stays: bool = False
    """Whether it answers while it reads, until its input ends (`conversation.Conversation`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A runtime's own client, and everything it may ever be told."""

    name: str
    path: Path
    """Absolute, resolved and looked at before (`clients.find_client`)."""
    prefix: tuple[str, ...]
    """What stands before every call: which daemon, namespace, store."""
    environment: Mapping[str, str]
    calls: Mapping[str, Call]
    scratch: Path | None = None
    """Where a client that keeps streams in TMPDIR gets a folder; it goes with the launcher."""

    def command(self, call: str, operands: tuple[str, ...]) -> tuple[str, ...]:
        """Return the command line of a call.

        Raises:
            InternalError: no such call, or an operand that does not have its grammar.
        """
        if call not in self.calls:
            raise InternalError("no such call of a client", where=self.name, found=shown(call))
        waiting = list(operands)
        arguments: list[str] = []
        for part in self.calls[call].arguments:
            match part:
                case str():
                    arguments.append(part)
                case Operand.FILTERS:
                    arguments.extend(_operand(part, text, where=call) for text in waiting)
                    waiting.clear()
                case _:
                    if not waiting:
                        raise InternalError("too few operands", where=f"{self.name} {call}")
                    arguments.append(_operand(part, waiting.pop(0), where=call))
        if waiting:
            raise InternalError("too many operands", where=f"{self.name} {call}")
        return (str(self.path), *self.prefix, *arguments)


def _operand(kind: Operand, text: str, *, where: str) -> str:
    try:
        _parse(kind, text)
    except OciError as e:
        raise InternalError(
            "an operand that a client may not be given",
            where=where,
            expected=kind.value,
            found=shown(text),
        ) from e
    return text


def _parse(kind: Operand, text: str) -> None:
    match kind:
        case Operand.DIGEST:
            Digest.parse(text)
        case Operand.NAME:
            Reference.parse(text)
        case Operand.PLATFORM:
            Platform.parse(text)
        case Operand.FILTERS:
            match = _CONTAINERD_FILTER.fullmatch(text)
            if match is None:
                raise OciError("not a filter")
            if match.group(1) == "digest":
                Digest.parse(match.group(2))
            else:
                Reference.parse(match.group(2))
