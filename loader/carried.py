"""Repositories of trust metadata that a bundle carries: each verified once, where a claim asks.

What nothing asks for is not looked at. What is looked at and does not hold refuses the bundle: a
broken chain is not passed over because something else would do (DESIGN §4, decision 12). Nothing is
remembered here; `learned` is what a host may remember once the bundle is accepted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import TrustUnconfirmedError
from loader.limits import DEFAULT_LIMITS
from loader.model.notary_roles import BASE_ROLES, RELEASES, TIMESTAMP
from loader.renewal import CHANGES_SHOWN
from loader.trust.freshness import Dates
from loader.trust.memory import NO_MEMORY, Learned
from loader.trust.root_change import RootChange, role_moves
from loader.trust.store import TrustStore
from loader.verify.notary.repository import verify_repository
from loader.verify.notary.words import root_changes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from loader.limits import Limits
    from loader.model.bundle import BlobSource, ImageEntry, TrustEntry
    from loader.renewal import Renewal
    from loader.trust.memory import TrustMemory
    from loader.verify.notary.facts import ContentTrust

_SUFFIX: Final = ".json"
TIMESTAMP_STALENESS: Final = timedelta(days=365)
"""How long past its expiry a timestamp is taken where the policy does not say. It lives a
fortnight, and its server may be gone; other roles live for years, and have all anchors' limit."""
_MUST_BE_FRESH: Final = frozenset({*BASE_ROLES, RELEASES})
"""Roles that a verdict rests on; what others sign is only shown."""


