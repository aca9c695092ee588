"""A host that watches a folder: what it says, file by file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.loading import FarSide, Publisher
from tests.forked import Ended, Forker


@dataclass(slots=True)
class Watcher:
    """A host, its folder, and the loader that looks into it, forked for each look."""

    forker: Forker
    host: FarSide
    spool: Path
    publisher: Publisher
    said: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def make(cls, forker: Forker, publisher: Publisher, folder: Path) -> Watcher:
        spool = folder / "spool"
        spool.mkdir(mode=0o755)
        host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
        return cls(forker, host, spool, publisher)

    def configure(self, text: str) -> None:
        (self.host.root / "etc/airlock/config.toml").write_text(f"schema = 1\n[watch]\n{text}\n")

    def look(self, *options: str, into: str | None = None, at: datetime | None = None) -> Ended:
        """Look once; `at` is what the clock says."""
        ended = self.forker.run(
            *("--root", self.host.root, "watch", self.spool, "--once", "--json"),
            *("--into", into or f"oci:{self.host.loaded}", *options),
            folder=self.spool.parent,
            at=at,
        )
        self.said = json.loads(ended.out)["files"] if ended.out else []
        return ended

    def what(self) -> dict[str, str]:
        """What came of each file in the last look."""
        return {one["name"]: one["what"] for one in self.said}

    def code(self, name: str) -> str:
        [found] = [one["code"] for one in self.said if one["name"] == name]
        return str(found)

    def outcomes(self) -> Sequence[tuple[str, int | None]]:
        """The ledger: what came of each attempt, and of which sequence."""
        return [(one["outcome"], one["sequence"]) for one in self.host.records()[1:]]

    def sequence(self) -> int:
        """The channel's floor; zero before there is one."""
        memory = self.host.memory()
        return int(str(memory["channels"][0][1])) if memory and memory["channels"] else 0
