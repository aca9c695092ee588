"""sigstore-conformance's verification cases, each by path and by digest: all of them, offline.

A directory's name is the case, and its ending the verdict that the suite wants (its
docs/cli_protocol.md). `REASONS` adds what the suite does not ask for: why we refuse.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from loader.verify.conformance import verify_bundle_main
from tests.presence import SHARED

SUITE = SHARED / "conformance" / "bundle-verify"
CASES = sorted(path.name for path in SUITE.glob("*") if path.is_dir())
IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon"
    "/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
REASONS = {
    "bundle-empty-certificate-chain_fail": "json.field",
    "bundle-from-wrong-instance_fail": "signature.no-time",
    "bundle-invalid-base64-signature_fail": "json.field",
    "bundle-malformed-json_fail": "json.syntax",
    "bundle-negative-log-index_fail": "json.field",
    "bundle-unknown-version_fail": "container.version",
    "bundle-with-root-cert_fail": "signature.checkpoint",
    "checkpoint-bad-keyhint_fail": "signature.checkpoint",
    "checkpoint-wrong-roothash_fail": "signature.checkpoint",
    "dsse-invalid-sig_fail": "signature.entry.signature",
    "dsse-mismatch-envelope_fail": "signature.entry.digest",
    "dsse-mismatch-sig_fail": "signature.entry.signature",
    "inclusion-proof-corrupted-hash_fail": "signature.inclusion",
    "incorrect-public-key_fail": "signature.set",
    "integrated-time-in-future_fail": "signature.certificate.time",
    "intoto-expired-certificate_fail": "signature.certificate.time",
    "intoto-log-entry-mismatch_fail": "json.field",
    "intoto-missing-inclusion-proof_fail": "signature.entry.unproven",
    "intoto-set-outside-signing-cert-validity_fail": "signature.certificate.time",
    "intoto-tsa-timestamp-outside-cert-validity_fail": "signature.certificate.time",
    "invalid-checkpoint-signature_fail": "signature.checkpoint",
    "invalid-ct-key_fail": "policy.condition",
    "invalid-inclusion-proof_fail": "signature.checkpoint",
    "managed-key-no-key_fail": "signature.signer",
    "managed-key-wrong-key_fail": "signature.key",
    "message-digest-mismatch_fail": "signature.digest",
    "rekor2-checkpoint-missing-log-signature_fail": "json.field",
    "rekor2-checkpoint-missing-origin_fail": "json.field",
    "rekor2-checkpoint-missing-root-hash_fail": "json.field",
    "rekor2-checkpoint-missing-size_fail": "json.field",
    "rekor2-checkpoint-no-matching-signature_fail": "signature.checkpoint",
    "rekor2-dsse-invalid-sig_fail": "signature.entry.signature",
    "rekor2-dsse-mismatch-envelope_fail": "signature.entry.digest",
    "rekor2-dsse-mismatch-sig_fail": "signature.entry.signature",
    "rekor2-no-inclusion-proof_fail": "signature.entry.unproven",
    "rekor2-no-timestamp_fail": "signature.no-time",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": "signature.timestamp",
    "rekor2-timestamp-outside-tsa-cert-validity_fail": "signature.timestamp",
    "rekor2-timestamp-payload-mismatch_fail": "signature.timestamp",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": "signature.timestamp",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": "signature.timestamp",
    "rekor2-timestamp-with-incorrect-time_fail": "json.field",
    "set-invalid-signature_fail": "signature.set",
    "signature-mismatch_fail": "signature.entry.signature",
    "trust-root-tlog-missing-validity-start_fail": "trustroot.format",
    "wrong-hashedrekord-artifact_fail": "signature.entry.digest",
    "wrong-hashedrekord-cert-and-sig_fail": "signature.entry.signature",
    "wrong-hashedrekord-entry_fail": "signature.entry.digest",
    "wrong-material_fail": "signature.digest",
}


def _text(path: Path, default: str) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else default


def arguments(case: Path) -> list[str]:
    """As the suite builds them (test/client.py)."""
    said = ["--bundle", str(case / "bundle.sigstore.json")]
    if (case / "key.pub").exists():
        said += ["--key", str(case / "key.pub")]
    else:
        said += ["--certificate-identity", _text(case / "identity", IDENTITY)]
        said += ["--certificate-oidc-issuer", _text(case / "issuer", ISSUER)]
    if (case / "trusted_root.json").exists():
        said += ["--trusted-root", str(case / "trusted_root.json")]
    return said


@pytest.mark.usefixtures("shared_dir")
def test_the_suite_is_whole() -> None:
    assert len(CASES) == 70
    assert {name for name in CASES if name.endswith("_fail")} == set(REASONS)


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("by", ["path", "digest"])
@pytest.mark.parametrize("name", CASES)
def test_conformance(name: str, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A073."""
    case = SUITE / name
    artifact = case / "artifact" if (case / "artifact").exists() else SUITE / "a.txt"
    said = (
        str(artifact)
        if by == "path"
        else f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}"
    )
    status = verify_bundle_main([*arguments(case), said])
    captured = capsys.readouterr()
    if not name.endswith("_fail"):
        assert (status, captured.err) == (0, "")
        assert captured.out.startswith("verified: ")
        return
    assert status not in {0, 70}
    assert captured.out == ""
    assert captured.err.startswith(f"error[{REASONS[name]}]: ")


