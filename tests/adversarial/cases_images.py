"""Cases in the images' own documents, in evidence and in layers: bytes and statement are in order.

Whoever only reads the archive accepts these; what is wrong shows in the graph of an image's
documents, in its evidence, or in a layer once it is decompressed.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from loader.digest import Digest
from loader.model.bundle import EvidenceEntry, ImageEntry, PlatformManifest
from loader.model.descriptor import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from loader.model.reference import Reference
from tests.adversarial.case import ACCEPT, Case, Level, of_bytes
from tests.adversarial.golden import (
    KEY,
    LAYER_TYPE,
    WORLD,
    Builder,
    Bundle,
    dumps,
    gzip_tar,
)
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import Layer

REFERENCE = "registry.example/org/app:1.0"
AMD64 = Platform.parse("linux/amd64")
ZEROS = "sha256:" + "0" * 64
DEEP = b"[" * 100_000 + b"]" * 100_000
Change = Callable[[dict[str, Any]], object]


class Image:
    """One image for two platforms; any document can be changed before the next refers to it."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.media_type: str = OCI_MANIFEST
        self.index_type: str = OCI_INDEX
        self.layer_type = LAYER_TYPE
        self.layer = gzip_tar({"etc/app": b"for amd64\n"})[1]
        self.change_config: Change = lambda _: None
        self.change_manifest: Change = lambda _: None
        self.change_index: Change = lambda _: None
        self.rewrite: dict[str, Callable[[bytes], bytes]] = {}
        self.platform = AMD64
        self.evidence: Callable[[Builder, Descriptor], tuple[EvidenceEntry, ...]] = _signed
        self.left_out: set[str] = set()

    def bundle(self) -> Bundle:
        builder = self.builder
        other = builder.image("linux/arm64", {"etc/app": b"for arm64\n"})
        raw = gzip_tar({"etc/app": b"for amd64\n"})[0]
        layer = builder.layer(self.layer, self.layer_type)
        config = self._small(
            "config",
            OCI_CONFIG,
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(raw))]},
            },
            self.change_config,
        )
        manifest = self._small(
            "manifest",
            self.media_type,
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": config.plain(),
                "layers": [layer.plain()],
            },
            self.change_manifest,
        )
        index = self._small(
            "index",
            self.index_type,
            {
                "schemaVersion": 2,
                "mediaType": self.index_type,
                "manifests": [
                    manifest.plain() | {"platform": {"os": "linux", "architecture": "amd64"}},
                    other.plain() | {"platform": {"os": "linux", "architecture": "arm64"}},
                ],
            },
            self.change_index,
        )
        entry = ImageEntry(
            reference=Reference.parse(REFERENCE),
            image=index,
            platforms=(
                PlatformManifest(platform=self.platform, manifest=manifest),
                PlatformManifest(platform=Platform.parse("linux/arm64"), manifest=other),
            ),
            evidence=self.evidence(builder, index),
        )
        documents = {"config": config, "manifest": manifest, "index": index, "layer": layer}
        out = {documents[name].digest for name in self.left_out}
        return Bundle(
            images=(entry,),
            trust=(),
            metadata=tuple(
                sorted((d for d in builder.metadata if d.digest not in out), key=_by_digest)
            ),
            layers=tuple(d for d in builder.layers if d.digest not in out),
            blobs=builder.blobs,
        )

    def _small(
        self, name: str, media_type: str, value: dict[str, Any], change: Change
    ) -> Descriptor:
        change(value)
        raw = json.dumps(value, separators=(",", ":"), allow_nan=True).encode()
        return self.builder.small(media_type, self.rewrite.get(name, bytes)(raw))


def _by_digest(descriptor: Descriptor) -> Digest:
    return descriptor.digest


def _signed(builder: Builder, index: Descriptor) -> tuple[EvidenceEntry, ...]:
    manifest = builder.signature(index, "registry.example/org/app")
    return (EvidenceEntry(subject=index.digest, store="signature-tag", manifest=manifest),)


