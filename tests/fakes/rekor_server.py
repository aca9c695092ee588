"""A Rekor v1 log over HTTP on loopback: serves the entries of a signing world's log, or lies.

``lie`` gets what an honest log would answer and the entry, and returns another document, or raw
bytes. ``status`` answers every question with that status; ``endless`` never ends a body.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.sigworld.encoding import Json, b64, hex_digest
from tests.fakes.sigworld.rekor import Entry, RekorV1

Lie = Callable[[Json, Entry], Json | bytes]


def answer(entry: Entry, *, size: int | None = None) -> Json:
    """What ``GET /api/v1/log/entries?logIndex=`` says of an entry (rekor, openapi.yaml)."""
    size = entry.log.tree.size if size is None else size
    path = entry.log.tree.inclusion(entry.leaf_index, size)
    promise = entry.promise()
    return {
        "24296fb24b8ad77a" + hex_digest(b"\x00" + entry.body): {
            "body": b64(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": entry.log.log_id.hex(),
            "logIndex": entry.log_index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": entry.log.checkpoint(size),
                    "hashes": [node.hex() for node in path],
                    "logIndex": entry.leaf_index,
                    "rootHash": entry.log.tree.head(size).hex(),
                    "treeSize": size,
                },
                "signedEntryTimestamp": "" if promise is None else b64(promise),
            },
        }
    }


class FakeRekor:
    """``with FakeRekor(world.rekor1) as log: log.url``; ``asked`` are the indices asked for."""

    def __init__(
        self,
        log: RekorV1,
        *,
        lie: Lie | None = None,
        statuses: list[int] | None = None,
        status: int = 200,
        endless: bool = False,
    ) -> None:
        self.log = log
        self.lie = lie
        self.status = status
        self.statuses = list(statuses or [])
        """One for each of the first questions; then `status`."""
        self.endless = endless
        self.asked: list[int] = []
        self.told: list[dict[str, str]] = []
        """The headers of each question; every answer asks to be remembered by a cookie."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing on the terminal."""

            def do_GET(self) -> None:
                owner.serve(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What a client is given as the log's base URL."""
        return f"http://{self.host}"

    def serve(self, handler: Any) -> None:  # noqa: ANN401
        """Answer one question."""
        parts = urlsplit(handler.path)
        index = int(parse_qs(parts.query).get("logIndex", ["-1"])[0])
        self.asked.append(index)
        self.told.append({name.lower(): value for name, value in handler.headers.items()})
        status = self.statuses.pop(0) if self.statuses else self.status
        entry = next((e for e in self.log.entries if e.log_index == index), None)
        if parts.path != "/api/v1/log/entries" or entry is None:
            status = 404
        body = b'{"code":%d,"message":"no"}' % status
        if status == 200 and entry is not None:
            said: Json | bytes = answer(entry)
            if self.lie is not None:
                said = self.lie(answer(entry), entry)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Set-Cookie", "who=you; Path=/")
            if status in {301, 302}:
                handler.send_header("Location", f"{self.url}/elsewhere")
            if not self.endless:
                handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            while self.endless:
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
