"""What an image says of how it was built, for whoever wants to build it again.

    annotations, labels     what builders write down: source, commit, base image, a date
    config                  when it was created, which is SOURCE_DATE_EPOCH where builds repeat
    provenance              SLSA's, whoever signed it, and BuildKit's own in the index

Nothing is verified: a wrong hint costs a build that differs, and the comparison then says so.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bundler.compare.side import PlatformImage, Side
from loader.errors import FormatError, shown
from loader.evidence import evidence_of
from loader.graph import ImageGraph
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.bundle import BlobSource, ImageEntry
from loader.model.cosign import CosignAttestation
from loader.model.envelope import Envelope
from loader.model.image import ImageManifest, parse_manifest
from loader.model.pointer import JsonPointer
from loader.model.provenance import Claimed, read_provenance
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.statement import Statement
from loader.model.strictjson import JsonObject, JsonValue

_OCI: Final = "org.opencontainers.image."
_SAID: Final = {
    f"{_OCI}source": "source",
    f"{_OCI}revision": "commit",
    f"{_OCI}version": "version",
    f"{_OCI}base.name": "base image",
    f"{_OCI}base.digest": "base digest",
}
_DATE: Final = re.compile(r"[a-z0-9._-]*(?:date|epoch)", re.IGNORECASE)
"""Annotations such as Dangerzone's `rocks.dangerzone.debian_archive_date`."""
_CLAIMS: Final[tuple[tuple[Claimed, str], ...]] = (
    ("repository", "source"),
    ("commit", "commit"),
    ("ref", "ref"),
    ("workflow", "workflow"),
    ("builder", "builder"),
)
_BUILD_ARGUMENT: Final = "build-arg:"
_IN_TOTO: Final = "application/vnd.in-toto+json"
_ARGUMENTS: Final = (
    JsonPointer("/invocation/parameters/args"),
    JsonPointer("/buildDefinition/externalParameters/request/args"),
)
_ARGUMENTS_MAX: Final = 100
_TEXT_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One thing that a builder would have to be told."""

    what: str
    value: str
    source: str
    """What says so."""
    argument: str = ""
    """How BuildKit is told; empty where it is no argument."""

    def __str__(self) -> str:
        told = f" → {self.argument}" if self.argument else ""
        return f"{self.what:<13} {self.value}{told}  ({self.source})"

    def plain(self) -> JsonObject:
        """Return it for programs."""
        return {
            "what": self.what,
            "value": self.value,
            "source": self.source,
            "argument": self.argument,
        }


def hints_of(side: Side) -> tuple[Hint, ...]:
    """Return what an image says of how it was built, each thing once."""
    found: dict[tuple[str, str], Hint] = {}
    for hint in (
        *(hint for raw in side.statements for hint in _from_statement(raw)),
        *(hint for image in side.platforms for hint in _from_image(image)),
    ):
        found.setdefault((hint.what, hint.value), hint)
    return tuple(found.values())


def statements_of(entry: ImageEntry, graph: ImageGraph, blobs: BlobSource) -> Iterator[bytes]:
    """Yield the statements about an image, whoever signed them, and those that nobody did.

    Raises:
        MissingError, DigestError: evidence that is listed is not there as described.
    """
    for found in evidence_of(entry, graph, blobs):
        match found.evidence:
            case (
                CosignAttestation(envelope=envelope)
                | SigstoreBundle(content=Envelope() as envelope)
            ):
                yield envelope.payload
            case _:
                continue
    for item in entry.evidence:
        if item.store != "buildkit":
            continue
        where = f"BuildKit's attestation {item.manifest.digest.short}"
        raw = blobs.read(item.manifest, where=where, size_max=DEFAULT_LIMITS.document_size_max)
        manifest = parse_manifest(raw, item.manifest, where=where)
        for layer in manifest.layers if isinstance(manifest, ImageManifest) else ():
            if layer.media_type == _IN_TOTO:
                yield blobs.read(layer, where=where, size_max=DEFAULT_LIMITS.evidence_size_max)


def _from_statement(raw: bytes) -> Iterator[Hint]:
    try:
        statement = Statement.parse(raw, where="statement")
        if not statement.predicate_type.startswith("https://slsa.dev/provenance/"):
            return
        predicate = statement.read_predicate(None, size_max=DEFAULT_LIMITS.evidence_size_max)
        provenance = read_provenance(predicate, statement.predicate_type)
    except FormatError:
        return  # what cannot be read tells nothing
    for claimed, what in _CLAIMS:
        place, value = next(iter(provenance.said.get(claimed, ())), ("", ""))
        if value:
            yield Hint(what=what, value=_shown(value), source=f"provenance, {place}")
    yield from _build_arguments(predicate)


def _build_arguments(predicate: JsonValue) -> Iterator[Hint]:
    """Yield what BuildKit writes down of a Dockerfile's arguments (v0.2 and v1, `mode=max`)."""
    for pointer in _ARGUMENTS:
        here = pointer.find(predicate)
        if not isinstance(here, dict):
            continue
        told = [(k, v) for k, v in here.items() if k.startswith(_BUILD_ARGUMENT)]
        for key, value in told[:_ARGUMENTS_MAX]:
            if isinstance(value, str):
                told_as = _shown(f"{key.removeprefix(_BUILD_ARGUMENT)}={value}")
                yield Hint(
                    what="argument",
                    value=told_as,
                    source=f"provenance, {pointer.text[1:].replace('/', '.')}",
                    argument=f"--build-arg {shlex.quote(told_as)}",
                )


def _from_image(image: PlatformImage) -> Iterator[Hint]:
    if image.manifest is not None:
        yield from _from_texts(image.manifest.annotations, f"annotation, {image.platform}")
    config = strictjson.parse_object(
        image.config.raw,
        what="a config",
        size_max=len(image.config.raw),
        keys="exact",
        numbers="any",
    )
    run = config.get("config")
    labels = run.get("Labels") if isinstance(run, dict) else None
    if isinstance(labels, dict):
        texts = {key: value for key, value in labels.items() if isinstance(value, str)}
        yield from _from_texts(texts, f"label, {image.platform}")
    created = config.get("created")
    if isinstance(created, str) and created:
        yield Hint(
            what="created",
            value=_shown(created),
            source=f"config, {image.platform}",
            argument=_epoch(created),
        )


def _from_texts(texts: Mapping[str, str], source: str) -> Iterator[Hint]:
    for key, value in sorted(texts.items()):
        if key in _SAID:
            yield Hint(what=_SAID[key], value=_shown(value), source=f"{source}, {key}")
        elif _DATE.fullmatch(key):
            yield Hint(
                what="date",
                value=_shown(value),
                source=f"{source}, {_shown(key)}",
                argument=_epoch(value),
            )


def _epoch(text: str) -> str:
    """Return the argument for a moment written as RFC 3339, YYYYMMDD or seconds; or nothing."""
    if re.fullmatch(r"[0-9]{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}T00:00:00Z"
    if re.fullmatch(r"[0-9]{9,11}", text):
        return f"--build-arg SOURCE_DATE_EPOCH={text}"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return "" if at.tzinfo is None else f"--build-arg SOURCE_DATE_EPOCH={int(at.timestamp())}"


def _shown(text: str) -> str:
    return shown(text, limit=_TEXT_MAX)[1:-1]
