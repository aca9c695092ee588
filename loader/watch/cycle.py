"""One look at the folder, from its names to what was loaded (CASES A120 to A135, V14).

    names ─set aside→ files ─look→ glances ─choose→ one channel after the other, newest first

Each look and each load is an attempt in a child, counted before it begins. A file that is broken,
slow, half copied or deadly is one line; the next is taken. Of a channel the newest is tried first;
only where it is refused, or is not whole, the next older one is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import (
    STATUS_BY_CLASS,
    AttemptsError,
    BeingWrittenError,
    FormatError,
    InputError,
    PartialInputError,
    SlowMediumError,
    SpoolError,
    UnhealthyError,
)
from loader.model.fields import parse_instant
from loader.watch.answer import Answer, Fault
from loader.watch.child import Child, Reporter, SilentError
from loader.watch.glance import Glance

if TYPE_CHECKING:
    from loader.config import WatchSettings
    from loader.state.watched import Known, Watched
    from loader.watch.spool import Listing, SpoolFile

REFUSED_COUNT_MAX: Final = 100
"""Bundles refused by their statement that one cycle writes into the ledger; the next goes on."""
_BUG: Final = "internal.bug"
_RETRIED: Final = frozenset(
    {"busy", "io", "nospace", "readonly", "interrupted", "partial-input", "state", "runtime"}
)
"""Classes that say something of this machine or the medium, and nothing of the bundle."""
_GOES_ON: Final = frozenset({"io", "partial-input"})
"""Of these, the ones that an older file of the same channel may not have."""

What: TypeAlias = Literal[
    "loaded", "current", "older", "waiting", "refused", "failed", "left", "proposed", "known"
]
Task: TypeAlias = Callable[[Reporter], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What came of one file."""

    name: str
    """As a journal survives it."""
    what: What
    words: str
    code: str = ""
    glance: Glance | None = None
    moved: bool = False
    """Whether the runtime has anything now that it had not before."""
    is_news: bool = True
    """Whether it says anything that an earlier look did not say."""

    @property
    def status(self) -> int:
        """The exit status that it asks for; what waits, and what was said before, asks for none."""
        if self.what in {"refused", "failed", "left"}:
            return STATUS_BY_CLASS.get(self.code.partition(".")[0], STATUS_BY_CLASS["internal"])
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a child may give no sign of life, in seconds."""

    look: float = 60.0
    """For a head, which is at most 48 MiB."""
    medium: float = 120.0
    """For a mebibyte of the medium (CASES FI-24)."""
    runtime: float = 4 * 3600.0
    """For a runtime to take all images; each call is bounded by its launcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What children are given to do."""

    look: Callable[[Sequence[SpoolFile]], Task]
    """Of one file after the other, each when the word is given."""
    take: Callable[[SpoolFile], Task]
    """Loads; where nothing is to be changed, judges."""
    verb: Literal["load", "verify"]


@dataclass(slots=True, kw_only=True)
class Cycle:
    """One cycle over a listing. `run` yields an event for each file, as it comes."""

    listing: Listing
    tasks: Tasks
    settings: WatchSettings
    memory: Watched | None
    """None writes nothing: then nothing is remembered either."""
    now: datetime
    patience: Patience = Patience()
    known: dict[str, Known] = field(default_factory=dict)

    def run(self) -> Iterator[Event]:
        """Go through the folder once."""
        if self.memory is not None:
            self.known = self.memory.see(
                [file.identity for file in self.listing.files if not file.fault]
            )
        waiting: list[SpoolFile] = []
        for file in self.listing.files:
            aside = self._aside(file)
            if aside is None:
                waiting.append(file)
            else:
                yield aside
        seen: list[tuple[SpoolFile, Glance]] = []
        for file, found in self._looked_at(waiting):
            if isinstance(found, Glance):
                seen.append((file, found))
            else:
                yield found
        yield from self._chosen(seen)

    # Before anything is opened ----------------------------------------------------------------

    def _aside(self, file: SpoolFile) -> Event | None:
        """Return why a file is not opened at all, if it is not."""
        if file.fault:
            words = f"the medium cannot tell of it: {file.fault}"
            return Event(name=file.shown, what="failed", words=words, code=SpoolError.code)
        known = self.known.get(file.identity)
        if known is not None and known.code == "loaded":
            return Event(name=file.shown, what="known", words="loaded before", code="loaded")
        if known is not None and known.code is not None:
            return Event(name=file.shown, what="known", words=known.words, code=known.code)
        if file.unsuited is not None:
            return self._judged(
                file,
                Event(
                    name=file.shown,
                    what="refused",
                    words=f"{file.unsuited}: never opened",
                    code=InputError.code,
                ),
            )
        if known is not None and known.attempts >= self.settings.attempts:
            return self._judged(
                file,
                Event(
                    name=file.shown,
                    what="left",
                    words=f"{known.attempts} attempts ended with no answer; it is left alone until "
                    "it changes",
                    code=AttemptsError.code,
                ),
            )
        return None

    # Heads ------------------------------------------------------------------------------------

    def _looked_at(self, files: Sequence[SpoolFile]) -> Iterator[tuple[SpoolFile, Glance | Event]]:
        """Look at all, in one child where none dies."""
        left = list(files)
        while left:
            with contextlib.closing(self._until_one_dies(left)) as answers:
                for file, found in answers:
                    left = left[1:]
                    yield file, found

    def _until_one_dies(
        self, files: Sequence[SpoolFile]
    ) -> Generator[tuple[SpoolFile, Glance | Event], None, None]:
        with Child.start(self.tasks.look(files)) as child:
            for file in files:
                self._begin(file, "look")
                child.give_word()
                try:
                    answer = Answer.parse(child.hear(seconds=self.patience.look))
                except (SilentError, FormatError) as e:
                    yield file, self._silent(file, e)
                    return
                if answer.glance is not None:
                    self._answered(file)
                yield file, answer.glance or self._failed(file, answer)

    # One channel after the other ----------------------------------------------------------------

    def _chosen(self, seen: Sequence[tuple[SpoolFile, Glance]]) -> Iterator[Event]:
        recorded = 0
        for group in _groups(seen):
            settled: Glance | None = None
            for file, glance in group:
                if glance.refused:
                    recorded += 1
                    if recorded > REFUSED_COUNT_MAX:
                        continue
                    yield self._taken(file, glance)
                elif settled is not None:
                    yield self._behind(file, glance, settled)
                elif glance.standing == "older":
                    words = f"{glance.words} is older than what this host accepted"
                    yield self._standing(file, "older", words, glance)
                elif glance.standing == "same":
                    settled = glance
                    yield self._current(file, glance)
                else:
                    event = self._taken(file, glance)
                    yield event
                    if _settles(event):
                        settled = glance

    def _current(self, file: SpoolFile, glance: Glance) -> Event:
        return self._standing(file, "current", f"{glance.words}: already up to date", glance)

    def _behind(self, file: SpoolFile, glance: Glance, settled: Glance) -> Event:
        if glance.statement == settled.statement:
            return self._current(file, glance)
        return self._standing(
            file, "older", f"{glance.words} is older than {settled.words}", glance
        )

    def _standing(
        self, file: SpoolFile, what: Literal["older", "current"], words: str, glance: Glance
    ) -> Event:
        """Say where a file stands; a journal is told once, however often it is looked at."""
        is_news = self.memory is None or self.memory.is_news(file.identity, what)
        return Event(name=file.shown, what=what, words=words, glance=glance, is_news=is_news)

    def _taken(self, file: SpoolFile, glance: Glance) -> Event:
        """Load it, or judge it to its last byte."""
        self._begin(file, "load")
        try:
            with Child.start(self.tasks.take(file)) as child:
                report = child.hear(seconds=self.patience.medium)
                while report.has("read"):
                    report = child.hear(seconds=self.patience.runtime)
                answer = Answer.parse(report)
        except (SilentError, FormatError) as e:
            return self._silent(file, e)
        if answer.fault is not None:
            return self._failed(file, answer, glance=glance)
        further = "".join(f"; warning: {one}" for one in answer.warnings)
        if self.tasks.verb == "verify":
            words = f"{glance.words} would be loaded{further}"
            return Event(name=file.shown, what="proposed", words=words, glance=glance)
        words = f"{glance.words}{'' if answer.loaded else ': already there'}{further}"
        event = Event(
            name=file.shown, what="loaded", words=words, glance=glance, moved=answer.loaded
        )
        return self._judged(file, event, code="loaded")

    # What came of it ------------------------------------------------------------------------------

    def _begin(self, file: SpoolFile, doing: Literal["look", "load"]) -> None:
        if self.memory is not None:
            self.memory.begin(file.identity, doing=doing)

    def _answered(self, file: SpoolFile) -> None:
        if self.memory is not None:
            self.memory.answered(file.identity)

    def _judged(self, file: SpoolFile, event: Event, *, code: str = "") -> Event:
        if self.memory is not None:
            self.memory.judged(file.identity, code=code or event.code, words=event.words)
        return event

    def _silent(self, file: SpoolFile, e: SilentError | FormatError) -> Event:
        """Say that an attempt ended with no answer; its count stands."""
        how = e.how if isinstance(e, SilentError) else f"a report that makes no sense: {e}"
        hung = isinstance(e, SilentError) and e.hung
        return Event(
            name=file.shown,
            what="failed",
            words=f"no answer: {how}",
            code=SlowMediumError.code if hung else _BUG,
        )

    def _failed(self, file: SpoolFile, answer: Answer, *, glance: Glance | None = None) -> Event:
        fault = answer.fault or Fault(code=_BUG, words="an empty report", hint="")
        code = fault.code
        warnings = [f"warning: {one}" for one in answer.warnings]
        words = "; ".join(filter(None, [fault.words, fault.hint, *warnings]))
        event = Event(name=file.shown, what="failed", words=words, code=code, glance=glance)
        first = code.partition(".")[0]
        if code == BeingWrittenError.code:
            self._answered(file)
            return Event(name=file.shown, what="waiting", words=fault.words, code=code)
        if code == _BUG:
            return event  # the count stands: the same bug at the same file is met again
        if code == PartialInputError.code or (_is_format(code) and self._is_fresh(file)):
            self._answered(file)
            return Event(
                name=file.shown,
                what="waiting",
                words=f"not whole yet: {words}",
                code=PartialInputError.code,
                glance=glance,
            )
        if first in _RETRIED and code != UnhealthyError.code:
            self._answered(file)
            return event
        return self._judged(
            file, Event(name=file.shown, what="refused", words=words, code=code, glance=glance)
        )

    def _is_fresh(self, file: SpoolFile) -> bool:
        """Tell whether a file changed so lately that somebody may still be copying it.

        Its own time is its writer's; how long this host has known it as it is now bounds that.
        """
        age = self.now.timestamp() - file.modified_at
        if age >= self.settings.settle_seconds:
            return False
        known = self.known.get(file.identity)
        if known is None:
            return True
        seen = (self.now - parse_instant(known.first_seen, where="first seen")).total_seconds()
        return 0 <= seen < self.settings.settle_seconds


def _is_format(code: str) -> bool:
    return STATUS_BY_CLASS.get(code.partition(".")[0]) == STATUS_BY_CLASS["container"]


def _settles(event: Event) -> bool:
    """Tell whether an older bundle of the channel is not to be tried any more in this cycle."""
    if event.what in {"loaded", "proposed"}:
        return True
    # No room, no runtime, another loader: the newest stays the one that is meant.
    first = event.code.partition(".")[0]
    return event.what == "failed" and first in _RETRIED and first not in _GOES_ON


def _groups(
    seen: Sequence[tuple[SpoolFile, Glance]],
) -> Iterator[list[tuple[SpoolFile, Glance]]]:
    """Yield the files of each channel, newest first; a bundle without one is a group of its own.

    Those whose statement alone is refused come last: they are judged for the ledger's sake.
    """
    channels: dict[str, list[tuple[SpoolFile, Glance]]] = {}
    for file, glance in seen:
        key = glance.statement if glance.channel is None else f"channel {glance.channel}"
        channels.setdefault(key, []).append((file, glance))
    for key in sorted(channels):
        yield sorted(
            channels[key],
            key=lambda one: (bool(one[1].refused), -one[1].sequence, one[1].statement, one[0].name),
        )
