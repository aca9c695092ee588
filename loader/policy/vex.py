"""Which findings VEX silences: said by those whom policy names, of what was scanned, and last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from loader.digest import Digest
    from loader.model.scan import Finding
    from loader.model.vex import VexStatement
    from loader.policy.speakers import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A verified VEX document about the image, by somebody whom a requirement's `vex` names."""

    said: Said
    """That `vex`: nobody else hears it."""
    who: str
    statements: tuple[VexStatement, ...]
    """Those alone whose product the attestation speaks of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One statement, and who made it."""

    who: str
    statement: VexStatement


class Silence:
    """The words of those who may speak, by vulnerability."""

    def __init__(self, heard: Iterable[Heard], said: Said | None, *, now: datetime) -> None:
        self._now = now
        self._words: dict[str, list[Word]] = {}
        for one in heard:
            if one.said == said:
                for statement in one.statements:
                    for name in statement.ids:
                        word = Word(who=one.who, statement=statement)
                        self._words.setdefault(name, []).append(word)

    def over(self, finding: Finding, scanned: frozenset[Digest]) -> Word | None:
        """Return the word that silences a finding; None where it counts.

        The newest word holds, and of two as new the one under which the finding counts. A silence
        from the future is none. All that was scanned must be silenced, by its own digest; a word
        against it needs but one of them.
        """
        words = [
            w
            for w in self._words.get(finding.id, ())
            # Names of parts are written in many ways: against a finding, the product is enough.
            if not w.statement.silences or w.statement.names(finding.package)
        ]
        found: Word | None = None
        for digest in scanned:
            here = [
                w
                for w in words
                if w.statement.digest == digest
                and not (w.statement.silences and w.statement.at > self._now)
            ]
            newest = max(
                here, key=lambda w: (w.statement.at, not w.statement.silences), default=None
            )
            if newest is None or not newest.statement.silences:
                return None
            found = newest
        return found