def with_image(change: Callable[[Image], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        image = Image()
        change(image)
        return image.bundle().archive(form="zstd")

    return make


def put(attribute: str, change: Change) -> Callable[[], bytes]:
    return with_image(lambda image: setattr(image, attribute, change))


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return with_image(lambda image: image.rewrite.update({name: change}))


def cases() -> Iterator[Case]:
    yield of_bytes("image-untouched", with_image(lambda _: None), ACCEPT, "the control of these")
    yield from _documents()
    yield from _descriptors()
    yield from _graphs()
    yield from _evidence()
    yield from _layers()
    yield from _paths()


def _graph(name: str, make: Callable[[], bytes], expected: str, why: str) -> Case:
    return of_bytes(f"image-{name}", make, expected, why, level="graph")


def _documents() -> Iterator[Case]:
    """JSON that two readers would read differently, in each of an image's documents."""
    for name in ("index", "manifest", "config"):
        for what, change, expected in (
            ("equal-keys", lambda r: b'{"x":1,"x":2,' + r[1:], "json"),
            ("byte-order-mark", lambda r: b"\xef\xbb\xbf" + r, "json"),
            ("utf-16", lambda r: r.decode().encode("utf-16"), "json"),
            ("nan", lambda r: r[:-1] + b',"x":NaN}', "json"),
            ("1e999", lambda r: r[:-1] + b',"x":1e999}', "json"),
            ("20-digits", lambda r: r[:-1] + b',"x":' + b"1" * 20 + b"}", "limit"),
            ("depth-100000", lambda r: r[:-1] + b',"x":' + DEEP + b"}", "limit"),
            ("half-a-surrogate", lambda r: r[:-1] + b',"x":"\\udfff"}', "json"),
            ("trailing-data", lambda r: r + b"{}", "json"),
            ("a-list", lambda r: b"[" + r + b"]", "json"),
            ("nothing", lambda r: r[:0], "json"),
            ("over-5-mib", lambda r: r[:-1] + b',"x":"' + b"a" * (5 << 20) + b'"}', "limit"),
        ):  # fmt: skip
            yield _graph(f"{name}-{what}", rewritten(name, change), expected, what)
    for name, extra in (("index", b'"MANIFESTS":[],'), ("manifest", b'"LAYERS":[],')):
        yield _graph(
            f"{name}-keys-that-differ-in-case",
            rewritten(name, lambda r, extra=extra: b"{" + extra + r[1:]),  # type: ignore[misc]
            "json",
            "Go takes the one, Python the other",
        )


def _descriptors() -> Iterator[Case]:
    """Descriptors within an index and within a manifest."""
    for place, attribute, find in (
        ("index", "change_index", lambda d: d["manifests"][0]),
        ("layer", "change_manifest", lambda d: d["layers"][0]),
        ("config", "change_manifest", lambda d: d["config"]),
    ):
        for what, value, expected in (
            ("digest-sha512", {"digest": "sha512:" + "0" * 128}, "oci"),
            ("digest-traversal", {"digest": "sha256:../../../../tmp/canary"}, "oci"),
            ("digest-capitals", {"digest": "sha256:" + "A" * 64}, "oci"),
            ("digest-empty", {"digest": ""}, "json"),
            ("digest-nul", {"digest": "sha256:" + "0" * 63 + "\0"}, "oci"),
            ("size-negative", {"size": -1}, "json"),
            ("size-text", {"size": "5"}, "json"),
            ("size-fraction", {"size": 5.5}, "json"),
            ("urls", {"urls": ["http://127.0.0.1:18181/leak"]}, "oci"),
            ("data-contradicts", {"data": "aGVsbG8="}, "oci"),
            ("data-junk", {"data": "***"}, "json"),
            ("media-type-gone", {"mediaType": None}, "json"),
            ("media-type-escape", {"mediaType": "a/b\x1b[2J"}, "oci"),
            ("annotations-of-numbers", {"annotations": {"a": 1}}, "json"),
            ("annotations-1025", {"annotations": {str(n): "" for n in range(1025)}}, "limit"),
        ):

            def change(
                document: dict[str, Any],
                find: Callable[[Any], Any] = find,
                value: dict[str, Any] = value,
            ) -> None:
                find(document).update(value)

            yield _graph(f"{place}-{what}", put(attribute, change), expected, f"{place}: {what}")


def _graphs() -> Iterator[Case]:
    def index(**fields: object) -> Callable[[], bytes]:
        return put("change_index", lambda d: d.update(fields))

    def manifest(**fields: object) -> Callable[[], bytes]:
        return put("change_manifest", lambda d: d.update(fields))

    def config(**fields: object) -> Callable[[], bytes]:
        return put("change_config", lambda d: d.update(fields))

    def first_platform(**fields: object) -> Callable[[], bytes]:
        return put("change_index", lambda d: d["manifests"][0]["platform"].update(fields))

    yield _graph("index-as-manifest", index(mediaType=OCI_MANIFEST), "oci", "a lie about itself")
    yield _graph("manifest-as-index", manifest(mediaType=OCI_INDEX), "oci", "a lie about itself")
    yield _graph("index-with-layers", index(layers=[], config={}), "oci", "two kinds in one")
    yield _graph("manifest-with-manifests", manifest(manifests=[]), "oci", "CVE-2021-41190")
    yield _graph("manifest-with-fs-layers", manifest(fsLayers=[]), "oci", "schema 1 and 2 in one")
    yield _graph("index-schema-1", index(schemaVersion=1), "oci", "another schema")
    yield _graph("manifest-schema-text", manifest(schemaVersion="2"), "json", "a string")
    yield _graph("index-without-manifests", index(manifests=None), "json", "no list")
    yield _graph("index-of-nothing", index(manifests=[]), "oci", "nothing that was kept is listed")
    yield _graph("manifest-without-layers", manifest(layers=None), "json", "no list")
    yield _graph("manifest-config-null", manifest(config=None), "json", "no config")
    yield _graph(
        "manifest-other-size-in-index",
        put("change_index", lambda d: d["manifests"][0].update(size=1)),
        "oci",
        "described otherwise than in the statement",
    )
    yield _graph(
        "manifest-other-type-in-index",
        put("change_index", lambda d: d["manifests"][0].update(mediaType=DOCKER_MANIFEST)),
        "oci",
        "described otherwise than in the statement",
    )
    yield _graph("platform-other-in-index", first_platform(architecture="s390x"), "oci", "")
    yield _graph("platform-other-os", first_platform(os="windows"), "oci", "")
    yield _graph("platform-hostile", first_platform(os="../.."), "oci", "no path is made of it")
    yield _graph("platform-empty", first_platform(os=""), "json", "")
    yield _graph(
        "platform-other-in-statement",
        with_image(lambda i: setattr(i, "platform", Platform.parse("linux/s390x"))),
        "oci",
        "the statement says another platform",
    )
    yield _graph("config-other-architecture", config(architecture="s390x"), "oci", "T16")
    yield _graph("config-other-os", config(os="windows"), "oci", "T16")
    yield _graph("config-no-architecture", config(architecture=None), "json", "T16")
    yield _graph("config-rootfs-null", config(rootfs=None), "json", "")
    rootfs = {"type": "layers", "diff_ids": [ZEROS] * 2}
    yield _graph("config-two-diff-ids", config(rootfs=rootfs), "oci", "layer count differs")
    yield _graph("config-no-diff-ids", config(rootfs=rootfs | {"diff_ids": []}), "oci", "")
    yield _graph("config-diff-id-junk", config(rootfs=rootfs | {"diff_ids": ["x"]}), "oci", "")
    yield _graph("config-diff-id-number", config(rootfs=rootfs | {"diff_ids": [1]}), "json", "")
    yield _graph(
        "config-diff-ids-513", config(rootfs=rootfs | {"diff_ids": [ZEROS] * 513}), "limit", ""
    )
    yield _graph("config-rootfs-other", config(rootfs=rootfs | {"type": "x"}), "oci", "")
    yield _graph(
        "layers-513",
        put("change_manifest", lambda d: d.update(layers=d["layers"] * 513)),
        "limit",
        "more layers than any runtime mounts",
    )
    yield _graph(
        "layer-twice-one-diff-id",
        put("change_manifest", lambda d: d.update(layers=d["layers"] * 2)),
        "oci",
        "layer count differs",
    )
    yield _graph(
        "layer-other-size",
        put("change_manifest", lambda d: d["layers"][0].update(size=1)),
        "oci",
        "a member has another size",
    )
    yield _graph(
        "layer-not-there",
        put("change_manifest", lambda d: d["layers"][0].update(digest=ZEROS)),
        "missing",
        "the manifest names a layer that the bundle does not hold",
    )
    for what in ("index", "manifest", "config", "layer"):
        yield _graph(
            f"{what}-left-out",
            with_image(lambda i, what=what: i.left_out.add(what)),  # type: ignore[misc]
            "missing",
            f"the {what} is not among the members",
        )
    yield _graph(
        "config-not-there",
        put("change_manifest", lambda d: d["config"].update(digest=ZEROS)),
        "missing",
        "",
    )
    yield _graph(
        "descriptors-10001",
        put("change_index", lambda d: d.update(manifests=d["manifests"] * 5001)),
        "limit",
        "more than an image may list",
    )
    yield _graph("hostile-annotations", index(annotations={"\x1b[2J": "\u202e"}), ACCEPT, "text")
    yield _graph("labels-that-act", config(config={"Labels": {"x": "$(reboot)"}}), ACCEPT, "text")
    yield _graph("a-member-nobody-needs", _smuggled, "container", "T18")
    for depth, expected in ((3, ACCEPT), (4, "limit")):
        yield _graph(
            f"indexes-{depth}-deep",
            lambda depth=depth: _nested(depth),  # type: ignore[misc]
            expected,
            "indexes of indexes",
        )


def _smuggled() -> bytes:
    image = Image()
    image.builder.small("application/octet-stream", b"carried along")
    return image.bundle().archive(form="zstd")


def _nested(depth: int) -> bytes:
    """Return an image whose manifest lies below so many indexes."""
    builder = Builder()
    manifest = builder.image("linux/amd64", {"x": b"y"})
    top = builder.index({"linux/amd64": manifest})
    for _ in range(depth - 1):
        top = builder.small(
            OCI_INDEX,
            dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [top.plain()]}),
        )
    entry = ImageEntry(
        reference=Reference.parse(REFERENCE),
        image=top,
        platforms=(PlatformManifest(platform=AMD64, manifest=manifest),),
        evidence=_signed(builder, top),
    )
    return Bundle(
        images=(entry,),
        trust=(),
        metadata=tuple(sorted(builder.metadata, key=_by_digest)),
        layers=tuple(builder.layers),
        blobs=builder.blobs,
    ).archive(form="zstd")


