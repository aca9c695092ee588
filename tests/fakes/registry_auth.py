"""How registries ask who is there: bearer tokens from a token service, or basic authentication."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Protocol

from tests.fakes.http_values import Request, Response

TOKEN_PATH = "/token"
_REPOSITORY = re.compile(r"^/v2/(?P<name>.+?)/(manifests|blobs|tags|referrers)(/|$)")


def needed_scope(request: Request) -> str | None:
    """``repository:<name>:pull`` or ``...:pull,push``; ``None`` for ``/v2/`` itself."""
    found = _REPOSITORY.match(request.path)
    if found is None:
        return None
    actions = "pull" if request.method in {"GET", "HEAD"} else "pull,push"
    return f"repository:{found['name']}:{actions}"


def basic_user(request: Request) -> tuple[str, str] | None:
    """User and password of a basic Authorization header."""
    scheme, _, encoded = (request.authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


class Auth(Protocol):
    """Who may do what."""

    def refuse(self, request: Request, base_url: str) -> Response | None:
        """The challenge for a request that may not pass."""

    def token(self, request: Request) -> Response | None:
        """The token service's answer, where there is one on this server."""


@dataclass(slots=True, kw_only=True)
class BasicAuth:
    """One user, one password."""

    user: str = "robot"
    password: str = "secret"

    def refuse(self, request: Request, base_url: str) -> Response | None:
        """A challenge unless user and password are right."""
        del base_url
        if basic_user(request) == (self.user, self.password):
            return None
        response = Response.error(401, "UNAUTHORIZED")
        response.headers["WWW-Authenticate"] = 'Basic realm="fake"'
        return response

    def token(self, request: Request) -> None:
        """There is no token service."""
        del request


@dataclass(slots=True, kw_only=True)
class TokenAuth:
    """The distribution project's token flow.

    Without ``user`` anybody gets a token to pull; with it, tokens cost a password. ``realm`` may
    point at another server; ``issued`` may be emptied to make tokens expire.
    """

    user: str | None = None
    password: str = "secret"
    service: str = "fake-registry"
    realm: str | None = None
    issued: dict[str, set[str]] = field(default_factory=dict)
    """Scopes by token."""
    answer_field: str = "token"
    """``token`` or ``access_token``: services differ."""

    def refuse(self, request: Request, base_url: str) -> Response | None:
        """A challenge unless a token covers what is asked."""
        scheme, _, token = (request.authorization or "").partition(" ")
        scope = needed_scope(request)
        held = self.issued.get(token) if scheme.lower() == "bearer" else None
        if held is not None and (scope is None or _covers(held, scope)):
            return None
        challenge = f'Bearer realm="{self.realm or base_url + TOKEN_PATH}",service="{self.service}"'
        if scope is not None:
            challenge += f',scope="{scope}"'
        if held is not None:
            challenge += ',error="insufficient_scope"'
        response = Response.error(401, "UNAUTHORIZED")
        response.headers["WWW-Authenticate"] = challenge
        return response

    def token(self, request: Request) -> Response | None:
        """A token for the scopes asked for."""
        if request.path != TOKEN_PATH:
            return None
        scopes = {part for text in request.queries("scope") for part in text.split()}
        known = self.user is None or basic_user(request) == (self.user, self.password)
        if not known:
            return Response.error(401, "UNAUTHORIZED")
        if self.user is None:
            scopes = {scope for scope in scopes if "push" not in scope}
        token = f"token-{len(self.issued) + 1}"
        self.issued[token] = scopes
        return Response.json(200, {self.answer_field: token, "expires_in": 300})


def _covers(held: set[str], wanted: str) -> bool:
    kind, _, rest = wanted.partition(":")
    name, _, actions = rest.rpartition(":")
    for scope in held:
        held_kind, _, held_rest = scope.partition(":")
        held_name, _, held_actions = held_rest.rpartition(":")
        if (held_kind, held_name) == (kind, name) and set(actions.split(",")) <= set(
            held_actions.split(",")
        ):
            return True
    return False
