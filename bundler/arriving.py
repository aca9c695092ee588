"""Layers on their way into the store, while the archive is being written from it.

What a layer's digest and size are stands in manifests that are there already, so a bundle is judged
and its archive begun before the first layer is asked for. The writer opens layers in the archive's
order, which is the one they are fetched in, and waits for each.

A layer that is fetched alone is read as it arrives (`bundler.following`).

Several at a time are faster where each is slow. Where one alone fills the line, or this machine,
several would only be done all at the end, and the writer had nothing to do until then: the next
one begins when those before it are there, or when they turn out to be slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final, TypeAlias, cast

from bundler.following import Following
from bundler.store import Advance, ContentStore, Give, ungiven, untold
from loader.digest import Digest
from loader.limits import MIB

FAST_RATE: Final = 64 * MIB
"""Bytes a second from which on one download at a time is enough."""
_LOOK_SECONDS: Final = 0.1

Fetch: TypeAlias = Callable[[Digest, Advance, Give], None]
"""Brings a blob into the store; tells how much arrives, and gives each piece that does."""


class Arriving:
    """Blobs that begin to arrive when somebody asks for the first of them."""

    def __init__(
        self,
        store: ContentStore,
        digests: Iterable[Digest],
        *,
        fetch: Fetch,
        pool: ThreadPoolExecutor,
        cancelled: threading.Event,
        first_failure: Callable[[], BaseException | None],
        advance: Advance = untold,
    ) -> None:
        """Make ready; nothing is asked for yet.

        Args:
            store: where they arrive.
            digests: what is to arrive, in the order in which it will be wanted.
            fetch: brings one of them.
            pool: threads, as many as may fetch at a time.
            cancelled: set when nothing is wanted any more.
            first_failure: what went wrong first; whatever the others say then is only an echo.
            advance: told of all that arrives.
        """
        self._store = store
        self._digests = tuple(dict.fromkeys(digests))
        self._fetch = fetch
        self._pool = pool
        self._cancelled = cancelled
        self._first_failure = first_failure
        self._told = advance
        self._futures: dict[Digest, Future[None]] = {}
        self._changed = threading.Condition()
        self._arrived_size = 0
        self._done: set[int] = set()
        self._begun: set[Digest] = set()
        self._is_followed = True
        self._followed: dict[Digest, Following] = {}
        """What is read as it arrives, if anybody opens it."""
        self._waiting: list[Callable[[], float]] = []
        """For how many seconds each of them was kept waiting by whoever read it."""

    def begin(self) -> None:
        """Have all of them fetched."""
        if not self._futures:
            self._futures = {
                digest: self._pool.submit(self._bring, position, digest)
                for position, digest in enumerate(self._digests)
            }

    def open(self, digest: Digest) -> BinaryIO:
        """Return a blob of the store, open for reading; one that is to arrive, when it has begun.

        What is read of it while it arrives is not known to be right before its end was read.

        Raises:
            MissingError: it is not in the store, and not to arrive.
            AirlockError: whatever went wrong first.
        """
        self.begin()
        if digest in self._futures:
            followed = self._followed_of(digest)
            if followed is not None:
                return cast("BinaryIO", followed)
            self._await(self._futures[digest])
        return self._store.open(digest)

    def finish(self) -> None:
        """Wait until all of them are there. Nobody reads them as they arrive, or no more.

        Raises:
            AirlockError: whatever went wrong first.
        """
        with self._changed:
            self._is_followed = False
            for followed in self._followed.values():
                followed.end()
        self.begin()
        for future in self._futures.values():
            self._await(future)

    def _followed_of(self, digest: Digest) -> Following | None:
        """Wait until the blob begins to arrive, and return it if it can be read meanwhile."""
        future = self._futures[digest]
        with self._changed:
            while digest not in self._begun and not future.done():
                self._changed.wait(_LOOK_SECONDS)
            return self._followed.pop(digest, None)

    def _await(self, future: Future[None]) -> None:
        try:
            future.result()
        except Exception as e:
            first = self._first_failure()
            if first is None or first is e:
                raise
            raise first from None

    # --- on the pool's threads ----------------------------------------------------------------

    def _bring(self, position: int, digest: Digest) -> None:
        self._await_turn(position)
        followed = self._begin(position, digest)
        try:
            self._fetch(digest, self._advance, followed.give if followed else ungiven)
        finally:
            if followed:
                followed.end()
            with self._changed:
                self._followed.pop(digest, None)
                self._done.add(position)
                self._changed.notify_all()

    def _begin(self, position: int, digest: Digest) -> Following | None:
        """Say that the blob begins to arrive; whoever wants it next may read it meanwhile."""
        with self._changed:
            self._begun.add(digest)
            self._changed.notify_all()
            if not self._is_followed or len(self._done) < position:
                return None
            followed = self._followed[digest] = Following(
                arrived=lambda: self._await(self._futures[digest]),
                kept=lambda: self._store.open(digest),
            )
            self._waiting.append(followed.waited_seconds)
            return followed

    def _await_turn(self, position: int) -> None:
        """Wait until all before this one are there, or do not come fast.

        What waits for whoever reads it is not slow.
        """
        with self._changed:
            began, size = self._line_seconds(), self._arrived_size
            while not self._cancelled.is_set() and len(self._done) < position:
                self._changed.wait(_LOOK_SECONDS)
                seconds = self._line_seconds() - began
                if seconds < _LOOK_SECONDS:
                    continue
                if self._arrived_size - size < FAST_RATE * seconds:
                    return
                began, size = self._line_seconds(), self._arrived_size

    def _line_seconds(self) -> float:
        """Return a clock that stands still while nothing is read of what arrived."""
        return time.monotonic() - sum(waited() for waited in self._waiting)

    def _advance(self, size: int) -> None:
        self._told(size)
        with self._changed:
            self._arrived_size += size
