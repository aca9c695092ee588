"""A policy with twelve requirements over an image with forty attestations, once they are verified.

Verification is made before the clock starts: what is measured is reading predicates, weighing them
against every requirement, and the decision. Prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.evidence import evidence_of, kind_of
from loader.graph import read_graph
from loader.policy.contents import Contents
from loader.policy.decide import judge_image
from loader.policy.facts import About, BundleClaims, Considered, ImageFacts, Piece
from loader.policy.model import Policy
from loader.policy.weigh import wants, weigh
from loader.verify.sigstore import Material, verify_evidence
from tests.fakes import attach
from tests.fakes.content import encode
from tests.fakes.sigworld import statements
from tests.unit.loader.policy.claiming import RELEASE_METADATA, require
from tests.unit.loader.policy.judging import CREATED, Blobs, entry_of
from tests.unit.loader.policy.scene import AS_PACKED, Scene

if TYPE_CHECKING:
    from loader.evidence import Kind
    from loader.policy.rules import EvidenceClaim, ImageClaim
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome

SECONDS_MAX: Final = 0.2
ATTESTATION_COUNT: Final = 40
REQUIREMENT_COUNT: Final = 12
ROUNDS: Final = 7
_PACKAGES: Final = [{"name": f"p{n}", "SPDXID": f"S{n}"} for n in range(300)]
_RESULT: Final = {
    "SchemaVersion": 2,
    "Results": [
        {
            "Vulnerabilities": [
                {"VulnerabilityID": f"CVE-2026-{n:04}", "PkgName": "p", "Severity": "LOW"}
                for n in range(200)
            ]
        }
    ],
}
PREDICATES: Final = (
    (statements.SLSA_V1, statements.slsa_v1()),
    (statements.SPDX, statements.spdx() | {"packages": _PACKAGES}),
    (statements.COSIGN_VULN, statements.vulnerabilities("2026-01-15T11:00:00Z", _RESULT)),
    (RELEASE_METADATA, {"tag": "v1.0.0", "commit": "5324d6edc3cd4edc6ae44251ec13884b1e7d4242"}),
)
REQUIREMENTS: Final = (
    require("provenance", 'source-uri = "github.com/acme/app"', "level = 2"),
    require("provenance", 'source-tag = "v1.0.0"'),
    require("provenance", 'workflow = ".github/workflows/release.yml"'),
    require("sbom", 'type = "spdx"', "min-components = 100"),
    require("sbom", 'type = "spdx"', 'max-age = "30d"'),
    require("sbom", 'type = "https://spdx.dev/Document"'),
    require("vulnerabilities", 'max-age = "30d"', "max = { critical = 0, high = 0 }"),
    require("vulnerabilities", "max = { critical = 0 }", 'quantifier = "all"'),
    require("vulnerabilities"),
    require("attestation", f'type = "{RELEASE_METADATA}"'),
    require(
        "attestation", f'type = "{RELEASE_METADATA}"', 'predicate = { "/tag" = "{source_tag}" }'
    ),
    require(
        "attestation",
        f'type = "{RELEASE_METADATA}"',
        'predicate = { "/commit" = "{source_commit}" }',
    ),
)


@dataclass
class Verified:
    """One piece that verified, with what is asked of it."""

    piece: Piece
    kind: Kind
    outcome: Outcome
    contents: Contents = field(default_factory=Contents)

    def verify(self, speaker: Speaker) -> Outcome:
        """Return what came out before the clock started."""
        del speaker
        return self.outcome

    def weighed(self, wanted: tuple[EvidenceClaim, ...], about: About) -> Considered:
        """Return what every requirement makes of it, as the judge asks."""
        contents = Contents()
        return Considered(
            piece=self.piece,
            weighed=tuple(
                weigh(
                    one,
                    self.verify,
                    about=about,
                    contents=contents,
                    is_of_kind=wants(one, self.kind),
                )
                for one in wanted
            ),
        )


def _evidence_claims(claims: tuple[ImageClaim, ...]) -> tuple[EvidenceClaim, ...]:
    found = tuple(one for one in claims if hasattr(one.said, "speakers") and one.said.speakers)
    if len(found) != REQUIREMENT_COUNT:
        raise RuntimeError(f"{len(found)} requirements, not {REQUIREMENT_COUNT}")
    return found  # type: ignore[return-value]  # those on anchors name no speaker


def main() -> None:
    """Make and verify the evidence, decide several times, and print the median."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        for number in range(ATTESTATION_COUNT):
            kind, predicate = PREDICATES[number % len(PREDICATES)]
            said = statements.statement(scene.image.digest, kind, predicate)
            act = scene.world.sign_statement(said, scene.world.keyless())
            attach.attach_bundle(scene.image, encode(act.bundle()))
        policy = Policy.parse(
            f"schema = 1\n{AS_PACKED}{''.join(REQUIREMENTS)}".encode(), where="policy.toml"
        )
        trust = scene.trust(policy)
    entry, blobs = entry_of(scene.image), Blobs(scene.store)
    graph = read_graph(entry, blobs)
    rules = policy.rules_for(entry.reference)
    wanted = _evidence_claims(rules.on_images)
    about = About(digests=graph.digests, reference=entry.reference, now=CREATED)
    material = Material(trusted_root=trust.trusted_root("acme"))
    pieces = [
        Verified(
            piece=Piece(
                store=found.entry.store,
                manifest=found.entry.manifest.digest,
                blob=found.blob,
                what="attestation",
                subjects=graph.digests,
            ),
            kind=kind_of(found.evidence),  # type: ignore[arg-type]  # all of it can be read
            outcome=verify_evidence(found.evidence, material),  # type: ignore[arg-type]
        )
        for found in evidence_of(entry, graph, blobs)
    ]
    if len(pieces) != ATTESTATION_COUNT:
        raise RuntimeError(f"{len(pieces)} pieces, not {ATTESTATION_COUNT}")
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        considered = tuple(one.weighed(wanted, about) for one in pieces)
        facts = ImageFacts(
            entry=entry, graph=graph, policy=rules, considered=considered, about=about
        )
        judged = judge_image(facts, BundleClaims(results=(), considered=()))
        seconds.append(time.perf_counter() - began)
        if any(claim.holds != "met" for claim in judged.claims):
            raise RuntimeError("a requirement is not met")
    print(json.dumps({"seconds": statistics.median(seconds), "limit": SECONDS_MAX}))


if __name__ == "__main__":
    main()
