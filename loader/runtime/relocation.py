"""Where an image goes in the enclave's registry: its own name, below a prefix.

    ghcr.io/org/app:1   →   registry.enclave:5000/mirror/ghcr.io/org/app:1

The source's registry stays part of the name, so no two sources meet, and one rule of a mirror maps
them all. Policy, ledger and reports go on speaking of the source's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from loader.errors import OciError, UsageError, shown
from loader.model.reference import Reference

_NOT_IN_A_PATH: Final = re.compile(r"[^a-z0-9.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A registry, and the prefix below which images go."""

    registry: str
    prefix: str
    """Empty for none."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the destination that `HOST[:PORT][/PREFIX]` writes.

        Raises:
            UsageError: it writes none.
        """
        registry, _, prefix = text.partition("/")
        try:
            Reference(registry=registry, repository=prefix or "x", tag="x")
        except OciError as e:
            raise UsageError(
                "not a registry to load into",
                where="--into",
                expected="registry:HOST[:PORT][/PREFIX]",
                found=shown(text),
            ) from e
        return cls(registry=registry, prefix=prefix)

    def of(self, source: Reference) -> Reference:
        """Return where an image goes.

        Raises:
            OciError: its name becomes too long for a reference.
        """
        return Reference(
            registry=self.registry,
            repository=f"{self.folder(source.registry)}/{source.repository}",
            tag=source.tag,
            digest=source.digest,
        )

    def folder(self, registry: str) -> str:
        """Return the path below which a source registry's repositories are."""
        host = _NOT_IN_A_PATH.sub("_", registry).strip("_")
        return f"{self.prefix}/{host}" if self.prefix else host

    def __str__(self) -> str:
        return f"{self.registry}/{self.prefix}" if self.prefix else self.registry
