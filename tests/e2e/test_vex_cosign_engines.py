"""VEX as the real cosign 3 and 2 attest it: from the registry over the gap, and no further."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bundler.cli import main
from tests.e2e.loading import FarSide
from tests.e2e.test_verify_cosign_engines import Scene
from tests.engines import Registry
from tests.fakes import images
from tests.fakes.content import ContentStore, encode
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.world import World

CVE = "CVE-2026-0001"
FOUND = {
    "SchemaVersion": 2,
    "Results": [
        {
            "Target": "app (debian 12)",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": CVE,
                    "PkgName": "openssl",
                    "InstalledVersion": "3.0.11",
                    "Severity": "CRITICAL",
                }
            ],
        }
    ],
}
POLICY = """\
schema = 1
[[image]]
match = "HOST/acme/*"
name = "as-packed"
[[image.require]]
claim = "vulnerabilities"
key = "own.pub"
max = { critical = 0 }
vex = { key = "WHO.pub" }
"""


def document(digest: str, status: str, at: str) -> Json:
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://acme.example/vex/1",
        "author": "security@acme.example",
        "timestamp": at,
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": CVE},
                "products": [
                    {
                        "@id": f"pkg:oci/app@sha256%3A{digest[7:]}",
                        "subcomponents": [{"@id": "pkg:deb/debian/openssl@3.0.11"}],
                    }
                ],
                "status": status,
                "justification": "vulnerable_code_not_in_execute_path",
            }
        ],
    }


@pytest.fixture
def scene(docker_registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    store = ContentStore()
    image = images.hello_index(store, tag="1.0.0")
    layout = store.write_layout(tmp_path / "layout")
    made = Scene(tmp_path, docker_registry, image.digest, capsys)
    for command in (
        ["registry", "set", "--tls", "disabled", docker_registry.host],
        ["image", "copy", f"ocidir://{layout}:1.0.0", f"{docker_registry.host}/acme/vex:1.0.0"],
    ):
        subprocess.run(
            ["regctl", *command],
            check=True,
            capture_output=True,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            timeout=120,
        )
    for name in ("own", "security"):
        done = made.cosign("cosign", "generate-key-pair", "--output-key-prefix", name)
        assert done.returncode == 0, done.stderr
    (tmp_path / "none.json").write_text(
        '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}'
    )
    (tmp_path / "root.json").write_bytes(encode(World().trusted_root()))
    for who in ("own", "security"):
        text = POLICY.replace("HOST", docker_registry.host).replace("WHO", who)
        (tmp_path / f"{who}.toml").write_text(text)
    return made


def attested(scene: Scene, program: str, kind: str, predicate: Json, *, key: str) -> None:
    (scene.folder / "predicate.json").write_bytes(encode(predicate))
    scene.made(
        *(program, "attest", "vex", "--type", kind, "--predicate", "predicate.json"), key=key
    )


def airlock(scene: Scene, *arguments: str, policy: str = "security") -> tuple[int, str]:
    scene.capture.readouterr()
    status = main(
        [
            *arguments,
            *("--policy", str(scene.folder / f"{policy}.toml")),
            *("--plain-http", scene.registry.host, "--cache", str(scene.folder / "cache")),
        ]
    )
    said = scene.capture.readouterr()
    return status, said.out + said.err


@pytest.mark.engine("cosign", "cosign2", "regctl", "docker-registry")
@pytest.mark.parametrize("program", ["cosign", "cosign2"])
def test_vex_by_cosign_silences_what_its_author_may_and_nothing_else(
    scene: Scene, program: str, tmp_path: Path
) -> None:
    scan = statements.vulnerabilities("2026-01-15T11:00:00Z", FOUND)
    attested(scene, program, "vuln", scan, key="own")
    status, said = airlock(scene, "verify", scene.name("vex"))
    assert status == 14, said
    assert f"1 critical: {CVE} openssl 3.0.11" in said

    early, late = "2026-01-16T00:00:00Z", "2026-01-17T00:00:00Z"
    attested(scene, program, "openvex", document(scene.digest, "not_affected", early), key="own")
    status, said = airlock(scene, "verify", scene.name("vex"))
    assert status == 14, said  # who makes the scan does not say what of it matters

    attested(
        scene, program, "openvex", document(scene.digest, "not_affected", early), key="security"
    )
    status, said = airlock(scene, "verify", scene.name("vex"), "--explain")
    assert status == 0, said
    assert f"silenced: 1 finding: {CVE} openssl 3.0.11 (not_affected: " in said
    assert "VEX by key 'security.pub'" in said
    assert "it was heard as VEX" in said

    bundle = tmp_path / "bundle.tar.zst"
    status, said = airlock(
        scene, "pack", scene.name("vex"), "--output", str(bundle), "--no-log-proofs"
    )
    assert status == 0, said
    for who, expected in (("security", 0), ("own", 0), ("release", 14)):
        host = tmp_path / f"host-{who}" / "etc" / "airlock"
        host.mkdir(parents=True)
        policy = (scene.folder / "security.toml").read_text().replace("security.pub", f"{who}.pub")
        (host / "policy.toml").write_text(policy)
        for key in ("own", "security"):
            shutil.copy(scene.folder / f"{key}.pub", host)
        (host / "release.pub").write_bytes(World().managed("release").public_pem)
        far = FarSide(tmp_path / f"host-{who}", tmp_path / "loaded")
        ran = far.verify(bundle)
        assert ran.status == expected, ran.err
        (claim,) = ran.verdict["images"][0]["claims"]
        silenced = [one for one in claim["facts"] if one["name"] == "silenced"]
        assert bool(silenced) is (expected == 0)

    attested(scene, program, "openvex", document(scene.digest, "affected", late), key="security")
    status, said = airlock(scene, "verify", scene.name("vex"))
    assert status == 14, said
