"""All layouts and blobs that real tools made, judged by `loader.verify` under what they name.

What a fixture asks for beyond one verified signature (who, log, timestamp, type, annotations) is
weighed here in the plainest way, so that a failure points at verification and not at policy.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import RefusedError
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.verify.message import Message
from loader.verify.sigstore import (
    CertificateSigner,
    KeySigner,
    Material,
    Signed,
    verify_artifact,
    verify_evidence,
)
from tests.presence import SHARED
from tests.unit.loader.verify.fixture_reasons import REASONS
from tests.unit.loader.verify.layouts import Layout, LayoutError

FIXTURES = SHARED / "fixtures"
SIGN = "https://sigstore.dev/cosign/sign/v1"
COSIGN_TYPES = {
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
}
Fixture = dict[str, Any]

# Cases on which tools disagree or the specification is open, and what we do.
DECIDED = {
    "kp-legacy-ed25519": ("fail", "Ed25519ph: cosign cannot verify it either; nobody signs so"),
    "kp-bundle-ed25519": ("fail", "as kp-legacy-ed25519"),
    "kl-bundle-rekor2-dsse": ("fail", "kind dsse 0.0.2 was dropped by all clients in 2026"),
    "kp-bundle-rekor2-dsse": ("fail", "as kl-bundle-rekor2-dsse"),
    "kl-bundle-rekor1-hashedrekord": ("fail", "cosign 3 and sigstore-python refuse it"),
    "n-san-email-form": ("pass", "the SAN's text is what policy compares; its kind is reported"),
    "n-tlog-body-changed": ("fail", "the body is what the proof is about"),
    "n-proof-index": ("fail", "the proof's index is compared with the entry's"),
    "n-proof-index-negative": ("fail", "no index is negative"),
    "n-proof-size": ("fail", "the proof's size is compared with the checkpoint's"),
    "n-proof-root": ("fail", "the proof's root is compared with the checkpoint's"),
    "n-tlog-duplicate": ("fail", "a threshold is not reached by repetition"),
    "bundle-unknown-field": ("fail", "protojson is strict, and so are we"),
    "n-legacy-type-other": ("fail", "a signature over another kind of document is no image's"),
    "n-legacy-type-atomic": ("fail", "as n-legacy-type-other"),
    "n-legacy-reference-other-repo": ("pass", "a promoted image says its source; policy may ask"),
}
# Faults that only policy sees, which these tests do not own: verification holds.
POLICYS = {
    "n-att-builder-other": "provenance",
    "n-att-source-other": "provenance",
    "n-att-source-ref-other": "provenance",
    "n-att-buildtype-other": "provenance",
    "n-att-not-approved": "predicate",
    "n-att-failed-tests": "predicate",
}


def _index() -> dict[str, Any]:
    path = FIXTURES / "fixtures.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


INDEX = _index()


@cache
def root(name: str) -> TrustedRoot:
    return TrustedRoot.parse((FIXTURES / name).read_bytes(), name=name)


@cache
def key(name: str) -> PublicKey:
    return PublicKey.parse((FIXTURES / name).read_bytes(), name=name)


@cache
def layout(name: str) -> Layout:
    return Layout(FIXTURES / name)


def material_of(verify: dict[str, Any]) -> Material:
    return Material(
        trusted_root=root(verify["trusted_root"]),
        key=key(verify["key"]) if "key" in verify else None,
    )


def unmet(signed: Signed, verify: dict[str, Any], *, kind: str, image: str | None) -> str:
    """Why a verified signature is not the one that is asked for; empty if it is."""
    problems = {
        "subject": image is not None and Digest.parse(image) not in signed.subjects,
        "log": verify["require_tlog"] and not signed.logs,
        "timestamp": verify["require_timestamp"]
        and not any(time.source == "timestamp" for time in signed.times),
        "kind": not _kind_is(signed, kind, verify),
        "who": not _said_by(signed, verify),
        "annotations": not _annotated(signed, verify.get("annotations", {})),
    }
    return next((name for name, wrong in problems.items() if wrong), "")


def _kind_is(signed: Signed, kind: str, verify: dict[str, Any]) -> bool:
    if kind == "attestation" or "predicate_type" in verify:
        wanted: str = verify["predicate_type"]
        return signed.predicate_type == COSIGN_TYPES.get(wanted, wanted)
    if kind == "signature":
        return isinstance(signed.payload, SimpleSigning) or signed.predicate_type == SIGN
    return True


def _said_by(signed: Signed, verify: dict[str, Any]) -> bool:
    match signed.signer:
        case KeySigner():
            return "key" in verify
        case CertificateSigner(san=san, issuer=issuer, extensions=extensions):
            source = verify.get("source_repository")
            return (
                (san, issuer) == (verify.get("identity"), verify.get("issuer"))
                and signed.sct_count > 0
                and source in {None, extensions.get("12")}
            )


def _annotated(signed: Signed, wanted: dict[str, str]) -> bool:
    match signed.payload:
        case SimpleSigning(optional=optional):
            return wanted.items() <= optional.items()
        case Statement(subjects=subjects):
            return any(wanted.items() <= subject.annotations.items() for subject in subjects)
        case _:
            return not wanted


def judge(fixture: Fixture, verify: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the verdict, and what became of each piece of evidence."""
    reasons: list[str] = []
    image = fixture["image"]["digest"]
    verdict = "fail"
    try:
        found = layout(fixture["layout"])
        if fixture.get("integrity"):
            found.expect_whole(image)
        for evidence in found.evidence(image):
            if isinstance(evidence, Exception):
                assert isinstance(evidence, RefusedError), repr(evidence)
                reasons.append(evidence.code)
                continue
            if evidence_is_bundle(evidence) != (verify["format"] == "bundle"):
                continue
            try:
                signed = verify_evidence(evidence, material_of(verify)).value
            except RefusedError as e:
                reasons.append(e.code)
                continue
            problem = unmet(signed, verify, kind=fixture["kind"], image=image)
            reasons.append(problem or "counts")
            if not problem:
                verdict = "pass"
    except LayoutError as e:
        return "fail", [f"layout: {e}"]
    return verdict, reasons


