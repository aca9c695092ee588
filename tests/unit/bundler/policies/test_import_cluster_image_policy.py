"""ClusterImagePolicies in our words: nothing comes out laxer, and what is left out is said (X-8).

The documents are written after the seven examples of policy-controller (examples/policies).
"""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from bundler.policies.cluster_image_policy import Translation, translate
from bundler.policies.yaml_text import documents
from loader.errors import UsageError
from loader.policy.model import Policy

HEAD = """\
apiVersion: policy.sigstore.dev/v1alpha1
kind: ClusterImagePolicy
metadata:
  name: NAME
spec:
"""
ALL = "  images:\n  - glob: '**'\n"
WORKFLOW = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
ISSUER = "https://token.actions.githubusercontent.com"
PEM = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEOc6HkISHzVdUbtUsdjYtPuyPYBeg
4FCemyVurIM4KEORQk4OAu8ZNwxvGSoY3eAabYaFIPPQ8ROAjrbdPwNdJw==
-----END PUBLIC KEY-----
"""
KEYLESS = f"""\
  - keyless:
      url: https://fulcio.sigstore.dev
      identities:
      - issuer: {ISSUER}
        subject: {WORKFLOW}
"""
INLINE_KEY = "  - name: own\n    key:\n      data: |\n" + "".join(
    f"        {line}\n" for line in PEM.splitlines()
)
SPDX = """\
    attestations:
    - name: must-have-spdxjson
      predicateType: spdxjson
      policy:
        type: cue
        data: |
          predicateType: "https://spdx.dev/Document"
"""
SIGNED = {
    "claim": "signature",
    "certificate-identity": WORKFLOW,
    "certificate-oidc-issuer": ISSUER,
    "trusted-root": "sigstore",
    "log": "promise",
}


def imported(text: str, *, name: str = "one") -> tuple[Translation, dict[str, Any]]:
    raw = (HEAD.replace("NAME", name) + text).encode()
    found = translate(list(documents(raw, where="cip.yaml")), where="cip.yaml")
    return found, tomllib.loads(found.text)


def requirements(text: str) -> list[dict[str, Any]]:
    _, document = imported(text)
    return list(document["image"][0]["require"])


def is_closed(requirement: dict[str, Any]) -> bool:
    return str(requirement.get("certificate-identity", "")).startswith("nobody:")


def test_x_8_signed_by_a_workflow() -> None:
    found, document = imported(f"{ALL}  authorities:\n{KEYLESS}")
    assert document["image"] == [{"match": "**", "name": "as-packed", "require": [SIGNED]}]
    assert found.untranslated == []
    assert Policy.parse(found.text.encode(), where="").rules


def test_x_8_a_release_by_its_digest() -> None:
    digest = "sha256:" + "d1" * 32
    glob = f"  images:\n  - glob: gcr.io/acme/webhook@{digest}\n"
    found, document = imported(
        f"{glob}  authorities:\n{KEYLESS}    ctlog:\n      url: https://rekor.sigstore.dev\n"
    )
    assert document["image"][0]["match"] == "gcr.io/acme/webhook"
    assert any("all its tags" in note for note in found.notes)


@pytest.mark.parametrize(
    ("authority", "note"),
    [
        ("  - name: aws\n    key:\n      kms: awskms:///arn:aws:kms:eu:1:key/2\n", "awskms:///"),
        ("  - name: gcp\n    key:\n      kms: gcpkms://projects/p\n", "cosign public-key"),
        ("  - name: own\n    key:\n      secretRef:\n        name: s\n", "keys/own.pub"),
    ],
)
def test_x_8_keys_that_are_elsewhere_are_asked_for(authority: str, note: str) -> None:
    found, document = imported(f"{ALL}  authorities:\n{authority}")
    (requirement,) = document["image"][0]["require"]
    assert requirement["key"].startswith("keys/")
    assert any(note in one for one in found.notes)


def test_x_8_the_same_key_twice_is_not_guessed() -> None:
    twice = "  - name: gcp\n    key:\n      kms: awskms:///a\n      kms: gcpkms://b\n"
    with pytest.raises(UsageError) as caught:
        imported(f"{ALL}  authorities:\n{twice}")
    assert "stands twice" in str(caught.value)
    assert caught.value.where == "cip.yaml:12"


@pytest.mark.parametrize("who", ["own", "keyless"])
def test_x_8_an_attested_sbom(who: str) -> None:
    authority = INLINE_KEY if who == "own" else KEYLESS
    found, document = imported(f"{ALL}  authorities:\n{authority}{SPDX}")
    (requirement,) = document["image"][0]["require"]
    assert requirement["claim"] == "attestation"
    assert requirement["type"] == "https://spdx.dev/Document"
    assert found.untranslated == []
    if who == "own":
        assert requirement["key"] == "keys/own.pub"
        assert found.keys == {"keys/own.pub": PEM}


def test_x_8_keyless_without_identities_names_nobody() -> None:
    """One of the examples: any identity at all would do."""
    bare = "  - name: any\n    keyless:\n      url: https://fulcio.sigstore.dev\n"
    found, document = imported(f"{ALL}  authorities:\n{bare}{SPDX}")
    (requirement,) = document["image"][0]["require"]
    assert is_closed(requirement)
    assert "anybody could sign" in found.untranslated[0]


def test_x_8_only_pods_may_run_it() -> None:
    """One of the examples: a static authority, and a CUE policy over Kubernetes' own types."""
    found, document = imported(
        "  images:\n  - glob: 'ghcr.io/acme/server**'\n"
        "  authorities:\n  - static:\n      action: pass\n"
        "  policy:\n    includeTypeMeta: true\n    type: cue\n    data: 'typemeta: kind: \"Pod\"'\n"
    )
    assert document["image"][0]["match"] == "ghcr.io/acme/server**"
    assert all(is_closed(one) for one in document["image"][0]["require"])
    assert [reason.partition(": ")[2] for reason in found.untranslated] == [
        "authority authority-0: static: nobody signs anything",
        "spec.policy: no CUE or Rego here",
    ]


