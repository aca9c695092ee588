"""`claim = "bundle-signature"`: somebody signed the bundle statement's bytes (docs/format.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal

if TYPE_CHECKING:
    from loader.policy.keys import Key
    from loader.policy.speakers import Said
    from loader.policy.variables import Fill

KEYS: Final[tuple[Key, ...]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSignatureClaim:
    """Somebody named here signed the bundle statement's bytes."""

    said: Said

    claim: ClassVar[Literal["bundle-signature"]] = "bundle-signature"

    def filled(self, fill: Fill) -> BundleSignatureClaim:
        """Return the claim with variables filled in."""
        return replace(self, said=self.said.filled(fill))

    def __str__(self) -> str:
        return ""
