"""Images signed and attested by the real cosign 3 and 2: where they can judge, they say as we do.

By key pair and without a log, so that nothing but a registry is needed. Each tool writes one image
alone, and both write a third: signatures and attestations under tags, and bundles that refer.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundler.cli import main
from tests.engines import Registry
from tests.fakes import images
from tests.fakes.content import ContentStore, encode
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.world import World

RELEASE = "https://github.com/acme/app/release-metadata/v1"
VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://acme.example/vex/1",
    "author": "acme",
    "timestamp": "2026-01-01T00:00:00Z",
    "version": 1,
    "statements": [
        {
            "vulnerability": {"name": "CVE-2026-1"},
            "products": [{"@id": "pkg:oci/app"}],
            "status": "fixed",
        }
    ],
}
PREDICATES: dict[str, object] = {
    "slsaprovenance": statements.slsa_v02(),
    "slsaprovenance1": statements.slsa_v1(),
    "spdxjson": statements.spdx(),
    "cyclonedx": statements.cyclonedx(),
    "vuln": statements.vulnerabilities(),
    "openvex": VEX,
    RELEASE: {"tag": "v1.0.0", "commit": "693130cb"},
}
OLD_FORMAT = ("--tlog-upload=false",)


@dataclass
class Scene:
    """A registry with images of one content in three repositories, and keys."""

    folder: Path
    registry: Registry
    digest: str
    capture: Any = None

    def name(self, repository: str) -> str:
        return f"{self.registry.host}/acme/{repository}@{self.digest}"

    def cosign(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "COSIGN_PASSWORD": "x",
                "COSIGN_YES": "true",
            },
        )

    def made(
        self, program: str, verb: str, repository: str, *arguments: str, key: str = "own"
    ) -> None:
        how: tuple[str, ...] = OLD_FORMAT
        if program == "cosign":
            how = ("--signing-config", "none.json", "--trusted-root", "root.json")
        done = self.cosign(
            program, verb, "--key", f"{key}.key", "--allow-http-registry", *how, *arguments,
            self.name(repository),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def theirs(
        self, program: str, verb: str, repository: str, *arguments: str, key: str
    ) -> list[Any] | None:
        """What a cosign prints of what it verified; None where it refuses."""
        done = self.cosign(
            program, verb, "--key", key, "--allow-http-registry", "--insecure-ignore-tlog=true",
            "--trusted-root", "root.json", *arguments, self.name(repository),
        )  # fmt: skip
        if done.returncode != 0:
            return None
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def ours(self, repository: str, *arguments: str, key: str) -> list[Any] | None:
        """What we print for scripts; None where we refuse."""
        self.capture.readouterr()
        status = main([
            "verify", self.name(repository), "--key", str(self.folder / key), "--json",
            "--insecure-ignore-tlog=true", "--plain-http", self.registry.host,
            "--cache", str(self.folder / "cache"), *arguments,
        ])  # fmt: skip
        said = self.capture.readouterr()
        if status != 0:
            assert said.out == ""
            return None
        return [json.loads(line) for line in said.out.splitlines()]


def prepared(folder: Path, registry: Registry) -> Scene:
    store = ContentStore()
    image = images.hello_index(store, tag="1.0.0")
    layout = store.write_layout(folder / "layout")
    scene = Scene(folder, registry, image.digest)
    env = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    commands = [["registry", "set", "--tls", "disabled", registry.host]]
    commands += [
        ["image", "copy", f"ocidir://{layout}:1.0.0", f"{registry.host}/acme/{name}:1.0.0"]
        for name in ("new", "old", "mixed", "bare")
    ]
    for command in commands:
        subprocess.run(["regctl", *command], check=True, capture_output=True, env=env, timeout=120)
    for name in ("own", "other"):
        done = scene.cosign("cosign", "generate-key-pair", "--output-key-prefix", name)
        assert done.returncode == 0, done.stderr
    (folder / "none.json").write_text(
        '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}'
    )
    (folder / "root.json").write_bytes(encode(World().trusted_root()))
    for kind, predicate in PREDICATES.items():
        file = file_of(kind)
        (folder / file).write_bytes(encode(predicate))
        scene.made("cosign", "attest", "new", "--type", kind, "--predicate", file)
        scene.made("cosign2", "attest", "old", "--type", kind, "--predicate", file)
        # A bundle for one, a tag for the next: once a bundle is there, cosign sees no tags.
        mixed = "cosign" if kind == "spdxjson" else "cosign2"
        scene.made(mixed, "attest", "mixed", "--type", kind, "--predicate", file)
    scene.made("cosign", "sign", "new", "-a", "release=1.0.0")
    scene.made("cosign2", "sign", "old", "-a", "release=1.0.0")
    scene.made("cosign2", "sign", "mixed", "-a", "release=1.0.0")
    scene.made("cosign", "attest", "bare", "--type", "spdxjson", "--predicate", file_of("spdxjson"))
    return scene


def file_of(kind: str) -> str:
    return f"{kind.rpartition('/')[0].rpartition('/')[2] or kind}.json"


@pytest.fixture(scope="module")
def with_tags(docker_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return prepared(tmp_path_factory.mktemp("tags"), docker_registry)


@pytest.fixture(scope="module")
def with_api(olareg: Registry, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return prepared(tmp_path_factory.mktemp("api"), olareg)


@pytest.fixture(params=["with_tags", "with_api"])
def scene(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    found.capture = capsys
    return found


ENGINES = pytest.mark.engine("cosign", "cosign2", "regctl", "docker-registry", "olareg")


def predicate_of(envelope: dict[str, str]) -> object:
    statement: dict[str, object] = json.loads(base64.b64decode(envelope["payload"]))
    return statement["predicate"]


def one_of(documents: list[Any] | None) -> Any:  # noqa: ANN401 - whatever was printed
    assert documents is not None
    (document,) = documents
    return document


@ENGINES
@pytest.mark.parametrize(("program", "repository"), [("cosign", "new"), ("cosign2", "old")])
def test_ct_1_a_signature_of_each_cosign_reads_the_same(
    scene: Scene, program: str, repository: str
) -> None:
    ours = one_of(scene.ours(repository, key="own.pub"))
    theirs = one_of(scene.theirs(program, "verify", repository, key="own.pub"))
    # cosign 3 takes every attestation for a signature; what really is one is read alike.
    kinds = {"https://sigstore.dev/cosign/sign/v1", "cosign container image signature"}
    assert ours == [one for one in theirs if one["critical"]["type"] in kinds]
    assert len(theirs) == (1 if program == "cosign2" else 1 + len(PREDICATES))
    assert ours[0]["optional"] == {"release": "1.0.0"}
    assert ours[0]["critical"]["image"]["docker-manifest-digest"] == scene.digest
    assert scene.ours(repository, key="other.pub") is None
    assert scene.theirs(program, "verify", repository, key="other.pub") is None
    for release, holds in (("1.0.0", True), ("1.0.1", False)):
        annotation = ("-a", f"release={release}")
        assert (scene.ours(repository, *annotation, key="own.pub") is not None) is holds
        theirs = scene.theirs(program, "verify", repository, *annotation, key="own.pub")
        assert (theirs is not None) is holds


@ENGINES
@pytest.mark.parametrize("kind", PREDICATES)
@pytest.mark.parametrize(("program", "repository"), [("cosign", "new"), ("cosign2", "old")])
def test_an_attestation_of_each_cosign_reads_the_same(
    scene: Scene, program: str, repository: str, kind: str
) -> None:
    ours = one_of(scene.ours(repository, "--type", kind, key="own.pub"))
    theirs = one_of(
        scene.theirs(program, "verify-attestation", repository, "--type", kind, key="own.pub")
    )
    assert ours["payload"] == theirs["payload"]
    assert [one["sig"] for one in ours["signatures"]] == [
        one["sig"] for one in theirs["signatures"]
    ]
    if kind not in {"spdxjson", RELEASE}:
        return  # the answer to a wrong key or type does not depend on what the others are
    for key, asked in (("other.pub", kind), ("own.pub", "https://acme.example/none")):
        assert scene.ours(repository, "--type", asked, key=key) is None
        verb = "verify-attestation"
        assert scene.theirs(program, verb, repository, "--type", asked, key=key) is None


@ENGINES
@pytest.mark.parametrize("kind", PREDICATES)
def test_op_5_both_places_of_one_image_are_united(scene: Scene, kind: str) -> None:
    """cosign sees the bundle alone, and so nothing of what lies under tags beside it."""
    ours = one_of(scene.ours("mixed", "--type", kind, key="own.pub"))
    alone = one_of(
        scene.ours("new" if kind == "spdxjson" else "old", "--type", kind, key="own.pub")
    )
    assert predicate_of(ours) == predicate_of(alone)
    theirs = scene.theirs("cosign", "verify-attestation", "mixed", "--type", kind, key="own.pub")
    assert (theirs is None) is (kind != "spdxjson")


@ENGINES
def test_ct_2_an_sbom_alone_is_a_signature_for_cosign_and_none_for_us(scene: Scene) -> None:
    assert scene.theirs("cosign", "verify", "bare", key="own.pub") is not None
    assert scene.ours("bare", key="own.pub") is None
    assert scene.ours("bare", "--type", "spdxjson", key="own.pub") is not None


@ENGINES
def test_a_policy_is_proposed_from_what_both_made(scene: Scene) -> None:
    host = ("--plain-http", scene.registry.host, "--cache", str(scene.folder / "cache"))
    scene.capture.readouterr()
    assert (
        main(["policy", "init", scene.name("mixed"), "--key", str(scene.folder / "own.pub"), *host])
        == 0
    )
    policy = scene.folder / "proposed.toml"
    policy.write_text(scene.capture.readouterr().out)
    for repository, status in (("mixed", 0), ("bare", 14)):
        arguments = ("verify", scene.name(repository), "--policy", str(policy), *host)
        assert main(arguments) == status, scene.capture.readouterr().out
