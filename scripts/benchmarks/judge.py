"""A thousand images with five pieces of evidence each, judged in a process of its own.

Prints JSON: how long making them took, how long the judge took, and its peak of memory. Every image
is another one, and every piece another signature: nothing can be remembered from one to the next.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from loader.judge import judge, judge_statement
from loader.model.bundle import ImageEntry
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import Image, hello_image
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import CREATED, Blobs, entry_of, statement_of, write

NAME: Final = "registry.acme.example/acme/app"
IDENTITY: Final = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER: Final = "https://token.actions.githubusercontent.com"
PIECE_COUNT: Final = 5
"""A legacy key signature, two keyless ones, provenance, a vulnerability scan: each is verified."""
POLICY: Final = f"""
schema = 1

[[image]]
match = "registry.acme.example/acme/*"
name = "as-packed"

[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"

[[image.require]]
claim = "signature"
trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""


def _signed_by_many(world: World, key: Signer, store: ContentStore, number: int) -> ImageEntry:
    """Make an image with its evidence: in every format that is usual, from the two logs."""
    image = hello_image(store, text=f"{number}\n")
    attach.attach_tag(image, [world.sign_image_legacy(image.digest, key).layer()])
    said = statements.statement(
        image.digest, statements.SLSA_V1, statements.slsa_v1(), name=f"{NAME}-{number}"
    )
    scan = statements.statement(
        image.digest, "https://cosign.sigstore.dev/attestation/vuln/v1", {"scanner": {}}, name="app"
    )
    for act in (
        world.sign_image(image.digest, world.keyless(), log="v1"),
        world.sign_image(image.digest, world.keyless(), log="v2"),
        world.sign_statement(said, world.keyless(), log="v1"),
        world.sign_statement(scan, world.keyless(), log="v2"),
    ):
        attach.attach_bundle(image, encode(act.bundle()))
    return _entry(image, number)


def _entry(image: Image, number: int) -> ImageEntry:
    entry = entry_of(image, f"{NAME}-{number}:1.0.0")
    if len(entry.evidence) != PIECE_COUNT:
        raise RuntimeError(f"{len(entry.evidence)} pieces of evidence, not {PIECE_COUNT}")
    return entry


def _trust(world: World, key: Signer, policy: Policy, folder: Path) -> TrustStore:
    write(
        folder / "anchors",
        {
            "release/key.pub": key.public_pem,
            "acme/trusted_root.json": encode(world.trusted_root()),
        },
    )
    return TrustStore.open(policy, policy_directory=folder, builtin=folder / "nowhere")


def main(count: int) -> None:
    """Make the images, judge them, and print what it took."""
    began = time.perf_counter()
    world, store = World(), ContentStore()
    key = world.managed("release")
    statement = statement_of(
        *(_signed_by_many(world, key, store, number) for number in range(count)),
        blobs=Blobs(store),
    )
    made = time.perf_counter() - began
    policy = Policy.parse(POLICY.encode(), where="policy.toml")
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trust = _trust(world, key, policy, Path(folder))
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    judgement = judge(
        statement, claims, Blobs(store), policy=policy, trust=trust, now=CREATED
    ).value
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    # Each piece is good under the one requirement or the other: otherwise less was done than said.
    verified = sum(
        weighed.who is not None
        for image in judgement.images
        for one in image.considered
        for weighed in one.weighed
    )
    if verified != count * PIECE_COUNT:
        raise RuntimeError(f"{verified} pieces verified, not {count * PIECE_COUNT}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = {"images": count, "making_seconds": made, "seconds": seconds, "cpu_seconds": used}
    print(json.dumps(said))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
