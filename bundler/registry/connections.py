"""Connections to one server: our TLS context, and the watchdog beside each answer.

`requests` decides about authorities anew with each request, and adds its own; here the context
alone decides. `urllib3` hands a socket to the answer read from it, so the watch begins just before.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from bundler.registry.watchdog import Watch, Watchdog

_POOL_SIZE = 16


def watch_of(response: requests.Response) -> Watch:
    """Return what looks after the connection that this answer is read from."""
    return cast("Watch", vars(response.raw)["watch"])


class WatchedAdapter(HTTPAdapter):
    """A `requests` adapter for one server."""

    def __init__(self, context: ssl.SSLContext, watchdog: Watchdog) -> None:
        self._context = context
        self._pools = _watched_pools(watchdog)
        super().__init__(pool_connections=1, pool_maxsize=_POOL_SIZE)

    # The signatures below are the library's.

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Make the pool of direct connections."""
        super().init_poolmanager(
            connections, maxsize, block=block, ssl_context=self._context, **kwargs
        )
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401
        """Make the pool of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: object, cert: object = None
    ) -> Any:  # noqa: ANN401
        """Name the server only; nothing about TLS, which the context decides."""
        del verify, cert
        parts = urlsplit(request.url or "")
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, {}

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Leave the context's own verification as it is: required."""


def _watched(
    connection: HTTPConnection, answer: Callable[[], HTTPResponse], watchdog: Watchdog
) -> HTTPResponse:
    """Await an answer under watch, which goes on over its body."""
    watch = watchdog.watch(connection.sock)
    try:
        response = answer()
    except BaseException:
        watchdog.forget(watch)
        if watch.cut:
            raise TimeoutError("cut by the watchdog") from None
        raise
    vars(response)["watch"] = watch
    return response


def _watched_pools(watchdog: Watchdog) -> dict[str, type[HTTPConnectionPool]]:
    class PlainConnection(HTTPConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself
            return _watched(self, super().getresponse, watchdog)

    class TlsConnection(HTTPSConnection):
        """Its handshake is watched through a second handle: TLS takes the first one over."""

        handle: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            self.handle = made.dup()
            self.greeting = watchdog.watch(self.handle)
            return made

        def connect(self) -> None:
            try:
                super().connect()
            except BaseException:
                if self.handle is not None and self.greeting.cut:
                    raise TimeoutError("cut by the watchdog") from None
                raise
            finally:
                if self.handle is not None:
                    watchdog.forget(self.greeting)
                    self.handle.close()
                    self.handle = None

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself
            return _watched(self, super().getresponse, watchdog)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection  # type: ignore[mutable-override]  # as urllib3 itself

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection  # type: ignore[mutable-override]  # as urllib3 itself

    return {"http": PlainPool, "https": TlsPool}
