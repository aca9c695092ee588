"""A stage for tests of claims: attestations by a workflow or a key, and what asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from loader.policy.facts import ClaimResult, Judgement
from tests.fakes import attach
from tests.fakes.images import Image
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.sigworld.keys import Signer
from tests.unit.loader.policy.scene import AS_PACKED, IDENTITY, ISSUER, Scene, encoded

RELEASE_METADATA = "https://acme.example/release-metadata"
BY_KEY = 'key = "release"\n'
BY_WORKFLOW = f"""trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""


def require(claim: str, *lines: str, who: str = BY_WORKFLOW) -> str:
    return "\n[[image.require]]\n" + f'claim = "{claim}"\n' + who + "".join(f"{x}\n" for x in lines)


def attest(
    scene: Scene,
    predicate_type: str,
    predicate: object,
    *,
    by: Identity | Signer | None = None,
    on: str | None = None,
    image: Image | None = None,
    name: str | None = None,
    legacy: bool = False,
    at: datetime | None = None,
    raw: bytes | None = None,
) -> None:
    """Attach a signed statement about an image of the scene, or about another digest."""
    image = image or scene.image
    signer = by if isinstance(by, Signer) else scene.world.keyless(by or workflow())
    said: Json | bytes = raw or statements.statement(
        on or image.digest, predicate_type, predicate, name=name
    )
    act = scene.world.sign_statement(
        said, signer, log="none" if isinstance(by, Signer) else "v1", at=at
    )
    if legacy:
        attach.attach_tag(image, [act.layer()], "att")
    else:
        attach.attach_bundle(image, encoded(act.bundle()))


def run(scene: Scene, *requirements: str, **options: object) -> Judgement:
    return scene.run(AS_PACKED + "".join(requirements), **options)  # type: ignore[arg-type]


def claims(judgement: object) -> Sequence[ClaimResult]:
    assert isinstance(judgement, Judgement)
    return judgement.images[0].claims


def facts(judgement: object, position: int = 0) -> dict[str, str]:
    return {fact.name: fact.value for fact in claims(judgement)[position].facts}
