"""The distribution API's reading half (OCI distribution-spec 1.1), for one repository.

Manifests, referrers and tags come from the registry's own host. Blobs may be redirected to a CDN:
such a request carries no credentials, and no challenge from there is answered (CVE-2020-15157).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from bundler.errors import (
    RemoteDigestError,
    RemoteError,
    RemoteProtocolError,
    RemoteTruncatedError,
)
from bundler.registry.client import Document, Referrers
from bundler.registry.door import FORBIDDEN, NOT_FOUND, OK, RATE, TIMEOUT, UNAUTHORIZED, Door
from bundler.registry.http import Answer, place_of
from bundler.registry.retry import Retry
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
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)", re.ASCII)
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"', re.ASCII)
"""An entity tag that two contents never share (RFC 9110 §8.8.3); a weak one begins with `W/`."""
_PARTIAL, _RANGE, _NOT_IMPLEMENTED = 206, 416, 501
_ODD: Final = range(300, 500)


class RegistryRepository:
    """One repository of one registry; see `bundler.registry.client.Repository`."""

    def __init__(self, door: Door, *, retry: Retry) -> None:
        self._door = door
        self._base = door.base
        self._settings = door.settings
        self._retry = retry

    @property
    def name(self) -> str:
        """Registry and repository."""
        return self._door.name

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
        if self._door.registry in self._settings.referrers_by_tag:
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

    def tags(self) -> tuple[str, ...] | None:
        """Return all tags of the repository; None where there is no such repository.

        Raises:
            RemoteError: anything but a plain "not found".
        """
        url = f"{self._base}/tags/list"
        found: dict[str, None] = {}
        for page in range(self._settings.bounds.tag_page_count_max):
            listed, following = self._retry.run(lambda url=url: self._tag_page(url))  # type: ignore[misc]
            if listed is None:
                if page == 0:
                    return None
                raise RemoteProtocolError("a list of tags breaks off", where=place_of(url))
            found.update(dict.fromkeys(listed))
            if following is None:
                return tuple(found)
            url = following
        raise RemoteProtocolError(
            "a list of tags has no end",
            where=place_of(url),
            expected=f"at most {self._settings.bounds.tag_page_count_max} pages",
        )

    # --- requests ---------------------------------------------------------------------------------

    def _manifest(self, reference: str, *, expected: Digest | None) -> Document | None:
        url = f"{self._base}/manifests/{reference}"

        def attempt() -> Document | None:
            with self._door.get(url, {"Accept": _ACCEPT}, elsewhere=False) as answer:
                if answer.status == NOT_FOUND:
                    return None
                self._door.expect(answer, OK)
                raw = answer.read(
                    size_max=self._settings.bounds.document_size_max, what="a manifest"
                )
                return _document(raw, answer, expected=expected)

        return self._retry.run(attempt)

    def _page(self, url: str) -> tuple[list[Descriptor] | str, str | None]:
        with self._door.get(url, {"Accept": OCI_INDEX}, elsewhere=False) as answer:
            if _means_unsupported(answer.status):
                return f"status {answer.status}", None
            self._door.expect(answer, OK)
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
            return list(index.manifests), self._door.next_page(answer)

    def _tag_page(self, url: str) -> tuple[list[str] | None, str | None]:
        size_max = self._settings.bounds.document_size_max
        with self._door.get(url, {"Accept": "application/json"}, elsewhere=False) as answer:
            if answer.status == NOT_FOUND:
                return None, None
            self._door.expect(answer, OK)
            raw = answer.read(size_max=size_max, what="a list of tags")
            try:
                fields = Fields(
                    strictjson.parse_object(raw, what="a list of tags", size_max=size_max), ""
                )
                tags = fields.items("tags", count_max=size_max) if fields.has("tags") else ()
            except FormatError as e:
                raise RemoteProtocolError(
                    "not a list of tags", where=place_of(url), found=str(e)
                ) from e
            # Some registries hold tags that no reference can write: nobody can ask for them.
            names = [tag for tag in tags if isinstance(tag, str)]
            return names, self._door.next_page(answer)

    def _blob_answer(self, url: str, offset: int, descriptor: Descriptor) -> Answer:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._door.get(url, headers, elsewhere=True)
        try:
            if answer.status == _RANGE and offset:
                answer.close()
                answer = self._door.get(url, {}, elsewhere=True)
            self._door.expect(answer, OK, _PARTIAL)
            if answer.status == OK:
                _expect_size(answer, descriptor.size)
        except BaseException:
            answer.close()
            raise
        return answer

    def _first_byte(self, answer: Answer, offset: int) -> int:
        if answer.status == OK:
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


def _means_unsupported(status: int) -> bool:
    """Tell whether a registry says that it has no referrers API, each in its own words.

    404, 405, 501 by the book; GHCR redirects to a web page (303). A refusal to us, a limit or a
    failure says nothing about what there is, and stays an error.
    """
    refused = {UNAUTHORIZED, FORBIDDEN, TIMEOUT, RATE}
    return (status in _ODD and status not in refused) or status == _NOT_IMPLEMENTED


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
    version = answer.headers.get("ETag", "")
    return Document(
        descriptor=Descriptor(media_type=media_type, digest=digest, size=len(raw)),
        raw=raw,
        version=version if _STRONG.fullmatch(version) else "",
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