def test_any_of_several_authorities_will_do() -> None:
    (requirement,) = requirements(f"{ALL}  authorities:\n{KEYLESS}{INLINE_KEY}")
    assert [set(one) & {"key", "certificate-identity"} for one in requirement["any"]] == [
        {"certificate-identity"},
        {"key"},
    ]


def test_an_alternative_with_attestations_is_left_out_and_said() -> None:
    found, document = imported(f"{ALL}  authorities:\n{KEYLESS}{INLINE_KEY}{SPDX}")
    (requirement,) = document["image"][0]["require"]
    assert requirement == SIGNED
    assert "with attestations" in found.untranslated[0]


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        (r"^https://github\.com/acme/.*$", r"https://github\.com/acme/.*"),
        (r"https://github\.com/acme/", r"https://github\.com/acme/.*"),
        (r"^https://github\.com/acme/app$", r"https://github\.com/acme/app"),
        ("acme", ".*acme.*"),
        ("^a@b.example$|^c@d.example$", ".*(?:^a@b.example$|^c@d.example$).*"),
    ],
)
def test_patterns_that_matched_a_part_match_the_whole(pattern: str, whole: str) -> None:
    keyless = KEYLESS.replace(f"subject: {WORKFLOW}", f"subjectRegExp: '{pattern}'")
    (requirement,) = requirements(f"{ALL}  authorities:\n{keyless}")
    assert requirement["certificate-identity-regexp"] == whole


@pytest.mark.parametrize(
    ("glob", "match"),
    [
        ("*", "docker.io/library/*"),
        ("*/*", "docker.io/*/*"),
        ("index.docker.io/library/alpine:*", "docker.io/library/alpine"),
        ("ghcr.io/acme/app:**", "ghcr.io/acme/app"),
        ("registry.example:5000/acme/*", "registry.example:5000/acme/*"),
    ],
)
def test_globs(glob: str, match: str) -> None:
    _, document = imported(f"  images:\n  - glob: '{glob}'\n  authorities:\n{KEYLESS}")
    assert document["image"][0]["match"] == match


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("    ctlog: {}\n", {"log": "none"}),
        ("    ctlog:\n      url: https://rekor.acme.example\n", {"trusted-root": "own-log"}),
        ("    ctlog:\n      trustRootRef: mine\n", {"trusted-root": "mine"}),
        ("    rfc3161timestamp:\n      trustRootRef: mine\n", {"timestamps": 1}),
    ],
)
def test_how_it_must_be_recorded(more: str, found: dict[str, Any]) -> None:
    (requirement,) = requirements(f"{ALL}  authorities:\n{INLINE_KEY}{more}")
    assert found.items() <= requirement.items()


@pytest.mark.parametrize(
    "text",
    [
        f"{ALL}  authorities:\n{KEYLESS}    newThing: true\n",
        f"{ALL}  newThing: true\n  authorities:\n{KEYLESS}",
        f"{ALL}  authorities:\n{KEYLESS}        newThing: 1\n",
        f"{ALL}",
        f"{ALL}  authorities:\n  - name: nobody\n",
    ],
)
def test_what_is_not_known_closes_the_door(text: str) -> None:
    found, document = imported(text)
    assert any(is_closed(one) for one in document["image"][0]["require"])
    assert found.untranslated
    assert "NOT TRANSLATED" in found.text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a: [",
        b"\xff",
        b"kind: Deployment\n",
        b"- 1\n",
        HEAD.encode(),
        (HEAD + "  images: 7\n").encode(),
        (HEAD + "  images: []\n").encode(),
        (HEAD + "  images:\n  - &a\n    glob: x\n  - *a\n").encode(),
        b"a: " + b"[" * 200 + b"]" * 200,
        b"a: 1\n" * 300_000,
    ],
    ids=["empty", "torn", "bytes", "kind", "list", "spec", "type", "none", "alias", "deep", "huge"],
)
def test_what_is_no_policy_is_one_clear_error(raw: bytes) -> None:
    with pytest.raises(UsageError):
        translate(list(documents(raw, where="cip.yaml")), where="cip.yaml")


def test_several_policies_in_one_file_all_apply() -> None:
    one = (HEAD + f"{ALL}  authorities:\n{KEYLESS}").encode()
    raw = one + b"---\napiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\n---\n" + one
    found = translate(list(documents(raw, where="")), where="")
    assert len(tomllib.loads(found.text)["image"]) == 2
    assert any("TrustRoot" in note for note in found.notes)


def test_x8_two_authorities_do_not_share_the_work_of_one() -> None:
    """There one attests all types; here the SBOM of one and the scan of the other would do."""
    kinds = "    attestations:\n    - predicateType: spdxjson\n    - predicateType: vuln\n"
    one = KEYLESS + kinds
    other = KEYLESS.replace("acme/app", "acme/other") + kinds
    found, document = imported(f"{ALL}  authorities:\n{one}{other}")
    (only,) = document["image"][0]["require"]
    assert only["certificate-identity"].startswith("nobody:")
    assert "several authorities that each attest several types" in found.untranslated[0]
    alone = requirements(f"{ALL}  authorities:\n{one}")
    assert [table["claim"] for table in alone] == ["attestation", "attestation"]


def test_x8_an_attestation_without_a_type_is_no_signature() -> None:
    text = f"{ALL}  authorities:\n{KEYLESS}    attestations:\n    - name: x\n"
    (only,) = requirements(text)
    assert only["certificate-identity"].startswith("nobody:")