class Carried:
    """The repositories of one bundle."""

    __slots__ = (
        "_begun", "_blobs", "_confirm", "_entries", "_found", "_images", "_limits", "_memory",
        "_trust",
    )  # fmt: skip

    def __init__(
        self,
        entries: Sequence[TrustEntry],
        blobs: BlobSource,
        trust: TrustStore,
        *,
        images: Sequence[ImageEntry] = (),
        confirm: Collection[str] = (),
        memory: TrustMemory = NO_MEMORY,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Look at nothing yet.

        Args:
            entries: the trust material that is carried.
            blobs: its files.
            trust: the anchors.
            images: those whose tags somebody may ask for.
            confirm: anchors whose newer roots wait for an operator.
            memory: what this host has seen.
            limits: sizes and counts.
        """
        self._entries = entries
        self._images = images
        self._confirm = confirm
        self._blobs = blobs
        self._trust = trust
        self._memory = memory
        self._limits = limits
        self._found: dict[tuple[str, str], ContentTrust | None] = {}
        self._begun: dict[tuple[str, str], bytes] = {}
        """The root that each went on from: what was remembered, or what the pin speaks of."""

    def content_trust(self, anchor: str, gun: str) -> ContentTrust | None:
        """Return what a repository says, under an anchor of the policy; None where none is carried.

        Raises:
            NotaryError: it does not hold.
            TrustUnconfirmedError: it holds, and its newer root has to be confirmed first.
            LimitError: it is larger than the published limits.
        """
        key = (anchor, gun)
        if key not in self._found:
            entry = self._entry(anchor, gun)
            self._found[key] = None if entry is None else self._verified(anchor, entry)
        return self._found[key]

    @property
    def repositories(self) -> tuple[tuple[str, ContentTrust], ...]:
        """Every repository that was asked for and holds, with its anchor."""
        found = self._found.items()
        return tuple((anchor, trust) for (anchor, _), trust in found if trust is not None)

    @property
    def learned(self) -> Learned:
        """What to remember of them."""
        return Learned(
            seen={
                ("notary", memory_name(anchor, trust.gun)): trust.seen
                for anchor, trust in self.repositories
            },
            files={Digest.of(trust.root): trust.root for _, trust in self.repositories},
            changes=tuple(self._changed(anchor, trust) for anchor, trust in self.repositories),
        )

    def settled(self, renewal: Renewal) -> Renewal:
        """Return the anchors once everything was looked up, with what was verified under each."""
        renewal = renewal.settled()
        anchors = tuple(
            replace(anchor, parts=tuple(self._parts(anchor.name)))
            if anchor.kind == "notary-root"
            else anchor
            for anchor in renewal.trust.anchors
        )
        return replace(renewal, trust=TrustStore(anchors=anchors))

    def _parts(self, name: str) -> Iterator[Dates]:
        for anchor, trust in self.repositories:
            if anchor != name:
                continue
            for role in trust.roles:
                if role.name in _MUST_BE_FRESH and role.expires is not None:
                    yield Dates(
                        expires_at=role.expires,
                        part=f"{role.name} of {trust.gun}",
                        taken_for=TIMESTAMP_STALENESS if role.name == TIMESTAMP else None,
                    )
            for one in trust.certificates:
                yield Dates(
                    expires_at=one.not_after, part=f"certificate of a root key of {trust.gun}"
                )

    def verified(self, entry: TrustEntry) -> bool:
        """Tell whether a claim asked for this entry; it then holds."""
        return any(self._entry(anchor, trust.gun) is entry for anchor, trust in self.repositories)

    def _entry(self, anchor: str, gun: str) -> TrustEntry | None:
        """Return the entry for a repository: the one that names the anchor, else the first."""
        found = [
            entry for entry in self._entries if entry.kind == "notary" and entry.repository == gun
        ]
        named = [entry for entry in found if entry.anchor == anchor]
        return next(iter(named or found), None)

    def _verified(self, anchor: str, entry: TrustEntry) -> ContentTrust:
        size_left = self._limits.notary_repository_size_max
        files: dict[str, bytes] = {}
        for name, blob in zip(entry.names, entry.blobs, strict=True):
            where = f"{entry.repository} {name}"
            files[name.removesuffix(_SUFFIX)] = raw = self._blobs.read(
                blob, where=where, size_max=size_left
            )
            size_left -= len(raw)
        seen = self._memory.roots("notary", memory_name(anchor, entry.repository))
        newest = None if seen is None else seen.files.get("root")
        remembered = None if newest is None else self._memory.files.get(newest)
        found = verify_repository(
            files,
            gun=entry.repository,
            pins=self._trust.notary_pins(anchor),
            seen=seen,
            # A repository may have many tags, and stays in memory until the last image is judged.
            tags=frozenset(
                image.reference.tag
                for image in self._images
                if image.reference.name == entry.repository
            ),
            remembered=remembered,
            limits=self._limits,
        ).value
        begun = files.get(f"{found.begins}.root", found.root) if remembered is None else remembered
        self._begun[anchor, entry.repository] = begun
        if anchor in self._confirm:
            self._expect_confirmed(anchor, found)
        return found

    def _changed(self, anchor: str, trust: ContentTrust) -> RootChange:
        """Say what is different from the root that a repository went on from.

        That root is the newest one that this host has seen; of a repository that it sees for the
        first time, the one that the pin speaks of.
        """
        old = self._begun[anchor, trust.gun]
        seen = self._memory.roots("notary", memory_name(anchor, trust.gun))
        return RootChange(
            anchor=anchor,
            what=f"Notary root of {trust.gun}",
            before=trust.begins if seen is None else seen.newest,
            after=trust.seen.newest,
            lines=root_changes(old, trust.root, limits=self._limits),
            roles=role_moves({r.name: (r.version, r.expires) for r in trust.roles}, seen),
        )

    def _expect_confirmed(self, anchor: str, trust: ContentTrust) -> None:
        change = self._changed(anchor, trust)
        if change.is_rotation:
            raise TrustUnconfirmedError(
                "a newer Notary root that nobody on this host has confirmed",
                where=f"{anchor}: {trust.gun}",
                expected=f"root {change.before}",
                found="; ".join((f"root {change.after}", *change.lines[:CHANGES_SHOWN])),
                hint="`airlock-loader trust import` shows the change, and takes it once confirmed",
            )


def memory_name(anchor: str, gun: str) -> str:
    """Return what a host remembers a repository by: another anchor begins anew."""
    return f"{anchor} {gun}"
