"""A signed image to show things with: what a small project publishes, in one store."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import hello_index
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.world import World


def build(
    trust: Path | None = None, reference: str = "registry.acme.example/acme/app"
) -> ContentStore:
    """A store with ``1.0.0``: keyless bundle, key signature, provenance, bill of materials.

    Into ``trust`` go ``trusted_root.json`` and ``release.pub``.
    """
    world, store = World(), ContentStore()
    image = hello_index(store, tag="1.0.0")
    release, key = world.keyless(), world.managed("release")
    bundles = [(world.sign_image(image.digest, release, log="v2"), statements.COSIGN_SIGN)]
    for predicate_type, predicate in (
        (statements.SLSA_V1, statements.slsa_v1()),
        (statements.SPDX, statements.spdx()),
    ):
        said = statements.statement(image.digest, predicate_type, predicate, name=reference)
        bundles.append((world.sign_statement(said, release), predicate_type))
    for signed, predicate_type in bundles:
        attach.attach_bundle(image, signed.bundle(), predicate_type=predicate_type, fallback="full")
    legacy = world.sign_image_legacy(image.digest, key, reference=reference)
    attach.attach_tag(image, [legacy.layer()])
    if trust is not None:
        trust.mkdir(parents=True, exist_ok=True)
        (trust / "trusted_root.json").write_bytes(encode(world.trusted_root()))
        (trust / "release.pub").write_bytes(key.public_pem)
    return store
