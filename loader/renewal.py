"""What carried TUF repositories make of the host's anchors: new trusted roots, in memory.

    pinned anchors ─remembered→ what this host has seen ─renew→ what this bundle is judged by

A repository that a bundle carries is replayed from the root that the host pins or remembers, for
each anchor that has one. What comes of it judges this bundle and no other: the host remembers it
only once the bundle is accepted and loaded, or when an operator imports it (DESIGN, decision 12).
A link that does not hold refuses the whole bundle, also where nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import (
    TrustIncompleteError,
    TrustRootFormatError,
    TrustRootMismatchError,
    TrustUnconfirmedError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, Limits
from loader.trust.anchors import label_of
from loader.trust.memory import NOTHING_LEARNED, Learned, RootsSeen, TrustKey, TrustMemory
from loader.trust.root_change import RootChange, role_moves
from loader.trust.store import Anchor, TrustStore
from loader.trust.trusted_root import TrustedRoot

if TYPE_CHECKING:
    from datetime import datetime

    from loader.model.bundle import BlobSource, TrustEntry
    from loader.model.descriptor import Descriptor
    from loader.trust.tuf_pin import TufPin
    from loader.trust.tuf_replay import Replayed
    from loader.verify.keyless import SigstoreKeys

CHANGES_SHOWN: Final = 8
"""Lines of a change that the one line of a refusal holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """The anchors that a bundle is judged by, and what the host will remember of them."""

    trust: TrustStore
    repositories: Mapping[str, Replayed] = field(default_factory=dict)
    """By anchor: every repository that came along and was replayed."""
    learned: Learned = NOTHING_LEARNED

    @property
    def renewed(self) -> bool:
        """Whether some trusted root came from the bundle."""
        return bool(self.repositories)

    @property
    def signed_at(self) -> datetime | None:
        """The newest verified time at which somebody signed carried metadata."""
        times = (repository.signed_at for repository in self.repositories.values())
        return max((at for at in times if at is not None), default=None)

    def settled(self) -> Renewal:
        """Return the same once everything was looked up: each anchor says when it expires."""
        anchors = tuple(
            replace(anchor, expires_at=self.repositories[anchor.name].expires_at, carried=True)
            if anchor.tuf is not None and anchor.name in self.repositories
            else anchor
            for anchor in self.trust.anchors
        )
        return replace(self, trust=TrustStore(anchors=anchors))


def remembered(trust: TrustStore, memory: TrustMemory) -> TrustStore:
    """Return the anchors with the trusted roots that this host has accepted since it pinned them.

    Raises:
        TrustRootMismatchError: a pin is not of the chain that the host has followed.
        TrustRootFormatError: a file that was pinned or kept cannot be understood.
    """
    return TrustStore(anchors=tuple(_remembered(anchor, memory) for anchor in trust.anchors))


def _remembered(anchor: Anchor, memory: TrustMemory) -> Anchor:
    pin, seen = anchor.tuf, memory.roots("tuf", anchor.name)
    if pin is None or seen is None:
        return anchor
    from loader.trust.tuf_replay import follows, kept_target  # noqa: PLC0415 - loads tuf.api

    if not follows(pin, seen, name=anchor.name) or anchor.use == "tuf-root":
        return anchor
    expiries = [role.expires for role in seen.roles.values() if role.expires is not None]
    raw = memory.files.get(seen.files.get(kept_target(pin.target), pin.digest))
    if raw is None:
        return anchor
    found = _with_root(anchor, raw, f"remembered, with TUF root {seen.newest}")
    return replace(found, expires_at=min(expiries, default=None))


