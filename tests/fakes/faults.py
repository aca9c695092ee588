"""Scripted faults: what a server does wrong, for which request, and which time.

A ``Fault`` has a pattern for the target, optionally a method, the times it strikes (counting only
requests that match, from 1; ``None`` is always), and what it does. Faults are asked in order; the
first that strikes wins, and those behind it do not count that request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from tests.fakes.http_values import Request, Response

_PIECE = 64 << 10
_ENDLESS_CAP = 8 << 30
"""Even an endless body ends, so that a broken client cannot fill a machine."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule; every field that is set changes the honest response (or replaces it)."""

    pattern: str
    """Searched in path and query: ``r"/blobs/"``, ``r"/manifests/1\\.0$"``."""
    method: str | None = None
    on: Collection[int] | None = (1,)
    """Which matching requests: 1 is the first; ``None`` all."""

    status: int | None = None
    """Answer this instead of the honest response."""
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the response, or replaced in it; ``{target}`` becomes the request's target."""
    without: Collection[str] = ()
    """Headers to leave out."""
    body: bytes | None = None
    """Other bytes; ``Content-Length`` follows them unless ``content_length`` is set."""
    content_length: int | None = None
    """A ``Content-Length`` that may be a lie."""
    truncate: int | None = None
    """Close the connection after so many bytes of the body."""
    endless: bool = False
    """Send no length, repeat the body until the client has had enough."""
    delay: float = 0.0
    """Seconds before the response begins."""
    drip: float = 0.0
    """Seconds before each ``drip_size`` bytes of the body."""
    drip_size: int = 16
    reset: bool = False
    """Reset the connection: before the response, or after ``truncate`` bytes of it."""
    swallow: bool = False
    """Do nothing of what was asked: a write that fails before it is one."""
    before: Callable[[], None] | None = None
    """Called before the honest response is made: move a tag here."""
    after: Callable[[], None] | None = None
    """Called once the response was made."""

    count: int = field(default=0, init=False)
    """How many requests have matched."""

    def strikes(self, request: Request) -> bool:
        """Count a request, and say whether this is one to spoil."""
        if self.method is not None and self.method != request.method:
            return False
        if re.search(self.pattern, request.target) is None:
            return False
        self.count += 1
        return self.on is None or self.count in self.on

    def spoil(self, request: Request, response: Response) -> Response:
        """Change a response as the fields say (except for what happens on the wire)."""
        if self.status is not None:
            response = Response.error(self.status, "UNKNOWN", "scripted fault")
        if self.body is not None:
            response.body, response.size = [self.body], len(self.body)
        for name, value in self.headers.items():
            response.headers[name] = value.replace("{target}", request.target)
        for name in self.without:
            response.headers.pop(name, None)
        if self.content_length is not None:
            response.size = self.content_length
        if self.endless:
            response.body = _repeat(response.body)
        return response

    def dripped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The body at this fault's pace and length."""
        left = self.truncate
        for chunk in chunks:
            step = self.drip_size if self.drip else _PIECE
            for at in range(0, len(chunk), step):
                piece = chunk[at : at + step]
                if self.drip:
                    time.sleep(self.drip)
                if left is not None:
                    piece = piece[:left]
                    left -= len(piece)
                yield piece
                if left == 0:
                    return


def _repeat(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unit = b"".join(chunks) or b" "
    unit *= max(1, _PIECE // len(unit))
    sent = 0
    while sent < _ENDLESS_CAP:
        yield unit
        sent += len(unit)


def redirect(
    pattern: str,
    location: str,
    *,
    status: int = 307,
    on: Collection[int] | None = None,
    method: str | None = None,
) -> Fault:
    """Send matching requests elsewhere: ``f"{other.url}{{target}}"`` keeps path and query."""
    return Fault(
        pattern=pattern, method=method, on=on, status=status, headers={"Location": location}
    )
