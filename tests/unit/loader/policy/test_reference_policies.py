"""The policies that ship for real projects: an image that passes, and one for each requirement.

The files are read as they are. What is beside them (roots, keys) is a world of our own, in which
the projects' workflows sign what they really sign; each failing image lacks or spoils one thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.errors import PolicyError
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor
from loader.policy.facts import Judgement
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.tuf_repository import TufRepository, plain_key
from tests.unit.loader.policy.claiming import attest
from tests.unit.loader.policy.judging import entry_of, write
from tests.unit.loader.policy.scene import Scene, encoded

ROOT = Path(__file__).parents[4]
COMMIT = "5324d6edc3cd4edc6ae44251ec13884b1e7d4242"
OTHER = "0" * 40
GENERATOR = (
    "slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml"
    "@refs/tags/v2.1.0"
)


@dataclass
class Project:
    """One project's image with everything that its release attaches, but for what is spoilt."""

    scene: Scene
    policy: str
    reference: str
    variables: Mapping[str, str] = field(default_factory=dict)
    trust: tuple[TrustEntry, ...] = ()

    def __post_init__(self) -> None:
        world = self.scene.world
        write(
            self.scene.folder / "anchors",
            {
                "sigstore/trusted_root.json": json.dumps(world.trusted_root()).encode(),
                "dangerzone/key.pub": self.scene.release.public_pem,
            },
        )

    def judged(self) -> Judgement:
        text = (ROOT / "policies" / self.policy).read_text(encoding="utf-8")
        statement = self.scene.statement(
            entry_of(self.scene.image, self.reference), trust=self.trust
        )
        _, _, body = text.partition("schema = 1\n")
        return self.scene.run(body, statement=statement, variables=self.variables)

    def either(self) -> Judgement:
        try:
            return self.judged()
        except PolicyError as e:
            if not isinstance(e.judgement, Judgement):
                raise
            return e.judgement

    def unmet(self) -> dict[str, str]:
        """Each claim that is not met, with the code of its refusal."""
        image = self.either().images[0]
        found = {c.claim: c.problem.code for c in image.claims if c.problem is not None}
        return found | ({"name": image.name.problem.code} if image.name.problem else {})


# --- dangerzone -----------------------------------------------------------------------------------

DANGERZONE = "ghcr.io/freedomofpress/dangerzone/v1"


def dangerzone(scene: Scene, spoilt: str = "") -> Project:
    project = Project(scene, "dangerzone.toml", f"{DANGERZONE}:latest")
    if spoilt != "no signature":
        act = scene.world.sign_image_legacy(
            scene.image.digest,
            scene.world.managed("stranger") if spoilt == "key" else scene.release,
            reference="ghcr.io/evil/dangerzone" if spoilt == "reference" else DANGERZONE,
            log="none" if spoilt == "log" else "v1",
        )
        attach.attach_tag(scene.image, [act.layer()], "sig")
    if spoilt == "no provenance":
        return project
    repository = "freedomofpress/dangerzone-image" + ("-evil" if spoilt == "source" else "")
    file = "other.yml" if spoilt == "workflow" else "release.yml"
    called = GENERATOR.replace("v2.1.0", "v2.1") if spoilt == "builder" else GENERATOR
    identity = workflow(
        repository, ref="refs/heads/main", file=file, called=called, called_commit="1" * 40
    )
    predicate = statements.slsa_v02(
        source=f"https://github.com/{repository}",
        ref="refs/heads/main",
        builder=f"https://github.com/{called}",
        commit=OTHER if spoilt == "contradiction" else COMMIT,
    )
    source = predicate["invocation"]["configSource"]
    source["entryPoint"] = f".github/workflows/{file}"
    attest(scene, statements.SLSA_V02, predicate, by=identity, legacy=True)
    return project


# --- complytime -----------------------------------------------------------------------------------


def complytime(scene: Scene, spoilt: str = "") -> Project:
    project = Project(scene, "complytime.toml", "ghcr.io/complytime/compass:sha-5324d6e")
    called = "complytime/org-infra/.github/workflows/reusable_publish_ghcr.yml@refs/heads/main"

    def by(what: str) -> Identity:
        owner = "evil" if spoilt == f"caller of {what}" else "complytime"
        which = called.replace("complytime", "evil") if spoilt == f"signer of {what}" else called
        return workflow(f"{owner}/compass", ref="refs/heads/main", called=which)

    if spoilt != "no signature":
        act = scene.world.sign_image(scene.image.digest, scene.world.keyless(by("signature")))
        attach.attach_bundle(scene.image, encoded(act.bundle()))
    identity = by("provenance")
    if spoilt != "no provenance":
        predicate = statements.slsa_v1(
            source=str(identity.extensions[12]),
            ref="refs/heads/main",
            builder=str(identity.san.value),
            commit=OTHER if spoilt == "contradiction" else COMMIT,
        )
        if spoilt == "self-hosted":
            identity = identity.but({11: "self-hosted"})
            github = predicate["buildDefinition"]["internalParameters"]["github"]
            github["runner_environment"] = "self-hosted"
        attest(scene, statements.SLSA_V1, predicate, by=identity)
    if spoilt != "no sbom":
        kind = "https://spdx.dev/Document" + ("" if spoilt == "type of sbom" else "/v2.3")
        packages = [] if spoilt == "empty sbom" else [{"name": "a", "SPDXID": "SPDXRef-a"}]
        attest(scene, kind, statements.spdx() | {"packages": packages}, by=by("sbom"))
    if spoilt != "no scan":
        predicate = statements.vulnerabilities("0001-01-01T00:00:00Z")
        attest(scene, statements.COSIGN_VULN, predicate, by=by("scan"))
    return project


