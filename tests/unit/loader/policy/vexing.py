"""VEX about the image of a scene: documents, who says them, and whether the finding counts."""

from __future__ import annotations

from loader.model.strictjson import JsonValue
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.unit.loader.policy.claiming import attest, require
from tests.unit.loader.policy.scene import AS_PACKED, Scene
from tests.unit.loader.policy.test_claim_vulnerabilities import FINISHED, VULN, trivy

OPENVEX = "https://openvex.dev/ns/v0.2.0"
CVE = "CVE-2026-0001"
OTHER = "sha256:" + "0" * 64
ASKED = require("vulnerabilities", "max = { critical = 0 }", 'vex = { key = "second" }')
EARLY, LATE = "2026-01-15T10:00:00Z", "2026-01-15T11:30:00.5+00:00"


def scan(scene: Scene, *, on: str | None = None) -> None:
    """The release workflow scans the image, and finds one thing."""
    found = trivy((CVE, "openssl", "CRITICAL", "1.1"))
    attest(scene, VULN, statements.vulnerabilities(FINISHED, found), on=on)


def vex(digest: str, status: str = "not_affected", **over: object) -> Json:
    name = digest.replace(":", "%3A")
    statement: Json = {
        "vulnerability": {"name": CVE},
        "products": [{"@id": f"pkg:oci/app@{name}?repository_url=registry.acme.example/acme"}],
        "status": status,
        "timestamp": EARLY,
        "justification": "vulnerable_code_not_present",
    }
    statement |= over
    return {
        "@context": OPENVEX,
        "@id": "https://acme.example/vex/1",
        "author": "nobody checks this",
        "timestamp": EARLY,
        "version": 1,
        "statements": [{k: v for k, v in statement.items() if v is not None}],
    }


def say(scene: Scene, document: JsonValue, *, by: str = "second", on: str | None = None) -> None:
    attest(scene, OPENVEX, document, by=scene.world.managed(by), on=on)


def counts(scene: Scene, asked: str = ASKED) -> None:
    """The finding counts: nothing silences it."""
    refusal = scene.refused(AS_PACKED + asked)
    assert refusal.code == "policy.contents"
    assert CVE in refusal.found
