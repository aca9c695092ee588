"""The OCI distribution API over content stores: one request in, one response out, no sockets."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.fakes.content import OCI_INDEX, ContentStore, digest_of
from tests.fakes.http_values import Request, Response

_NAME = r"(?P<name>[a-z0-9][a-z0-9._/-]*?)"
_REFERENCE = r"(?P<reference>[A-Za-z0-9_][A-Za-z0-9._:+-]*)"
_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")
_CHUNK = re.compile(r"^(\d+)-(\d+)$")


@dataclass(slots=True, kw_only=True)
class Features:
    """What this registry can do; real ones differ in each of these."""

    referrers: bool = True
    """The referrers API; without it clients use the fallback tag."""
    referrers_page: int | None = None
    referrers_filter: bool = True
    """Filter by ``artifactType`` and say so in ``OCI-Filters-Applied``."""
    ranges: bool = True
    digest_header: bool = True
    tags_page: int | None = None
    check_references: bool = True
    """Refuse a manifest whose blobs are not there."""
    conditions: bool = False
    """Compare a tag with ``If-Match`` and ``If-None-Match`` before it is written."""


class Distribution:
    """Repositories by name, behind the API's routes."""

    def __init__(self, repositories: dict[str, ContentStore], features: Features) -> None:
        self.repositories = repositories
        self.features = features
        self._uploads: dict[str, bytearray] = {}
        self._routes: list[tuple[re.Pattern[str], Callable[..., Response]]] = [
            (re.compile(pattern), handler)
            for pattern, handler in (
                (r"^/v2/?$", lambda _: Response.json(200, {})),
                (rf"^/v2/{_NAME}/tags/list$", self._tags),
                (rf"^/v2/{_NAME}/referrers/{_REFERENCE}$", self._referrers),
                (rf"^/v2/{_NAME}/manifests/{_REFERENCE}$", self._manifests),
                (rf"^/v2/{_NAME}/blobs/uploads/?$", self._start_upload),
                (rf"^/v2/{_NAME}/blobs/uploads/(?P<upload>[0-9a-f-]+)$", self._upload),
                (rf"^/v2/{_NAME}/blobs/{_REFERENCE}$", self._blobs),
            )
        ]

    def answer(self, request: Request) -> Response:
        """Whatever the API says to this request."""
        for pattern, handler in self._routes:
            found = pattern.match(request.path)
            if found is not None:
                return handler(request, **found.groupdict())
        return Response.error(404, "NOT_FOUND", "no such route")

    # Reading ---------------------------------------------------------------------------------

    def _tags(self, request: Request, name: str) -> Response:
        store = self.repositories.get(name)
        if store is None:
            return Response.error(404, "NAME_UNKNOWN")
        tags = sorted(store.tags)
        last = request.query("last")
        if last is not None:
            tags = [tag for tag in tags if tag > last]
        asked = request.query("n")
        limit = int(asked) if asked and asked.isdigit() else len(tags)
        page = tags[: min(limit, self.features.tags_page or limit)]
        response = Response.json(200, {"name": name, "tags": page})
        if len(page) < len(tags) and page:
            following = {"last": page[-1], **({"n": asked} if asked else {})}
            response.headers["Link"] = f'</v2/{name}/tags/list?{urlencode(following)}>; rel="next"'
        return response

    def _referrers(self, request: Request, name: str, reference: str) -> Response:
        store = self.repositories.get(name)
        if not self.features.referrers or store is None:
            return Response.error(404, "NOT_FOUND", "page not found")
        listed = store.referrers(reference)
        wanted = request.query("artifactType")
        filtered = wanted is not None and self.features.referrers_filter
        if filtered:
            listed = [one for one in listed if one.get("artifactType") == wanted]
        start = int(request.query("from") or 0)
        stop = start + (self.features.referrers_page or len(listed))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed[start:stop]}
        response = Response.json(200, index, OCI_INDEX)
        if filtered:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if stop < len(listed):
            following = {"from": str(stop), **({"artifactType": wanted} if wanted else {})}
            response.headers["Link"] = (
                f'</v2/{name}/referrers/{reference}?{urlencode(following)}>; rel="next"'
            )
        return response

    def _manifests(self, request: Request, name: str, reference: str) -> Response:
        if request.method == "PUT":
            return self._put_manifest(request, name, reference)
        store = self.repositories.get(name)
        if store is None:
            return Response.error(404, "NAME_UNKNOWN")
        digest = store.tags.get(reference, reference)
        if digest not in store.manifests or digest not in store:
            return Response.error(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            if reference in store.tags:
                del store.tags[reference]
            else:
                store.blobs.pop(digest)
                store.manifests.pop(digest)
            return Response.of(202)
        return self._content(request, store, digest, store.manifests[digest])

    def _blobs(self, request: Request, name: str, reference: str) -> Response:
        store = self.repositories.get(name)
        if store is None or reference not in store:
            return Response.error(404, "BLOB_UNKNOWN")
        if request.method == "DELETE":
            store.blobs.pop(reference)
            return Response.of(202)
        return self._content(request, store, reference, "application/octet-stream")

    def _content(
        self, request: Request, store: ContentStore, digest: str, media_type: str
    ) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Response.error(405, "UNSUPPORTED")
        size = store.size(digest)
        headers = {"Content-Type": media_type}
        if self.features.digest_header:
            headers["Docker-Content-Digest"] = digest
        if self.features.conditions:
            headers["ETag"] = f'"{digest}"'
        if self.features.ranges:
            headers["Accept-Ranges"] = "bytes"
        start, stop, status = 0, size, 200
        asked = _RANGE.match(request.headers.get("range", "")) if self.features.ranges else None
        if asked is not None:
            start = int(asked[1])
            stop = min(int(asked[2]) + 1 if asked[2] else size, size)
            if start >= size or stop <= start:
                refused = Response.error(416, "RANGE_INVALID")
                refused.headers["Content-Range"] = f"bytes */{size}"
                return refused
            status = 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Response(
            status=status,
            headers=headers,
            body=store.chunks(digest, start, stop),
            size=stop - start,
        )

    # Writing ---------------------------------------------------------------------------------

    def _store(self, name: str) -> ContentStore:
        return self.repositories.setdefault(name, ContentStore())

    def _put_manifest(self, request: Request, name: str, reference: str) -> Response:
        digest = digest_of(request.body)
        if reference.startswith("sha256:") and reference != digest:
            return Response.error(400, "DIGEST_INVALID")
        try:
            document: dict[str, Any] = json.loads(request.body)
        except ValueError:
            return Response.error(400, "MANIFEST_INVALID")
        store = self._store(name)
        media_type = request.headers.get("content-type", document.get("mediaType", ""))
        if self.features.check_references:
            missing = _references(document) - set(store.blobs)
            if missing:
                return Response.error(400, "MANIFEST_BLOB_UNKNOWN", ", ".join(sorted(missing)))
        if self.features.conditions and not _holds(request, store.tags.get(reference)):
            return Response.error(412, "UNKNOWN", "the tag is not what it was")
        store.blobs[digest] = request.body
        store.manifests[digest] = media_type
        if not reference.startswith("sha256:"):
            store.tags[reference] = digest
        response = Response.of(201, location=f"/v2/{name}/manifests/{digest}")
        response.headers["Docker-Content-Digest"] = digest
        subject = document.get("subject", {}).get("digest")
        if subject and self.features.referrers:
            response.headers["OCI-Subject"] = subject
        return response

    def _start_upload(self, request: Request, name: str) -> Response:
        if request.method != "POST":
            return Response.error(405, "UNSUPPORTED")
        store = self._store(name)
        mount, source = request.query("mount"), request.query("from")
        if mount is not None:
            origin = self.repositories.get(source) if source else None
            if origin is not None and mount in origin:
                store.blobs[mount] = origin.blobs[mount]
                return _created(name, mount)
        digest = request.query("digest")
        if digest is not None:
            return self._finish(name, bytearray(request.body), digest)
        upload = str(uuid.uuid4())
        self._uploads[upload] = bytearray(request.body)
        return self._accepted(name, upload)

    def _upload(self, request: Request, name: str, upload: str) -> Response:
        have = self._uploads.get(upload)
        if have is None:
            return Response.error(404, "BLOB_UPLOAD_UNKNOWN")
        match request.method:
            case "GET":
                response = self._accepted(name, upload)
                response.status = 204
                return response
            case "DELETE":
                del self._uploads[upload]
                return Response.of(204)
            case "PATCH" | "PUT":
                return self._append(request, name, upload)
            case _:
                return Response.error(405, "UNSUPPORTED")

    def _append(self, request: Request, name: str, upload: str) -> Response:
        have = self._uploads[upload]
        chunk = _CHUNK.match(request.headers.get("content-range", ""))
        if chunk is not None and int(chunk[1]) != len(have):
            refused = self._accepted(name, upload)
            refused.status = 416
            return refused
        have += request.body
        if request.method == "PATCH":
            return self._accepted(name, upload)
        del self._uploads[upload]
        return self._finish(name, have, request.query("digest") or "")

    def _accepted(self, name: str, upload: str) -> Response:
        response = Response.of(202, location=f"/v2/{name}/blobs/uploads/{upload}")
        response.headers["Range"] = f"0-{max(len(self._uploads[upload]) - 1, 0)}"
        response.headers["Docker-Upload-UUID"] = upload
        return response

    def _finish(self, name: str, raw: bytearray, digest: str) -> Response:
        if digest_of(bytes(raw)) != digest:
            return Response.error(400, "DIGEST_INVALID")
        self._store(name).blobs[digest] = bytes(raw)
        return _created(name, digest)


def _created(name: str, digest: str) -> Response:
    response = Response.of(201, location=f"/v2/{name}/blobs/{digest}")
    response.headers["Docker-Content-Digest"] = digest
    return response


def _holds(request: Request, current: str | None) -> bool:
    """RFC 9110 §13.1, for one tag."""
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted != f'"{current}"':
        return False
    return request.headers.get("if-none-match") != "*" or current is None


def _references(document: dict[str, Any]) -> set[str]:
    """The digests that a manifest needs; a subject may be missing."""
    listed = [*document.get("layers", []), *document.get("manifests", [])]
    if "config" in document:
        listed.append(document["config"])
    return {one["digest"] for one in listed}
