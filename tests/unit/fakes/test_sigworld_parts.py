"""The parts of the signing world, each against arithmetic or a program that it does not use."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import digest_of, jcs, pae, pem_of, unb64
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.merkle import MerkleTree, leaf_hash, node_hash
from tests.fakes.sigworld.note import Witness
from tests.fakes.sigworld.rekor import RekorV1
from tests.fakes.sigworld.tsa import TimestampAuthority
from tests.fakes.sigworld.world import START, World

DIGEST = "sha256:" + "cd" * 32
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


@pytest.fixture
def world() -> World:
    return World()


def check(signer: Signer, signature: bytes, message: bytes) -> None:
    key = load_der_public_key(signer.spki)
    match key:
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(HASHES[signer.digest or ""]))
        case rsa.RSAPublicKey():
            key.verify(signature, message, padding.PKCS1v15(), HASHES[signer.digest or ""])
        case ed25519.Ed25519PublicKey():
            key.verify(signature, message)
        case _:
            pytest.fail("another kind of key")


# Keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "digest", "details"),
    [
        ("P-256", None, "PKIX_ECDSA_P256_SHA_256"),
        ("P-384", None, "PKIX_ECDSA_P384_SHA_384"),
        ("P-384", "sha256", "PKIX_ECDSA_P384_SHA_256"),
        ("P-521", None, "PKIX_ECDSA_P521_SHA_512"),
        ("RSA-2048", None, "PKIX_RSA_PKCS1V15_2048_SHA256"),
        ("Ed25519", None, "PKIX_ED25519"),
    ],
)
@pytest.mark.parametrize("keyless", [False, True])
def test_every_kind_of_key_signs(
    world: World, kind: str, digest: str | None, details: str, *, keyless: bool
) -> None:
    signer = (
        world.keyless(kind=kind, digest=digest)
        if keyless
        else world.managed("k", kind, digest=digest)
    )
    assert signer.key_details == details
    message = world.sign(b"m", signer, log="both")
    check(signer, message.signature, b"m")
    said = world.sign_image(DIGEST, signer, log="both")
    check(signer, said.signature, pae(said.payload_type, said.payload))
    v2 = json.loads(message.entries[1].body)["spec"]["hashedRekordV002"]
    assert v2["signature"]["verifier"]["keyDetails"] == details
    assert v2["data"]["digest"] == message.bundle()["messageSignature"]["messageDigest"]["digest"]


def test_two_runs_sign_the_same_bytes() -> None:
    def run() -> tuple[object, ...]:
        world = World()
        signed = world.sign_image(DIGEST, world.keyless(), log="both")
        return signed.bundle(), signed.layer().annotations, world.trusted_root()

    assert run() == run()
    assert World("other").trusted_root() != World().trusted_root()


# Trees and notes -------------------------------------------------------------------------------


def climb(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.3.2, the verifier's arithmetic."""
    at, last, node = index, size - 1, leaf
    for other in path:
        assert last != 0
        if at & 1 or at == last:
            node = node_hash(other, node)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, other)
        at, last = at >> 1, last >> 1
    assert last == 0
    return node


def both_heads(old: int, new: int, old_head: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """RFC 9162 section 2.1.4.2: the heads that a consistency proof leads to."""
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_head)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for node in path[1:]:
        if at & 1 or at == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, node)
        at, last = at >> 1, last >> 1
    return first, second


def test_proofs_lead_to_the_heads_for_all_small_sizes() -> None:
    tree = MerkleTree()
    for number in range(20):
        tree.append(b"%d" % number)
    for size in range(1, 21):
        for index in range(size):
            path = tree.inclusion(index, size)
            assert climb(leaf_hash(b"%d" % index), index, size, path) == tree.head(size)
        for old in range(1, size):
            proof = tree.consistency(old, size)
            heads = both_heads(old, size, tree.head(old), proof)
            assert heads == (tree.head(old), tree.head(size))
    assert tree.consistency(20) == []
    assert tree.head(0) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(("index", "size"), [(5, 5), (-1, 5), (0, 21)])
def test_no_proof_for_what_is_not_in_the_tree(index: int, size: int) -> None:
    tree = MerkleTree()
    for number in range(20):
        tree.append(b"%d" % number)
    with pytest.raises(IndexError):
        tree.inclusion(index, size)