def evidence_is_bundle(evidence: object) -> bool:
    return isinstance(evidence, SigstoreBundle)


@pytest.mark.usefixtures("shared_dir")
def test_the_set_is_whole() -> None:
    listed = INDEX["fixtures"]
    assert (len(listed), len(INDEX["blobs"])) == (246, 11)
    assert {f["id"] for f in listed if f["expect"] == "optional"} == set(DECIDED)


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("fixture", INDEX.get("fixtures", ()), ids=lambda f: f["id"])
def test_fixture(fixture: Fixture) -> None:
    expected = DECIDED.get(fixture["id"], (fixture["expect"], ""))[0]
    if fixture["id"] in POLICYS:
        expected = "pass"
    wanted = fixture.get("threshold", {}).get("keys") or [None]
    verdicts = []
    for name in wanted:
        verify = fixture["verify"] | ({"key": name} if name else {})
        verdicts.append(judge(fixture, verify))
    found = "pass" if all(verdict == "pass" for verdict, _ in verdicts) else "fail"
    assert found == expected, (fixture["why"], verdicts)


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for reason, names in REASONS.items() for name in names]
)
def test_why_it_fails(name: str, reason: tuple[str, ...]) -> None:
    fixture = next(f for f in INDEX["fixtures"] if f["id"] == name)
    found = judge(fixture, fixture["verify"])[1]
    assert {r.partition(":")[0] for r in found} == set(reason)


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize(
    ("fixture", "name"),
    [(f, f["also_signed_by"]) for f in INDEX.get("fixtures", ()) if "also_signed_by" in f],
    ids=lambda v: v["id"] if isinstance(v, dict) else "",
)
def test_a_second_signer(fixture: Fixture, name: str) -> None:
    assert judge(fixture, fixture["verify"] | {"key": name})[0] == "pass"


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize(
    ("fixture", "predicate_type"),
    [(f, p) for f in INDEX.get("fixtures", ()) for p in f.get("predicate_types", ())],
    ids=lambda v: v["id"] if isinstance(v, dict) else v.rpartition("/")[2],
)
def test_every_statement_about_an_image(fixture: Fixture, predicate_type: str) -> None:
    assert judge(fixture, fixture["verify"] | {"predicate_type": predicate_type})[0] == "pass"


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("blob", INDEX.get("blobs", ()), ids=lambda b: b["id"])
@pytest.mark.parametrize("by", ["bytes", "chunks", "digest"])
def test_blob(blob: Fixture, by: str) -> None:
    raw = (FIXTURES / blob["blob"]).read_bytes()
    message = {
        "bytes": Message.of(raw),
        "chunks": Message.of_chunks([raw[:7], raw[7:]]),
        "digest": Message.of_digest(Digest.of(raw)),
    }[by]
    try:
        bundle = SigstoreBundle.parse(_bytes(blob["bundle"]), where="bundle")
        signed = verify_artifact(bundle, message, material_of(blob["verify"])).value
        problem = unmet(signed, blob["verify"], kind="blob", image=None)
    except RefusedError as e:
        problem = e.code
    assert ("pass" if not problem else "fail") == blob["expect"], (blob["why"], problem)


def _bytes(name: str) -> bytes:
    return (FIXTURES / Path(name)).read_bytes()
