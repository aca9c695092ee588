"""Shows the far side how logs grew: asks each for its newest tree, and for proofs up to there.

From every tree that evidence of the bundle is in, and from every newest tree that was shipped
before in this channel: a host remembers one of those, whichever bundle it loaded last. What a log
answers is verified by the far side's own code before it goes into the bundle. A log that cannot be
asked, or cannot show it, is said; the far side then says "not witnessed", or its policy refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from bundler.errors import RemoteError, RemoteLogError
from bundler.rekor.client import RekorClient
from bundler.rekor.tiles import TiledTree
from bundler.store import ContentStore
from loader.errors import FormatError, VerificationError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import TrustEntry
from loader.model.checkpoint import Checkpoint
from loader.model.descriptor import Descriptor
from loader.model.growth import MEDIA_TYPE, EarlierTree, LogGrowth
from loader.trust.trusted_root import Log
from loader.verify.facts import LogTree
from loader.verify.growth import Growth, verify_growth
from loader.verify.merkle import verify_consistency

SHIPPED_COUNT_MAX: Final = DEFAULT_LIMITS.log_tree_count_max // 2
"""Trees shipped before that are linked, newest first: a host that is further behind is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What goes into the bundle, and what there is to say of it."""

    trust: tuple[TrustEntry, ...] = ()
    documents: tuple[bytes, ...] = ()
    logs: tuple[Growth, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[LogTree, ...]:
        """The newest trees, which the next bundle will link to."""
        return tuple(one.newest for one in self.logs)


def grow(
    trees: Sequence[LogTree],
    shipped: Sequence[LogTree],
    logs: Sequence[tuple[Log, str]],
    store: ContentStore,
    client: RekorClient,
    *,
    base: str | None,
    parallel_count: int,
) -> Grown:
    """Ask the logs, put what they show into the store, and return it.

    Args:
        trees: that evidence is in, verified.
        shipped: newest trees of bundles before in this channel.
        logs: known ones, each with the name of its anchor.
        store: where documents go.
        client: asks.
        base: where to ask a Rekor v1 instead of at its own address.
        parallel_count: questions at a time.
    """
    places: dict[tuple[str, str], set[LogTree]] = {}
    for tree in trees:
        places.setdefault((tree.log, tree.origin), set()).add(tree)
    before: dict[tuple[str, str], list[LogTree]] = {}
    for tree in sorted(set(shipped), reverse=True):
        before.setdefault((tree.log, tree.origin), []).append(tree)
    by_id = {log.log_id.hex(): (log, anchor) for log, anchor in reversed(logs)}
    found: dict[str, list[bytes]] = {}
    growths: list[Growth] = []
    notes: list[str] = []
    with ThreadPoolExecutor(parallel_count, thread_name_prefix="grow") as pool:
        for place, wanted in sorted(places.items()):
            if place[0] not in by_id:
                continue
            log, anchor = by_id[place[0]]
            asking = _Asking(log=log, origin=place[1], client=client, base=base, pool=pool)
            earlier = wanted.union(before.get(place, ())[:SHIPPED_COUNT_MAX])
            try:
                document, growth = asking.growth(sorted(earlier), notes)
            except RemoteError as e:
                notes.append(f"{place[1]}: the far side will not see how it grew: {e.code}: {e}")
                continue
            except BaseException:
                client.close()  # what is being read must not keep the run from ending
                raise
            store.put(document.raw)
            found.setdefault(anchor, []).append(document.raw)
            growths.append(growth)
    return Grown(
        trust=tuple(
            TrustEntry(
                anchor=anchor,
                kind="log",
                blobs=tuple(Descriptor.make(MEDIA_TYPE, raw) for raw in documents),
            )
            for anchor, documents in sorted(found.items())
        ),
        documents=tuple(raw for _, documents in sorted(found.items()) for raw in documents),
        logs=tuple(growths),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """One tree of one log, and how to ask for it."""

    log: Log
    origin: str
    client: RekorClient
    base: str | None
    pool: ThreadPoolExecutor

    def growth(self, earlier: Sequence[LogTree], notes: list[str]) -> tuple[LogGrowth, Growth]:
        """Return what shows that the newest tree continues the earlier ones.

        One that it is not shown to continue is left out, and said.

        Raises:
            RemoteError: the log cannot be asked.
            RemoteLogError: it answers something else.
        """
        note, path_from = self._newest()
        try:
            checkpoint = Checkpoint.parse(note, where=self.origin)
            alone = LogGrowth.make(log_id=self.log.log_id, checkpoint=note, trees=())
            newest = verify_growth(alone, [self.log]).value.newest
        except (FormatError, VerificationError) as e:
            raise RemoteLogError(
                f"the log's newest checkpoint does not hold: {e.message}",
                where=self.origin,
                expected=e.expected,
                found=e.found,
            ) from e
        if checkpoint.origin != self.origin:
            raise RemoteLogError(
                "a checkpoint of another tree", expected=self.origin, found=shown(checkpoint.origin)
            )
        asked = [tree for tree in earlier if tree != newest]
        answers = list(self.pool.map(partial(self._proof, path_from, newest), asked))
        notes += [str(one) for one in answers if isinstance(one, str)]
        document = LogGrowth.make(
            log_id=self.log.log_id,
            checkpoint=note,
            trees=[one for one in answers if isinstance(one, EarlierTree)],
        )
        return document, verify_growth(document, [self.log]).value

    def _newest(self) -> tuple[str, Callable[[int, int], tuple[bytes, ...]]]:
        """Return the newest checkpoint, and what asks for paths that lead there."""
        client = self.client
        if self.origin == self.log.origin:  # a Rekor v1 names its trees by number besides
            where = self.log.name
            note = client.checkpoint(where)
            tiles: dict[int, TiledTree] = {}

            def from_tiles(size: int, later: int) -> tuple[bytes, ...]:
                tree = tiles.setdefault(later, TiledTree(later, partial(client.tile, where)))
                return tree.consistency(size)

            return note, from_tiles
        where = self.base or self.log.name
        for tree in client.trees(where):
            if tree.checkpoint.partition("\n")[0] == self.origin:
                return tree.checkpoint, partial(client.consistency, where, tree.tree)
        raise RemoteLogError("the log has no such tree", where=where, expected=self.origin)

    def _proof(
        self,
        path_from: Callable[[int, int], tuple[bytes, ...]],
        newest: LogTree,
        tree: LogTree,
    ) -> EarlierTree | str:
        """Return one earlier tree with its proof, or why there is none."""
        what = f"{self.origin}: the tree of {tree.size} leaves is not linked to that of"
        if tree.size > newest.size:
            return f"{what} {newest.size}: the log answers with a smaller tree"
        try:
            path = path_from(tree.size, newest.size) if tree.size < newest.size else ()
            verify_consistency(
                size=tree.size,
                root_hash=tree.root_hash,
                later_size=newest.size,
                later_root_hash=newest.root_hash,
                path=path,
            )
        except (RemoteError, VerificationError) as e:
            return f"{what} {newest.size}: {e.code}: {e}"
        return EarlierTree(size=tree.size, root_hash=tree.root_hash, hashes=path)
