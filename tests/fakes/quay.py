"""Quay as a dialect of the fake registry: what its source does where others do something else.

    a repository that is not there    401, not 404: who may not see it learns nothing
    a token to push                   makes the repository, if whoever asks may create one
    referrers                         404 until a tag keeps the subject, or an index that has one
    tags                              in pages, whose address is absolute and holds a sealed mark
    a tag that was deleted            404 TAG_EXPIRED
    uploads                           an absolute address; how far one is, is one byte too many;
                                      a chunk from elsewhere on is 416
    blobs                             from a CDN, by a redirect with a signature in it

(quay/quay at endpoints/v2: manifest.py, referrers.py, tag.py, blob.py, v2auth.py.)
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.fakes.content import INDEX_TYPES, ContentStore
from tests.fakes.distribution import Distribution, Features
from tests.fakes.http_values import Request, Response
from tests.fakes.registry_auth import TokenAuth, basic_user

AUTH_PATH = "/v2/auth"
_SCOPE = re.compile(r"repository:([.a-zA-Z0-9_/-]+):((?:push|pull|\*)(?:,(?:push|pull|\*))*)")


@dataclass(slots=True, kw_only=True)
class QuayAuth(TokenAuth):
    """Tokens from `/v2/auth` for robot accounts: less than what was asked, where less is due."""

    repositories: dict[str, ContentStore]
    user: str | None = "acme+robot"
    service: str = "quay.fake"
    may_create: bool = True
    public: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    """Repositories that a token has made."""

    def refuse(self, request: Request, base_url: str) -> Response | None:
        """A challenge, also for what is not there."""
        self.realm = base_url + AUTH_PATH
        return TokenAuth.refuse(self, request, base_url)

    def token(self, request: Request) -> Response | None:
        """A token for as much of the scopes as the robot may have."""
        if request.path != AUTH_PATH:
            return None
        known = basic_user(request) == (self.user, self.password)
        if request.authorization is not None and not known:
            return Response.error(401, "UNAUTHORIZED", "Could not find robot")
        granted: set[str] = set()
        for scope in request.queries("scope"):
            found = _SCOPE.fullmatch(scope)
            if found is None:
                return Response.error(400, "INVALID_REQUEST", "Unable to decode repository")
            actions = self._actions(found[1], found[2].split(","), known=known)
            granted.add(f"repository:{found[1]}:{','.join(actions)}")
        token = f"token-{len(self.issued) + 1}"
        self.issued[token] = granted
        return Response.json(200, {"token": token})

    def _actions(self, name: str, asked: list[str], *, known: bool) -> list[str]:
        if "push" in asked and known and name not in self.repositories and self.may_create:
            self.repositories[name] = ContentStore()
            self.created.append(name)
        there = name in self.repositories
        found = []
        if "push" in asked and there and known:
            found.append("push")
        if "pull" in asked and there and (known or name in self.public):
            found.append("pull")
        return found


class Quay(Distribution):
    """The API as Quay answers it."""

    def __init__(self, repositories: dict[str, ContentStore], features: Features) -> None:
        super().__init__(repositories, features)
        self.cdn = ""
        """Where blobs are fetched from; empty serves them here."""
        self.expired: set[str] = set()
        """Tags that were deleted."""

    def _tags(self, request: Request, name: str) -> Response:
        tags = sorted(self.repositories[name].tags)
        mark = request.query("next_page")
        start = int(base64.urlsafe_b64decode(mark)) if mark else 0
        limit = self.features.tags_page or 100
        response = Response.json(200, {"name": name, "tags": tags[start : start + limit]})
        if start + limit < len(tags):
            sealed = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
            query = urlencode({"n": limit, "next_page": sealed})
            there = f"{_own(request)}/v2/{name}/tags/list?{query}"
            response.headers["Link"] = f'<{there}>; rel="next"'
        return response

    def _referrers(self, request: Request, name: str, reference: str) -> Response:
        if not _alive(self.repositories[name], reference):
            return Response.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return super()._referrers(request, name, reference)

    def _manifests(self, request: Request, name: str, reference: str) -> Response:
        response = super()._manifests(request, name, reference)
        if response.status == 404 and reference in self.expired:
            return Response.error(404, "TAG_EXPIRED", "Tag was deleted or has expired")
        return response

    def _blobs(self, request: Request, name: str, reference: str) -> Response:
        response = super()._blobs(request, name, reference)
        if response.status == 200 and request.method == "GET" and self.cdn:
            signed = f"{self.cdn}/v2/{name}/blobs/{reference}?X-Signature=secret"
            return Response.of(302, location=signed)
        return response

    def _upload(self, request: Request, name: str, upload: str) -> Response:
        have = len(self._uploads.get(upload, b""))
        response = super()._upload(request, name, upload)
        if request.method == "GET" and response.status == 204:
            response.headers["Range"] = f"bytes=0-{have}"  # `_render_range(byte_count + 1)`
            response.headers.pop("Location", None)
        elif "Location" in response.headers:
            response.headers["Location"] = _own(request) + response.headers["Location"]
        return response

    def _start_upload(self, request: Request, name: str) -> Response:
        response = super()._start_upload(request, name)
        if "Location" in response.headers:
            response.headers["Location"] = _own(request) + response.headers["Location"]
        return response


def _own(request: Request) -> str:
    return f"http://{request.headers['host']}"


def _alive(store: ContentStore, digest: str) -> bool:
    """Whether a tag that people see keeps a manifest, or an index below such a tag lists it."""
    tagged = set(store.tags.values())
    if digest in tagged:
        return True
    return any(
        digest == child["digest"]
        for one in tagged
        if store.manifests.get(one) in INDEX_TYPES
        for child in store.json(one)["manifests"]
    )
