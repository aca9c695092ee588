"""The host as its own witness: what logs show it must continue what they showed it before. Pure.

A log that shows one history to its auditors and another to this host can have anything in the
second. It cannot take back what it signed: two trees of one size with different roots, or a tree
that a later one does not continue, prove the fork by the log's own signatures. So the host keeps
the newest tree that it saw of each log, channel by channel, and compares.

    witnessed    the bundle shows that all its trees and the remembered one are one history
    first        there was nothing to remember; from now on there is
    unwitnessed  nothing shows it: no proof, a proof from another tree, or a promise without a tree

The remembered tree moves along a verified proof alone. Without one it stays, so that the packer,
who keeps every head that it shipped in the channel, can still link to it next time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import LogForkError, UnwitnessedError, shown
from loader.trust.memory import HeadSeen
from loader.verify.facts import LogTree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loader.policy.facts import LogSighting
    from loader.trust.memory import Seen, TrustKey
    from loader.verify.growth import Growth

Holds: TypeAlias = Literal["first", "witnessed", "unwitnessed"]
Place: TypeAlias = tuple[str, str]
"""A log's id and what it calls the tree: Rekor v1 signs every tree with one key."""
NO_CHANNEL: Final = "-"
"""Bundles without a channel; no channel has this name."""
_PROMISED: Final = "it only promised to record what counts, and a promise is of no tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a bundle shows of one log, beside what this host remembers of it."""

    log: str
    name: str
    origin: str
    """Empty where the log only promised."""
    holds: Holds
    why: str = ""
    """Why it is not witnessed."""
    remembered: LogTree | None = None
    newest: LogTree | None = None
    """The newest tree of it in the bundle."""
    keep: LogTree | None = None
    """What to remember from now on; None leaves it as it is."""
    required: bool = False
    beside: int = 0
    """Of a tree that is seen for the first time: how many others this host knows that the same key
    signed. Rekor v1 begins another one with each shard; so can whoever stole its key."""

    @property
    def words(self) -> str:
        """In words for a report."""
        size = "" if self.newest is None else f", {self.newest.size} leaves"
        match self.holds:
            case "first":
                trees = "1 other tree" if self.beside == 1 else f"{self.beside} other trees"
                beside = f", beside {trees} of the same key" if self.beside else ""
                return f"seen for the first time{size}{beside}"
            case "witnessed":
                before = "" if self.remembered is None else f" from {self.remembered.size}"
                return f"witnessed{size}: it grew{before}" if self._grew else f"witnessed{size}"
            case _:
                return f"not witnessed{size}: {self.why}"

    @property
    def _grew(self) -> bool:
        return self.newest is not None and self.newest != self.remembered

    @property
    def adopted(self) -> LogTree | None:
        """What to remember where an operator's reason lets it in all the same; never a smaller."""
        if self.newest is None or self.remembered is None:
            return self.keep
        return self.newest if self.newest.size > self.remembered.size else None

    @property
    def problem(self) -> UnwitnessedError | None:
        """What keeps the bundle out, where policy wants a witness."""
        if not self.required or self.holds != "unwitnessed":
            return None
        return UnwitnessedError(
            "nothing shows that a log continues the tree that this host remembers",
            where=self.origin or self.name,
            expected="a consistency proof"
            if self.remembered is None
            else f"a proof from the tree of {self.remembered.size} leaves",
            found=self.why,
            hint="pack it with the channel's airlock.lock, which holds the heads shipped before",
        )


def compare(
    sightings: Sequence[LogSighting],
    counting: Sequence[LogSighting],
    growth: Sequence[Growth],
    remembered: Mapping[TrustKey, Seen],
    *,
    channel: str | None,
    required: Collection[str],
) -> tuple[Standing, ...]:
    """Compare what a bundle shows of logs with what this host remembers.

    Args:
        sightings: of all evidence that verifies.
        counting: those of evidence that counts.
        growth: verified; what the bundle shows of how logs grew.
        remembered: the host's memory, of every channel.
        channel: the bundle's.
        required: ids of the logs that policy wants witnessed.

    Raises:
        LogForkError: a log signed two histories.
    """
    names = {one.log: one.name for one in sightings} | {g.newest.log: g.name for g in growth}
    memory = _memory(remembered)
    seen, wanted = _by_place(sightings), _by_place(counting)
    grown: dict[Place, list[Growth]] = {}
    for one in growth:
        grown.setdefault((one.newest.log, one.newest.origin), []).append(one)
    known = Counter(log for log, _ in memory)
    standings = []
    for place in sorted(seen.keys() | grown.keys()):
        found = _Found(
            trees=frozenset(seen.get(place, ())),
            wanted=frozenset(wanted.get(place, ())),
            growth=tuple(grown.get(place, ())),
            memory=memory.get(place, {}),
            mine=memory.get(place, {}).get(channel or NO_CHANNEL),
        )
        _expect_one_history(found, name=names[place[0]])
        standing = _standing(found, place, name=names[place[0]], required=place[0] in required)
        if standing.holds == "first":
            standing = replace(standing, beside=known[place[0]] - (place in memory))
        standings.append(standing)
    bare = dict.fromkeys(one.log for one in counting if one.tree is None)
    standings += [
        Standing(
            log=log,
            name=names[log],
            origin="",
            holds="unwitnessed",
            why=_PROMISED,
            required=log in required,
        )
        for log in bare
    ]
    return tuple(standings)


