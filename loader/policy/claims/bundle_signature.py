"""`claim = "bundle-signature"`: somebody signed the bundle statement's bytes (docs/format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

if TYPE_CHECKING:
    from loader.policy.keys import Key
    from loader.policy.speakers import Said

KEYS: Final[tuple[Key, ...]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSignatureClaim:
    """Somebody named here signed the bundle statement's bytes."""

    said: Said

    claim: ClassVar[Literal["bundle-signature"]] = "bundle-signature"

    def __str__(self) -> str:
        return ""
