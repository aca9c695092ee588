"""Provenance that GitHub really signed, on its own instance and on the public one (row CT-3).

Both are about files; the claim is asked of the statement that verified, as it is of an image's.
"""

from __future__ import annotations

import pytest

from loader.digest import Digest
from loader.model.sigstore_bundle import SigstoreBundle
from loader.policy.claims import provenance
from loader.policy.claims.provenance import ProvenanceClaim
from loader.policy.contents import Contents
from loader.policy.facts import Meaning
from loader.policy.model import Policy
from loader.trust.trusted_root import TrustedRoot
from loader.verify.sigstore import Material, verify_evidence
from tests.presence import ROOT, SHARED

pytestmark = pytest.mark.usefixtures("shared_dir")
REAL = SHARED / "real" / "github-instance"
PROBER = ("attest-prober-13531551.json", "github/trusted_root.jsonl")
REUSABLE = ("gh-reusable-workflow.json", "sigstore/trusted_root.json")
SOURCE = "github.com/actions/attest-build-provenance"
BUILDER = f"https://{SOURCE}/.github/workflows/prober.yml@refs/heads/main"
COMMIT = "ba965ac88abfc6fa49344893ed19e5bf479a07d6"
HEAD = """schema = 1
[[image]]
match = "ghcr.io/a/*"
[[image.require]]
claim = "provenance"
trusted-root = "github"
certificate-identity-regexp = 'https://github\\.com/[a-z-]+/.+'
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
"""


def asked(real: tuple[str, str], *lines: str, more: str = "") -> Meaning:
    file, root = real
    policy = Policy.parse(f"{HEAD}{chr(10).join(lines)}\n{more}".encode(), where="policy.toml")
    (claim,) = policy.rules[0].require
    assert isinstance(claim, ProvenanceClaim)
    trusted = TrustedRoot.parse((ROOT / "trust-roots" / root).read_bytes(), name=root)
    bundle = SigstoreBundle.parse((REAL / file).read_bytes(), where=file)
    verified = verify_evidence(bundle, Material(trusted_root=trusted))
    contents = Contents()
    contents.of(verified)
    return provenance.means(claim, verified.value, verified.value.subjects, contents)


def test_ct_3_githubs_own_instance() -> None:
    found = asked(
        PROBER,
        f'source-uri = "{SOURCE}"',
        f'source-commit = "{COMMIT}"',
        'source-branch = "main"',
        'workflow = ".github/workflows/prober-github.yml"',
        f'builder-id = "{BUILDER}"',
        "level = 2",
    )
    assert found.problem is None
    assert found.subjects == {
        Digest("b03d18ed0a16864ef2d2e559c660159a2170b9d086a1f42f570b1679326b90e6")
    }
    facts = {fact.name: (fact.value, fact.source) for fact in found.facts}
    both = "certificate and predicate"
    assert facts["level"] == ("2", "GitHub's own machines")
    assert facts["repository"] == (f"https://{SOURCE}", both)
    assert facts["commit"] == (COMMIT, both)
    assert facts["branch"] == ("main", both)
    assert facts["builder"] == (BUILDER, both)
    assert facts["run"] == ("19458472622-1", both)
    assert facts["runner"] == ("github-hosted", both)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f'source-uri = "{SOURCE}x"', "source repository"),
        (f'source-uri = "{SOURCE[:-1]}"', "source repository"),
        (f'source-commit = "{"0" * 40}"', "commit"),
        ('source-branch = "mai"', "branch"),
        ('source-tag = "main"', "tag"),
        ('workflow = ".github/workflows/prober.yml"', "workflow"),
        (f'builder-id = "{BUILDER}2"', "builder"),
        ('workflow-inputs = { a = "b" }', "input a"),
        ("level = 3", "level"),
    ],
)
def test_ct_3_one_thing_otherwise(line: str, what: str) -> None:
    problem = asked(PROBER, line).problem
    assert problem is not None
    assert f"another {what}" in problem.message


def test_ct_3_level_3_is_the_policys_to_give() -> None:
    """The prober is another workflow than its caller; its ref moves, and so it must be named."""
    listed = f'[[builder]]\nid = "{BUILDER}"\nlevel = 3\n'
    assert asked(PROBER, "level = 3", more=listed).problem is None
    anywhere = listed.replace("@refs/heads/main", "")
    problem = asked(PROBER, "level = 3", more=anywhere).problem
    assert problem is not None
    assert "the builder's ref can move" in problem.found


def test_ct_3_a_reusable_workflow_on_the_public_instance() -> None:
    """Of 2024: another kind of build, whose predicate names GitHub's machines as the builder."""
    kind = (
        'build-type = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"',
        'builder-id = "https://github.com/actions/runner/github-hosted"',
    )
    found = asked(REUSABLE, *kind, 'source-uri = "github.com/malancas/attest-demo"', "level = 2")
    assert found.problem is None
    other = asked(REUSABLE, *kind, 'source-uri = "github.com/malancas/attest-demo-2"').problem
    assert other is not None
    assert "another source repository" in other.message
    unnamed = asked(REUSABLE).problem
    assert unnamed is not None
    assert unnamed.message == "another kind of build"
