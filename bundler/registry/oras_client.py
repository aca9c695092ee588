"""The one module that imports `oras`: its answers to a registry's challenges.

Taken from oras-py (0.2.43): the exchange of a challenge for a token, imported when a registry asks
for one. Not taken, each for its reason (docs/adr/0006): its sessions, which come with a validator
of JSON schemas that nobody here needs; its downloads check no digest and have no time-outs; its
configuration reader knows no `identitytoken`, no `auth.json` and not the order of docker's helpers,
and lets `ORAS_USER` and `ORAS_PASS` go to any host; it keeps one token for all repositories; it
sends credentials to whatever realm a server names. So `oras` gets our credentials, a challenge that
we have looked at, and `_TokenDoor` in place of a session.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import requests

from bundler.errors import RemoteAuthError, RemoteProtocolError, RemoteUnavailableError
from bundler.registry.challenge import Challenge, parse_challenges, reading_scope, writing_scope
from bundler.registry.credentials import Credential, Credentials
from bundler.registry.door import Door
from bundler.registry.http import Answer, Http, origin_of, place_of
from bundler.registry.repository import RegistryRepository
from bundler.registry.retry import Retry, retry_after_seconds
from bundler.registry.settings import RegistrySettings
from bundler.registry.writer import RegistryWriter
from loader.errors import FormatError, shown
from loader.model import strictjson
from loader.model.fields import Fields
from loader.model.reference import Reference

_OK: Final = 200
_SERVER_ERRORS: Final = range(500, 600)
_RATE: Final = 429
_CLIENT_ID: Final = "airlock"


class RegistryClient:
    """Opens repositories; one authenticator for each registry, one HTTP door for all."""

    def __init__(
        self,
        settings: RegistrySettings,
        credentials: Credentials,
        *,
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http = Http(settings)
        self._retry = Retry(timing=settings.timing, sleep=sleep)
        self._lock = threading.Lock()
        self._authenticators: dict[tuple[str, bool], OrasAuthenticator] = {}

    def close(self) -> None:
        """Cut what is being read, and close every connection."""
        self._http.close()

    def repository(self, reference: Reference, *, writes: bool = False) -> RegistryRepository:
        """Return the repository that a reference names; nothing is asked of it yet.

        Args:
            reference: what names it.
            writes: whether it is about to be written to. Then it is read with the writer's token:
                Quay, and whoever else hides what one may not see, refuses to say that a repository
                is not there yet, and makes it for who asks for a token to push.
        """
        return RegistryRepository(self._door(reference, writes=writes), retry=self._retry)

    def writer(self, reference: Reference, *, writes: bool = True) -> RegistryWriter:
        """Return the repository that a reference names, to write to; nothing is asked of it yet.

        It has a token of its own: one to push is not held by what only reads.

        Args:
            reference: what names it.
            writes: whether anything will be written; who only looks what is there needs no token
                to push, and gets none.
        """
        return RegistryWriter(self._door(reference, writes=writes), retry=self._retry)

    def _door(self, reference: Reference, *, writes: bool) -> Door:
        key = reference.registry, writes
        with self._lock:
            authenticator = self._authenticators.get(key)
            if authenticator is None:
                authenticator = OrasAuthenticator(
                    reference.registry,
                    self._credentials,
                    self._http,
                    self._settings,
                    scope_of=writing_scope if writes else reading_scope,
                )
                self._authenticators[key] = authenticator
        return Door(
            reference.registry,
            reference.repository,
            http=self._http,
            authenticator=authenticator,
            settings=self._settings,
        )


class OrasAuthenticator:
    """Who we are to one registry; a token for each of its repositories."""

    def __init__(
        self,
        registry: str,
        credentials: Credentials,
        http: Http,
        settings: RegistrySettings,
        *,
        scope_of: Callable[[str, str], str] = reading_scope,
    ) -> None:
        """Make ready.

        Args:
            registry: whose it is.
            credentials: ours.
            http: how token services are asked.
            settings: how registries are reached.
            scope_of: what to ask a token for, from what the registry asks and the repository.
        """
        self._scope_of = scope_of
        self._registry = registry
        self._credentials = credentials
        self._http = http
        self._settings = settings
        self._lock = threading.Lock()
        self._headers: dict[str, dict[str, str]] = {}

    def header(self, repository: str) -> Mapping[str, str]:
        """Return what got through last time; see `Authenticator`."""
        with self._lock:
            return self._headers.get(repository, {})

    def renew(self, challenge: str, repository: str, sent: Mapping[str, str]) -> None:
        """Exchange a challenge for a header; see `Authenticator`."""
        with self._lock:
            if self._headers.get(repository, {}) != sent:
                return  # another thread was here
            self._headers[repository] = self._exchange(challenge, repository)

    def _exchange(self, header: str, repository: str) -> dict[str, str]:
        credential = self._credentials.for_registry(self._registry, repository)
        challenges = parse_challenges(header)
        for challenge in challenges:
            if challenge.scheme == "bearer":
                return self._bearer(challenge, repository, credential)
        if any(challenge.scheme == "basic" for challenge in challenges):
            return self._basic(credential)
        raise RemoteAuthError(
            "the registry asks for a kind of login that is not known",
            where=self._registry,
            expected="Bearer or Basic",
            found=shown(header),
        )

    def _basic(self, credential: Credential | None) -> dict[str, str]:
        if credential is None or not credential.user:
            raise RemoteAuthError(
                "the registry wants a login, and there is none for it",
                where=self._registry,
                hint=f"docker login {self._registry}, or podman login",
            )
        backend = _backend("basic")
        backend.set_basic_auth(credential.user, credential.password)
        headers, _ = backend.authenticate_request(None, {})
        return dict(headers)

    def _bearer(
        self, challenge: Challenge, repository: str, credential: Credential | None
    ) -> dict[str, str]:
        if credential is not None and credential.registry_token:
            return {"Authorization": f"Bearer {credential.registry_token}"}
        self._expect_realm(challenge.realm)
        scope = self._scope_of(challenge.scope, repository)
        for text in (challenge.realm, challenge.service, scope):
            if '"' in text or not text.isascii() or not text.isprintable():
                raise RemoteProtocolError(
                    "the registry's challenge cannot be passed on",
                    where=self._registry,
                    found=shown(text),
                )
        door = _TokenDoor(self._http, self._settings, registry=self._registry)
        if credential is not None and credential.identity_token:
            return _bearer_header(
                door.refresh(challenge, scope, credential.identity_token), self._registry
            )
        backend = _backend("token", session=door)
        if credential is not None:
            backend.set_basic_auth(credential.user, credential.password)
        # The challenge as understood and judged here, so that oras cannot read another one.
        judged = requests.Response()
        judged.headers["Www-Authenticate"] = f'Bearer realm="{challenge.realm}",scope="{scope}"' + (
            f',service="{challenge.service}"' if challenge.service else ""
        )
        backend.authenticate_request(judged, {})
        return _bearer_header(backend.token, self._registry)

    def _expect_realm(self, realm: str) -> None:
        """Check that a login may be sent there: over TLS, or to where HTTP was allowed."""
        scheme, host = origin_of(realm)
        if scheme != "https" and not self._settings.allows_plain_http(host):
            raise RemoteAuthError(
                "the registry wants our login sent over plain HTTP",
                where=self._registry,
                found=place_of(realm),
                hint=f"--plain-http {shown(host)} allows it",
            )


def _backend(kind: str, *, session: _TokenDoor | None = None) -> Any:  # noqa: ANN401  (untyped)
    """Return what answers a challenge of this kind."""
    import oras.auth  # noqa: PLC0415  (most registries ask nothing of who only reads)

    # oras writes its complaints to the terminal; ours say the same, once, with a place.
    logging.getLogger("oras.logger").setLevel(logging.CRITICAL + 1)
    return oras.auth.get_auth_backend(kind, session=session)


def _bearer_header(token: object, registry: str) -> dict[str, str]:
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RemoteProtocolError("the token service gave no token", where=registry)
    return {"Authorization": f"Bearer {token}"}


class _TokenAnswer:
    """As much of a `requests.Response` as `oras` looks at."""

    status_code: Final = _OK
    text: Final = ""

    def __init__(self, document: dict[str, str]) -> None:
        self._document = document

    def json(self) -> dict[str, str]:
        return self._document


class _TokenDoor:
    """What `oras` takes for a session: one bounded GET of the token service, no redirects."""

    def __init__(self, http: Http, settings: RegistrySettings, *, registry: str) -> None:
        self._http = http
        self._settings = settings
        self._registry = registry

    def get(
        self, url: str, *, headers: Mapping[str, str], params: Mapping[str, str], verify: object
    ) -> _TokenAnswer:
        """Ask for a token, with a login."""
        del verify  # the context of this host decides
        kept = {name: headers[name] for name in ("Authorization", "Accept") if name in headers}
        query = ("&" if "?" in url else "?") + urlencode(params)
        with self._http.get(url + query, kept) as answer:
            return _TokenAnswer(self._read(answer))

    def request(
        self, method: str, url: str, *, params: Mapping[str, str], verify: object
    ) -> _TokenAnswer:
        """Ask for a token, as nobody in particular."""
        del method
        return self.get(url, headers={}, params=params, verify=verify)

    def refresh(self, challenge: Challenge, scope: str, identity_token: str) -> str | None:
        """Exchange a refresh token (distribution's OAuth2 endpoint), which `oras` cannot."""
        form = {
            "grant_type": "refresh_token",
            "service": challenge.service,
            "client_id": _CLIENT_ID,
            "scope": scope,
            "refresh_token": identity_token,
        }
        with self._http.post(challenge.realm, {"Accept": "application/json"}, form) as answer:
            document = self._read(answer)
        return document.get("access_token") or document.get("token")

    def _read(self, answer: Answer) -> dict[str, str]:
        place = place_of(answer.url)
        if answer.status in _SERVER_ERRORS or answer.status == _RATE:
            raise RemoteUnavailableError(
                "the token service cannot answer now",
                where=place,
                found=f"status {answer.status}",
                after_seconds=retry_after_seconds(
                    answer.headers.get("Retry-After"), answer.headers.get("Date")
                ),
            )
        if answer.status != _OK:
            raise RemoteAuthError(
                "the token service refuses us",
                where=place,
                found=f"status {answer.status}",
                hint=f"is the login for {self._registry} still right?",
            )
        raw = answer.read(size_max=self._settings.bounds.token_size_max, what="a token")
        try:
            document = strictjson.parse_object(
                raw, what="the answer", size_max=len(raw), keys="exact", numbers="any"
            )
            fields = Fields(document, "")
            return {
                name: fields.text(name, length_max=len(raw))
                for name in ("token", "access_token")
                if fields.has(name)
            }
        except FormatError:
            # Without the cause: its message may quote the token.
            raise RemoteProtocolError(
                "the token service answers something else", where=place
            ) from None
