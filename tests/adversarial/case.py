"""One case of the corpus: how to make it, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["archive", "graph", "judge", "deep", "path"]
ACCEPT = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input with its verdict.

    A level says how deep a reader must look to see what is wrong: `archive` in the bytes and the
    statement, `graph` in the images' own documents, `judge` in evidence and policy, `deep` in the
    layers' contents, `path` in what lies under the name. At lower levels the case is in order.
    """

    id: str
    build: Callable[[Path], None]
    expect_class: str
    """First part of the error's code, or `accept`."""
    why: str
    level: Level = "archive"


def of_bytes(
    name: str,
    make: Callable[[], bytes],
    expect_class: str,
    why: str,
    *,
    level: Level = "archive",
) -> Case:
    """Return a case whose input is a regular file of these bytes, made when it is asked for."""
    return Case(
        id=name,
        build=lambda path: _write(path, make()),
        expect_class=expect_class,
        why=why,
        level=level,
    )


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
