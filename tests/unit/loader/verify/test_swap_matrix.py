"""CASES A030 to A053: of three genuine signatures P, Q and R, one part each is exchanged.

For every kind of log entry, as a bundle and as a layer, by certificate and by key: what was signed,
signature, signer, the log's body, proof, checkpoint and promise, the timestamp. Each of P from Q, P
from R, Q from P. Every mix is refused, by the check that this part is bound with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pytest

from loader.verify.sigstore import Material, SignedEvidence
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    SIGNATURE_ANNOTATION,
    TIMESTAMP_ANNOTATION,
    Layer,
    SignedMessage,
    SignedStatement,
)
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import bundle_of, code_of, keyless, layer_of, managed

Json = dict[str, Any]
By = Literal["certificate", "key"]
Make = Callable[[World, str, Signer], SignedMessage | SignedStatement]
PAIRS = ("PQ", "PR", "QP")
BODY_BY_PROMISE, BODY_BY_PROOF = "signature.set", "signature.inclusion"


def _message(log: Any, entry: Any = "hashedrekord") -> Make:  # noqa: ANN401
    return lambda world, digest, signer: world.sign_image_legacy(
        digest, signer, log=log, entry=entry, timestamp=True
    )


def _envelope(log: Any, entry: Any = "dsse") -> Make:  # noqa: ANN401
    def make(world: World, digest: str, signer: Signer) -> SignedStatement:
        said = statements.statement(digest, statements.SLSA_V1, statements.slsa_v1())
        return world.sign_statement(said, signer, log=log, entry=entry, timestamp=True)

    return make


@dataclass(frozen=True)
class Kind:
    """How it is signed and carried, and what a changed part ends with where kinds differ."""

    make: Make
    carried: Literal["bundle", "layer"]
    body: str = BODY_BY_PROMISE
    signature: str = "signature.entry.signature"
    promises: bool = True


KINDS: dict[str, Kind] = {
    "hashedrekord 0.0.1, layer": Kind(_message("v1"), "layer"),
    "hashedrekord 0.0.1, bundle": Kind(_message("v1"), "bundle"),
    "rekord 0.0.1, layer": Kind(_message("v1", "rekord"), "layer"),
    "rekord 0.0.1, bundle": Kind(_message("v1", "rekord"), "bundle"),
    "hashedrekord 0.0.2, message": Kind(_message("v2"), "bundle", BODY_BY_PROOF, promises=False),
    "hashedrekord 0.0.2, envelope": Kind(_envelope("v2"), "bundle", BODY_BY_PROOF, promises=False),
    "dsse 0.0.1, layer": Kind(_envelope("v1"), "layer"),
    "dsse 0.0.1, bundle": Kind(_envelope("v1"), "bundle"),
    "intoto 0.0.2, layer": Kind(_envelope("v1", "intoto-0.0.2"), "layer"),
    "intoto 0.0.2, bundle": Kind(_envelope("v1", "intoto-0.0.2"), "bundle"),
    # No signature in the entry: it is bound by the envelope's very bytes.
    "intoto 0.0.1, layer": Kind(
        _envelope("v1", "intoto-0.0.1"), "layer", signature="signature.entry.digest"
    ),
}
PARTS = {
    "artifact": "signature.entry.digest",
    "signature": "",
    "signer": "signature.entry.key",
    "body": "",
    "proof": "signature.inclusion",
    "checkpoint": "signature.checkpoint",
    "promise": "signature.set",
    "timestamp": "signature.timestamp",
}


@dataclass(frozen=True)
class Genuine:
    """One of the three: as it is carried, and the material that it holds under."""

    carried: Json | Layer
    material: Material


@cache
def three(name: str, by: By) -> dict[str, Genuine]:
    kind, world, found = KINDS[name], World("swap"), {}
    for position, letter in enumerate("PQR"):
        signer = (
            world.managed(letter)
            if by == "key"
            else world.keyless(person(f"{letter.lower()}@example.com"))
        )
        act = kind.make(world, f"sha256:{position:064x}", signer)
        found[letter] = Genuine(
            act.bundle() if kind.carried == "bundle" else act.layer(),
            managed(world, signer) if by == "key" else keyless(world),
        )
        # So that no two trees, and no two checkpoints, are the same.
        world.rekor1.grow(3)
        world.rekor2.grow(3)
    return found


def parts_of(kind: Kind) -> tuple[str, ...]:
    absent = {
        "proof": kind.carried == "layer",  # cosign's annotation has only the promise
        "checkpoint": kind.carried == "layer",
        "promise": not kind.promises,
    }
    return tuple(part for part in PARTS if not absent.get(part, False))


def evidence_of(carried: Json | Layer) -> SignedEvidence:
    return layer_of(carried) if isinstance(carried, Layer) else bundle_of(carried)


def mixed(mine: Genuine, other: Genuine, part: str, by: By) -> tuple[SignedEvidence, Material]:
    """Mine, with one part of the other's; a key is no part of what is carried."""
    if part == "signer" and by == "key":
        return evidence_of(mine.carried), other.material
    match (mine.carried, other.carried):
        case (Layer() as into, Layer() as source):
            return layer_of(_mixed_layer(into, source, part)), mine.material
        case (dict() as into, dict() as source):
            return bundle_of(exchanged(into, source, part)), mine.material
        case _:
            raise AssertionError(part)