# --- oci-prometheus-sd-proxy ----------------------------------------------------------------------

PROXY = "amaanx86/oci-prometheus-sd-proxy"


def proxy(scene: Scene, spoilt: str = "") -> Project:
    repository = TufRepository("releases")
    repository.delegate("release", ["releases/*"], [plain_key("release")])
    repository.publish()
    write(scene.folder, {"oci-prometheus-sd-proxy.root.json": repository.roots[1]})
    ref = "refs/tags/v1.5.0"

    def by(what: str, **options: str) -> Identity:
        release = "refs/tags/v1.4.0" if spoilt == f"release of {what}" else ref
        return workflow(PROXY, **{"ref": release, "file": "docker-build-push.yml", **options})

    if spoilt != "no signature":
        act = scene.world.sign_image(scene.image.digest, scene.world.keyless(by("signature")))
        attach.attach_bundle(scene.image, encoded(act.bundle()))
    if spoilt != "no sbom":
        sbom = statements.cyclonedx() | {"components": [{"name": "a"}]}
        if spoilt == "broken sbom":
            del sbom["bomFormat"]
        attest(scene, "https://cyclonedx.org/bom/v1.6", sbom, by=by("sbom"))
    if spoilt != "no metadata":
        said: Json = {
            "digest": "sha256:" + "e" * 64 if spoilt == "digest" else scene.image.digest,
            "tag": "v1.4.0" if spoilt == "tag" else "v1.5.0",
            "commit": OTHER if spoilt == "commit" else COMMIT,
        }
        kind = f"https://github.com/{PROXY}/release-metadata"
        attest(scene, kind, said, by=by("metadata"))
    if spoilt != "no provenance":
        built = "refs/tags/v1.4.0" if spoilt == "source tag" else ref
        predicate = statements.slsa_v02(
            source=f"https://github.com/{PROXY}",
            ref=built,
            builder=f"https://github.com/{GENERATOR}",
        )
        predicate["invocation"]["configSource"]["entryPoint"] = (
            ".github/workflows/docker-build-push.yml"
        )
        identity = by("provenance", ref=built, called=GENERATOR, called_commit="1" * 40)
        name = f"ghcr.io/{PROXY}"
        attest(scene, statements.SLSA_V02, predicate, by=identity, legacy=True, name=name)
    digest = "sha256:" + "d" * 64 if spoilt == "recorded digest" else scene.image.digest
    if spoilt != "no record":
        raw = json.dumps({"digest": digest}).encode()
        repository.target("releases/v1.5.0.json", raw, role="release")
        repository.publish()
    blobs = []
    for raw in repository.files.values():
        scene.store.add(raw, "application/json")
        blobs.append(Descriptor.make("application/json", raw))
    carried = TrustEntry(
        anchor="releases",
        kind="tuf",
        blobs=tuple(blobs),
        repository="releases",
        names=tuple(repository.files),
    )
    return Project(
        scene,
        "oci-prometheus-sd-proxy.toml",
        f"ghcr.io/{PROXY}:1.5.0",
        variables={"version": "1.5.0"},
        trust=(carried,),
    )


# --- GitHub's attestations ------------------------------------------------------------------------


def github(scene: Scene, spoilt: str = "") -> Project:
    project = Project(scene, "github-attestations.toml", "ghcr.io/acme/app:1.0.0")
    identity = workflow(
        "acme/other" if spoilt == "identity" else "acme/app",
        runner="self-hosted" if spoilt == "self-hosted" else "github-hosted",
    )
    predicate = statements.slsa_v1(
        source="https://github.com/acme/other"
        if spoilt in {"identity", "contradiction"}
        else "https://github.com/acme/app",
        builder=str(identity.san.value),
    )
    if spoilt == "self-hosted":
        github = predicate["buildDefinition"]["internalParameters"]["github"]
        github["runner_environment"] = "self-hosted"
    if spoilt != "no provenance":
        attest(scene, statements.SLSA_V1, predicate, by=identity)
    return project


