"""A content store: blobs by digest, tags, and the referrers that manifests declare.

One store is one repository. Blobs may be streams that are made anew each time they are read, so
that a test can have a layer of many gigabytes without the memory or the disk for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
LayoutStyle = Literal["tags", "cosign-save", "untagged"]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST_TYPES = frozenset({OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
EMPTY_CONFIG = b"{}"

_KINDS = {
    ".sig": "dev.cosignproject.cosign/sigs",
    ".att": "dev.cosignproject.cosign/atts",
    ".sbom": "dev.cosignproject.cosign/sboms",
}


def encode(value: object) -> bytes:
    """Compact JSON in insertion order, as Go tools write manifests."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(raw: bytes) -> str:
    """``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that are made when they are read, the same each time."""

    make: Callable[[], Iterable[bytes]]
    size: int
    digest: str

    @classmethod
    def measured(cls, make: Callable[[], Iterable[bytes]]) -> Stream:
        """Read it once for its size and digest."""
        size, sha256 = 0, hashlib.sha256()
        for chunk in make():
            size += len(chunk)
            sha256.update(chunk)
        return cls(make, size, f"sha256:{sha256.hexdigest()}")


class ContentStore:
    """A repository: what registries serve and layouts hold."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes | Stream] = {}
        self.manifests: dict[str, str] = {}
        """Media type by digest, of what is a manifest rather than a blob."""
        self.tags: dict[str, str] = {}

    # Writing ---------------------------------------------------------------------------------

    def add(self, raw: bytes, media_type: str, **fields: object) -> Json:
        """Keep bytes and return their descriptor; ``fields`` are added to it."""
        digest = digest_of(raw)
        self.blobs[digest] = raw
        return self._described(media_type, digest, len(raw), fields)

    def add_stream(self, stream: Stream, media_type: str, **fields: object) -> Json:
        """Keep a stream and return its descriptor."""
        self.blobs[stream.digest] = stream
        return self._described(media_type, stream.digest, stream.size, fields)

    def add_json(self, value: object, media_type: str, **fields: object) -> Json:
        """Encode compactly, keep, describe."""
        return self.add(encode(value), media_type, **fields)

    def tag(self, name: str, descriptor: Json) -> None:
        """Point a tag at a manifest."""
        self.tags[name] = descriptor["digest"]

    def replace(self, digest: str, raw: bytes) -> None:
        """Put other bytes under a digest: what a store must never do."""
        self.blobs[digest] = raw

    def merge(self, other: ContentStore) -> None:
        """Take over everything that another store has."""
        self.blobs |= other.blobs
        self.manifests |= other.manifests
        self.tags |= other.tags

    def _described(
        self, media_type: str, digest: str, size: int, fields: dict[str, object]
    ) -> Json:
        if media_type in MANIFEST_TYPES:
            self.manifests[digest] = media_type
        return {"mediaType": media_type, "digest": digest, "size": size, **fields}

    # Reading ---------------------------------------------------------------------------------

    def __contains__(self, digest: str) -> bool:
        return digest in self.blobs

    def read(self, digest: str) -> bytes:
        """All bytes of a blob."""
        return b"".join(self.chunks(digest))

    def json(self, digest: str) -> Json:
        """A blob that is a JSON object."""
        value: Json = json.loads(self.read(digest))
        return value

    def size(self, digest: str) -> int:
        """How many bytes a blob has."""
        blob = self.blobs[digest]
        return len(blob) if isinstance(blob, bytes) else blob.size

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``, a piece at a time."""
        blob = self.blobs[digest]
        at = 0
        for chunk in [blob] if isinstance(blob, bytes) else blob.make():
            low = max(start - at, 0)
            high = len(chunk) if stop is None else min(stop - at, len(chunk))
            if low < high:
                yield bytes(chunk[low:high])
            at += len(chunk)
            if stop is not None and at >= stop:
                return

    def describe(self, reference: str) -> Json:
        """The descriptor of a manifest, by tag or digest."""
        digest = self.tags.get(reference, reference)
        return {
            "mediaType": self.manifests[digest],
            "digest": digest,
            "size": self.size(digest),
        }

    def referrers(self, digest: str) -> list[Json]:
        """Descriptors of all manifests whose ``subject`` is this one."""
        found = []
        for candidate in self.manifests:
            document = self.json(candidate)
            if document.get("subject", {}).get("digest") == digest:
                found.append(referrer_descriptor(self.describe(candidate), document))
        return found

    # Layouts ---------------------------------------------------------------------------------

    def write_layout(
        self, folder: Path, *, style: LayoutStyle = "tags", only: Iterable[str] | None = None
    ) -> Path:
        """Write an OCI image layout.

        ``tags`` is how regctl and skopeo name things (``ref.name`` annotations), ``cosign-save``
        how ``cosign save`` does (``kind`` annotations), ``untagged`` how oras-go lists every
        manifest. ``only`` limits the tags.
        """
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for digest in self.blobs:
            with (blobs / digest.removeprefix("sha256:")).open("wb") as file:
                for chunk in self.chunks(digest):
                    file.write(chunk)
        (folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
        wanted = set(self.tags if only is None else only)
        entries = [
            entry
            for tag in sorted(self.tags)
            if tag in wanted and (entry := self._layout_entry(tag, style)) is not None
        ]
        if style == "untagged":
            named = {entry["digest"] for entry in entries}
            entries += [self.describe(d) for d in sorted(self.manifests) if d not in named]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        plain = json.dumps(index, indent=3).encode() + b"\n"
        (folder / "index.json").write_bytes(plain if style == "cosign-save" else encode(index))
        return folder

    def _layout_entry(self, tag: str, style: LayoutStyle) -> Json | None:
        entry = self.describe(tag)
        if style != "cosign-save":
            entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
            return entry
        suffix = next((suffix for suffix in _KINDS if tag.endswith(suffix)), None)
        if suffix is not None:
            kind = _KINDS[suffix]
        elif tag.startswith("sha256-"):
            return None  # `cosign save` does not know referrers
        else:
            index = entry["mediaType"] in INDEX_TYPES
            kind = f"dev.cosignproject.cosign/image{'Index' if index else ''}"
        entry["annotations"] = {"kind": kind}
        return entry


def referrer_descriptor(descriptor: Json, document: Json, *, annotations: bool = True) -> Json:
    """A descriptor as a referrers list holds it: artifact type, and the manifest's annotations."""
    described = dict(descriptor)
    if annotations and document.get("annotations"):
        described["annotations"] = document["annotations"]
    artifact_type = document.get("artifactType") or document.get("config", {}).get("mediaType")
    if artifact_type:
        described["artifactType"] = artifact_type
    return described


def read_layout(folder: Path) -> ContentStore:
    """A store with everything that an OCI image layout holds."""
    store = ContentStore()
    for path in sorted((folder / "blobs" / "sha256").iterdir()):
        store.blobs[f"sha256:{path.name}"] = path.read_bytes()
    todo = json.loads((folder / "index.json").read_bytes())["manifests"]
    for entry in todo:
        name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
        if name:
            store.tags[name] = entry["digest"]
    while todo:
        entry = todo.pop()
        digest = entry["digest"]
        if digest in store.manifests or digest not in store.blobs:
            continue
        if entry["mediaType"] in MANIFEST_TYPES:
            store.manifests[digest] = entry["mediaType"]
            todo += store.json(digest).get("manifests", [])
    return store
