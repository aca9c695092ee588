"""Layers arrive in the order in which they are wanted: one at a time where that is fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.arriving import FAST_RATE, Arriving
from bundler.errors import CancelledError, RemoteUnavailableError
from bundler.following import HELD_MAX, PATIENCE_SECONDS
from bundler.store import ContentStore, Give
from loader.digest import Digest
from loader.errors import MissingError
from loader.limits import MIB

LAYERS = [b"first", b"second", b"third"]
DIGESTS = [Digest.of(layer) for layer in LAYERS]


class Line:
    """Brings layers at a rate, and remembers how many it brought at a time."""

    def __init__(self, store: ContentStore, *, rate: float, seconds: float = 0.4) -> None:
        self.store = store
        self.rate = rate
        self.seconds = seconds
        self.order: list[int] = []
        self.at_a_time = 0
        self._busy = 0
        self._lock = threading.Lock()

    def __call__(self, digest: Digest, advance: Callable[[int], None], _: Give) -> None:
        number = DIGESTS.index(digest)
        with self._lock:
            self.order.append(number)
            self._busy += 1
            self.at_a_time = max(self.at_a_time, self._busy)
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            advance(int(self.rate * 0.02))
            time.sleep(0.02)
        self.store.put(LAYERS[number])
        with self._lock:
            self._busy -= 1


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def arriving(
    store: ContentStore,
    pool: ThreadPoolExecutor,
    fetch: Callable[[Digest, Callable[[int], None], Give], None],
    *,
    cancelled: threading.Event | None = None,
    first: BaseException | None = None,
) -> Arriving:
    return Arriving(
        store,
        DIGESTS,
        fetch=fetch,
        pool=pool,
        cancelled=cancelled or threading.Event(),
        first_failure=lambda: first,
    )


def test_one_at_a_time_where_that_is_fast(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = ContentStore(tmp_path)
    line = Line(store, rate=8 * FAST_RATE)
    layers = arriving(store, pool, line)
    for digest, content in zip(DIGESTS, LAYERS, strict=True):
        with layers.open(digest) as file:
            assert file.read() == content
    assert line.order == [0, 1, 2]
    assert line.at_a_time == 1


def test_one_that_waits_for_its_reader_is_not_slow(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """It is read as it arrives, however late, and the others wait for their turn."""
    store, begun = ContentStore(tmp_path), []
    large = bytes(HELD_MAX + 2 * MIB)

    def fetch(digest: Digest, advance: Callable[[int], None], give: Give) -> None:
        begun.append(digest)
        for at in range(0, len(large), MIB):
            give(at, large[at : at + MIB])
            advance(64 * MIB)
        store.put(LAYERS[DIGESTS.index(digest)])

    layers = arriving(store, pool, fetch)
    layers.begin()
    time.sleep(0.5)
    assert begun == DIGESTS[:1]
    with layers.open(DIGESTS[0]) as file:
        assert b"".join(iter(lambda: file.read(MIB), b"")) == large
    layers.finish()
    assert begun == DIGESTS


def test_nothing_waits_for_a_reader_where_nobody_reads(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store = ContentStore(tmp_path)

    def fetch(digest: Digest, advance: Callable[[int], None], give: Give) -> None:
        for at in range(0, 4 * HELD_MAX, MIB):
            give(at, bytes(MIB))
            advance(64 * MIB)
        store.put(LAYERS[DIGESTS.index(digest)])

    layers = arriving(store, pool, fetch)
    layers.begin()
    began = time.monotonic()
    layers.finish()
    assert time.monotonic() - began < PATIENCE_SECONDS


def test_several_at_a_time_where_one_is_slow(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = ContentStore(tmp_path)
    line = Line(store, rate=FAST_RATE / 20, seconds=1.0)
    began = time.monotonic()
    arriving(store, pool, line).finish()
    assert line.at_a_time == 3
    assert time.monotonic() - began < 2.5


def test_nothing_is_fetched_before_it_is_asked_for(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store = ContentStore(tmp_path)
    line = Line(store, rate=FAST_RATE, seconds=0)
    arriving(store, pool, line)
    time.sleep(0.05)
    assert line.order == []


def test_what_went_wrong_first_is_raised(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    def echo(*_: object) -> None:
        raise CancelledError("stopped")

    reason = RemoteUnavailableError("the registry is down")
    layers = arriving(ContentStore(tmp_path), pool, echo, first=reason)
    with pytest.raises(RemoteUnavailableError) as caught, layers.open(DIGESTS[1]) as file:
        file.read(1)
    assert caught.value is reason


def test_who_waits_for_a_turn_hears_that_nothing_is_wanted(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store, cancelled = ContentStore(tmp_path), threading.Event()
    line = Line(store, rate=8 * FAST_RATE, seconds=0.3)
    layers = arriving(store, pool, line, cancelled=cancelled)
    layers.begin()
    cancelled.set()
    began = time.monotonic()
    layers.finish()
    assert time.monotonic() - began < 5


def test_what_is_not_to_arrive_is_missing(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = ContentStore(tmp_path)
    layers = arriving(store, pool, Line(store, rate=FAST_RATE, seconds=0))
    with pytest.raises(MissingError):
        layers.open(Digest.of(b"another"))
    layers.finish()