# --------------------------------------------------------------------------------------------------

Make = Callable[..., Project]
CASES: dict[Make, dict[str, dict[str, str]]] = {
    dangerzone: {
        "no signature": {"signature": "no-evidence.claim"},
        "key": {"signature": "signature.unverified"},
        "reference": {"signature": "policy.condition"},
        "log": {"signature": "policy.condition"},
        "no provenance": {"provenance": "no-evidence.claim"},
        "source": {"provenance": "policy.contents"},
        "workflow": {"provenance": "policy.contents"},
        "builder": {"provenance": "identity.mismatch"},
        "contradiction": {"provenance": "policy.contradiction"},
    },
    complytime: {
        "no signature": {"signature": "no-evidence.claim"},
        "signer of signature": {"signature": "identity.mismatch"},
        "caller of signature": {"signature": "identity.mismatch"},
        "no provenance": {"provenance": "no-evidence.claim"},
        "signer of provenance": {"provenance": "identity.mismatch"},
        "caller of provenance": {"provenance": "identity.mismatch"},
        "contradiction": {"provenance": "policy.contradiction"},
        "self-hosted": {"provenance": "policy.contents"},
        "no sbom": {"sbom": "no-evidence.claim"},
        "type of sbom": {"sbom": "no-evidence.claim"},
        "empty sbom": {"sbom": "policy.contents"},
        "signer of sbom": {"sbom": "identity.mismatch"},
        "no scan": {"vulnerabilities": "no-evidence.claim"},
        "signer of scan": {"vulnerabilities": "identity.mismatch"},
    },
    proxy: {
        "no signature": {"signature": "no-evidence.claim"},
        "release of signature": {"signature": "identity.mismatch"},
        "no sbom": {"sbom": "no-evidence.claim"},
        "broken sbom": {"sbom": "policy.contents"},
        "release of sbom": {"sbom": "identity.mismatch"},
        "no metadata": {"attestation": "no-evidence.claim"},
        "release of metadata": {"attestation": "identity.mismatch"},
        "digest": {"attestation": "policy.contents"},
        "tag": {"attestation": "policy.contents"},
        "commit": {"attestation": "policy.contradiction"},
        "no record": {"tuf-target": "no-evidence.claim"},
        "recorded digest": {"tuf-target": "policy.contents"},
        # What depends on the provenance falls with it: the commit, and the name's tag.
        "no provenance": {
            "provenance": "no-evidence.claim",
            "attestation": "policy.contradiction",
            "name": "policy.name",
        },
        "source tag": {
            "provenance": "policy.contents",
            "attestation": "policy.contradiction",
            "name": "policy.name",
        },
    },
    github: {
        "no provenance": {"provenance": "no-evidence.claim"},
        "identity": {"provenance": "identity.mismatch"},
        "contradiction": {"provenance": "policy.contradiction"},
        "self-hosted": {"provenance": "policy.contents"},
    },
}


def _named(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize("make", CASES, ids=_named)
def test_an_image_that_passes(make: Make, tmp_path: Path) -> None:
    project = make(Scene(tmp_path))
    assert project.unmet() == {}
    judgement = project.judged()
    assert all(claim.holds == "met" and claim.who for claim in judgement.images[0].claims)


@pytest.mark.parametrize(
    ("make", "spoilt", "unmet"),
    [(make, spoilt, unmet) for make, cases in CASES.items() for spoilt, unmet in cases.items()],
    ids=_named,
)
def test_an_image_that_fails_one_requirement(
    make: Make, spoilt: str, unmet: dict[str, str], tmp_path: Path
) -> None:
    assert make(Scene(tmp_path), spoilt).unmet() == unmet


def test_every_requirement_has_an_image_that_fails_it() -> None:
    for make, cases in CASES.items():
        failed = {claim for unmet in cases.values() for claim in unmet}
        project = make.__name__
        text = next(
            (ROOT / "policies" / f"{name}.toml").read_text(encoding="utf-8")
            for name in (
                {"proxy": "oci-prometheus-sd-proxy", "github": "github-attestations"}.get(
                    project, project
                ),
            )
        )
        asked = {line.split('"')[1] for line in text.splitlines() if line.startswith("claim =")}
        assert asked <= failed


def test_op5_old_provenance_and_a_new_sbom_count_together(tmp_path: Path) -> None:
    """cosign 3 ignores the `.att` tag beside a bundle; slsa-verifier reads nothing else."""
    stores = {
        one.piece.what: one.piece.store
        for one in proxy(Scene(tmp_path)).judged().images[0].considered
    }
    assert stores["attestation of https://slsa.dev/provenance/v0.2"] == "attestation-tag"
    assert stores["attestation of https://cyclonedx.org/bom/v1.6"] == "referrer"
