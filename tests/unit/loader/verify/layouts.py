"""Reading the fixtures' OCI layouts for tests of verification alone: which evidence, under what.

Written apart from `loader.evidence` on purpose. It knows each way in which tools put evidence into
a layout, checks every digest on its way, and leaves all judging to `loader.verify`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loader.digest import Digest
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.descriptor import Descriptor, MediaType
from loader.model.sigstore_bundle import SigstoreBundle
from loader.verify.sigstore import SignedEvidence

Json = dict[str, Any]
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class LayoutError(Exception):
    """The layout is broken: a matter of the reader, before any verification."""


class Layout:
    def __init__(self, path: Path) -> None:
        self.files: dict[str, bytes] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    file = tar.extractfile(member)
                    assert file is not None
                    self.files[member.name.removeprefix("./")] = file.read()

    @property
    def index(self) -> Json:
        if "index.json" not in self.files:
            raise LayoutError("no index.json")
        found: Json = json.loads(self.files["index.json"])
        return found

    def blob(self, descriptor: Json) -> bytes:
        digest = descriptor["digest"]
        if DIGEST.fullmatch(digest) is None:
            raise LayoutError(f"not a digest: {digest}")
        raw = self.files.get(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        if raw is None:
            raise LayoutError(f"missing: {digest}")
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest or len(raw) != descriptor["size"]:
            raise LayoutError(f"altered: {digest}")
        return raw

    def manifests(self) -> Iterator[tuple[str, Json, Json]]:
        """Every manifest under index.json: its name there, its descriptor, itself."""
        pending = [(self._name(d), d) for d in self.index["manifests"]]
        while pending:
            name, descriptor = pending.pop(0)
            document: Json = json.loads(self.blob(descriptor))
            yield name, descriptor, document
            for item in document.get("manifests", ()):
                if f"blobs/sha256/{item['digest'][7:]}" not in self.files:
                    if name.startswith("sha256-"):
                        continue  # a pruned referrer
                    raise LayoutError(f"missing: {item['digest']}")
                pending.append((name, item))

    def expect_whole(self, image: str) -> None:
        """Everything that the image names is there, unaltered."""
        for _, descriptor, document in self.manifests():
            if descriptor["digest"] == image or not document.get("subject"):
                for blob in (document.get("config"), *document.get("layers", ())):
                    if blob:
                        self.blob(blob)

    def evidence(self, image: str) -> Iterator[SignedEvidence | Exception]:
        """Whatever may speak of the image, wherever the tool put it."""
        mine = self._images(image)
        for name, _, document in self.manifests():
            subject = (document.get("subject") or {}).get("digest")
            if subject is not None and subject not in mine:
                continue
            if subject is None and not self._speaks_by_name(name, mine):
                continue
            for layer in document.get("layers", ()):
                yield from self._read(layer)

    def _images(self, image: str) -> set[str]:
        return {image}

    def _speaks_by_name(self, name: str, mine: set[str]) -> bool:
        if name.startswith("dev.cosignproject.cosign/"):
            return True
        tags = {f"{d.replace(':', '-')}.{kind}" for d in mine for kind in ("sig", "att")}
        return name in tags

    def _read(self, layer: Json) -> Iterator[SignedEvidence | Exception]:
        kind = layer["mediaType"]
        if kind not in {SIMPLE, DSSE} and not kind.startswith(BUNDLE):
            return
        raw = self.blob(layer)
        descriptor = Descriptor(
            media_type=MediaType(kind),
            digest=Digest.parse(layer["digest"]),
            size=layer["size"],
            annotations=layer.get("annotations") or {},
        )
        try:
            if kind == SIMPLE:
                yield CosignSignature.parse(raw, descriptor, where="layer")
            elif kind == DSSE:
                yield CosignAttestation.parse(raw, descriptor, where="layer")
            else:
                yield SigstoreBundle.parse(raw, where="bundle")
        except Exception as e:  # noqa: BLE001 (the test looks at what it is)
            yield e

    @staticmethod
    def _name(descriptor: Json) -> str:
        annotations = descriptor.get("annotations") or {}
        kind = annotations.get("kind", "")
        if kind.startswith("dev.cosignproject.cosign/"):
            return str(kind)
        return str(annotations.get("org.opencontainers.image.ref.name", ""))
