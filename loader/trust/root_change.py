"""How a repository of trust material moved on: its root, and the versions below it. Pure.

One value for whoever has to see it: the operator before an import, the verdict of a load, and the
ledger, which says for ever after whose keys this host took, and whose it gave up, with which
record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from loader.model.fields import format_instant
from loader.trust.memory import decimal

if TYPE_CHECKING:
    from loader.model.fields import Fields
    from loader.model.strictjson import JsonObject
    from loader.trust.memory import RoleSeen, RootsSeen

LINE_COUNT_MAX: Final = 200
"""Lines and roles of one change that a record keeps: whoever holds a root may list a thousand keys,
and no record is ever removed."""
_COUNT_MAX: Final = LINE_COUNT_MAX + 1
_ROOT: Final = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMove:
    """A role below the root."""

    name: str
    before: int | None
    """The version that this host had seen; None where it had seen none."""
    after: int
    expires: datetime | None = None
    """Only of what is at hand; no record keeps it."""

    @property
    def words(self) -> str:
        """In words for a report."""
        if self.before is None or self.before == self.after:
            return f"{self.name} {self.after}"
        return f"{self.name} {self.before} to {self.after}"


def role_moves(
    roles: Mapping[str, tuple[int, datetime | None]], seen: RootsSeen | None
) -> tuple[RoleMove, ...]:
    """Return roles with their versions and ends, each beside what this host had seen of it."""
    known: Mapping[str, RoleSeen] = {} if seen is None else seen.roles
    return tuple(
        RoleMove(
            name=name,
            before=known[name].version if name in known else None,
            after=version,
            expires=expires,
        )
        for name, (version, expires) in roles.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """What is different, from what this host knew to what was verified."""

    anchor: str
    what: str
    """`TUF root`, or the Notary root of a repository."""
    before: int
    """Version of the root that the host knew: seen last, or pinned."""
    after: int
    lines: tuple[str, ...] = ()
    """Keys, identities and thresholds: `+`, `-` and `!`."""
    roles: tuple[RoleMove, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is odd about the new root, and refuses nothing."""

    @property
    def is_rotation(self) -> bool:
        """Whether there is a newer root."""
        return self.after > self.before

    @property
    def moved(self) -> bool:
        """Whether anything is newer than the host knew."""
        return self.is_rotation or bool(self._below)

    @property
    def _below(self) -> tuple[RoleMove, ...]:
        """The roles below the root that are of another version than before."""
        return tuple(r for r in self.roles if r.name != _ROOT and r.before != r.after)

    @property
    def head(self) -> str:
        """Which root became which."""
        versions = f"{self.before} to {self.after}" if self.is_rotation else str(self.after)
        return f"{self.anchor}: {self.what} {versions}"

    def words(self) -> Iterator[str]:
        """Yield it in words: the versions, and below them what changed about the root."""
        moved = ", ".join(role.words for role in self._below)
        yield "; ".join(filter(None, (self.head, moved)))
        yield from (f"  {line}" for line in self.lines)
        if self.is_rotation and not self.lines:
            yield "  keys and thresholds are as before"

    def kept(self) -> Self:
        """Return it as a record keeps it: no more lines than anybody reads."""
        lines = self.lines
        if len(lines) > LINE_COUNT_MAX:
            more = len(lines) - LINE_COUNT_MAX
            lines = (*lines[:LINE_COUNT_MAX], f"and {more} more")
        return type(self)(
            anchor=self.anchor,
            what=self.what,
            before=self.before,
            after=self.after,
            lines=lines,
            roles=tuple(
                RoleMove(name=role.name, before=role.before, after=role.after)
                for role in self._below[:LINE_COUNT_MAX]
            ),
        )

    def plain(self) -> JsonObject:
        """Return it as a JSON object; numbers as text, since they may be beyond 2**53."""
        return {
            "anchor": self.anchor,
            "what": self.what,
            "before": str(self.before),
            "after": str(self.after),
            "lines": list(self.lines),
            "roles": [
                {
                    "name": role.name,
                    "before": None if role.before is None else str(role.before),
                    "after": str(role.after),
                }
                for role in self.roles
            ],
        }

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what a record writes.

        Raises:
            FormatError: it is malformed.
        """
        return cls(
            anchor=fields.text("anchor"),
            what=fields.text("what"),
            before=decimal(fields.text("before"), fields.at("before")),
            after=decimal(fields.text("after"), fields.at("after")),
            lines=tuple(
                line
                for line in fields.items("lines", count_max=_COUNT_MAX)
                if isinstance(line, str)
            ),
            roles=tuple(
                RoleMove(
                    name=role.text("name"),
                    before=decimal(role.text("before"), role.at("before"))
                    if role.has("before")
                    else None,
                    after=decimal(role.text("after"), role.at("after")),
                )
                for role in fields.each("roles", count_max=_COUNT_MAX)
            ),
        )


def told(change: RootChange) -> Iterator[str]:
    """Yield what an operator is shown before it is taken, whether or not anything is new."""
    yield change.head if change.is_rotation else f"{change.head}, as before"
    if change.is_rotation:
        yield from (f"  {line}" for line in change.lines or ("keys and thresholds are as before",))
    for role in change.roles:
        until = "" if role.expires is None else f", until {format_instant(role.expires)[:10]}"
        yield f"  {role.words}{until}"
    yield from (f"  warning: {warning}" for warning in change.warnings)