def _mixed_layer(mine: Layer, other: Layer, part: str) -> Layer:
    layer = copy.deepcopy(mine)
    note, theirs = layer.annotations, other.annotations
    match part:
        case "artifact" if note[SIGNATURE_ANNOTATION]:
            layer.blob = other.blob
        case "signature" if note[SIGNATURE_ANNOTATION]:
            note[SIGNATURE_ANNOTATION] = theirs[SIGNATURE_ANNOTATION]
        case "artifact" | "signature":
            envelope, source = json.loads(layer.blob), json.loads(other.blob)
            field = "payload" if part == "artifact" else "signatures"
            envelope[field] = source[field]
            layer.blob = json.dumps(envelope, separators=(",", ":")).encode()
        case "signer":
            note[CERTIFICATE_ANNOTATION] = theirs[CERTIFICATE_ANNOTATION]
        case "timestamp":
            note[TIMESTAMP_ANNOTATION] = theirs[TIMESTAMP_ANNOTATION]
        case "body" | "promise":
            said, source = (
                json.loads(note[BUNDLE_ANNOTATION]),
                json.loads(theirs[BUNDLE_ANNOTATION]),
            )
            if part == "body":
                said["Payload"]["body"] = source["Payload"]["body"]
            else:
                said["SignedEntryTimestamp"] = source["SignedEntryTimestamp"]
            note[BUNDLE_ANNOTATION] = json.dumps(said)
        case _:
            raise AssertionError(part)
    return layer


_MATERIAL = "verificationMaterial"
_ENTRY = (_MATERIAL, "tlogEntries", 0)
IN_BUNDLES: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "artifact": (("dsseEnvelope", "payload"), ("messageSignature", "messageDigest")),
    "signature": (("dsseEnvelope", "signatures"), ("messageSignature", "signature")),
    "signer": ((_MATERIAL, "certificate"),),
    "timestamp": ((_MATERIAL, "timestampVerificationData"),),
    "body": ((*_ENTRY, "canonicalizedBody"),),
    "proof": ((*_ENTRY, "inclusionProof"),),
    "checkpoint": ((*_ENTRY, "inclusionProof", "checkpoint"),),
    "promise": ((*_ENTRY, "inclusionPromise"),),
}


def exchanged(mine: Json, other: Json, part: str) -> Json:
    """My bundle with one part of the other's."""
    bundle = copy.deepcopy(mine)
    *above, last = next(path for path in IN_BUNDLES[part] if path[0] in bundle)
    into: Any = bundle
    source: Any = other
    for step in above:
        into, source = into[step], source[step]
    assert into[last] != source[last]
    into[last] = source[last]
    return bundle


def expected(kind: Kind, part: str) -> str:
    return {"signature": kind.signature, "body": kind.body}.get(part, PARTS[part])


MATRIX = [
    pytest.param(name, by, part, pair, id=f"{name}, {by}, {part}, {pair[0]} from {pair[1]}")
    for name, kind in KINDS.items()
    for by in ("certificate", "key")
    for part in parts_of(kind)
    for pair in PAIRS
]


@pytest.mark.parametrize("by", ["certificate", "key"])
@pytest.mark.parametrize("name", KINDS)
def test_the_three_hold_as_they_are(name: str, by: By) -> None:
    for one in three(name, by).values():
        assert code_of(evidence_of(one.carried), one.material) == ""


@pytest.mark.parametrize(("name", "by", "part", "pair"), MATRIX)
def test_a030_a053_every_mix_is_refused(name: str, by: By, part: str, pair: str) -> None:
    found = three(name, by)
    evidence, material = mixed(found[pair[0]], found[pair[1]], part, by)
    assert code_of(evidence, material) == expected(KINDS[name], part)


def test_every_part_is_exchanged_somewhere() -> None:
    # 24 mixes where an entry has all eight parts; what a format lacks cannot be exchanged.
    whole = [kind for kind in KINDS.values() if parts_of(kind) == tuple(PARTS)]
    assert len(whole) == 4
    assert len(MATRIX) == 2 * 3 * sum(len(parts_of(kind)) for kind in KINDS.values())
