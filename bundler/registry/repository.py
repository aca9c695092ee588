"""The distribution API's reading half (OCI distribution-spec 1.1), for one repository.

Manifests, referrers and tags come from the registry's own host. Blobs may be redirected to a CDN:
such a request carries no credentials, and no challenge from there is answered (CVE-2020-15157).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Mapping
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from bundler.errors import (
    RemoteAuthError,
    RemoteDigestError,
    RemoteError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteRateLimitError,
    RemoteRedirectError,
    RemoteTruncatedError,
    RemoteUnavailableError,
)
from bundler.registry.client import Document, Referrers
from bundler.registry.http import Answer, Http, origin_of, place_of, resolved
from bundler.registry.retry import Retry, retry_after_seconds
from bundler.registry.settings import RegistrySettings, api_host
from loader.digest import Digest
from loader.errors import FormatError, shown
from loader.model import strictjson
from loader.model.bundle import Store
from loader.model.descriptor import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    OCI_INDEX,
    Descriptor,
    parse_media_type,
)
from loader.model.fields import Fields
from loader.model.image import ImageIndex

T = TypeVar("T")

_MANIFESTS: Final = INDEX_MEDIA_TYPES | MANIFEST_MEDIA_TYPES
_ACCEPT: Final = ", ".join(sorted(_MANIFESTS))
_UNTYPED: Final = frozenset({"", "application/json", "text/plain", "application/octet-stream"})
_NEXT_PAGE: Final = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_LINK_LENGTH_MAX: Final = 8192
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)", re.ASCII)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK, _PARTIAL, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 206, 401, 403, 404
_TIMEOUT, _RANGE, _RATE, _NOT_IMPLEMENTED = 408, 416, 429, 501
_ODD: Final = range(300, 500)
_SERVER_ERRORS: Final = range(500, 600)


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


class RegistryRepository:
    """One repository of one registry; see `bundler.registry.client.Repository`."""

    def __init__(
        self,
        registry: str,
        repository: str,
        *,
        http: Http,
        authenticator: Authenticator,
        settings: RegistrySettings,
        retry: Retry,
    ) -> None:
        host = api_host(registry)
        scheme = "http" if settings.allows_plain_http(host) else "https"
        self._registry = registry
        self._repository = repository
        self._base = f"{scheme}://{host}/v2/{repository}"
        self._origin = origin_of(self._base)
        self._http = http
        self._authenticator = authenticator
        self._settings = settings
        self._retry = retry

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self._registry}/{self._repository}"

    def tagged(self, tag: str) -> Document | None:
        """Return what the tag points to now; see `Repository`.

        Nothing vouches for these bytes yet, so a login page is not taken for a manifest.
        """
        document = self._manifest(tag, expected=None)
        if document is not None and document.descriptor.media_type not in _MANIFESTS:
            raise RemoteProtocolError(
                "something else than a manifest under a tag",
                where=f"{self.name}:{tag}",
                expected="an image index or manifest",
                found=shown(document.descriptor.media_type),
            )
        return document

    def document(self, digest: Digest) -> Document | None:
        """Return the manifest or index of this digest; see `Repository`."""
        return self._manifest(str(digest), expected=digest)

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes]:
        """Yield a blob's bytes; a connection that breaks is made anew where it broke."""
        url = f"{self._base}/blobs/{descriptor.digest}"
        failures = 0
        while True:
            begin = offset
            try:
                with self._blob_answer(url, offset, descriptor) as answer:
                    skipped = offset - self._first_byte(answer, offset)
                    for chunk in answer.chunks():
                        fresh = chunk[skipped:] if skipped else chunk
                        skipped = max(0, skipped - len(chunk))
                        offset += len(fresh)
                        yield fresh
                        if offset > descriptor.size:
                            return  # longer than announced; the store says so
                    if offset < descriptor.size:
                        raise RemoteTruncatedError("a blob ends too early", where=place_of(url))
                    return
            except RemoteError as e:
                enough = offset - begin >= self._settings.timing.progress_bytes
                failures = 1 if enough else failures + 1
                self._retry.pause(e, failures=failures)

    def referrers(self, subject: Digest) -> Referrers:
        """Return what the referrers API lists, or that there is none.

        A plain "no such thing", or a redirect to elsewhere, means that the registry has no such
        API; anything else that is not an image index is an error.
        """
        if self._registry in self._settings.referrers_by_tag:
            return Referrers(descriptors=(), unsupported="not asked, as configured")
        url = f"{self._base}/referrers/{subject}"
        found: list[Descriptor] = []
        for page in range(self._settings.bounds.page_count_max):
            listed, following = self._retry.run(lambda url=url: self._page(url))  # type: ignore[misc]
            if isinstance(listed, str):
                if page == 0:
                    return Referrers(descriptors=(), unsupported=listed)
                raise RemoteProtocolError(
                    "a list of referrers breaks off", where=place_of(url), found=listed
                )
            found.extend(listed)
            if following is None:
                return Referrers(descriptors=tuple(found))
            url = following
        raise RemoteProtocolError(
            "a list of referrers has no end",
            where=place_of(url),
            expected=f"at most {self._settings.bounds.page_count_max} pages",
        )

    def kept_beside(self, subject: Digest, store: Store) -> tuple[Descriptor, ...]:
        """Return nothing: a registry has tags and referrers only."""
        del subject, store
        return ()

    # --- requests ---------------------------------------------------------------------------------

    def _manifest(self, reference: str, *, expected: Digest | None) -> Document | None:
        url = f"{self._base}/manifests/{reference}"

        def attempt() -> Document | None:
            with self._get(url, {"Accept": _ACCEPT}, elsewhere=False) as answer:
                if answer.status == _NOT_FOUND:
                    return None
                self._expect(answer, _OK)
                raw = answer.read(
                    size_max=self._settings.bounds.document_size_max, what="a manifest"
                )
                return _document(raw, answer, expected=expected)

        return self._retry.run(attempt)

    def _page(self, url: str) -> tuple[list[Descriptor] | str, str | None]:
        with self._get(url, {"Accept": OCI_INDEX}, elsewhere=False) as answer:
            if _means_unsupported(answer.status):
                return f"status {answer.status}", None
            self._expect(answer, _OK)
            if "OCI-Filters-Applied" in answer.headers:
                raise RemoteProtocolError(
                    "a list of referrers was filtered, and nobody asked for that",
                    where=place_of(url),
                )
            raw = answer.read(
                size_max=self._settings.bounds.document_size_max, what="a list of referrers"
            )
            try:
                index = ImageIndex.parse(
                    raw, Descriptor.make(OCI_INDEX, raw), where="a list of referrers"
                )
            except FormatError as e:
                raise RemoteProtocolError(
                    "a list of referrers is not an image index",
                    where=place_of(url),
                    found=str(e),
                ) from e
            return list(index.manifests), self._next_page(answer)

    def _next_page(self, answer: Answer) -> str | None:
        link = answer.headers.get("Link")
        if link is None:
            return None
        if len(link) > _LINK_LENGTH_MAX:  # the pattern's time grows with its square
            raise RemoteProtocolError("a Link header is too long", where=place_of(answer.url))
        found = _NEXT_PAGE.search(link)
        if found is None:
            return None
        following = resolved(answer.url, found.group(1))
        own = urlsplit(self._base).path
        if origin_of(following) != self._origin or not urlsplit(following).path.startswith(own):
            raise RemoteRedirectError(
                "the next page of a list is said to be elsewhere",
                where=place_of(answer.url),
                found=place_of(following),
            )
        return following

    def _blob_answer(self, url: str, offset: int, descriptor: Descriptor) -> Answer:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._get(url, headers, elsewhere=True)
        try:
            if answer.status == _RANGE and offset:
                answer.close()
                answer = self._get(url, {}, elsewhere=True)
            self._expect(answer, _OK, _PARTIAL)
            if answer.status == _OK:
                _expect_size(answer, descriptor.size)
        except BaseException:
            answer.close()
            raise
        return answer

    def _first_byte(self, answer: Answer, offset: int) -> int:
        if answer.status == _OK:
            return 0
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or int(found.group(1)) > offset:
            raise RemoteProtocolError(
                "a part of a blob, but not the one that was asked for",
                where=place_of(answer.url),
                expected=f"bytes {offset}-",
                found=shown(answer.headers.get("Content-Range", "")),
            )
        return int(found.group(1))

    def _get(self, url: str, headers: Mapping[str, str], *, elsewhere: bool) -> Answer:
        """Ask; answer a challenge once; follow redirects, to other hosts only if `elsewhere`."""
        for _ in range(self._settings.bounds.redirect_count_max + 1):
            answer = self._ask(url, headers)
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return answer
            target = resolved(url, answer.headers["Location"])
            if origin_of(target) != self._origin and not elsewhere:
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

    def _ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        if origin_of(url) != self._origin:
            return self._http.get(url, headers)
        sent = self._authenticator.header(self._repository)
        answer = self._http.get(url, {**headers, **sent})
        if answer.status != _UNAUTHORIZED:
            return answer
        with answer:
            challenge = answer.headers.get("WWW-Authenticate", "")
        self._authenticator.renew(challenge, self._repository, sent)
        return self._http.get(url, {**headers, **self._authenticator.header(self._repository)})

    def _expect(self, answer: Answer, *statuses: int) -> None:
        if answer.status not in statuses:
            raise _status_error(answer, self._settings.bounds.error_size_max)


