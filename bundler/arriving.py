"""Layers on their way into the store, while the archive is being written from it.

What a layer's digest and size are stands in manifests that are there already, so a bundle is judged
and its archive begun before the first layer is asked for. The writer opens layers in the archive's
order, which is the one they are fetched in, and waits for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import BinaryIO

from bundler.store import ContentStore
from loader.digest import Digest


class Arriving:
    """Blobs that begin to arrive when somebody asks for the first of them."""

    def __init__(
        self,
        store: ContentStore,
        digests: Iterable[Digest],
        *,
        fetch: Callable[[Digest], Future[None]],
        first_failure: Callable[[], BaseException | None],
    ) -> None:
        """Make ready; nothing is asked for yet.

        Args:
            store: where they arrive.
            digests: what is to arrive, in the order in which it will be wanted.
            fetch: has one of them brought into the store, on another thread.
            first_failure: what went wrong first; whatever the others say then is only an echo.
        """
        self._store = store
        self._digests = tuple(dict.fromkeys(digests))
        self._fetch = fetch
        self._first_failure = first_failure
        self._futures: dict[Digest, Future[None]] = {}

    def begin(self) -> None:
        """Have all of them fetched."""
        if not self._futures:
            self._futures = {digest: self._fetch(digest) for digest in self._digests}

    def open(self, digest: Digest) -> BinaryIO:
        """Return a blob of the store, open for reading; one that is to arrive, when it has.

        Raises:
            MissingError: it is not in the store, and not to arrive.
            AirlockError: whatever went wrong first.
        """
        if digest in self._digests:
            self.begin()
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
