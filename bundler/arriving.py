"""Layers on their way into the store, while the archive is being written from it.

What a layer's digest and size are stands in manifests that are there already, so a bundle is judged
and its archive begun before the first layer is asked for. The writer opens layers in the archive's
order, which is the one they are fetched in, and waits for each.

Several at a time are faster where each is slow. Where one alone fills the line, or this machine,
several would only be done all at the end, and the writer had nothing to do until then: the next
one begins when those before it are there, or when they turn out to be slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final, TypeAlias

from bundler.store import ContentStore
from loader.digest import Digest
from loader.limits import MIB

FAST_RATE: Final = 64 * MIB
"""Bytes a second from which on one download at a time is enough."""
_LOOK_SECONDS: Final = 0.1

Fetch: TypeAlias = Callable[[Digest, Callable[[int], None]], None]
"""Brings a blob into the store, and tells of each piece that arrives."""


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
    ) -> None:
        """Make ready; nothing is asked for yet.

        Args:
            store: where they arrive.
            digests: what is to arrive, in the order in which it will be wanted.
            fetch: brings one of them.
            pool: threads, as many as may fetch at a time.
            cancelled: set when nothing is wanted any more.
            first_failure: what went wrong first; whatever the others say then is only an echo.
        """
        self._store = store
        self._digests = tuple(dict.fromkeys(digests))
        self._fetch = fetch
        self._pool = pool
        self._cancelled = cancelled
        self._first_failure = first_failure
        self._futures: dict[Digest, Future[None]] = {}
        self._changed = threading.Condition()
        self._arrived_size = 0
        self._done: set[int] = set()

    def begin(self) -> None:
        """Have all of them fetched."""
        if not self._futures:
            self._futures = {
                digest: self._pool.submit(self._bring, position, digest)
                for position, digest in enumerate(self._digests)
            }

    def open(self, digest: Digest) -> BinaryIO:
        """Return a blob of the store, open for reading; one that is to arrive, when it has.

        Raises:
            MissingError: it is not in the store, and not to arrive.
            AirlockError: whatever went wrong first.
        """
        self.begin()
        if digest in self._futures:
            self._await(self._futures[digest])
        return self._store.open(digest)

    def finish(self) -> None:
        """Wait until all of them are there.

        Raises:
            AirlockError: whatever went wrong first.
        """
        self.begin()
        for future in self._futures.values():
            self._await(future)

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
        try:
            self._fetch(digest, self._advance)
        finally:
            with self._changed:
                self._done.add(position)
                self._changed.notify_all()

    def _await_turn(self, position: int) -> None:
        """Wait until all before this one are there, or do not come fast."""
        with self._changed:
            began, size = time.monotonic(), self._arrived_size
            while not self._cancelled.is_set() and len(self._done) < position:
                self._changed.wait(_LOOK_SECONDS)
                seconds = time.monotonic() - began
                if seconds < _LOOK_SECONDS:
                    continue
                if self._arrived_size - size < FAST_RATE * seconds:
                    return
                began, size = time.monotonic(), self._arrived_size

    def _advance(self, size: int) -> None:
        with self._changed:
            self._arrived_size += size
