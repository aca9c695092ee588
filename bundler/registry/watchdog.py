"""Cuts connections that bring too little: silence, and bytes that drip.

A socket's own time-out starts again with every byte, so a server that sends one a minute holds a
client for ever: in the status line, in headers, in a body. One thread looks at all connections and
shuts down those that did not bring enough within a span; the reader then gets an error at once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final

_LOOKS_PER_SPAN: Final = 4


class Watch:
    """One answer being read from one socket."""

    __slots__ = ("_since", "_socket", "arrived", "cut", "seen")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._since = time.monotonic()
        self.arrived = 0
        """Bytes so far; the reader counts them."""
        self.seen = 0
        self.cut = False
        """Whether the connection was shut down from here."""

    def look(self, now: float, *, span_seconds: float, bytes_min: int) -> None:
        """Start a new span if the last one brought enough; cut the connection if it did not."""
        arrived = self.arrived
        if arrived - self.seen >= bytes_min:
            self.seen, self._since = arrived, now
        elif now - self._since >= span_seconds:
            self.shut()

    def shut(self) -> None:
        """Shut the connection down; whoever reads from it gets an error."""
        self.cut = True
        with contextlib.suppress(OSError):
            # The plain socket's method: TLS's own would pull the session away from the reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Watchdog:
    """Looks after all connections of a client."""

    def __init__(self, *, span_seconds: float, bytes_min: int) -> None:
        self._span_seconds = span_seconds
        self._bytes_min = bytes_min
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, connection: socket.socket) -> Watch:
        """Begin to look after a connection that an answer is expected from."""
        watch = Watch(connection)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
        if self._closed.is_set():
            watch.shut()
        return watch

    def forget(self, watch: Watch) -> None:
        """Stop looking: the answer was read, or given up."""
        with self._lock:
            self._watches.discard(watch)

    def close(self) -> None:
        """Cut every connection that is being read, now; for Ctrl-C and failed runs."""
        self._closed.set()
        for watch in self._all():
            watch.shut()

    def _all(self) -> tuple[Watch, ...]:
        with self._lock:
            return tuple(self._watches)

    def _run(self) -> None:
        while not self._closed.wait(self._span_seconds / _LOOKS_PER_SPAN):
            now = time.monotonic()
            for watch in self._all():
                watch.look(now, span_seconds=self._span_seconds, bytes_min=self._bytes_min)
