"""Which findings VEX silences: said by those whom policy names, of what was scanned, and last.

Wherever two readings are possible, the one holds under which the finding counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from loader.digest import Digest
    from loader.model.scan import Finding
    from loader.model.vex import VexDocument, VexStatement
    from loader.policy.facts import Who
    from loader.policy.speakers import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A verified VEX document about the image, by somebody whom a requirement's `vex` names."""

    said: Said
    """That `vex`: nobody else hears it."""
    who: Who
    document: VexDocument
    """With those statements alone whose product the attestation speaks of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One statement, and who made it."""

    who: str
    statement: VexStatement


class Silence:
    """The words of those who may speak about one image."""

    def __init__(self, heard: Iterable[Heard], said: Said, *, now: datetime) -> None:
        self._now = now
        self._same: dict[str, set[str]] = {}
        """Names of one vulnerability, of all that some statement says to be the same."""
        self._silent: dict[tuple[str, Digest, str | None], Word] = {}
        """The newest silence by name, product and part; None is all of it."""
        self._open: dict[tuple[int, Digest], datetime] = {}
        """When it was last said to matter or to be looked at, by its names and the product."""
        words = list(_holding([one for one in heard if one.said == said]))
        for word in words:
            self._tie(word.statement.ids)
        for word in words:
            if word.statement.silences:
                self._close(word)
            else:
                self._reopen(word.statement)

    def _tie(self, names: frozenset[str]) -> None:
        group: set[str] = set()
        for name in names:
            other = self._same.get(name, {name})
            if other is not group:
                if len(other) > len(group):
                    group, other = other, group
                group |= other
                self._same |= dict.fromkeys(other, group)
            self._same[name] = group

    def _close(self, word: Word) -> None:
        said = word.statement
        if said.at > self._now:
            return  # a silence from the future is none yet
        for name in said.ids:
            for package in (None,) if said.packages is None else said.packages:
                place = (name, said.digest, package)
                known = self._silent.get(place)
                if known is None or known.statement.at < said.at:
                    self._silent[place] = word

    def _reopen(self, said: VexStatement) -> None:
        # Names of parts are written in many ways: against a finding, the product is enough.
        key = (id(self._same[min(said.ids)]), said.digest)
        self._open[key] = max(said.at, self._open.get(key, said.at))

    def over(self, finding: Finding, scanned: frozenset[Digest]) -> Word | None:
        """Return the word that silences a finding; None where it counts.

        The newest word holds, and of two as new the one under which the finding counts. All that
        was scanned must be silenced, by its own digest. A word against it holds under every name of
        the vulnerability; a silence under those that it names itself.
        """
        found: Word | None = None
        for digest in scanned:
            found = self._newest(finding, digest)
            if found is None:
                return None
            opened = self._open.get((id(self._same[finding.id]), digest))
            if opened is not None and opened >= found.statement.at:
                return None
        return found

    def _newest(self, finding: Finding, digest: Digest) -> Word | None:
        # A finding without a package is in no part that anybody named.
        parts = {finding.package, finding.package.partition(" ")[0]} - {""}
        found = [self._silent.get((finding.id, digest, part)) for part in (None, *parts)]
        return max(
            (word for word in found if word is not None),
            key=lambda word: word.statement.at,
            default=None,
        )


class Hearing:
    """All that is heard about one image. It is sorted once, however many scans it silences."""

    def __init__(self, heard: Iterable[Heard], *, now: datetime) -> None:
        self._heard = tuple(heard)
        self._now = now
        self._silences: dict[Said, Silence] = {}

    def silence(self, said: Said) -> Silence:
        """Return the words of those whom a requirement's `vex` names."""
        found = self._silences.get(said)
        if found is None:
            found = self._silences[said] = Silence(self._heard, said, now=self._now)
        return found


def _holding(heard: list[Heard]) -> Iterator[Word]:
    """Yield the statements of documents of which no later version is there.

    A later version by anybody who may speak takes a silence back; what opens a finding only those
    take back who said it.
    """
    newest: dict[tuple[str, str], int] = {}
    for one in heard:
        for by in ("", one.who.distinct):
            key = (by, one.document.id)
            newest[key] = max(one.document.version, newest.get(key, 0))
    for one in heard:
        version, name = one.document.version, one.document.id
        for said in one.document.statements:
            if version >= newest["" if said.silences else one.who.distinct, name]:
                yield Word(who=one.who.words, statement=said)