def test_checkpoint_is_signed_by_the_log_and_its_witness(world: World) -> None:
    witness = Witness.make()
    for log in (world.rekor1, world.rekor2):
        note = log.checkpoint(4, witnesses=[witness], witnesses_first=True, extra=["Timestamp: 1"])
        text, _, lines = note.partition("\n\n")
        assert text.splitlines()[:2] == [log.origin, "4"]
        assert unb64(text.splitlines()[2]) == log.tree.head(4)
        cosigned, own = (line.split(" ") for line in lines.splitlines())
        assert [own[0], own[1], cosigned[1]] == ["\u2014", log.host, witness.name]
        raw = unb64(own[2])
        assert raw[:4] == log.log_id[:4]
        check(log.signer, raw[4:], f"{text}\n".encode())
        other = unb64(cosigned[2])
        seconds = int.from_bytes(other[4:12], "big")
        check(
            witness.signer,
            other[12:],
            f"cosignature/v1\ntime {seconds}\n{text}\n".encode(),
        )


# Logs ------------------------------------------------------------------------------------------


def test_promise_covers_the_global_index_and_the_proof_the_leaf(world: World) -> None:
    entry = world.sign(b"m", world.managed()).entries[0]
    noted = entry.as_annotation()
    payload = noted["Payload"]
    assert payload["logIndex"] == entry.leaf_index + world.rekor1.index_offset
    assert payload["logIndex"] != entry.leaf_index
    check(world.rekor1.signer, unb64(noted["SignedEntryTimestamp"]), jcs(payload))
    listed = entry.as_bundle_entry()
    assert listed["logIndex"] == str(payload["logIndex"])
    assert listed["inclusionProof"]["logIndex"] == str(entry.leaf_index)
    path = [unb64(node) for node in listed["inclusionProof"]["hashes"]]
    size = int(listed["inclusionProof"]["treeSize"])
    head = climb(leaf_hash(entry.body), entry.leaf_index, size, path)
    assert head == unb64(listed["inclusionProof"]["rootHash"])


def test_second_log_promises_nothing_and_knows_no_time(world: World) -> None:
    entry = world.sign(b"m", world.managed(), log="v2").entries[0]
    assert {"integratedTime", "inclusionPromise"}.isdisjoint(entry.as_bundle_entry())
    with pytest.raises(ValueError, match="no signed entry timestamps"):
        entry.as_annotation()


def test_forked_log_signs_another_history(world: World) -> None:
    for number in range(3):
        world.sign(b"%d" % number, world.managed())
    log = world.rekor1
    fork = log.fork(6)
    log.grow(1)
    fork.grow(log.tree.size - fork.tree.size)
    assert fork.log_id == log.log_id
    assert fork.tree.head(6) == log.tree.head(6)
    assert fork.checkpoint() != log.checkpoint()
    assert [entry.log for entry in fork.entries] == [fork]
    heads = both_heads(6, log.tree.size, log.tree.head(6), fork.tree.consistency(6))
    assert heads == (log.tree.head(6), fork.tree.head())
    assert heads[1] != log.tree.head()


@pytest.mark.parametrize("kind", ["dsse", "intoto-0.0.1", "intoto-0.0.2", "hashedrekord"])
def test_every_kind_of_entry_binds_its_statement(world: World, kind: str) -> None:
    signer = world.keyless()
    signed = world.sign_statement(
        statements.image_statement(DIGEST),
        signer,
        entry=kind,  # type: ignore[arg-type]
    )
    body = json.loads(signed.entries[0].body)
    spec = body["spec"]
    envelope = digest_of(signed.envelope()).removeprefix("sha256:")
    payload = digest_of(signed.payload).removeprefix("sha256:")
    pem = signer.verifier_pem
    match kind:
        case "dsse":
            assert spec["envelopeHash"]["value"] == envelope
            assert spec["payloadHash"]["value"] == payload
            [one] = spec["signatures"]
            assert (unb64(one["signature"]), unb64(one["verifier"])) == (signed.signature, pem)
        case "intoto-0.0.1":
            assert spec["content"]["hash"]["value"] == envelope
            assert unb64(spec["publicKey"]) == pem
        case "intoto-0.0.2":
            [one] = spec["content"]["envelope"]["signatures"]
            assert unb64(unb64(one["sig"]).decode()) == signed.signature
            assert spec["content"]["payloadHash"]["value"] == payload
        case _:
            covered = digest_of(pae(signed.payload_type, signed.payload))
            assert f"sha256:{spec['data']['hash']['value']}" == covered
    assert signed.entries[0].body == jcs(body)


def test_several_signers_are_all_in_the_entry(world: World) -> None:
    signers = [world.managed("one"), world.managed("two", "P-384")]
    said = statements.image_statement(DIGEST)
    signed = world.sign_statement(said, signers[0], also=signers[1:])
    assert len(json.loads(signed.envelope())["signatures"]) == 2
    listed = json.loads(signed.entries[0].body)["spec"]["signatures"]
    assert {unb64(one["verifier"]) for one in listed} == {s.public_pem for s in signers}


