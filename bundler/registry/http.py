"""One HTTP request, one answer: bounded in time, bounded in size, no redirect followed.

This is the only door to the network on the way to registries. Where an answer leads on to (a
redirect, a token service) is decided by the caller, who asks here again; nothing is sent to a place
that was not named in that call: no cookies, no `~/.netrc`, no credentials of another host.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3

from bundler.errors import (
    RemoteError,
    RemoteLimitError,
    RemoteProtocolError,
    RemoteRedirectError,
    RemoteStalledError,
    RemoteTlsError,
    RemoteTruncatedError,
    RemoteUnreachableError,
)
from bundler.registry.connections import WatchedAdapter, watch_of
from bundler.registry.proxy import proxies_for
from bundler.registry.settings import RegistrySettings
from bundler.registry.tls import context_for, trusting_nobody
from bundler.registry.watchdog import Watchdog
from loader.errors import shown
from loader.limits import KIB

_CHUNK: Final = 256 * KIB
_WRAPPED_MAX: Final = 8
"""How many times libraries may have wrapped what went wrong."""
_FAILURES: Final = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # reading from a connection that the watchdog has shut
)


def origin_of(url: str) -> tuple[str, str]:
    """Return scheme and host with port: what two URLs must share to be the same server's.

    Raises:
        RemoteProtocolError: not an http(s) URL, or one with a user's name in it.
    """
    parts = _split(url)
    default = {"https": ":443", "http": ":80"}[parts.scheme]
    return parts.scheme, parts.netloc.lower().removesuffix(default)


def resolved(base: str, location: str) -> str:
    """Return where a `Location` or `Link` leads.

    Raises:
        RemoteProtocolError: not an address.
    """
    try:
        return urljoin(base, location)
    except ValueError as e:
        raise RemoteProtocolError(
            "not an address", where=place_of(base), found=shown(location)
        ) from e


def place_of(url: str) -> str:
    """Return a URL for messages: without its query, where CDNs keep their signatures."""
    parts = urlsplit(url)
    return shown(f"{parts.scheme}://{parts.hostname or ''}{_port(parts)}{parts.path}").strip("'")


def _port(parts: SplitResult) -> str:
    try:
        return "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return ""


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0 and "@" not in parts.netloc
        if parts.scheme in {"http", "https"} and named:
            return parts
    except ValueError:  # a port that is none, half an IPv6 address
        pass
    raise RemoteProtocolError("not an address of a server", found=shown(url))


class Body:
    """What a request carries: its size is known, and it can be made again for another try."""

    def __init__(self, size: int, make: Callable[[], Iterator[bytes]]) -> None:
        self._size = size
        self._make = make

    @classmethod
    def of(cls, raw: bytes) -> Body:
        """Return these bytes as a body."""
        return cls(len(raw), lambda: iter((raw,)))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return self._make()


class Answer:
    """Status and headers of an answer, and its body while it still flows. Close it."""

    def __init__(self, response: requests.Response, *, url: str, watchdog: Watchdog) -> None:
        self._response = response
        self._watchdog = watchdog
        self._watch = watch_of(response)
        self.url = url
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        """Names in any case."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back, or hang up if the body is not read to its end."""
        self._watchdog.forget(self._watch)
        self._response.close()

    @property
    def size(self) -> int | None:
        """What the answer says of its body's size, or None."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None  # noqa: PLR2004

    def chunks(self) -> Generator[bytes]:
        """Yield the body as it arrives.

        Raises:
            RemoteProtocolError: it is encoded; digests are of what is stored, not of that.
            RemoteStalledError, RemoteTruncatedError: it does not come to its end.
        """
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteProtocolError(
                "a body in an encoding that nobody asked for",
                where=place_of(self.url),
                found=shown(self.headers["Content-Encoding"]),
            )
        raw = self._response.raw
        while True:
            try:
                chunk: bytes = raw.read1(_CHUNK, decode_content=False)
            except _FAILURES as e:
                self._broken(e)
            if not chunk:
                if self._watch.cut:
                    self._broken(None)
                return
            self._watch.arrived += len(chunk)
            yield chunk

    def read(self, *, size_max: int, what: str) -> bytes:
        """Return the whole body.

        Raises:
            RemoteLimitError: it is larger than `size_max`; the rest is not read.
            RemoteError: as `chunks`.
        """
        found = bytearray()
        if self.size is None or self.size <= size_max:
            for chunk in self.chunks():
                found += chunk
                if len(found) > size_max:
                    break
            else:
                return bytes(found)
        raise RemoteLimitError(
            f"{what} is too large", where=place_of(self.url), expected=f"at most {size_max} bytes"
        )

    def _broken(self, error: Exception | None) -> NoReturn:
        timeout = isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError)
        if self._watch.cut or timeout:
            raise RemoteStalledError(
                "the server sends nothing, or next to nothing", where=place_of(self.url)
            ) from error
        raise RemoteTruncatedError(
            "the connection ended before the body did", where=place_of(self.url)
        ) from error


class Http:
    """Sends requests; one session, with its connections and TLS, for each server."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], requests.Session] = {}
        timing = settings.timing
        self._watchdog = Watchdog(
            span_seconds=timing.progress_seconds, bytes_min=timing.progress_bytes
        )

    def close(self) -> None:
        """Cut what is being read, and close every connection."""
        self._watchdog.close()
        with self._lock:
            for session in self._sessions.values():
                session.close()

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send a GET to this URL alone.

        Raises:
            RemoteRedirectError: plain HTTP to a server that it was not allowed for.
            RemoteError: no answer.
        """
        return self._send("GET", url, headers, None)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Answer:
        """Send a request of any method, with a body where there is one; see `get`."""
        # Without bytes to send, `requests` says a length of 0 by itself, where a method has one.
        return self._send(method, url, headers, body if body is not None and len(body) else None)

    def post(self, url: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Answer:
        """Send a form to this URL alone; see `get`."""
        return self._send("POST", url, headers, form)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Mapping[str, str] | Body | None,
    ) -> Answer:
        origin = origin_of(url)
        if origin[0] == "http" and not self._settings.allows_plain_http(origin[1]):
            raise RemoteRedirectError(
                "plain HTTP, which was not allowed for this host",
                where=place_of(url),
                hint=f"--plain-http {shown(origin[1])} allows it",
            )
        proxies = proxies_for(url, self._settings.environment)
        session = self._session(origin, tls=origin[0] == "https" or bool(proxies))
        timing = self._settings.timing
        try:
            prepared = session.prepare_request(
                requests.Request(
                    method,
                    url,
                    headers={
                        "User-Agent": self._settings.user_agent,
                        "Accept-Encoding": "identity",
                        **headers,
                    },
                    data=data,
                )
            )
            response = session.send(
                prepared,
                proxies=proxies,
                timeout=(timing.connect_seconds, timing.read_seconds),
                stream=True,
                allow_redirects=False,
            )
        except _FAILURES as e:
            raise _unanswered(e, url) from e
        return Answer(response, url=url, watchdog=self._watchdog)

    def _session(self, origin: tuple[str, str], *, tls: bool) -> requests.Session:
        with self._lock:
            session = self._sessions.get(origin)
            if session is None:
                session = _session()
                # To read all authorities of a system takes as long as many requests do.
                context = context_for(origin[1], self._settings) if tls else trusting_nobody()
                adapter = WatchedAdapter(context, self._watchdog)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
                self._sessions[origin] = session
            return session


def _session() -> requests.Session:
    """Return a session that takes nothing from its surroundings, and no cookies.

    Some registries set one, take whoever sends it back for a browser, and want more of them.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _cause(error: BaseException) -> str:
    """Return what the system or OpenSSL said, without what libraries wrapped around it."""
    for _ in range(_WRAPPED_MAX):
        inner = (getattr(error, "reason", None), *error.args[:1], error.__cause__)
        found = next((one for one in inner if isinstance(one, BaseException)), None)
        if found is None:
            break
        error = found
    words = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return shown(words)[1:-1]


def _unanswered(error: Exception, url: str) -> RemoteError:
    place, text = place_of(url), _cause(error)
    if isinstance(error, requests.exceptions.SSLError):
        return RemoteTlsError(
            "no TLS connection that could be trusted",
            where=place,
            found=text,
            hint="--ca-file names a private authority; --plain-http HOST a registry without TLS",
        )
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ConnectionError):
        return RemoteUnreachableError("no connection", where=place, found=text)
    if isinstance(error, requests.exceptions.ReadTimeout):
        return RemoteStalledError("the server does not answer", where=place)
    if isinstance(error, requests.exceptions.InvalidSchema):
        return RemoteUnreachableError(
            "a proxy of a kind that is not supported", where=place, found=text
        )
    if isinstance(error, ValueError):
        return RemoteProtocolError("an address that cannot be asked", where=place, found=text)
    return RemoteUnreachableError("no answer", where=place, found=text)
