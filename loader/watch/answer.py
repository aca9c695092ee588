"""What a child reports of one file, written and read in one place: it is data from over a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from loader.watch.glance import Glance

if TYPE_CHECKING:
    from loader.model.fields import Fields
    from loader.model.strictjson import JsonObject

WORDS_LENGTH_MAX = 4000
WARNING_COUNT_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why it ended otherwise than asked."""

    code: str
    words: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one file."""

    fault: Fault | None = None
    glance: Glance | None = None
    """Where its head was looked at."""
    loaded: bool = False
    """Whether anything was moved in the runtime."""
    warnings: tuple[str, ...] = ()

    def plain(self) -> JsonObject:
        """Return it as a report."""
        fault = self.fault
        return {
            "fault": None
            if fault is None
            else {
                "code": fault.code,
                "words": fault.words[:WORDS_LENGTH_MAX] or None,
                "hint": fault.hint[:WORDS_LENGTH_MAX] or None,
            },
            "glance": None if self.glance is None else self.glance.plain(),
            "loaded": 1 if self.loaded else 0,
            "warnings": [one[:WORDS_LENGTH_MAX] for one in self.warnings[:WARNING_COUNT_MAX]],
        }

    @classmethod
    def parse(cls, report: Fields) -> Self:
        """Return what a child reported.

        Raises:
            JsonError: it is no such report.
        """
        report.only("fault", "glance", "loaded", "warnings")
        fault = report.optional_fields("fault")
        glance = report.optional_fields("glance")
        return cls(
            fault=None
            if fault is None
            else Fault(
                code=fault.text("code"),
                words=fault.optional_text("words") or "",
                hint=fault.optional_text("hint") or "",
            ),
            glance=None if glance is None else Glance.parse(glance),
            loaded=report.integer("loaded", maximum=1) == 1,
            warnings=tuple(
                str(one) for one in report.items("warnings", count_max=WARNING_COUNT_MAX)
            ),
        )
