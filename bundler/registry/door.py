"""One repository's address, and how it is asked: who we are, what redirects and statuses mean.

Credentials go to the registry's own host alone. What may be elsewhere (a blob on a CDN) is asked
without them, and no challenge from there is answered (CVE-2020-15157).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

from bundler.errors import (
    RemoteAuthError,
    RemoteError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteRedirectError,
    RemoteUnavailableError,
)
from bundler.registry.http import Answer, Body, Http, origin_of, place_of, resolved
from bundler.registry.retry import retry_after_seconds
from bundler.registry.settings import RegistrySettings, api_host
from loader.errors import FormatError, shown
from loader.model import strictjson
from loader.model.fields import Fields

OK: Final = 200
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TIMEOUT: Final = 408
RATE: Final = 429
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SERVER_ERRORS: Final = range(500, 600)
_NEXT_PAGE: Final = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_LINK_LENGTH_MAX: Final = 8192


class Authenticator(Protocol):
    """Who we are to one registry."""

    def header(self, repository: str) -> Mapping[str, str]:
        """Return the header to send with a request for this repository; none to begin with."""

    def renew(self, challenge: str, repository: str, sent: Mapping[str, str]) -> None:
        """Get what the registry asks for, unless another thread has, since `sent` was made.

        Raises:
            RemoteAuthError: there is nothing to get.
            RemoteError: the token service.
        """


class Door:
    """The one way to a repository of a registry."""

    def __init__(
        self,
        registry: str,
        repository: str,
        *,
        http: Http,
        authenticator: Authenticator,
        settings: RegistrySettings,
    ) -> None:
        host = api_host(registry)
        scheme = "http" if settings.allows_plain_http(host) else "https"
        self.registry = registry
        self.repository = repository
        self.base = f"{scheme}://{host}/v2/{repository}"
        self.origin = origin_of(self.base)
        self.settings = settings
        self._http = http
        self._authenticator = authenticator

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def get(
        self, url: str, headers: Mapping[str, str], *, elsewhere: bool, method: str = "GET"
    ) -> Answer:
        """Ask; answer a challenge once; follow redirects, to other hosts only if `elsewhere`."""
        for _ in range(self.settings.bounds.redirect_count_max + 1):
            answer = self._ask(method, url, headers)
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return answer
            target = resolved(url, answer.headers["Location"])
            if origin_of(target) != self.origin and not elsewhere:
                return answer
            answer.close()
            if url.startswith("https:") and not target.startswith("https:"):
                raise RemoteRedirectError(
                    "a redirect from HTTPS to plain HTTP",
                    where=place_of(url),
                    found=place_of(target),
                )
            url = target
        raise RemoteRedirectError("redirected too often", where=place_of(url))

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Answer:
        """Write, and answer a challenge once.

        No redirect is followed: what we write goes to the registry that was named, or nowhere.

        Raises:
            RemoteRedirectError: the address is not the registry's own.
            RemoteError: no answer.
        """
        if origin_of(url) != self.origin:
            raise RemoteRedirectError(
                "an upload is said to go to another host",
                where=self.base,
                found=place_of(url),
                hint="a registry behind a proxy must know its own address"
                if url.startswith("http:") and self.base.startswith("https:")
                else "",
            )
        sent = self._authenticator.header(self.repository)
        answer = self._http.send(method, url, {**headers, **sent}, body)
        if answer.status != UNAUTHORIZED:
            return answer
        with answer:
            challenge = answer.headers.get("WWW-Authenticate", "")
        self._authenticator.renew(challenge, self.repository, sent)
        renewed = self._authenticator.header(self.repository)
        return self._http.send(method, url, {**headers, **renewed}, body)

    def expect(self, answer: Answer, *statuses: int) -> None:
        """Check that an answer has one of these statuses.

        Raises:
            RemoteError: another one; the class says what it means, and whether to try again.
        """
        if answer.status not in statuses:
            raise _status_error(answer, self.settings.bounds.error_size_max)

    def next_page(self, answer: Answer) -> str | None:
        """Return where a list goes on, or None at its end.

        Raises:
            RemoteRedirectError: elsewhere than in this repository.
        """
        link = answer.headers.get("Link")
        if link is None:
            return None
        if len(link) > _LINK_LENGTH_MAX:  # the pattern's time grows with its square
            raise RemoteProtocolError("a Link header is too long", where=place_of(answer.url))
        found = _NEXT_PAGE.search(link)
        if found is None:
            return None
        following = resolved(answer.url, found.group(1))
        own = urlsplit(self.base).path
        if origin_of(following) != self.origin or not urlsplit(following).path.startswith(own):
            raise RemoteRedirectError(
                "the next page of a list is said to be elsewhere",
                where=place_of(answer.url),
                found=place_of(following),
            )
        return following

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        if origin_of(url) != self.origin:
            return self._http.send(method, url, headers)
        sent = self._authenticator.header(self.repository)
        answer = self._http.send(method, url, {**headers, **sent})
        if answer.status != UNAUTHORIZED:
            return answer
        with answer:
            challenge = answer.headers.get("WWW-Authenticate", "")
        self._authenticator.renew(challenge, self.repository, sent)
        renewed = self._authenticator.header(self.repository)
        return self._http.send(method, url, {**headers, **renewed})


def _status_error(answer: Answer, size_max: int) -> RemoteError:
    status, place = answer.status, place_of(answer.url)
    found = f"status {status}{_said(answer, size_max)}"
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return RemoteAuthError(
            "the registry refuses us",
            where=place,
            found=found,
            hint="log in with docker, podman or skopeo; or the repository does not exist",
        )
    if status == NOT_FOUND:
        return RemoteNotFoundError("the registry does not have it", where=place, found=found)
    after = retry_after_seconds(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    if status == RATE:
        return RemoteRateLimitError(
            "the registry limits our requests",
            where=place,
            found=found,
            hint="wait, or log in: limits are higher then",
            after_seconds=after,
        )
    if status in _SERVER_ERRORS or status == TIMEOUT:
        return RemoteUnavailableError(
            "the registry cannot answer now", where=place, found=found, after_seconds=after
        )
    if status in _REDIRECTS:
        return RemoteRedirectError(
            "a redirect to another host",
            where=place,
            found=shown(answer.headers.get("Location", "")),
        )
    return RemoteProtocolError("an answer that means nothing here", where=place, found=found)


def _said(answer: Answer, size_max: int) -> str:
    """Return the registry's own code and words for an error, where it has such."""
    try:
        raw = answer.read(size_max=size_max, what="an error")
        document = strictjson.parse_object(
            raw, what="an error", size_max=size_max, keys="exact", numbers="any"
        )
        for item in Fields(document, "").each("errors", count_max=16):
            code, message = item.optional_text("code"), item.optional_text("message")
            return f": {shown(code or '', limit=60)} {shown(message or '', limit=120)}"
    except (FormatError, RemoteError):
        pass
    return ""
