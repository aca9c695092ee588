"""Really published signatures, under the anchors that ship: Dangerzone, SLSA generators, GitHub."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import RefusedError
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.descriptor import Descriptor, MediaType
from loader.model.sigstore_bundle import SigstoreBundle
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.verify.message import Message
from loader.verify.sigstore import (
    CertificateSigner,
    KeySigner,
    Material,
    SignedEvidence,
    verify_artifact,
    verify_evidence,
)
from tests.presence import ROOT, SHARED

REAL = SHARED / "real"
pytestmark = pytest.mark.usefixtures("shared_dir")


@cache
def root(name: str) -> TrustedRoot:
    return TrustedRoot.parse((ROOT / "trust-roots" / name).read_bytes(), name=name)


def sigstore() -> TrustedRoot:
    return root("sigstore/trusted_root.json")


def dangerzone() -> Material:
    raw = (ROOT / "trust-roots" / "dangerzone" / "release.pub").read_bytes()
    return Material(trusted_root=sigstore(), key=PublicKey.parse(raw, name="dangerzone"))


# --- Dangerzone's published images --------------------------------------------------------------

SIGNED = sorted((REAL / "ghcr-signer").glob("*/*/MANIFEST"))


def parts_of(manifest: Path) -> tuple[bytes, dict[str, str]]:
    layer = json.loads(manifest.read_bytes())["layers"][0]
    raw = (manifest.parent / "PAYLOAD_BLOB").read_bytes()
    assert layer["digest"] == str(Digest.of(raw))
    return raw, layer["annotations"]


def layer_of(raw: bytes, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(
        media_type=MediaType("application/vnd.dev.cosign.simplesigning.v1+json"),
        digest=Digest.of(raw),
        size=len(raw),
        annotations=annotations,
    )


def signature_of(raw: bytes, annotations: dict[str, str]) -> CosignSignature:
    return CosignSignature.parse(raw, layer_of(raw, annotations), where="layer")


def test_there_are_six() -> None:
    assert len(SIGNED) == 6


@pytest.mark.parametrize("manifest", SIGNED, ids=lambda p: p.parent.name[:12])
def test_dangerzone_release(manifest: Path) -> None:
    signed = verify_evidence(signature_of(*parts_of(manifest)), dangerzone()).value
    image = (manifest.parent / "IMAGE").read_text().strip()
    assert {str(digest) for digest in signed.subjects} == {image.partition("@")[2]}
    assert isinstance(signed.signer, KeySigner)
    assert signed.signer.name == "dangerzone"
    (log,) = signed.logs
    assert (log.promise, log.proof, log.checkpoint) == ("verified", "absent", None)
    assert log.log.startswith("c0d23d6a")
    (time,) = signed.times
    assert (time.source, time.at.year) == ("log", 2026)
    assert signed.format == "cosign signature"


def test_the_log_index_grows_with_the_releases() -> None:
    by_release = {
        manifest.parent.parent.name: verify_evidence(
            signature_of(*parts_of(manifest)), dangerzone()
        )
        .value.logs[0]
        .log_index
        for manifest in SIGNED
    }
    assert sorted(by_release.items()) == sorted(by_release.items(), key=lambda item: item[1] or 0)


def test_another_key() -> None:
    other = PublicKey.parse((REAL / "dangerzone" / "test.pub.key").read_bytes(), name="test")
    material = Material(trusted_root=sigstore(), key=other)
    with pytest.raises(RefusedError) as refused:
        verify_evidence(signature_of(*parts_of(SIGNED[0])), material)
    assert refused.value.code == "signature.entry.key"


def test_without_the_log_the_key_still_counts() -> None:
    material = Material(key=dangerzone().key)
    signed = verify_evidence(signature_of(*parts_of(SIGNED[0])), material).value
    assert (signed.logs, signed.times) == ((), ())


def test_under_a_root_that_does_not_know_the_log() -> None:
    material = dataclasses.replace(dangerzone(), trusted_root=root("github/trusted_root.jsonl"))
    assert verify_evidence(signature_of(*parts_of(SIGNED[0])), material).value.logs == ()


def _flip(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


Parts = tuple[bytes, dict[str, str]]
BUNDLE = "dev.sigstore.cosign/bundle"
SIGNATURE = "dev.cosignproject.cosign/signature"


def _in_bundle(change: Callable[[dict[str, Any]], None]) -> Callable[[Parts], Parts]:
    def spoil(parts: Parts) -> Parts:
        raw, annotations = parts
        bundle = json.loads(annotations[BUNDLE])
        change(bundle)
        return raw, annotations | {BUNDLE: json.dumps(bundle)}

    return spoil


def _payload(parts: Parts) -> Parts:
    return _flip(parts[0], parts[0].index(b"sha256:") + 12), parts[1]


def _signature(parts: Parts) -> Parts:
    flipped = _flip(base64.b64decode(parts[1][SIGNATURE]), 20)
    return parts[0], parts[1] | {SIGNATURE: base64.b64encode(flipped).decode()}


def _body(bundle: dict[str, Any]) -> None:
    body = base64.b64decode(bundle["Payload"]["body"])
    at = body.index(b'"value":"') + 9
    bundle["Payload"]["body"] = base64.b64encode(
        body[:at] + (b"0" if body[at : at + 1] != b"0" else b"1") + body[at + 1 :]
    ).decode()


def _promise(bundle: dict[str, Any]) -> None:
    raw = base64.b64decode(bundle["SignedEntryTimestamp"])
    bundle["SignedEntryTimestamp"] = base64.b64encode(_flip(raw, 20)).decode()


def _number(name: str) -> Callable[[dict[str, Any]], None]:
    def change(bundle: dict[str, Any]) -> None:
        bundle["Payload"][name] ^= 1

    return change


def _log_id(bundle: dict[str, Any]) -> None:
    raw = bytes.fromhex(bundle["Payload"]["logID"])
    bundle["Payload"]["logID"] = _flip(raw, 0).hex()


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        pytest.param(_payload, "signature.entry.digest", "over something else", id="payload"),
        pytest.param(_signature, "signature.entry.signature", "another signature", id="signature"),
        pytest.param(_in_bundle(_body), "signature.set", "promise", id="body"),
        pytest.param(_in_bundle(_promise), "signature.set", "promise", id="SET"),
        pytest.param(_in_bundle(_number("logIndex")), "signature.set", "promise", id="logIndex"),
        pytest.param(
            _in_bundle(_number("integratedTime")), "signature.set", "promise", id="integratedTime"
        ),
    ],
)
@pytest.mark.parametrize("manifest", SIGNED, ids=lambda p: p.parent.name[:12])
def test_one_bit(manifest: Path, spoil: Callable[[Parts], Parts], code: str, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        verify_evidence(signature_of(*spoil(parts_of(manifest))), dangerzone())
    assert refused.value.code == code
    assert words in refused.value.message


def test_one_bit_of_the_log_id() -> None:
    # It is another log's then, which nobody knows: the entry counts for nothing, and a policy that
    # wants the log's promise refuses.
    parts = _in_bundle(_log_id)(parts_of(SIGNED[0]))
    assert verify_evidence(signature_of(*parts), dangerzone()).value.logs == ()


def test_every_bit_of_the_promise() -> None:
    raw, annotations = parts_of(SIGNED[0])
    promise = base64.b64decode(json.loads(annotations[BUNDLE])["SignedEntryTimestamp"])
    for position in range(len(promise)):
        bundle = json.loads(annotations[BUNDLE])
        bundle["SignedEntryTimestamp"] = base64.b64encode(_flip(promise, position)).decode()
        spoilt = signature_of(raw, annotations | {BUNDLE: json.dumps(bundle)})
        with pytest.raises(RefusedError, match="promise"):
            verify_evidence(spoilt, dangerzone())


# --- `cosign download signature` ----------------------------------------------------------------

DOWNLOADED = sorted((REAL / "dangerzone" / "signatures").rglob("*.json"))


@pytest.mark.parametrize("path", DOWNLOADED, ids=lambda p: f"{p.parts[-3]}-{p.stem[:8]}")
def test_downloaded_signatures(path: Path) -> None:
    key = PublicKey.parse((REAL / "dangerzone" / "test.pub.key").read_bytes(), name="test")
    material = Material(trusted_root=sigstore(), key=key)
    held = 0
    problems = []
    try:
        for evidence in CosignSignature.parse_downloaded(path.read_bytes(), where=path.name):
            signed = verify_evidence(evidence, material).value
            if Digest(path.stem) in signed.subjects and signed.logs:
                held += 1
            else:
                problems.append("subject")
    except RefusedError as e:
        problems.append(e.code)
    if path.parts[-3] == "valid":
        assert (held > 0, problems) == (True, [])
    else:
        assert problems


def test_downloaded_signatures_as_lines() -> None:
    path = next(p for p in DOWNLOADED if p.stem.startswith("fa94"))
    listed = json.loads(path.read_bytes())
    lines = b"".join(json.dumps(item).encode() + b"\n" for item in listed)
    found = CosignSignature.parse_downloaded(lines, where="lines")
    assert found == CosignSignature.parse_downloaded(path.read_bytes(), where="lines")
    assert len(found) == 3


# --- SLSA generators: keyless legacy attestations -----------------------------------------------

GENERATOR = (
    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows"
    "/generator_container_slsa3.yml@refs/tags/"
)


def _attestations(version: str) -> list[tuple[bytes, Descriptor]]:
    layout = REAL / "slsa-verifier" / version / "container_workflow_dispatch"
    found = []
    for entry in json.loads((layout / "index.json").read_bytes())["manifests"]:
        if entry["annotations"].get("kind") != "dev.cosignproject.cosign/atts":
            continue
        manifest = json.loads((layout / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
        for layer in manifest["layers"]:
            raw = (layout / "blobs" / layer["digest"].replace(":", "/")).read_bytes()
            found.append((raw, Descriptor.parse(layer, where="layer")))
    return found


@pytest.mark.parametrize(
    ("version", "kind"), [("v1.8.0", ("intoto", "0.0.1")), ("v2.0.0", ("dsse", "0.0.1"))]
)
def test_slsa_generator(version: str, kind: tuple[str, str]) -> None:
    ((raw, layer),) = _attestations(version)
    evidence = CosignAttestation.parse(raw, layer, where="layer")
    assert evidence.attached.entry is not None
    record = evidence.attached.entry.record
    assert (record.kind, record.version) == kind
    signed = verify_evidence(evidence, Material(trusted_root=sigstore())).value
    digest = (REAL / "slsa-verifier" / version / "container_workflow_dispatch.digest").read_text()
    assert {str(d) for d in signed.subjects} == {digest.strip()}
    signer = signed.signer
    assert isinstance(signer, CertificateSigner)
    assert (signer.san, signer.san_kind) == (GENERATOR + version, "uri")
    assert signer.issuer == "https://token.actions.githubusercontent.com"
    assert signer.extensions["5"] == "slsa-framework/example-package"
    assert (signed.sct_count, len(signed.logs), len(signed.times)) == (1, 1, 1)
    assert signed.predicate_type == "https://slsa.dev/provenance/v0.2"
    assert signed.format == "cosign attestation"


@pytest.mark.parametrize("version", ["v1.8.0", "v2.0.0"])
def test_slsa_envelope_in_other_bytes(version: str) -> None:
    # The same payload and signature; but the logged envelope had other bytes.
    ((raw, layer),) = _attestations(version)
    evidence = CosignAttestation.parse(raw + b"\n", layer, where="layer")
    with pytest.raises(RefusedError) as refused:
        verify_evidence(evidence, Material(trusted_root=sigstore()))
    assert refused.value.code == "signature.entry.digest"


def test_slsa_entries_swapped() -> None:
    (old_raw, old_layer), (_, new_layer) = _attestations("v1.8.0")[0], _attestations("v2.0.0")[0]
    mixed = dataclasses.replace(
        old_layer,
        annotations={**old_layer.annotations, BUNDLE: new_layer.annotations[BUNDLE]},
    )
    with pytest.raises(RefusedError) as refused:
        verify_evidence(
            CosignAttestation.parse(old_raw, mixed, where="layer"),
            Material(trusted_root=sigstore()),
        )
    assert refused.value.code == "signature.entry.digest"


# --- GitHub: its own instance, and the public one -----------------------------------------------

PROBER = Digest("b03d18ed0a16864ef2d2e559c660159a2170b9d086a1f42f570b1679326b90e6")


def _bundle(name: str) -> SigstoreBundle:
    return SigstoreBundle.parse((REAL / "github-instance" / name).read_bytes(), where=name)


@pytest.mark.parametrize("file", ["trust-roots", "github-2025-12.json", "github-2026-07.json"])
def test_github_instance(file: str) -> None:
    trusted = (
        root("github/trusted_root.jsonl")
        if file == "trust-roots"
        else TrustedRoot.parse((REAL / "trusted-roots" / file).read_bytes(), name=file)
    )
    signed = verify_artifact(
        _bundle("attest-prober-13531551.json"),
        Message.of_digest(PROBER),
        Material(trusted_root=trusted),
    ).value
    assert isinstance(signed.signer, CertificateSigner)
    assert signed.signer.san == (
        "https://github.com/actions/attest-build-provenance/.github/workflows/prober.yml"
        "@refs/heads/main"
    )
    assert (signed.logs, signed.sct_count) == ((), 0)
    (time,) = signed.times
    assert (time.source, time.authority) == ("timestamp", "timestamp.githubapp.com")
    assert time.at < datetime(2026, 1, 1, tzinfo=UTC)


def test_github_instance_under_the_public_root() -> None:
    with pytest.raises(RefusedError) as refused:
        verify_artifact(
            _bundle("attest-prober-13531551.json"),
            Message.of_digest(PROBER),
            Material(trusted_root=sigstore()),
        )
    assert refused.value.code == "signature.timestamp"


def test_github_attestation_about_another_file() -> None:
    with pytest.raises(RefusedError) as refused:
        verify_artifact(
            _bundle("attest-prober-13531551.json"),
            Message.of(b"another file"),
            Material(trusted_root=root("github/trusted_root.jsonl")),
        )
    assert refused.value.code == "signature.subject"


def test_github_on_the_public_instance() -> None:
    artifact = (REAL / "github-instance" / "reusable-workflow-artifact").read_bytes()
    signed = verify_artifact(
        _bundle("gh-reusable-workflow.json"),
        Message.of(artifact),
        Material(trusted_root=sigstore()),
    ).value
    assert isinstance(signed.signer, CertificateSigner)
    # The called workflow signs; the caller is the source.
    assert signed.signer.san == signed.signer.extensions["9"]
    assert signed.signer.extensions["12"] not in signed.signer.san
    assert Digest(hashlib.sha256(artifact).hexdigest()) in signed.subjects
    assert signed.sct_count == 1


def test_github_without_a_certificate() -> None:
    # It has neither certificate nor content: a key's hint of nothing.
    with pytest.raises(RefusedError, match="not one envelope or message signature"):
        _bundle("gh-missing-cert.json")


def test_nothing_to_judge_by() -> None:
    with pytest.raises(TypeError):
        Material()


def test_evidence_is_one_of_three() -> None:
    assert set(SignedEvidence.__args__) == {CosignSignature, CosignAttestation, SigstoreBundle}
