"""A host that pinned a TUF repository's first root, and remembers what it accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import LimitError, TrustRootError
from loader.trust.memory import RootsSeen
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_replay import Replayed, replay
from tests.fakes.tuf_repository import CarriedFiles, TufRepository

TARGET = "releases/1.0.json"
ALL_FILES = ("timestamp.json", "snapshot.json", "targets.json", f"targets/{TARGET}")


@dataclass
class Far:
    """A host that pinned the first root, and remembers what it accepted."""

    pin: bytes
    seen: RootsSeen | None = None
    kept: dict[Digest, bytes] | None = None

    def judge(self, files: dict[str, bytes], **options: Any) -> Replayed:  # noqa: ANN401
        return replay(
            CarriedFiles(files),
            TufPin(root=self.pin),
            name="acme",
            seen=self.seen,
            kept=self.kept,
            **options,
        )

    def accept(self, files: dict[str, bytes], **options: Any) -> Replayed:  # noqa: ANN401
        found = self.judge(files, **options)
        self.seen, self.kept = found.remembered({})
        return found


def begun() -> tuple[TufRepository, Far]:
    repository = TufRepository()
    repository.target(TARGET, b"{}")
    return repository.publish(), Far(pin=repository.roots[1])


def refused(far: Far, files: dict[str, bytes], **options: Any) -> str:  # noqa: ANN401
    before = far.seen
    with pytest.raises((TrustRootError, LimitError)) as caught:
        far.judge(files, **options).target(TARGET)
    assert far.seen is before
    return caught.value.code
