"""What a bundle shows of logs, and what the lock remembers for the next bundle of its channel."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bundler.pack.lock import Lock
from bundler.pack.order import PackOrder
from bundler.registry.retry import patient
from bundler.rekor.client import RekorClient
from bundler.rekor.grow import SHIPPED_COUNT_MAX, Grown, grow
from bundler.store import ContentStore
from loader.errors import UsageError
from loader.limits import DEFAULT_LIMITS
from loader.policy.facts import Judgement
from loader.trust.anchors import label_of
from loader.verify.facts import LogTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The newest trees that bundles of a channel brought so far."""

    heads: tuple[LogTree, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def before(cls, order: PackOrder) -> Shipped:
        """Return what the lock beside the bundle remembers, or the lock that is packed again."""
        if order.locked is not None:
            return cls(heads=order.locked.heads)
        return cls._read(order.lock, channel=order.channel)

    @classmethod
    def _read(cls, path: Path, *, channel: str | None) -> Shipped:
        try:
            with path.open("rb") as file:
                raw = file.read(DEFAULT_LIMITS.statement_size_max + 1)
        except FileNotFoundError:
            return cls()
        except OSError as e:
            return cls(notes=(f"{path}: heads of logs are not remembered: {e.strerror}",))
        try:
            lock = Lock.parse(raw)
        except UsageError as e:
            return cls(notes=(f"{path}: heads of logs are not remembered: {e.message}",))
        return cls(heads=lock.heads) if lock.channel == channel else cls()

    def and_now(self, heads: Iterable[LogTree]) -> tuple[LogTree, ...]:
        """Return what to remember: of each log the newest so many."""
        kept: dict[tuple[str, str], list[LogTree]] = {}
        for head in sorted({*self.heads, *heads}, reverse=True):
            of_place = kept.setdefault((head.log, head.origin), [])
            if len(of_place) < SHIPPED_COUNT_MAX:
                of_place.append(head)
        return tuple(head for heads in kept.values() for head in heads)


def grown(
    order: PackOrder,
    judgement: Judgement,
    shipped: Shipped,
    store: ContentStore,
    cancelled: threading.Event,
) -> Grown:
    """Ask the logs that the bundle's evidence is in. A lock has what they said."""
    if order.locked is not None:
        said = tuple(entry for entry in order.locked.trust if entry.kind == "log")
        return Grown(trust=said, documents=order.locked.growth)
    if not order.log_proofs:
        return Grown()
    trees = [one.tree for one in judgement.sightings(counting=False) if one.tree is not None]
    if not trees:
        return Grown()
    client = RekorClient(order.reach.settings, sleep=patient(cancelled))
    try:
        return grow(
            trees,
            shipped.heads,
            [(log, label_of(anchor)) for log, anchor in judgement.renewal.trust.logs_by_anchor],
            store,
            client,
            base=order.log_url,
            parallel_count=order.reach.jobs,
        )
    finally:
        client.close()
