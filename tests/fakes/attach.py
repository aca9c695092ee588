"""Puts signed things where tools put them: tags, referrers, fallback tags, in-index manifests.

Everything is written into the ``ContentStore`` that holds the subject; a registry serves it and
``write_layout`` writes it down from there. Referrers need nothing more than their manifest: the
store finds them by ``subject``. A fallback tag is written only where one is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from tests.fakes.content import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    ContentStore,
    Json,
    digest_of,
    encode,
    referrer_descriptor,
)
from tests.fakes.images import Image

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO_TYPE = "application/vnd.in-toto+json"
Kind = Literal["sig", "att", "sbom"]
Fallback = Literal["none", "bare", "full"]
"""``bare`` has descriptors without annotations (go-containerregistry), ``full`` with."""


class LayerLike(Protocol):
    """A blob with the annotations of its descriptor; ``sigworld.signed.Layer`` is one."""

    media_type: str
    blob: bytes
    annotations: dict[str, str]

    def descriptor(self) -> Json:
        """The OCI descriptor."""


def _tag_of(digest: str) -> str:
    return digest.replace(":", "-")


def _pointer(descriptor: Json) -> Json:
    return {key: descriptor[key] for key in ("mediaType", "size", "digest")}


def _dummy_config(layers: Sequence[LayerLike]) -> bytes:
    """The configuration that go-containerregistry makes up for an image of mere blobs."""
    never = "0001-01-01T00:00:00Z"
    return encode(
        {
            "architecture": "",
            "created": never,
            "history": [{"created": never} for _ in layers],
            "os": "",
            "rootfs": {
                "type": "layers",
                "diff_ids": [digest_of(layer.blob) for layer in layers],
            },
            "config": {},
        }
    )


def _legacy_manifest(
    store: ContentStore,
    layers: Sequence[LayerLike],
    *,
    media_type: str,
    config_type: str,
    subject: Json | None = None,
    artifact_type: str | None = None,
) -> Json:
    for layer in layers:
        store.add(layer.blob, layer.media_type)
    document: Json = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _pointer(store.add(_dummy_config(layers), config_type)),
        "layers": [layer.descriptor() for layer in layers],
    }
    if subject is not None:
        document["subject"] = _pointer(subject)
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    return store.add_json(document, media_type)


def attach_tag(
    subject: Image,
    layers: Sequence[LayerLike],
    kind: Kind = "sig",
    *,
    docker: bool = False,
    prefix: str = "",
    store: ContentStore | None = None,
) -> Json:
    """cosign's ``sha256-<hex>.sig`` (``.att``, ``.sbom``); replaces what was under that tag.

    ``store`` is another repository than the subject's (``COSIGN_REPOSITORY``).
    """
    target = subject.store if store is None else store
    described = _legacy_manifest(
        target,
        layers,
        media_type=DOCKER_MANIFEST if docker else OCI_MANIFEST,
        config_type=DOCKER_CONFIG if docker else OCI_CONFIG,
    )
    target.tag(f"{prefix}{_tag_of(subject.digest)}.{kind}", described)
    return described


def attach_experimental(
    subject: Image,
    layers: Sequence[LayerLike],
    kind: Kind = "sig",
    *,
    fallback: Fallback = "none",
) -> Json:
    """cosign 2's ``--registry-referrers-mode oci-1-1``: legacy layers in a referrer."""
    artifact_type = f"application/vnd.dev.cosign.artifact.{kind}.v1+json"
    described = _legacy_manifest(
        subject.store,
        layers,
        media_type=OCI_MANIFEST,
        config_type=artifact_type,
        subject=subject.descriptor,
        artifact_type=artifact_type,
    )
    return _listed(subject, described, fallback)


def attach_dsse_referrer(
    subject: Image, layers: Sequence[LayerLike], *, fallback: Fallback = "none"
) -> Json:
    """cosign 3.1's referrer with legacy DSSE layers."""
    described = _legacy_manifest(
        subject.store,
        layers,
        media_type=OCI_MANIFEST,
        config_type=OCI_CONFIG,
        subject=subject.descriptor,
        artifact_type=IN_TOTO_TYPE,
    )
    return _listed(subject, described, fallback)


def attach_bundle(
    subject: Image,
    bundle: Json | bytes,
    *,
    predicate_type: str | None = "https://sigstore.dev/cosign/sign/v1",
    created: str = "2026-01-15T12:00:02Z",
    fallback: Fallback = "none",
    artifact_type: str = BUNDLE_TYPE,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """A Sigstore bundle as cosign 3 attaches it: a referrer with one layer.

    ``bundle`` may be bytes, where the encoding itself is what a test is about.
    """
    store = subject.store
    raw = bundle if isinstance(bundle, bytes) else encode(bundle)
    content = "message-signature" if predicate_type is None else "dsse-envelope"
    noted = {"dev.sigstore.bundle.content": content}
    if predicate_type is not None:
        noted["dev.sigstore.bundle.predicateType"] = predicate_type
    noted["org.opencontainers.image.created"] = created
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            **_pointer(store.add(EMPTY_CONFIG, OCI_EMPTY)),
            "artifactType": artifact_type,
        },
        "layers": [_pointer(store.add(raw, artifact_type))],
        "annotations": {**noted, **(annotations or {})},
        "subject": _pointer(subject.descriptor),
        "artifactType": artifact_type,
    }
    return _listed(subject, store.add_json(document, OCI_MANIFEST), fallback)


def fallback_tag(subject: Image, referrers: Sequence[Json], *, annotations: bool = True) -> Json:
    """Write the referrers tag ``sha256-<hex>``: an index of these manifests."""
    store = subject.store
    entries = []
    for one in referrers:
        document = store.json(one["digest"]) if one["digest"] in store else {}
        entries.append(referrer_descriptor(_bare(one), document, annotations=annotations))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    described = store.add_json(index, OCI_INDEX)
    store.tag(_tag_of(subject.digest), described)
    return described


def drop_manifest(store: ContentStore, digest: str) -> None:
    """Forget a manifest but not who points at it: a pruned referrer."""
    store.blobs.pop(digest)
    store.manifests.pop(digest)


def _bare(descriptor: Json) -> Json:
    return {key: descriptor[key] for key in ("mediaType", "digest", "size")}


def _listed(subject: Image, described: Json, fallback: Fallback) -> Json:
    if fallback == "none":
        return described
    store = subject.store
    current = store.tags.get(_tag_of(subject.digest))
    listed = [] if current is None else store.json(current)["manifests"]
    if all(one["digest"] != described["digest"] for one in listed):
        listed = [*listed, described]
    fallback_tag(subject, listed, annotations=fallback == "full")
    return described