def remember(standings: Iterable[Standing], *, channel: str | None) -> dict[TrustKey, Seen]:
    """Return what to keep once the bundle is loaded."""
    return {
        ("log", f"{tree.log}:{channel or NO_CHANNEL}:{tree.origin}"): HeadSeen(
            size=tree.size, root_hash=tree.root_hash
        )
        for tree in (one.adopted if one.problem is not None else one.keep for one in standings)
        if tree is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """All that is known of one tree of one log."""

    trees: frozenset[LogTree]
    wanted: frozenset[LogTree]
    """Those that evidence which counts is in."""
    growth: tuple[Growth, ...]
    memory: Mapping[str, LogTree]
    """By channel."""
    mine: LogTree | None

    @property
    def newest(self) -> LogTree | None:
        """The newest tree of the bundle: that of its proofs, or else of its evidence."""
        return max((g.newest for g in self.growth), default=max(self.trees, default=None))

    @property
    def one_history(self) -> frozenset[LogTree]:
        """Every tree that is known to be of one history with the newest, or with the memory."""
        if not self.growth:
            return frozenset({self.mine}) if self.mine is not None else self.trees
        linked = max(self.growth, key=lambda one: one.newest).continues
        # Only what leads up to one of these: two that continue a third may still part behind it.
        while more := [g for g in self.growth if g.newest in linked and g.continues - linked]:
            linked = linked.union(*(g.continues for g in more))
        return linked


def _by_place(sightings: Iterable[LogSighting]) -> dict[Place, list[LogTree]]:
    found: dict[Place, list[LogTree]] = {}
    for tree in (one.tree for one in sightings):
        if tree is not None:
            found.setdefault((tree.log, tree.origin), []).append(tree)
    return found


def _memory(remembered: Mapping[TrustKey, Seen]) -> dict[Place, dict[str, LogTree]]:
    found: dict[Place, dict[str, LogTree]] = {}
    for (kind, name), seen in remembered.items():
        if kind != "log" or not isinstance(seen, HeadSeen):
            continue
        log, channel, origin = name.split(":", 2)
        found.setdefault((log, origin), {})[channel] = LogTree(
            log=log, origin=origin, size=seen.size, root_hash=seen.root_hash
        )
    return found


def _expect_one_history(found: _Found, *, name: str) -> None:
    """Check that no two trees of one size have different roots, wherever they were seen.

    A proof that ties a tree to another root than the remembered one of its size is the same fork:
    the log signed what it leads to.
    """
    roots: dict[int, bytes] = {}
    shown_by_proofs = frozenset[LogTree]().union(*(g.continues for g in found.growth))
    for tree in sorted(found.trees | shown_by_proofs | frozenset(found.memory.values())):
        if roots.setdefault(tree.size, tree.root_hash) != tree.root_hash:
            raise LogForkError(
                "a log shows two histories that exclude each other",
                where=f"{name}, {shown(tree.origin)}, tree of {tree.size} leaves",
                expected=roots[tree.size].hex(),
                found=tree.root_hash.hex(),
                hint="keep this bundle: it is proof against the log, or of its key being stolen",
            )


def _standing(found: _Found, place: Place, *, name: str, required: bool) -> Standing:
    log, origin = place
    history, mine, newest = found.one_history, found.mine, found.newest
    apart = found.wanted - history
    why = ""
    if mine is not None and (mine not in history or (apart and not found.growth)):
        why = f"no proof from the tree of {mine.size} leaves that this host remembers"
    elif apart:
        why = f"no proof for {len(apart)} of the trees that its evidence is in"
    elif mine is None and not found.growth and len(found.trees) > 1:
        why = "no proof that its evidence is in one history"
    keep = newest
    if mine is not None:
        later = max(history, default=None)
        keep = later if mine in history and later != mine else None
    return Standing(
        log=log,
        name=name,
        origin=origin,
        holds="unwitnessed" if why else "first" if mine is None else "witnessed",
        why=why,
        remembered=mine,
        newest=newest,
        keep=keep,
        required=required,
    )
