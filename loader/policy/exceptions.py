"""`[[exception]]`: a requirement that need not be met for a time, and the reason that was given.

An exception takes nothing out of sight: the requirement is judged, what is wrong with it is shown
in every verdict and kept in every record, with why it was let through and until when. There is none
for signatures of bundles, for names, for what is denied, and none without an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import PolicyFileError, shown
from loader.policy.keys import Day, Key, Text, names_of
from loader.policy.patterns import Glob

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime

    from loader.policy.toml import Table

EXCEPTION_COUNT_MAX: Final = 1000

EXCEPTION_KEYS: Final = (
    Key(name="image", form=Text(), words="glob for the names of images", required=True),
    Key(
        name="claim",
        form=Text(),
        words="the claim that need not hold for them; not bundle-signature",
        required=True,
    ),
    Key(name="reason", form=Text(), words="why", required=True),
    Key(name="until", form=Day(), words="the last day on which it holds", required=True),
)
"""The keys of `[[exception]]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """A claim that need not hold for some images until the end of a day, in UTC."""

    where: str
    image: Glob
    claim: str
    reason: str
    until: date

    def holds_at(self, at: datetime) -> bool:
        """Tell whether it still holds: the last day counts."""
        return at.date() <= self.until

    def __str__(self) -> str:
        return f"until {self.until}: {shown(self.reason)[1:-1]}"


def read_exceptions(table: Table, claims: Collection[str]) -> tuple[Exemption, ...]:
    """Return the `[[exception]]` tables.

    Args:
        table: the policy.
        claims: those that some rule asks for: an exception from another one would mean nothing.

    Raises:
        PolicyFileError: an unknown key, no reason, no end, or a claim that nobody asks for.
    """
    found: list[Exemption] = []
    for item in table.each("exception", count_max=EXCEPTION_COUNT_MAX):
        item.only(names_of(EXCEPTION_KEYS))
        claim = item.text("claim")
        if claim == "bundle-signature" or claim not in claims:
            raise PolicyFileError(
                "an exception from a claim that no rule asks for of images",
                where=item.at("claim"),
                expected=", ".join(sorted(set(claims) - {"bundle-signature"})),
                found=shown(claim),
            )
        found.append(
            Exemption(
                where=item.path,
                image=Glob.parse(item.text("image"), where=item.at("image")),
                claim=claim,
                reason=item.text("reason"),
                until=item.day("until"),
            )
        )
    return tuple(found)
