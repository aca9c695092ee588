"""Figures with their goals, as a table for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Unit = Literal["ratio", "seconds", "milliseconds", "bytes"]
SCHEMA: Final = "airlock-bench/1"
_MB: Final = 1_000_000
_NAME_WIDTH: Final = 58


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure that must not be larger than its limit."""

    what: str
    unit: Unit
    limit: float
    value: float | None
    """None where it could not be measured."""
    why: str = ""
    """Why it could not."""

    @property
    def verdict(self) -> Literal["met", "missed", "not measured"]:
        """What came of it."""
        if self.value is None:
            return "not measured"
        return "met" if self.value <= self.limit else "missed"

    def __str__(self) -> str:
        value = self.why if self.value is None else shown(self.value, self.unit)
        limit = shown(self.limit, self.unit)
        return f"{self.verdict:<12}  {self.what}: {value} (at most {limit})"


def shown(value: float, unit: Unit) -> str:
    """Return a figure with its unit."""
    match unit:
        case "ratio":
            return f"{value:.2f} x"
        case "seconds":
            return f"{value:.3f} s"
        case "milliseconds":
            return f"{value:.2f} ms"
        case "bytes":
            return f"{value / _MB:,.1f} MB" if value >= _MB else f"{value:,.0f} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender, or one figure."""

    name: str
    command: str
    seconds: float | None = None
    all_seconds: tuple[float, ...] = ()
    ratio: float | None = None
    memory_size: int | None = None
    note: str = ""
    missing: str = ""
    """What is not here, where that is why there are no figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows that are compared with each other."""

    title: str
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        heading = f"{self.title:<{_NAME_WIDTH}}{'median':>10}{'ratio':>8}{'peak memory':>14}"
        lines = ["", heading, "-" * len(heading)]
        for row in self.rows:
            lines += _row(row)
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run of the bench."""

    at: str
    machine: str
    sections: list[Section] = field(default_factory=list)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """All goals, in order."""
        return tuple(goal for section in self.sections for goal in section.goals)

    def heading(self) -> str:
        """Return the first line."""
        return f"Airlock bench, {self.at}, {self.machine}"

    def ending(self) -> str:
        """Return all goals."""
        return "\n".join(["", "Goals", *(f"  {goal}" for goal in self.goals)])

    def as_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "schema": SCHEMA,
            "at": self.at,
            "machine": self.machine,
            "sections": [
                {
                    "title": section.title,
                    "notes": list(section.notes),
                    "rows": [
                        {
                            "name": row.name,
                            "command": row.command,
                            "seconds": row.seconds,
                            "all_seconds": list(row.all_seconds),
                            "ratio": row.ratio,
                            "memory_bytes": row.memory_size,
                            "note": row.note,
                            "missing": row.missing,
                        }
                        for row in section.rows
                    ],
                    "goals": [
                        {
                            "what": goal.what,
                            "unit": goal.unit,
                            "limit": goal.limit,
                            "value": goal.value,
                            "verdict": goal.verdict,
                            "why": goal.why,
                        }
                        for goal in section.goals
                    ],
                }
                for section in self.sections
            ],
        }


def _row(row: Row) -> list[str]:
    name = f"  {row.name}"
    if row.missing:
        return [f"{name:<{_NAME_WIDTH}}  not measured: {row.missing}"]
    figures = [
        "" if row.seconds is None else f"{row.seconds:.3f} s",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.memory_size is None else f"{row.memory_size / _MB:,.1f} MB",
    ]
    columns = f"{figures[0]:>10}{figures[1]:>8}{figures[2]:>14}"
    lines = [f"{name:<{_NAME_WIDTH}}{columns}".rstrip()]
    if row.note:
        lines[0] += f"  {row.note}"
    return [*lines, f"      $ {row.command}"]
