"""An OCI registry on loopback that serves content stores, and misbehaves as scripted.

``FakeRegistry`` is a context manager; ``requests`` holds every request as it came, whatever was
answered. From a shell: ``python -m tests.fakes.registry --demo`` or ``--layout DIR``.
"""

from __future__ import annotations

import argparse
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes import demo
from tests.fakes.content import ContentStore, read_layout
from tests.fakes.distribution import Distribution, Features
from tests.fakes.faults import Fault
from tests.fakes.http_values import Request, Response
from tests.fakes.registry_auth import Auth
from tests.fakes.tls import TlsFiles

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends RST."""
_NO_BODY = frozenset({204, 304})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A handler that drips for minutes must not hold up the end of a test.
    block_on_close = False

    def __init__(self, owner: FakeRegistry, port: int, context: ssl.SSLContext | None) -> None:
        self.owner = owner
        self._context = context
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            # The handshake happens on the handler's thread, with its first read.
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        if not isinstance(sys.exception(), OSError):  # clients hang up: that is their right
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; without this each answer waits for a delayed ACK.
    disable_nagle_algorithm = True
    server: _Server  # type: ignore[mutable-override]

    def log_message(self, *_: object) -> None:
        """Requests are recorded, not printed."""

    def _serve(self) -> None:
        owner = self.server.owner
        request = Request(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        response, fault = owner.respond(request)
        if fault is not None and fault.delay:
            time.sleep(fault.delay)
        if fault is not None and fault.reset and fault.truncate is None:
            self._hang_up(reset=True)
            return
        self._send(response, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, response: Response, fault: Fault | None) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        endless = fault is not None and fault.endless
        if endless:
            self.close_connection = True
        elif response.status not in _NO_BODY:
            self.send_header("Content-Length", str(response.size))
        self.end_headers()
        if self.command == "HEAD" or response.status in _NO_BODY:
            return
        body: Iterable[bytes] = response.body if fault is None else fault.dripped(response.body)
        sent = 0
        for chunk in body:
            self.wfile.write(chunk)
            sent += len(chunk)
        if fault is not None and fault.truncate is not None:
            self._hang_up(reset=fault.reset)
        elif sent != response.size:
            # The length was a lie; the connection cannot be used for another request.
            self.close_connection = True

    def _hang_up(self, *, reset: bool) -> None:
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # A plain close of the descriptor: no shutdown, no TLS goodbye, so that RST is sent.
            socket.close(self.connection.detach())
        self.close_connection = True


class FakeRegistry:
    """A registry; start it with ``with``, or ``start()`` and ``stop()``.

    ``repositories`` may be changed while it runs; ``faults`` are tried in order.
    """

    def __init__(
        self,
        repositories: dict[str, ContentStore] | None = None,
        *,
        features: Features | None = None,
        auth: Auth | None = None,
        tls: TlsFiles | None = None,
        faults: Sequence[Fault] = (),
        port: int = 0,
        dialect: Callable[[dict[str, ContentStore], Features], Distribution] = Distribution,
    ) -> None:
        self.repositories = {} if repositories is None else repositories
        self.features = features or Features()
        self.auth = auth
        self.faults = list(faults)
        self.requests: list[Request] = []
        self.distribution = dialect(self.repositories, self.features)
        self._lock = threading.RLock()
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(self, port, None if tls is None else tls.server_context())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    # Where it is -----------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``: the registry part of a reference."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"{self._scheme}://{self.host}"

    def reference(self, repository: str, tag_or_digest: str) -> str:
        """A full image reference."""
        separator = "@" if ":" in tag_or_digest else ":"
        return f"{self.host}/{repository}{separator}{tag_or_digest}"

    def store(self, repository: str) -> ContentStore:
        """The store of a repository, made if need be."""
        return self.repositories.setdefault(repository, ContentStore())

    # What it was asked -----------------------------------------------------------------------

    def seen(self, pattern: str = "", method: str | None = None) -> list[Request]:
        """The requests whose target matches, in order."""
        with self._lock:
            recorded = list(self.requests)
        return [
            request
            for request in recorded
            if re.search(pattern, request.target) and method in {None, request.method}
        ]

    def respond(self, request: Request) -> tuple[Response, Fault | None]:
        """Record a request, and answer it honestly or not."""
        with self._lock:
            self.requests.append(request)
            fault = next((one for one in self.faults if one.strikes(request)), None)
            if fault is not None and fault.before is not None:
                fault.before()
            if fault is not None and fault.swallow:
                response = Response.error(500, "UNKNOWN", "scripted fault")
            else:
                response = self._honest(request)
            if fault is not None:
                response = fault.spoil(request, response)
                if fault.after is not None:
                    fault.after()
            return response, fault

    def _honest(self, request: Request) -> Response:
        if self.auth is not None:
            response = self.auth.token(request) or self.auth.refuse(request, self.url)
            if response is not None:
                return response
        return self.distribution.answer(request)

    # Life ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the first line printed is the address."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.registry", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--layout", type=Path, help="serve this OCI image layout")
    what.add_argument("--demo", action="store_true", help="serve acme/app:1.0.0, which runs")
    parser.add_argument("--repository", default="acme/app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--trust", type=Path, help="write what verifies the demo into this folder")
    parser.add_argument("--no-referrers", action="store_true", help="without the referrers API")
    options = parser.parse_args(arguments)
    store = demo.build(options.trust) if options.demo else read_layout(options.layout)
    registry = FakeRegistry(
        {options.repository: store},
        features=Features(referrers=not options.no_referrers),
        port=options.port,
    )
    with registry:
        for tag in sorted(store.tags):
            print(registry.reference(options.repository, tag), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