def renew(
    trust: TrustStore,
    entries: Sequence[TrustEntry],
    blobs: BlobSource,
    memory: TrustMemory,
    *,
    confirm: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Renewal:
    """Replay every carried repository that an anchor has a root for.

    Args:
        trust: what `remembered` returned.
        entries: the bundle's trust material; of other anchors and kinds, nothing is looked at.
        blobs: its files.
        memory: what this host has seen; nothing goes back behind it.
        confirm: anchors whose newer roots wait for an operator.
        limits: sizes and counts.

    Raises:
        TrustRootError: a link does not hold, is missing, or is older than what was seen.
        TrustUnconfirmedError: all of it holds, and a newer root has to be confirmed first.
        LimitError: something is too large, or too much of it.
    """
    carried: dict[str, TrustEntry] = {}
    for entry in entries:
        if entry.kind == "tuf" and carried.setdefault(entry.anchor, entry) is not entry:
            raise TrustRootFormatError("two repositories for one anchor", where=entry.anchor)
    wanted = [
        anchor.name
        for anchor in trust.anchors
        if anchor.tuf is not None and label_of(anchor.name) in carried
    ]
    if not wanted:
        return Renewal(trust=trust)
    run = _Run(trust=trust, carried=carried, blobs=blobs, memory=memory, limits=limits)
    changes: list[RootChange] = []
    for name in dict.fromkeys(wanted):
        run.renew(name)
        changes.append(_changed(name, run.repositories[name], run.seen["tuf", name], trust, memory))
        if name in confirm:
            _expect_confirmed(changes[-1])
    return Renewal(
        trust=TrustStore(anchors=tuple(run.anchors.values())),
        repositories=run.repositories,
        learned=Learned(seen=dict(run.seen), files=run.files, changes=tuple(changes)),
    )


def _changed(
    name: str, repository: Replayed, found: RootsSeen, trust: TrustStore, memory: TrustMemory
) -> RootChange:
    """Say what is different from the newest root, and the roles, that this host knows."""
    from loader.trust.tuf_words import DelegatorWords, changes  # noqa: PLC0415 - loads tuf.api

    seen = memory.roots("tuf", name)
    pin = next(a.tuf for a in trust.anchors if a.name == name and a.tuf is not None)
    old = known_root(pin, memory, name)
    after = DelegatorWords.parse(repository.root, name=name)
    top = [one for one in repository.roles if one in found.roles]
    below = sorted(found.roles.keys() - set(top))
    lines: tuple[str, ...] = ()
    if old != repository.root:
        lines = changes(DelegatorWords.parse(old, name=name), after)
    return RootChange(
        anchor=name,
        what="TUF root",
        before=max(pin.version(), 0 if seen is None else seen.newest),
        after=after.version,
        lines=lines,
        # Those that the snapshot lists, too: whether anybody asked them for a target or not.
        roles=role_moves(
            {one: (found.roles[one].version, found.roles[one].expires) for one in (*top, *below)},
            seen,
        ),
        warnings=after.warnings(),
    )


def known_root(pin: TufPin, memory: TrustMemory, name: str) -> bytes:
    """Return the newest root that this host has: the pinned one, or one that it followed to."""
    from loader.trust.tuf_replay import NEWEST_ROOT  # noqa: PLC0415 - loads tuf.api

    seen = memory.roots("tuf", name)
    digest = None if seen is None else seen.files.get(NEWEST_ROOT)
    kept = None if digest is None else memory.files.get(digest)
    newer = seen is not None and kept is not None and seen.newest >= pin.version()
    return kept if newer and kept is not None else pin.root


def _expect_confirmed(change: RootChange) -> None:
    if change.is_rotation:
        raise TrustUnconfirmedError(
            "a newer root that nobody on this host has confirmed",
            where=change.anchor,
            expected=f"root {change.before}",
            found="; ".join((f"root {change.after}", *change.lines[:CHANGES_SHOWN])),
            hint="`airlock-loader trust import` shows the change, and takes it once confirmed",
        )


class _Run:
    """One run: an anchor whose keys are identities waits for the anchor that vouches for them."""

    def __init__(
        self,
        *,
        trust: TrustStore,
        carried: Mapping[str, TrustEntry],
        blobs: BlobSource,
        memory: TrustMemory,
        limits: Limits,
    ) -> None:
        self.anchors = {(anchor.name, anchor.use): anchor for anchor in trust.anchors}
        self.repositories: dict[str, Replayed] = {}
        self.seen: dict[TrustKey, RootsSeen] = {}
        self.files: dict[Digest, bytes] = {}
        self._carried = carried
        self._blobs = blobs
        self._memory = memory
        self._limits = limits
        self._begun: set[str] = set()

    def renew(self, name: str) -> None:
        if name in self._begun:
            return
        self._begun.add(name)
        from loader.trust.tuf_replay import replay  # noqa: PLC0415 - loads tuf.api

        mine = {p: a for p, a in self.anchors.items() if p[0] == name and a.tuf is not None}
        pin = next(anchor.tuf for anchor in mine.values() if anchor.tuf is not None)
        entry = self._carried[label_of(name)]
        replayed = replay(
            _Files(entry, self._blobs),
            pin,
            name=name,
            seen=self._memory.roots("tuf", name),
            kept=self._memory.files,
            keys=self._verifier(pin, name),
            limits=self._limits,
        )
        targets: dict[str, bytes] = {}
        for place, anchor in mine.items():
            if anchor.use != "tuf-root":
                raw = targets[pin.target] = self._root(replayed, pin, name)
                self.anchors[place] = _with_root(
                    anchor, raw, f"in this bundle, with TUF root {replayed.root_version}"
                )
        seen, files = replayed.remembered(targets)
        self.repositories[name] = replayed
        self.seen["tuf", name] = seen
        self.files |= files

    def _root(self, replayed: Replayed, pin: TufPin, name: str) -> bytes:
        raw = replayed.target(pin.target)
        if raw is None:
            raise TrustIncompleteError(
                "a TUF repository that lists no trusted root", where=name, expected=pin.target
            )
        return raw

    def _verifier(self, pin: TufPin, name: str) -> SigstoreKeys | None:
        """Return the judge of identities, under a trusted root that is renewed first.

        Raises:
            TrustRootError: there is none, or two repositories would vouch for each other.
        """
        other = pin.vouched_by
        voucher = self.anchors.get((other, "trusted-root"))
        if voucher is None or other == name:
            return None
        if label_of(other) in self._carried and voucher.tuf is not None:
            if other in self._begun and other not in self.repositories:
                raise TrustRootMismatchError(
                    "two TUF repositories that would vouch for each other",
                    where=f"{name} and {other}",
                )
            self.renew(other)
        value = self.anchors[other, "trusted-root"].value
        if not isinstance(value, TrustedRoot):
            return None
        from loader.verify.keyless import SigstoreKeys  # noqa: PLC0415 - only where it is needed

        return SigstoreKeys(trusted_root=value, limits=self._limits)


def _with_root(anchor: Anchor, raw: bytes, origin: str) -> Anchor:
    """Return an anchor with another trusted root.

    Raises:
        TrustRootFormatError: it cannot be understood.
    """
    value = TrustedRoot.parse(raw, name=anchor.name)
    return replace(anchor, value=value, file_digest=Digest.of(raw), origin=origin)


class _Files:
    """The files of one carried repository."""

    def __init__(self, entry: TrustEntry, blobs: BlobSource) -> None:
        self._anchor = entry.anchor
        self._by_name: dict[str, Descriptor] = dict(zip(entry.names, entry.blobs, strict=True))
        self._blobs = blobs

    @property
    def names(self) -> Collection[str]:
        return self._by_name.keys()

    def read(self, name: str, *, size_max: int) -> bytes:
        where = f"{self._anchor}: {shown(name)[1:-1]}"
        return self._blobs.read(self._by_name[name], where=where, size_max=size_max)
