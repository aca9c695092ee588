"""`attest-provenance`, and `verify` with the flags of slsa-verifier, over really built images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.cli import main
from tests.e2e.checking import Desk, Ran, desk
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import workflow

Airlock = Callable[..., Ran]
REPOSITORY = "slsa-framework/example-package"
COMMIT = "693130cb6cb840a7bc9cb18c6510d536a95dc7e6"
WORKFLOW = ".github/workflows/verifier-e2e.all.workflow_dispatch.main.all.slsa3.yml"
BUILDER = (
    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
    "generator_container_slsa3.yml@refs/tags/v2.0.0"
)
BOTH = "certificate and predicate"


@pytest.fixture
def airlock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Airlock:
    def run(verb: str, *arguments: str) -> Ran:
        capsys.readouterr()
        try:
            status = main([verb, *arguments, "--cache", str(tmp_path / "cache")])
        except SystemExit as e:
            status = int(e.code or 0)
        said = capsys.readouterr()
        return Ran(status=status, out=said.out, err=said.err)

    return run


@pytest.fixture
def image(shared_dir: Path) -> str:
    folder = shared_dir / "real" / "slsa-verifier" / "v2.0.0"
    return f"oci:{folder / 'container_workflow_dispatch'}"


def test_dz_6_the_five_claims_each_with_its_source(airlock: Airlock, image: str) -> None:
    arguments = ("--repository", REPOSITORY, "--workflow", WORKFLOW, "--commit", COMMIT)
    ran = airlock("attest-provenance", image, *arguments, "--branch", "main", "--json")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert (found["schema"], found["verdict"]) == ("airlock-attest-provenance/1", "accept")
    (said,) = found["images"][0]["provenance"]
    claims = {one["name"]: (one["value"], one["source"], one["asked"]) for one in said["claims"]}
    assert claims == {
        "SLSA level": ("3", "slsa-github-generator at a release", True),
        "GitHub repo": (REPOSITORY, BOTH, True),
        "GitHub workflow": (WORKFLOW, BOTH, True),
        "Git branch": ("main", "predicate, of the event", True),
        "Git commit": (COMMIT, BOTH, True),
        "Git tag": ("v13.0.30", BOTH, False),
        "builder": (BUILDER, BOTH, False),
    }
    text = airlock("attest-provenance", image, *arguments).out
    assert f"  ok  Git commit       {COMMIT}  ({BOTH})\n" in text
    assert "  --  Git tag          v13.0.30" in text
    assert text.endswith("VERIFIED\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--repository", "slsa-framework/example-pack"), 14, "another source repository"),
        (("--repository", f"{REPOSITORY}-evil"), 14, "another source repository"),
        (("--repository", "Slsa-Framework/example-package"), 14, "another source repository"),
        (("--repository", REPOSITORY, "--workflow", WORKFLOW[:-1]), 14, "another workflow"),
        (("--repository", REPOSITORY, "--branch", "mai"), 14, "another branch"),
        (("--repository", REPOSITORY, "--tag", "v13.0.3"), 14, "another tag"),
        (("--repository", REPOSITORY, "--commit", COMMIT[:-1] + "7"), 14, "another commit"),
        (("--repository", REPOSITORY, "--commit", COMMIT[:7]), 2, "--commit"),
        (("--repository", "not a repository"), 2, "--repository"),
        (("--repository", REPOSITORY, "--builder-id", f"{BUILDER[:-1]}1"), 12, BUILDER),
        ((), 2, "--repository"),
    ],
)
def test_dz_6_a_prefix_is_another_one(
    airlock: Airlock, image: str, arguments: tuple[str, ...], status: int, words: str
) -> None:
    ran = airlock("attest-provenance", image, *arguments)
    assert ran.status == status
    assert words in ran.out + ran.err


def test_dz_6_an_image_without_provenance(airlock: Airlock, image: str, tmp_path: Path) -> None:
    with_none = tmp_path / "none"
    folder = Path(image.removeprefix("oci:"))
    index = json.loads((folder / "index.json").read_text())
    index["manifests"] = [
        one for one in index["manifests"] if not one["annotations"]["kind"].endswith("atts")
    ]
    with_none.mkdir()
    (with_none / "index.json").write_text(json.dumps(index))
    (with_none / "oci-layout").write_bytes((folder / "oci-layout").read_bytes())
    (with_none / "blobs").symlink_to(folder / "blobs")
    ran = airlock("attest-provenance", f"oci:{with_none}", "--repository", REPOSITORY)
    assert ran.status == 10


def test_op_5_the_lines_of_slsa_verifier(airlock: Airlock, image: str) -> None:
    ran = airlock(
        *("verify", image, "--source-uri", f"github.com/{REPOSITORY}"),
        *("--source-tag", "v13.0.30", "--source-versioned-tag", "v13", "--source-branch", "main"),
    )
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[-2:] == [
        f'Verified build using builder "{BUILDER}" at commit {COMMIT}',
        "PASSED: SLSA verification passed",
    ]
    envelope = json.loads(
        airlock("verify", image, "--source-uri", f"github.com/{REPOSITORY}", "--json").out
    )
    assert envelope["payloadType"] == "application/vnd.in-toto+json"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--source-uri", "github.com/slsa-framework/example-pack"), 14),
        (("--source-uri", f"github.com/{REPOSITORY}", "--source-tag", "v13.0.3"), 14),
        (("--source-uri", f"github.com/{REPOSITORY}", "--source-versioned-tag", "v12"), 14),
        (("--source-uri", f"github.com/{REPOSITORY}", "--build-workflow-input", "a=b"), 14),
        (("--source-uri", f"github.com/{REPOSITORY}", "--build-workflow-input", "a"), 2),
        (("--source-uri", f"github.com/{REPOSITORY}", "--type", "slsaprovenance"), 2),
        (("--source-tag", "v13.0.30"), 2),
    ],
)
def test_op_5_what_slsa_verifier_refuses(
    airlock: Airlock, image: str, arguments: tuple[str, ...], status: int
) -> None:
    ran = airlock("verify", image, *arguments)
    assert ran.status == status
    assert "PASSED" not in ran.out


# --- GitHub's attestations, and two at once -------------------------------------------------------


def attest(at: Desk, commit: str) -> None:
    identity = workflow("acme/app", commit=commit)
    predicate = statements.slsa_v1(commit=commit)
    said = statements.statement(at.image.digest, statements.SLSA_V1, predicate)
    signed = at.world.sign_statement(said, at.world.keyless(identity))
    attach.attach_bundle(at.image, signed.bundle(), fallback="full")


def test_dz_6_a_repositorys_own_workflow_comes_to_level_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk(tmp_path, capsys) as at:
        attest(at, "a" * 40)
        root = ("--trusted-root", str(tmp_path / "trusted_root.json"))
        asked = ("attest-provenance", at.tagged, "--repository", "acme/app", *root)
        assert at.ask(*asked).status == 12
        ran = at.ask(*asked, "--level", "2")
        assert ran.status == 0, ran.out
        assert "SLSA level       2" in ran.out


def test_dz_7_two_provenances_are_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk(tmp_path, capsys) as at:
        for commit in ("a" * 40, "b" * 40):
            attest(at, commit)
        asked = (
            *("attest-provenance", at.tagged, "--repository", "acme/app", "--level", "2"),
            *("--trusted-root", str(tmp_path / "trusted_root.json"), "--json"),
        )
        assert len(at.ask(*asked).document["images"][0]["provenance"]) == 2
        ran = at.ask(*asked, "--commit", "b" * 40)
        (said,) = ran.document["images"][0]["provenance"]
        assert {"b" * 40} == {one["value"] for one in said["claims"] if one["name"] == "Git commit"}
        assert at.ask(*asked, "--commit", "c" * 40).status == 14
