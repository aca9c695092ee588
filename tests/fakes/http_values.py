"""What a fake server takes in and gives out: one request, one response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came; header names in lower case."""

    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    def query(self, name: str) -> str | None:
        """The first value of a query parameter."""
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name)
        return found[0] if found else None

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return parse_qs(urlsplit(self.target).query).get(name, [])

    @property
    def authorization(self) -> str | None:
        """The Authorization header, if any was sent."""
        return self.headers.get("authorization")


@dataclass(slots=True, kw_only=True)
class Response:
    """A response to be; faults change it before it is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    size: int = 0
    """What ``Content-Length`` says."""

    @classmethod
    def of(cls, status: int, raw: bytes = b"", **headers: str) -> Response:
        """A response with a body of bytes; ``content_type`` becomes ``Content-Type``."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return cls(status=status, headers=named, body=[raw], size=len(raw))

    @classmethod
    def json(cls, status: int, value: object, content_type: str = "application/json") -> Response:
        """A response with a JSON body."""
        return cls.of(status, json.dumps(value).encode(), content_type=content_type)

    @classmethod
    def error(cls, status: int, code: str, message: str = "") -> Response:
        """An error in the distribution specification's shape."""
        return cls.json(status, {"errors": [{"code": code, "message": message or code.lower()}]})
