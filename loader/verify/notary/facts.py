"""What was found out about a Notary repository. Nothing here judges whether it is fresh enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from loader.model.notary_roles import BASE_ROLES

if TYPE_CHECKING:
    from loader.model.notary import Fingerprint
    from loader.trust.memory import RootsSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFacts:
    """One role whose metadata is the one that the snapshot names."""

    name: str
    version: int
    """0 where it has published nothing."""
    expires: datetime | None
    threshold: int
    key_ids: tuple[str, ...]
    """Ids of the keys that may sign it, as the metadata gives them."""
    signer_ids: tuple[str, ...]
    """Of the keys that did."""
    canonical_ids: tuple[str, ...]
    """The same keys as `key_ids`, each by the id that its bare key has: what people call it."""
    problem: str = ""
    """Why nothing that it says counts: too few of its keys signed. Delegations alone have one;
    a repository whose four roles are not signed is none."""

    @property
    def is_delegation(self) -> bool:
        """Whether somebody else's role is where it comes from."""
        return self.name not in BASE_ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTag:
    """What one role says of one tag."""

    role: str
    name: str
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCertificate:
    """A certificate that a root key is written in."""

    key_id: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentTrust:
    """A repository that its root vouches for: roles, tags, and what to remember of it."""

    gun: str
    pinned: str
    """Where trust began, in words."""
    begins: int
    """The version of the root that the pin speaks of."""
    roles: tuple[RoleFacts, ...]
    """The four roles, then delegations, parents first."""
    unpublished: tuple[RoleFacts, ...]
    """Delegations that the metadata makes and that have published nothing."""
    certificates: tuple[RootCertificate, ...]
    """Of the newest root's keys."""
    tags: tuple[SignedTag, ...]
    """Every tag that was asked for, of every role that may hold it, in the order of `roles`."""
    seen: RootsSeen
    root: bytes
    """The newest root: what the next chain must go on from."""

    def role(self, name: str) -> RoleFacts | None:
        """Return a role that was verified or is signed by too few."""
        return next((role for role in self.roles if role.name == name), None)

    def said(self, tag: str) -> tuple[SignedTag, ...]:
        """Return what each role says of a tag."""
        return tuple(one for one in self.tags if one.name == tag)
