"""A Notary server over HTTP on loopback: serves a fake repository's files as they were published.

It keeps every file under its hash, as the real one does, and the current ones under their names.
``files`` may be spoilt afterwards; ``lies`` replace an answer by its path's last part. ``token``
makes it ask for a bearer token that `/token` gives.
"""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.loopback import Loopback
from tests.fakes.notaryworld import Repository

_TUF = "/_trust/tuf/"


class FakeNotary(Loopback):
    """``with FakeNotary(repository) as server: server.url``; ``asked`` are the paths asked for."""

    def __init__(self, *repositories: Repository, token: str = "", endless: str = "") -> None:
        super().__init__()
        self.current: dict[tuple[str, str], bytes] = {}
        self.kept: dict[tuple[str, str], bytes] = {}
        self.lies: dict[str, bytes | int] = {}
        self.token = token
        self.endless = endless
        self.asked: list[str] = []
        self.scopes: list[str] = []
        for repository in repositories:
            self.publish(repository)

    def publish(self, repository: Repository) -> None:
        """Serve a repository's files; what was served before stays under its hash."""
        for name, raw in repository.files.items():
            self.current[repository.gun, f"{name}.json"] = raw
            role = name if not name.endswith(".root") else "root"
            digest = hashlib.sha256(raw).hexdigest()
            self.kept[repository.gun, f"{role}.{digest}.json"] = raw

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one question."""
        parts = urlsplit(handler.path)
        if parts.path == "/token":
            self.scopes += parse_qs(parts.query).get("scope", [])
            self._send(handler, 200, f'{{"token":"{self.token}"}}'.encode())
            return
        gun, found, name = unquote(parts.path).removeprefix("/v2/").partition(_TUF)
        self.asked.append(name)
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = (
                f'Bearer realm="{self.url}/token",service="notary",scope="repository:{gun}:pull"'
            )
            self._send(handler, 401, b"{}", challenge=challenge)
            return
        if name == self.endless:
            handler.send_response(200)
            handler.end_headers()
            self._endless(handler)
            return
        lie = self.lies.get(name)
        if isinstance(lie, int):
            self._send(handler, lie, b"{}")
            return
        raw = lie or self.current.get((gun, name)) or self.kept.get((gun, name))
        self._send(handler, 404 if raw is None or not found else 200, raw or b"{}")

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler, status: int, body: bytes, *, challenge: str = ""
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        if challenge:
            handler.send_header("WWW-Authenticate", challenge)
        handler.end_headers()
        handler.wfile.write(body)

    @staticmethod
    def _endless(handler: BaseHTTPRequestHandler) -> None:
        try:
            for _ in range(100_000):
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True