def _evidence() -> Iterator[Case]:
    """Evidence that is there, or not, and does not do. Signed cases proper are the judge's own."""

    def tag(make: Callable[[Descriptor], Layer]) -> Callable[[], bytes]:
        def evidence(builder: Builder, index: Descriptor) -> tuple[EvidenceEntry, ...]:
            manifest = builder.evidence(make(index))
            return (EvidenceEntry(subject=index.digest, store="signature-tag", manifest=manifest),)

        return with_image(lambda image: setattr(image, "evidence", evidence))

    def by(digest: Digest | str, signer: Signer) -> Layer:
        return WORLD.sign_image_legacy(str(digest), signer, log="none").layer()

    def annotated(value: str | None) -> Callable[[Descriptor], Layer]:
        def make(index: Descriptor) -> Layer:
            layer = by(index.digest, KEY)
            layer.annotations = {} if value is None else {SIGNATURE_ANNOTATION: value}
            return layer

        return make

    def other_payload(change: Callable[[bytes], bytes]) -> Callable[[Descriptor], Layer]:
        def make(index: Descriptor) -> Layer:
            layer = by(index.digest, KEY)
            return replace(layer, blob=change(layer.blob))

        return make

    def of_payload(payload: bytes) -> Callable[[Descriptor], Layer]:
        return lambda _: WORLD.sign(payload, KEY, log="none").layer()

    stranger = WORLD.managed("stranger")
    level: Level = "judge"
    for name, make, expected in (
        ("none", with_image(lambda i: setattr(i, "evidence", lambda *_: ())), "no-evidence"),
        ("of-another-digest", tag(lambda _: by(ZEROS, KEY)), "signature"),
        ("by-a-stranger", tag(lambda i: by(i.digest, stranger)), "signature"),
        ("payload-changed", tag(other_payload(lambda b: b + b" ")), "signature"),
        ("payload-empty", tag(other_payload(lambda b: b[:0])), "signature"),
        ("payload-not-json", tag(of_payload(b"junk")), "signature"),
        ("payload-null", tag(of_payload(b"null")), "signature"),
        ("payload-without-image", tag(of_payload(b'{"critical":{}}')), "signature"),
        ("payload-equal-keys", tag(of_payload(b'{"critical":{},"critical":{}}')), "signature"),
        ("payload-depth-100000", tag(of_payload(b"[" * 100_000)), "signature"),
        ("signature-gone", tag(annotated(None)), "signature"),
        ("signature-empty", tag(annotated("")), "signature"),
        ("signature-not-base64", tag(annotated("***")), "signature"),
        ("signature-base64url", tag(annotated("-_-_")), "signature"),
        ("signature-unpadded", tag(annotated("MEUCIQ")), "signature"),
        ("signature-not-der", tag(annotated("AAAA")), "signature"),
        ("signature-a-megabyte", tag(annotated("A" * (1 << 20))), "signature"),
        ("bundle-junk", tag(lambda _: Layer(media_type=BUNDLE_TYPE, blob=b"{}")), "signature"),
        ("bundle-of-nothing", tag(lambda _: Layer(media_type=BUNDLE_TYPE, blob=b"")), "signature"),
    ):  # fmt: skip
        yield of_bytes(f"evidence-{name}", make, expected, "evidence that does not do", level=level)


SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def _layers() -> Iterator[Case]:
    """Layers whose digest is right, and whose content is not what the config says."""
    raw, packed = gzip_tar({"etc/app": b"for amd64\n"})
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    bombed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    for name, layer, media_type in (
        ("gzip-cut", packed[:-5], LAYER_TYPE),
        ("gzip-trailing", packed + b"junk", LAYER_TYPE),
        ("gzip-second-member", packed + gzip.compress(b"more", mtime=0), LAYER_TYPE),
        ("gzip-checksum", packed[:-8] + b"abcd" + packed[-4:], LAYER_TYPE),
        ("gzip-of-something-else", gzip.compress(b"another tar", mtime=0), LAYER_TYPE),
        ("gzip-bomb", bombed, LAYER_TYPE),
        ("plain-called-gzip", raw, LAYER_TYPE),
        ("gzip-called-plain", packed, "application/vnd.oci.image.layer.v1.tar"),
        ("gzip-called-zstd", packed, "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("empty", b"", LAYER_TYPE),
    ):

        def change(image: Image, layer: bytes = layer, media_type: str = media_type) -> None:
            image.layer, image.layer_type = layer, media_type

        yield of_bytes(
            f"layer-{name}",
            with_image(change),
            "digest",
            "its diff_id is another: runtimes see that, and the loader where it unpacks",
            level="deep",
        )


def _paths() -> Iterator[Case]:
    """What lies under the name is no regular file, or not a whole one."""

    def directory(path: Path) -> None:
        path.mkdir()

    def fifo(path: Path) -> None:
        os.mkfifo(path)

    def link(target: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(target)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 40)

    for name, build, expected in (
        ("absent", lambda _: None, "io"),
        ("directory", directory, "io"),
        ("fifo", fifo, "io"),
        ("device", link("/dev/zero"), "io"),
        ("dangling-link", link("/nonexistent/x"), "io"),
        ("looping-link", lambda path: path.symlink_to(path.name), "io"),
        ("sparse-terabyte", sparse, "container"),
    ):
        yield Case(
            id=f"path-{name}", build=build, expect_class=expected, why="no bundle", level="path"
        )