def _means_unsupported(status: int) -> bool:
    """Tell whether a registry says that it has no referrers API, each in its own words.

    404, 405, 501 by the book; GHCR redirects to a web page (303). A refusal to us, a limit or a
    failure says nothing about what there is, and stays an error.
    """
    refused = {_UNAUTHORIZED, _FORBIDDEN, _TIMEOUT, _RATE}
    return (status in _ODD and status not in refused) or status == _NOT_IMPLEMENTED


def _status_error(answer: Answer, size_max: int) -> RemoteError:
    status, place = answer.status, place_of(answer.url)
    found = f"status {status}{_said(answer, size_max)}"
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return RemoteAuthError(
            "the registry refuses us",
            where=place,
            found=found,
            hint="log in with docker, podman or skopeo; or the repository does not exist",
        )
    if status == _NOT_FOUND:
        return RemoteNotFoundError("the registry does not have it", where=place, found=found)
    after = retry_after_seconds(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    if status == _RATE:
        return RemoteRateLimitError(
            "the registry limits our requests",
            where=place,
            found=found,
            hint="wait, or log in: limits are higher then",
            after_seconds=after,
        )
    if status in _SERVER_ERRORS or status == _TIMEOUT:
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


def _expect_size(answer: Answer, size: int) -> None:
    if answer.size not in {None, size}:
        raise RemoteProtocolError(
            "a blob has another size than announced",
            where=place_of(answer.url),
            expected=f"{size} bytes",
            found=f"{answer.size} bytes",
        )


def _document(raw: bytes, answer: Answer, *, expected: Digest | None) -> Document:
    place = place_of(answer.url)
    digest = Digest.of(raw)
    if expected is not None and digest != expected:
        raise RemoteDigestError(
            "a manifest has another digest than the one asked for",
            where=place,
            expected=str(expected),
            found=str(digest),
        )
    _expect_stated(raw, answer.headers.get("Docker-Content-Digest"), where=place)
    try:
        media_type = parse_media_type(_media_type(raw, answer), where="Content-Type")
    except FormatError as e:
        raise RemoteProtocolError(
            "not a manifest, as far as can be told", where=place, found=str(e)
        ) from e
    return Document(
        descriptor=Descriptor(media_type=media_type, digest=digest, size=len(raw)), raw=raw
    )


def _expect_stated(raw: bytes, stated: str | None, *, where: str) -> None:
    if stated is None:
        return
    algorithm, _, _ = stated.partition(":")
    hashes: dict[str, Callable[[bytes], hashlib._Hash]] = {
        "sha256": hashlib.sha256,
        "sha512": hashlib.sha512,
    }
    if algorithm not in hashes or f"{algorithm}:{hashes[algorithm](raw).hexdigest()}" != stated:
        raise RemoteDigestError(
            "a manifest has another digest than the registry states for it",
            where=where,
            expected=shown(stated),
            found=str(Digest.of(raw)),
        )


def _media_type(raw: bytes, answer: Answer) -> str:
    """Return the type that the answer states, or where that says nothing, the document itself."""
    stated = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if stated not in _UNTYPED:
        return stated
    document = strictjson.parse_object(raw, what="a manifest", size_max=len(raw))
    return Fields(document, "").text("mediaType", length_max=255)
