"""How a policy speaks of anchors: names it refers to, and files that it describes itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath
from typing import Final, Literal, Protocol

from loader.trust.validity import ALWAYS, Validity

AnchorKind = Literal["trusted-root", "key", "tuf-root", "notary-root"]
KEY_ENDINGS: Final = (".pub", ".pem")
_NO_LABEL: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorFile:
    """An anchor that the policy describes itself: a file, relative to the policy's folder."""

    name: str
    kind: AnchorKind
    file: str
    certificate: str = ""
    """File of a private authority's certificates, which take the place of the trusted root's."""
    target: str = ""
    """Of a TUF root: the target that holds the trusted root; empty where it is not said."""
    vouched_by: str = ""
    """Of a TUF root: the trusted root under which identities sign it; empty where not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRule:
    """What the policy says of an anchor, wherever its file is: `[anchor.NAME]`."""

    name: str
    max_staleness: timedelta | None = None
    root_change: Literal["take", "confirm"] = "take"
    """Whether a newer TUF root is taken with the bundle that brings it, or only by an import."""
    witness: Literal["warn", "require"] = "warn"
    """Whether its logs must be shown to continue what they showed this host before."""
    valid_for: Validity = ALWAYS
    """Of a key: when it must have signed for that to count."""
    asked: tuple[str, ...] = ()
    """The policy's words for all that it says; which of them mean something depends on the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorUse:
    """A name that a requirement refers to, as what, and where it does."""

    name: str
    kind: AnchorKind
    where: str = field(compare=False)

    @property
    def is_file(self) -> bool:
        """Whether it is no name but the path of a file."""
        return is_file(self.name)


def label_of(name: str) -> str:
    """Return what a bundle calls an anchor: a rule may name a file, and what travels is a label."""
    return _NO_LABEL.sub("-", PurePath(name).name).lstrip("._-") or "anchor"


class Anchored(Protocol):
    """What of a policy names anchors."""

    @property
    def anchors(self) -> Sequence[AnchorFile]:
        """The anchors it describes."""

    @property
    def anchor_rules(self) -> Sequence[AnchorRule]:
        """What it asks of them besides."""

    @property
    def uses(self) -> Sequence[AnchorUse]:
        """The anchors it refers to."""


def is_file(name: str) -> bool:
    """Tell whether an anchor is named by a file's path instead of by a name."""
    return "/" in name or name.endswith((*KEY_ENDINGS, ".json", ".jsonl"))