# --- where a case of the suite does not test what its name says (stricter variants) ---------------


@pytest.mark.usefixtures("shared_dir")
def test_a_wrong_key_that_is_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    # managed-key-wrong-key_fail has a file that is no key at all.
    case = SUITE / "managed-key-happy-path"
    key = SHARED / "fixtures" / "keys" / "acme.pub"
    bundle = str(case / "bundle.sigstore.json")
    status = verify_bundle_main(["--bundle", bundle, "--key", str(key), str(SUITE / "a.txt")])
    assert status == 11
    assert "error[signature.entry.key]" in capsys.readouterr().err


@pytest.mark.usefixtures("shared_dir")
def test_an_index_that_the_proof_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Rekor v2 signs no index of an entry: only the proof binds it.
    case = SUITE / "rekor2-happy-path"
    bundle = json.loads((case / "bundle.sigstore.json").read_text())
    bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "734"
    changed = tmp_path / "bundle.json"
    changed.write_text(json.dumps(bundle))
    said = arguments(case)
    said[1] = str(changed)
    assert verify_bundle_main([*said, str(SUITE / "a.txt")]) == 11
    assert "error[signature.inclusion]" in capsys.readouterr().err


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"--certificate-identity": IDENTITY + "x"}, "identity.mismatch"),
        ({"--certificate-identity": IDENTITY[:-1]}, "identity.mismatch"),
        ({"--certificate-oidc-issuer": ISSUER + "/"}, "identity.mismatch"),
    ],
)
def test_another_identity(
    changed: dict[str, str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = arguments(SUITE / "happy-path-v0.3")
    for option, value in changed.items():
        said[said.index(option) + 1] = value
    assert verify_bundle_main([*said, str(SUITE / "a.txt")]) == 12
    assert f"error[{code}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    [
        [],
        ["--bundle", "b", "a"],
        ["--bundle", "b", "--key", "k", "--certificate-identity", "i", "a"],
        ["--bundle", "b", "--certificate-identity", "i", "a"],
        ["--bundle", "b", "--key", "k", "--certificate-oidc-issuer", "i", "a"],
        ["--staging", "--bundle", "b", "--key", "k", "a"],
    ],
)
def test_arguments_that_mean_nothing(said: list[str]) -> None:
    assert verify_bundle_main(said) == 2


def test_files_that_are_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert verify_bundle_main(["--bundle", missing, "--key", missing, missing]) == 2
