"""The distribution API's writing half (OCI distribution-spec 1.1), for one repository.

Nothing here decides what may be written, or when: `bundler.registry.publisher` does. Everything
goes to the registry's own host; an upload that is said to go elsewhere is an error, and carries
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlencode, urlsplit

from bundler.errors import (
    RemoteDigestError,
    RemoteError,
    RemoteNotFoundError,
    RemoteProtocolError,
    RemoteTruncatedError,
)
from bundler.registry.client import Document
from bundler.registry.door import NOT_FOUND, OK, Door
from bundler.registry.http import Answer, Body, place_of, resolved
from bundler.registry.retry import Retry
from loader.digest import Digest
from loader.errors import shown
from loader.limits import KIB
from loader.model.descriptor import Descriptor

_CREATED, _ACCEPTED, _NO_CONTENT = 201, 202, 204
_CHANGED: Final = 412
_NO_CONDITIONS: Final = frozenset({400, 501})
"""What a registry may say that knows no conditions; asked without one, it says what it means."""
_RECEIVED: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_RESUME_SIZE_MIN: Final = 64 * KIB
"""What a registry must have of a blob, for going on there to be worth a question."""

Read = Callable[[int], Iterator[bytes]]
"""Gives a blob's bytes from an offset on; whoever it is checks that they are the blob's."""


class RegistryWriter:
    """One repository of one registry, to write to."""

    def __init__(self, door: Door, *, retry: Retry) -> None:
        self._door = door
        self._retry = retry

    @property
    def name(self) -> str:
        """Registry and repository."""
        return self._door.name

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Tell whether the registry says that it has a blob, of this size.

        Raises:
            RemoteDigestError: it has another size under this digest.
            RemoteError: the registry.
        """
        url = f"{self._door.base}/blobs/{descriptor.digest}"

        def attempt() -> bool:
            with self._door.get(url, {}, elsewhere=True, method="HEAD") as answer:
                if answer.status == NOT_FOUND:
                    return False
                self._door.expect(answer, OK)
                if answer.size not in {None, descriptor.size}:
                    raise RemoteDigestError(
                        "the registry has something of another size under a blob's digest",
                        where=place_of(url),
                        expected=f"{descriptor.size} bytes",
                        found=f"{answer.size} bytes",
                    )
                return True

        return self._retry.run(attempt)

    def mount(self, descriptor: Descriptor, *, source: str) -> bool:
        """Have the registry take a blob from another of its repositories; tell whether it did.

        Raises:
            RemoteError: the registry. That it would rather have an upload is none.
        """

        def attempt() -> bool:
            query = urlencode({"mount": str(descriptor.digest), "from": source})
            url = f"{self._door.base}/blobs/uploads/?{query}"
            with self._door.send("POST", url, {}) as answer:
                self._door.expect(answer, _CREATED, _ACCEPTED)
                if answer.status == _CREATED:
                    return True
                self._forget(self._upload_url(answer))
                return False

        return self._retry.run(attempt)

    def push_blob(
        self, descriptor: Descriptor, read: Read, *, advance: Callable[[int], None]
    ) -> None:
        """Upload a blob: in one request, and after a break from where the registry has it.

        Args:
            descriptor: what it is.
            read: gives its bytes, as often as is needed.
            advance: is told what was sent; negative where an upload had to begin anew.

        Raises:
            RemoteDigestError: the registry took it for something else.
            RemoteError: the registry, too often in a row; or `read`.
        """
        upload = _Upload(descriptor, read, advance)
        url: str | None = None
        failures = 0
        while True:
            before = upload.offset
            try:
                if url is None:
                    url = self._begin()
                    upload.begin_at(0)
                self._finish(url, upload)
            except RemoteError as e:
                enough = upload.offset - before >= self._door.settings.timing.progress_bytes
                failures = 1 if enough and url is not None else failures + 1
                self._retry.pause(e, failures=failures)
                url = None if url is None else self._resumed(url, upload)
            else:
                return

    def put_manifest(self, raw: bytes, descriptor: Descriptor, *, tag: str = "") -> None:
        """Put a manifest or index under its digest, or under a tag, whatever that points to.

        Raises:
            RemoteDigestError: the registry states another digest for these bytes.
            RemoteError: the registry.
        """
        url = f"{self._door.base}/manifests/{tag or descriptor.digest}"
        headers = {"Content-Type": descriptor.media_type}

        def attempt() -> None:
            with self._door.send("PUT", url, headers, Body.of(raw)) as answer:
                self._door.expect(answer, _CREATED, OK, _ACCEPTED)
                _expect_digest(answer, descriptor.digest, url)

        self._retry.run(attempt)

    def put_tag(
        self, raw: bytes, descriptor: Descriptor, tag: str, *, before: Document | None
    ) -> bool:
        """Put a manifest under a tag, unless the tag has changed since; tell whether that was so.

        The registry is told what the tag must still be (RFC 9110 §13.1). The distribution API does
        not ask registries to look, and most do not: then whatever is there is replaced.

        Args:
            raw: the manifest.
            descriptor: what it is.
            tag: where.
            before: what the tag was when this was decided; None for no such tag.

        Raises:
            RemoteDigestError: the registry states another digest for these bytes.
            RemoteError: the registry.
        """
        if before is None:
            condition = {"If-None-Match": "*"}
        else:
            condition = {"If-Match": before.version} if before.version else {}
        url = f"{self._door.base}/manifests/{tag}"
        headers = {"Content-Type": descriptor.media_type}

        def attempt() -> bool:
            with self._door.send("PUT", url, {**headers, **condition}, Body.of(raw)) as answer:
                if condition and answer.status == _CHANGED:
                    return False
                if not (condition and answer.status in _NO_CONDITIONS):
                    self._door.expect(answer, _CREATED, OK, _ACCEPTED)
                    _expect_digest(answer, descriptor.digest, url)
                    return True
            condition.clear()
            return attempt()

        return self._retry.run(attempt)

    def remove_tag(self, tag: str) -> None:
        """Take a tag away; what it pointed to stays. A tag that is not there is none to take.

        Raises:
            RemoteError: the registry, also where it removes no tags.
        """
        url = f"{self._door.base}/manifests/{tag}"

        def attempt() -> None:
            with self._door.send("DELETE", url, {}) as answer:
                if answer.status != NOT_FOUND:
                    self._door.expect(answer, _ACCEPTED, OK, _NO_CONTENT)

        self._retry.run(attempt)

    # --- uploads ------------------------------------------------------------------------------

    def _begin(self) -> str:
        with self._door.send("POST", f"{self._door.base}/blobs/uploads/", {}) as answer:
            self._door.expect(answer, _ACCEPTED)
            return self._upload_url(answer)

    def _upload_url(self, answer: Answer) -> str:
        location = answer.headers.get("Location", "")
        if not location:
            raise RemoteProtocolError(
                "an upload without its address", where=place_of(answer.url), expected="Location"
            )
        return resolved(answer.url, location)

    def _finish(self, url: str, upload: _Upload) -> None:
        """Send what is missing, and close the upload with the digest."""
        headers = {"Content-Type": "application/octet-stream"}
        if upload.offset:
            end = upload.descriptor.size - 1
            span = {"Content-Range": f"{upload.offset}-{end}"}
            with self._door.send("PATCH", url, {**headers, **span}, upload.rest()) as answer:
                self._door.expect(answer, _ACCEPTED)
                url = self._upload_url(answer)
            body = None
        else:
            body = upload.rest()
        joint = "&" if urlsplit(url).query else "?"
        closing = f"{url}{joint}{urlencode({'digest': str(upload.descriptor.digest)})}"
        with self._door.send("PUT", closing, headers, body) as answer:
            self._door.expect(answer, _CREATED)
            _expect_digest(answer, upload.descriptor.digest, url)

    def _resumed(self, url: str, upload: _Upload) -> str | None:
        """Ask how much of an upload arrived; None where it has to begin anew."""
        try:
            with self._door.send("GET", url, {}) as answer:
                self._door.expect(answer, _NO_CONTENT)
                found = _RECEIVED.fullmatch(answer.headers.get("Range", ""))
                received = 0 if found is None else int(found.group(1)) + 1
                if not _RESUME_SIZE_MIN <= received < upload.descriptor.size:
                    return None
                url = self._upload_url(answer)
        except RemoteError:
            return None
        upload.begin_at(received)
        return url

    def _forget(self, url: str) -> None:
        """Take back an upload that nobody needs; a registry that keeps it loses but space."""
        try:
            self._door.send("DELETE", url, {}).close()
        except RemoteNotFoundError:
            pass
        except RemoteError as e:
            if not e.retryable:
                raise


