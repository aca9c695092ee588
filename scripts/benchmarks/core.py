"""What the verification core costs, in a process of its own: `core.py import|judge|evidence`.

Prints JSON: a median for each thing that is timed; seconds for imports, milliseconds for evidence.
What takes so little is timed by the processor's clock: others on the machine would be the larger
part of it on the wall's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Final

_COUNT: Final = 100


def main() -> None:
    """Time what is asked for."""
    print(json.dumps({"import": _imports, "judge": _judge, "evidence": _evidence}[sys.argv[1]]()))


def _imports() -> dict[str, float]:
    """What verifies Sigstore evidence: its doors, keys, trusted roots, and all checks."""
    began = time.process_time()
    import loader.model.cosign  # noqa: PLC0415
    import loader.model.sigstore_bundle  # noqa: PLC0415
    import loader.trust.keys  # noqa: PLC0415
    import loader.trust.trusted_root  # noqa: PLC0415
    import loader.verify.sigstore  # noqa: F401, PLC0415

    return {"import of the verification core": time.process_time() - began}


def _judge() -> dict[str, float]:
    """All that judges a bundle: policy, claims, TUF, Notary and deny lists besides."""
    began = time.process_time()
    import loader.judge  # noqa: F401, PLC0415

    return {"import of the judge": time.process_time() - began}


def _evidence() -> dict[str, float]:
    from loader.model.cosign import CosignSignature  # noqa: PLC0415
    from loader.model.descriptor import Descriptor  # noqa: PLC0415
    from loader.model.sigstore_bundle import SigstoreBundle  # noqa: PLC0415
    from loader.trust.keys import PublicKey  # noqa: PLC0415
    from loader.trust.trusted_root import TrustedRoot  # noqa: PLC0415
    from loader.verify.sigstore import Material, SignedEvidence, verify_evidence  # noqa: PLC0415
    from tests.fakes.content import digest_of, encode  # noqa: PLC0415
    from tests.fakes.sigworld import statements  # noqa: PLC0415
    from tests.fakes.sigworld.world import World  # noqa: PLC0415

    world = World()
    trusted_root = TrustedRoot.parse(encode(world.trusted_root()), name="bench")
    key, release = world.managed("release"), world.keyless()
    digest = digest_of(b"an image")
    public = PublicKey.parse(key.public_pem, name="release")
    managed = Material(key=public, trusted_root=trusted_root)
    keyless = Material(trusted_root=trusted_root)
    layer = world.sign_image_legacy(digest, key).layer()
    descriptor = Descriptor.parse(layer.descriptor(), where="layer")
    signed = encode(world.sign_image(digest, release, log="v1").bundle())
    stamped = encode(world.sign_image(digest, release, log="v2").bundle())
    said = statements.statement(digest, statements.SLSA_V1, statements.slsa_v1(), name="app")
    attested = encode(world.sign_statement(said, release).bundle())

    def bundle(raw: bytes) -> Callable[[], SignedEvidence]:
        return lambda: SigstoreBundle.parse(raw, where="bundle")

    kinds: dict[str, tuple[Callable[[], SignedEvidence], Material]] = {
        "key signature of cosign 2, logged": (
            lambda: CosignSignature.parse(layer.blob, descriptor, where="layer"),
            managed,
        ),
        "keyless bundle of cosign 3, Rekor v1": (bundle(signed), keyless),
        "keyless bundle of cosign 3, Rekor v2 and timestamp": (bundle(stamped), keyless),
        "keyless provenance": (bundle(attested), keyless),
    }
    return {
        f"verifying a {kind}": _milliseconds(
            lambda parse=parse, material=material: verify_evidence(parse(), material)  # type: ignore[misc]
        )
        for kind, (parse, material) in kinds.items()
    }


def _milliseconds(act: Callable[[], object]) -> float:
    took = []
    for _ in range(_COUNT):
        began = time.process_time()
        act()
        took.append(time.process_time() - began)
    return median(took) * 1000


if __name__ == "__main__":
    main()