def test_any_lie_can_be_promised() -> None:
    log = RekorV1("rekor.example")
    signature = log.sign_promise(b"{}", 1, -5)
    lie = {"body": "e30=", "integratedTime": 1, "logID": log.log_id.hex(), "logIndex": -5}
    check(log.signer, signature, jcs(lie))


def test_keyless_keys_are_fresh_unless_one_is_given(world: World) -> None:
    one, two = world.keyless(), world.keyless()
    assert one.spki != two.spki
    again = world.keyless(key=one)
    assert again.spki == one.spki
    assert again.certificate != one.certificate


# Certificates ----------------------------------------------------------------------------------


def test_certificate_can_be_spoilt_in_each_part(world: World) -> None:
    signer = world.keyless(
        workflow(called="slsa/gen/.github/workflows/x.yml@refs/tags/v2.0.0").but({8: None}),
        eku=(),
        san_critical=False,
        digital_signature=False,
        authority=True,
        lifetime=timedelta(days=2),
        promises=(),
        raw_extensions=[
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        ],
    )
    certificate = signer.certificate
    assert certificate is not None
    found = {e.oid.dotted_string: e for e in certificate.extensions}
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (san.critical, san.value.get_values_for_type(x509.UniformResourceIdentifier)) == (
        False,
        ["https://github.com/slsa/gen/.github/workflows/x.yml@refs/tags/v2.0.0"],
    )
    assert {"1.3.6.1.4.1.57264.1.8", "2.5.29.37", "1.3.6.1.4.1.11129.2.4.2"}.isdisjoint(found)
    assert found["1.2.3.4"].critical
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (False, True)
    raw = found["1.3.6.1.4.1.57264.1.12"].value
    assert isinstance(raw, x509.UnrecognizedExtension)
    assert raw.value == b"\x0c\x1bhttps://github.com/acme/app"
    assert certificate.not_valid_after_utc == START + timedelta(days=2)


def test_several_scts_are_parsed_as_made(world: World) -> None:
    at = datetime(2026, 1, 15, 11, 59, tzinfo=UTC)
    signer = world.keyless(promises=[world.ct.promise(at=at), world.ct.promise(extensions=b"xy")])
    assert signer.certificate is not None
    listed = signer.certificate.extensions.get_extension_for_class(
        x509.PrecertificateSignedCertificateTimestamps
    ).value
    assert [sct.log_id for sct in listed] == [world.ct.log_id] * 2
    assert listed[0].timestamp == at.replace(tzinfo=None)
    assert listed[1].extension_bytes == b"xy"


# Timestamps ------------------------------------------------------------------------------------


@pytest.mark.may_skip("a second opinion; rfc3161-client gives the first")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
@pytest.mark.parametrize("signed_with", ["sha256", "sha512"])
def test_openssl_accepts_the_timestamp(tmp_path: Path, kind: str, signed_with: str) -> None:
    tsa = TimestampAuthority("acme", start=START - timedelta(days=9), kind=kind, digest=signed_with)
    verify(tsa, tmp_path, tsa.timestamp(b"m", at=START, digest="sha384"), "OK")
    spoilt = tsa.timestamp(b"m", at=START, spoil_signature=True)
    verify(tsa, tmp_path, spoilt, "FAILED")
    verify(tsa, tmp_path, tsa.timestamp(b"m", at=START, imprint=bytes(32)), "FAILED")
    verify(tsa, tmp_path, tsa.timestamp(b"m", at=START, status=2), "FAILED")


def verify(tsa: TimestampAuthority, folder: Path, response: bytes, expected: str) -> None:
    message, answer, root = (folder / name for name in ("message", "answer.tsr", "root.pem"))
    message.write_bytes(b"m")
    answer.write_bytes(response)
    root.write_bytes(pem_of(tsa.chain[-1]))
    at = str(int(START.timestamp()))
    files: list[str | Path] = ["-data", message, "-in", answer, "-CAfile", root]
    done = subprocess.run(
        ["openssl", "ts", "-verify", *files, "-attime", at],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"Verification: {expected}" in done.stdout + done.stderr


def test_timestamp_certificate_may_have_expired() -> None:
    end = START + timedelta(days=1)
    tsa = TimestampAuthority("acme", start=START - timedelta(days=9), leaf_end=end)
    assert tsa.leaf.not_valid_after_utc == end
