"""From the signing world's values to ours, for the tests of verification."""

from __future__ import annotations

import json
from typing import Any

from loader.digest import Digest
from loader.errors import RefusedError
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.descriptor import Descriptor, MediaType
from loader.model.sigstore_bundle import SigstoreBundle
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.verify.sigstore import Material, Signed, SignedEvidence, verify_evidence
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import DSSE_ENVELOPE, Layer
from tests.fakes.sigworld.world import World

IMAGE = "sha256:" + "ab" * 32
Json = dict[str, Any]


def root_of(document: Json) -> TrustedRoot:
    return TrustedRoot.parse(json.dumps(document).encode(), name="acme")


def key_of(signer: Signer, **options: Any) -> PublicKey:  # noqa: ANN401
    return PublicKey.parse(signer.public_pem, name=signer.name, **options)


def bundle_of(document: Json) -> SigstoreBundle:
    return SigstoreBundle.parse(json.dumps(document).encode(), where="bundle")


def layer_of(layer: Layer) -> CosignSignature | CosignAttestation:
    descriptor = Descriptor(
        media_type=MediaType(layer.media_type),
        digest=Digest.of(layer.blob),
        size=len(layer.blob),
        annotations=layer.annotations,
    )
    kind = CosignAttestation if layer.media_type == DSSE_ENVELOPE else CosignSignature
    return kind.parse(layer.blob, descriptor, where="layer")


def keyless(world: World, **parts: Any) -> Material:  # noqa: ANN401
    return Material(trusted_root=root_of(world.trusted_root(**parts)))


def managed(world: World, signer: Signer, **parts: Any) -> Material:  # noqa: ANN401
    return Material(trusted_root=root_of(world.trusted_root(**parts)), key=key_of(signer))


def signed(evidence: SignedEvidence, material: Material) -> Signed:
    return verify_evidence(evidence, material).value


def code_of(evidence: SignedEvidence, material: Material) -> str:
    """The code of the refusal; empty where there is none."""
    try:
        verify_evidence(evidence, material)
    except RefusedError as e:
        return e.code
    return ""
