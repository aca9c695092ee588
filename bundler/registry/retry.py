"""Trying again: exponential pauses with jitter, and what the server asked for, within bounds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

from bundler.errors import CancelledError, RemoteError
from bundler.registry.settings import Timing

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Decides whether and when a failed request is sent again."""

    timing: Timing
    sleep: Callable[[float], None] = time.sleep
    """Waits so long, or raises because the run was cancelled."""
    spread: Callable[[], float] = field(default=random.random)
    """Jitter, from 0 to 1: many clients that failed together must not come back together."""

    def run(self, attempt: Callable[[], T]) -> T:
        """Return what the first attempt that succeeds returns.

        Raises:
            RemoteError: one that is not retryable, or the last one.
        """
        count = 0
        while True:
            try:
                return attempt()
            except RemoteError as e:
                count += 1
                self.pause(e, failures=count)

    def pause(self, error: RemoteError, *, failures: int) -> None:
        """Wait before the next try, after so many that failed in a row.

        Raises:
            RemoteError: this one, if there is to be no next try.
        """
        asked = error.after_seconds or 0.0
        if not error.retryable or failures >= self.timing.attempt_count:
            raise error
        if asked > self.timing.retry_after_seconds_max:
            error.hint = f"the server asks to come back in {asked:.0f} seconds"
            raise error
        longest = min(
            self.timing.pause_seconds * 2 ** (failures - 1), self.timing.pause_seconds_max
        )
        # At least half of the span, so that an unlucky draw does not hammer the server.
        self.sleep(max(asked, longest * (0.5 + 0.5 * self.spread())))


def patient(cancelled: threading.Event) -> Callable[[float], None]:
    """Return a `sleep` that ends at once, with `CancelledError`, when the run is cancelled."""

    def sleep(seconds: float) -> None:
        if cancelled.wait(seconds):
            raise CancelledError("stopped")

    return sleep


def retry_after_seconds(value: str | None, date: str | None) -> float | None:
    """Return what `Retry-After` asks for (RFC 9110 §10.2.3), or None where it says nothing usable.

    A date is read against the server's own `Date`, so that nobody's clock has to be right.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(seconds, 0.0)