class _Upload:
    """A blob on its way out: how far it is, and the rest of it as a request's body."""

    def __init__(self, descriptor: Descriptor, read: Read, advance: Callable[[int], None]) -> None:
        self.descriptor = descriptor
        self.offset = 0
        """Where the registry goes on."""
        self._sent = 0
        self._read = read
        self._advance = advance

    def begin_at(self, offset: int) -> None:
        """Go on, or back, to an offset."""
        self._advance(offset - self._sent)
        self._sent = self.offset = offset

    def rest(self) -> Body:
        """Return the bytes from the offset on."""
        return Body(self.descriptor.size - self.offset, self._chunks)

    def _chunks(self) -> Iterator[bytes]:
        self.begin_at(self.offset)
        for chunk in self._read(self.offset):
            self._sent += len(chunk)
            self._advance(len(chunk))
            if self._sent > self.descriptor.size:
                break
            yield chunk
        if self._sent != self.descriptor.size:
            raise RemoteTruncatedError(
                "a blob has another size than announced",
                where=str(self.descriptor.digest),
                expected=f"{self.descriptor.size} bytes",
                found=f"{self._sent} bytes",
            )


def _expect_digest(answer: Answer, digest: Digest, url: str) -> None:
    stated = answer.headers.get("Docker-Content-Digest")
    if stated is not None and stated != str(digest):
        raise RemoteDigestError(
            "the registry took what we sent for something else",
            where=place_of(url),
            expected=str(digest),
            found=shown(stated),
        )
