"""The doors for evidence: bundles, envelopes, layers, log entries, notes. Values, or a refusal."""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.digest import Digest
from loader.errors import FormatError, LimitError, RefusedError
from loader.model import entry as log_entry
from loader.model.checkpoint import Checkpoint
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.descriptor import Descriptor, MediaType
from loader.model.entry import LogEntry, int64
from loader.model.envelope import Envelope, decode_loose_base64
from loader.model.fields import Fields
from loader.model.pem import decode_block, decode_blocks
from loader.model.records import (
    BareEnvelopeRecord,
    EnvelopeRecord,
    OtherRecord,
    SignatureRecord,
    parse_record,
)
from loader.model.sigstore_bundle import (
    CertificateMaterial,
    KeyMaterial,
    MessageSignature,
    SigstoreBundle,
)
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import b64, compact, pem_of
from tests.fakes.sigworld.signed import Layer
from tests.fakes.sigworld.world import World

WORLD = World("formats")
IMAGE = "sha256:" + "ab" * 32
MESSAGE = WORLD.sign_image_legacy(IMAGE, WORLD.keyless(), log="both", timestamp=True)
STATEMENT = WORLD.sign_image(IMAGE, WORLD.managed(), log="both")
Change = Callable[[dict[str, Any]], object]


def parsed(document: object) -> SigstoreBundle:
    return SigstoreBundle.parse(json.dumps(document).encode(), where="b")


# --- bundles ------------------------------------------------------------------------------------


def test_a_bundle_of_a_message() -> None:
    bundle = parsed(MESSAGE.bundle())
    assert bundle.version == "0.3"
    assert isinstance(bundle.material, CertificateMaterial)
    assert isinstance(bundle.content, MessageSignature)
    assert bundle.content.digest == Digest.of(MESSAGE.message).raw
    assert (len(bundle.entries), len(bundle.timestamps)) == (2, 1)
    first, second = bundle.entries
    assert (first.kind_version, second.kind_version) == (
        ("hashedrekord", "0.0.1"),
        ("hashedrekord", "0.0.2"),
    )
    assert first.integrated_time is not None
    assert second.integrated_time is None
    assert second.promise is None
    assert bundle.digest == Digest.of(bundle.raw)


def test_a_bundle_of_an_envelope() -> None:
    bundle = parsed(STATEMENT.bundle())
    assert isinstance(bundle.content, Envelope)
    assert bundle.content.payload == STATEMENT.payload
    assert isinstance(bundle.material, KeyMaterial)
    assert bundle.material.hint == STATEMENT.signer.hint


def test_a_key_without_a_hint() -> None:
    document = STATEMENT.bundle()
    for hint in ({}, {"hint": ""}):
        document["verificationMaterial"]["publicKey"] = hint
        assert parsed(document).material == KeyMaterial(hint="")


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_chains_of_old_versions(version: str) -> None:
    material = parsed(MESSAGE.bundle(version, chain=True)).material
    assert isinstance(material, CertificateMaterial)
    assert len(material.intermediates) == len(MESSAGE.signer.chain) - 1


def _at(path: str, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        holder: Any = document
        *steps, last = path.split(".")
        for step in steps:
            holder = holder[int(step) if step.isdecimal() else step]
        if value is ...:
            del holder[last]
        else:
            holder[last] = value

    return change


ENTRY = "verificationMaterial.tlogEntries.0"
STAMPS = "verificationMaterial.timestampVerificationData"
BAD_BUNDLES: dict[str, Change] = {
    "unknown field": _at("extra", 1),
    "unknown material": _at("verificationMaterial.extra", 1),
    "unknown field of an entry": _at(f"{ENTRY}.extra", 1),
    "unknown field of a proof": _at(f"{ENTRY}.inclusionProof.extra", 1),
    "unknown field of a promise": _at(f"{ENTRY}.inclusionPromise.extra", 1),
    "unknown field of a log id": _at(f"{ENTRY}.logId.extra", 1),
    "unknown field of a kind": _at(f"{ENTRY}.kindVersion.extra", 1),
    "unknown field of a checkpoint": _at(f"{ENTRY}.inclusionProof.checkpoint.extra", 1),
    "unknown field of timestamps": _at(f"{STAMPS}.extra", 1),
    "unknown field of a timestamp": _at(f"{STAMPS}.rfc3161Timestamps.0.extra", 1),
    "unknown field of a certificate": _at("verificationMaterial.certificate.extra", 1),
    "unknown field of a signature": _at("messageSignature.extra", 1),
    "unknown field of a digest": _at("messageSignature.messageDigest.extra", 1),
    "snake case": _at("verification_material", {}),
    "no media type": _at("mediaType", ...),
    "version 0.4": _at("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"),
    "version with a space": _at(
        "mediaType", "application/vnd.dev.sigstore.bundle+json; version=0.3"
    ),
    "no material": _at("verificationMaterial", ...),
    "no certificate": _at("verificationMaterial.certificate", ...),
    "certificate and key": _at("verificationMaterial.publicKey", {"hint": "x"}),
    "a chain in 0.3": _at("verificationMaterial.x509CertificateChain", {"certificates": []}),
    "no content": _at("messageSignature", ...),
    "two contents": _at("dsseEnvelope", STATEMENT.bundle()["dsseEnvelope"]),
    "no signature": _at("messageSignature.signature", ...),
    "an empty signature": _at("messageSignature.signature", ""),
    "a signature of 9 KiB": _at("messageSignature.signature", b64(b"x" * 20_000)),
    "no digest": _at("messageSignature.messageDigest", ...),
    "base64 with a space": _at("messageSignature.signature", "AA AA"),
    "base64 without padding": _at("messageSignature.signature", "AAA"),
    "base64 with bits behind": _at("messageSignature.signature", "AAB="),
    "base64 of the URL": _at("messageSignature.signature", "_-_-"),
    "a timestamp that is null": _at(f"{STAMPS}.rfc3161Timestamps", [None]),
    "a timestamp of 200 kB": _at(
        f"{STAMPS}.rfc3161Timestamps", [{"signedTimestamp": b64(b"x" * 200_000)}]
    ),
    "the same timestamp twice": lambda d: d["verificationMaterial"]["timestampVerificationData"][
        "rfc3161Timestamps"
    ].append(d["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]),
    "33 timestamps": _at(
        f"{STAMPS}.rfc3161Timestamps",
        [{"signedTimestamp": b64(b"%d" % n)} for n in range(33)],
    ),
    "the same entry twice": lambda d: d["verificationMaterial"]["tlogEntries"].append(
        d["verificationMaterial"]["tlogEntries"][0]
    ),
    "entries that are no list": _at("verificationMaterial.tlogEntries", {}),
    "an index of true": _at(f"{ENTRY}.logIndex", True),  # noqa: FBT003
    "an index of 1.0": _at(f"{ENTRY}.logIndex", 1.0),
    "an index with a plus": _at(f"{ENTRY}.logIndex", "+1"),
    "an index with a zero": _at(f"{ENTRY}.logIndex", "01"),
    "an index with a space": _at(f"{ENTRY}.logIndex", " 1"),
    "an index of Arabic digits": _at(f"{ENTRY}.logIndex", "\u0661"),
    "an index of 2**63": _at(f"{ENTRY}.logIndex", str(2**63)),
    "a time of the year 10000": _at(f"{ENTRY}.integratedTime", "253402300800"),
    "no body": _at(f"{ENTRY}.canonicalizedBody", ...),
    "a body that is no JSON": _at(f"{ENTRY}.canonicalizedBody", b64(b"{")),
    "no kind": _at(f"{ENTRY}.kindVersion", ...),
    "no log id": _at(f"{ENTRY}.logId", ...),
    "a root hash of 31 bytes": _at(f"{ENTRY}.inclusionProof.rootHash", b64(b"x" * 31)),
    "a hash that is no text": _at(f"{ENTRY}.inclusionProof.hashes", [1]),
    "no root hash": _at(f"{ENTRY}.inclusionProof.rootHash", ...),
}


@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_no_bundles(case: str) -> None:
    document = copy.deepcopy(MESSAGE.bundle())
    BAD_BUNDLES[case](document)
    with pytest.raises(FormatError):
        parsed(document)


@pytest.mark.parametrize(
    "change",
    [
        _at(f"{ENTRY}.inclusionPromise", None),
        _at(f"{ENTRY}.inclusionProof", None),
        _at("verificationMaterial.timestampVerificationData", None),
        _at("verificationMaterial.timestampVerificationData", {}),
        _at("verificationMaterial.tlogEntries", None),
        _at("verificationMaterial.tlogEntries", ...),
        _at("verificationMaterial.publicKey", None),
        _at(f"{ENTRY}.logIndex", 17),
        _at(f"{ENTRY}.logIndex", ...),
    ],
)
def test_what_protobuf_leaves_open(change: Change) -> None:
    document = copy.deepcopy(MESSAGE.bundle())
    change(document)
    parsed(document)


def test_two_signatures_in_a_bundle() -> None:
    document = copy.deepcopy(STATEMENT.bundle())
    document["dsseEnvelope"]["signatures"] *= 2
    with pytest.raises(FormatError, match="one signature"):
        parsed(document)


@pytest.mark.parametrize("length", range(0, 8000, 97))
def test_truncated(length: int) -> None:
    raw = json.dumps(MESSAGE.bundle()).encode()
    assert length < len(raw)
    with pytest.raises(FormatError):
        SigstoreBundle.parse(raw[:length], where="b")


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    layer = Descriptor(
        media_type=MediaType("text/plain"),
        digest=Digest.of(raw),
        size=len(raw),
        annotations={
            "dev.cosignproject.cosign/signature": raw.decode("latin-1"),
            "dev.sigstore.cosign/bundle": raw.decode("latin-1"),
        },
    )
    for door in (
        lambda: SigstoreBundle.parse(raw, where="b"),
        lambda: Envelope.parse(raw, where="e"),
        lambda: Statement.parse(raw, where="s"),
        lambda: SimpleSigning.parse(raw, where="p"),
        lambda: parse_record(raw, where="r"),
        lambda: CosignSignature.parse_downloaded(raw, where="d"),
        lambda: CosignSignature.parse(raw, layer, where="l"),
        lambda: Checkpoint.parse(raw.decode("latin-1"), where="c"),
        lambda: decode_blocks(raw, where="p", count_max=3),
    ):
        with pytest.raises(RefusedError):
            door()


# --- envelopes and base64 -----------------------------------------------------------------------


def test_the_encoding_that_is_signed() -> None:
    # The example of DSSE's own protocol.md.
    envelope = Envelope(
        payload_type="http://example.com/HelloWorld", payload=b"hello world", signatures=(b"x",)
    )
    assert b"".join(envelope.pae_parts) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_no_two_envelopes_share_an_encoding() -> None:
    made = {
        b"".join(Envelope(payload_type=kind, payload=payload, signatures=(b"x",)).pae_parts)
        for kind, payload in (("a", b"b 1 c"), ("a 5 b", b"c"), ("a", b"b"), ("\u00e4", b"b"))
    }
    assert len(made) == 4


@pytest.mark.parametrize("alphabet", ["standard", "url"])
def test_either_alphabet(alphabet: str) -> None:
    raw = bytes(range(256))
    encode = base64.b64encode if alphabet == "standard" else base64.urlsafe_b64encode
    document = {
        "payload": encode(raw).decode(),
        "payloadType": "t",
        "signatures": [{"sig": encode(raw).decode(), "keyid": "ignored"}],
        "unknown": True,
    }
    envelope = Envelope.parse(compact(document), where="e")
    assert (envelope.payload, envelope.signatures) == (raw, (raw,))


@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AA=", "AAA=A", "A===", "AAA\n=", "AA==\n", "A*A="]
)
def test_no_base64(text: str) -> None:
    with pytest.raises(FormatError):
        decode_loose_base64(text, where="x")


def test_base64_of_megabytes_is_quick() -> None:
    text = b64(b"x" * (24 << 20))
    assert len(decode_loose_base64(text, where="x")) == 24 << 20


# --- layers and downloads -----------------------------------------------------------------------


def _descriptor(layer: Layer, **annotations: str) -> Descriptor:
    return Descriptor(
        media_type=MediaType(layer.media_type),
        digest=Digest.of(layer.blob),
        size=len(layer.blob),
        annotations=layer.annotations | annotations,
    )


def test_a_layer() -> None:
    layer = MESSAGE.layer()
    found = CosignSignature.parse(layer.blob, _descriptor(layer), where="l")
    assert (found.raw, found.signature) == (MESSAGE.message, MESSAGE.signature)
    assert found.attached.certificate is not None
    assert len(found.attached.chain) == 2
    assert found.attached.entry is not None
    assert found.attached.entry.kind_version is None
    assert found.attached.timestamp is not None
    assert found.digest == Digest.of(layer.blob)


def test_empty_annotations_are_none() -> None:
    layer = STATEMENT.layer()
    names = ("certificate", "chain", "bundle", "rfc3161timestamp")
    empty = {f"dev.sigstore.cosign/{name}": "" for name in names}
    found = CosignAttestation.parse(layer.blob, _descriptor(layer, **empty), where="l")
    assert found.attached.entry is None
    assert found.attached.certificate is None
    assert found.attached.chain == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dev.cosignproject.cosign/signature", ""),
        ("dev.cosignproject.cosign/signature", "*"),
        ("dev.cosignproject.cosign/signature", "A" * 40_000),
        ("dev.sigstore.cosign/certificate", "x"),
        ("dev.sigstore.cosign/certificate", STATEMENT.signer.public_pem.decode()),
        ("dev.sigstore.cosign/chain", "x"),
        ("dev.sigstore.cosign/bundle", "{}"),
        ("dev.sigstore.cosign/bundle", "[]"),
        ("dev.sigstore.cosign/bundle", '{"SignedEntryTimestamp":"","Payload":{}}'),
        ("dev.sigstore.cosign/rfc3161timestamp", "{}"),
        ("dev.sigstore.cosign/rfc3161timestamp", '{"SignedRFC3161Timestamp":1}'),
    ],
)
def test_no_layers(name: str, value: str) -> None:
    layer = MESSAGE.layer()
    with pytest.raises(FormatError):
        CosignSignature.parse(layer.blob, _descriptor(layer, **{name: value}), where="l")


def test_a_chain_of_eleven() -> None:
    layer = MESSAGE.layer()
    assert MESSAGE.signer.certificate is not None
    chain = pem_of(MESSAGE.signer.certificate).decode() * 11
    with pytest.raises(FormatError):
        CosignSignature.parse(
            layer.blob, _descriptor(layer, **{"dev.sigstore.cosign/chain": chain}), where="l"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"Payload": None},
        {"Base64Signature": ""},
        {"Cert": 1},
        {"Cert": "x"},
        {"Chain": {}},
        {"Bundle": {}},
        {"RFC3161Timestamp": []},
    ],
)
def test_no_downloads(change: dict[str, Any]) -> None:
    line = MESSAGE.download_line() | change
    with pytest.raises(FormatError):
        CosignSignature.parse_downloaded(compact(line), where="d")


def test_too_many_downloads() -> None:
    with pytest.raises(FormatError):
        CosignSignature.parse_downloaded(b"{}\n" * 1025, where="d")


# --- entries, notes, PEM ------------------------------------------------------------------------


def _record(act: Any, entry: int = 0) -> Any:  # noqa: ANN401
    return parse_record(act.entries[entry].body, where="r")


def test_records() -> None:
    said = statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1())
    signer = WORLD.keyless()
    assert isinstance(_record(MESSAGE), SignatureRecord)
    assert isinstance(_record(MESSAGE, 1), SignatureRecord)
    assert _record(MESSAGE, 1).key_details == "PKIX_ECDSA_P256_SHA_256"
    rekord = WORLD.sign_image_legacy(IMAGE, signer, entry="rekord")
    assert _record(rekord).kind == "rekord"
    kinds = {
        "dsse": EnvelopeRecord,
        "intoto-0.0.2": EnvelopeRecord,
        "intoto-0.0.1": BareEnvelopeRecord,
    }
    for entry, kind in kinds.items():
        act = WORLD.sign_statement(said, signer, entry=entry)  # type: ignore[arg-type]
        assert isinstance(_record(act), kind)
    for other in ({"kind": "alpine", "apiVersion": "0.0.1"}, {"kind": "dsse", "apiVersion": "9"}):
        assert isinstance(parse_record(compact(other), where="r"), OtherRecord)
    pgp = json.loads(rekord.entries[0].body)
    pgp["spec"]["signature"]["format"] = "pgp"
    assert isinstance(parse_record(compact(pgp), where="r"), OtherRecord)


RECORD = json.loads(MESSAGE.entries[0].body)


@pytest.mark.parametrize(
    "change",
    [
        _at("kind", "../x"),
        _at("apiVersion", 1),
        _at("spec", []),
        _at("spec.data.hash.algorithm", "md5"),
        _at("spec.data.hash.algorithm", "sha512"),
        _at("spec.data.hash.value", "AB" * 32),
        _at("spec.data.hash.value", "ab" * 31),
        _at("spec.signature.content", ""),
        _at("spec.signature.publicKey.content", b64(b"x")),
        _at("spec.signature.publicKey.content", b64(WORLD.managed().private_pem)),
        _at("spec.signature.publicKey.content", b64(STATEMENT.signer.public_pem * 2)),
    ],
)
def test_no_records(change: Change) -> None:
    document = copy.deepcopy(RECORD)
    change(document)
    with pytest.raises(FormatError):
        parse_record(compact(document), where="r")


@pytest.mark.parametrize(
    "change",
    [
        _at("spec.hashedRekordV002.data.algorithm", "MD5"),
        _at("spec.hashedRekordV002.data.digest", b64(b"x")),
        _at("spec.hashedRekordV002.signature.verifier.keyDetails", ...),
        _at("spec.hashedRekordV002.signature.verifier.x509Certificate", ...),
    ],
)
def test_no_v2_records(change: Change) -> None:
    document = json.loads(MESSAGE.entries[1].body)
    change(document)
    with pytest.raises(FormatError):
        parse_record(compact(document), where="r")


def test_no_envelope_records() -> None:
    document = json.loads(STATEMENT.entries[0].body)
    document["spec"]["payloadHash"]["algorithm"] = "sha512"
    with pytest.raises(FormatError, match="another hash"):
        parse_record(compact(document), where="r")


def test_an_algorithms_odd_name() -> None:
    said = statements.statement(IMAGE, statements.SLSA_V1, {})
    said["subject"][0]["digest"]["sha 1"] = "00"
    with pytest.raises(FormatError, match="algorithm"):
        Statement.parse(compact(said), where="s")


def test_one_verifier_in_a_v2_record() -> None:
    document = json.loads(MESSAGE.entries[1].body)
    verifier = document["spec"]["hashedRekordV002"]["signature"]["verifier"]
    verifier["publicKey"] = {"rawBytes": b64(STATEMENT.signer.spki)}
    with pytest.raises(FormatError, match="one key or certificate"):
        parse_record(compact(document), where="r")


@pytest.mark.parametrize(
    ("value", "found"), [(None, 0), (0, 0), ("0", 0), (7, 7), ("7", 7), (str(2**63 - 1), 2**63 - 1)]
)
def test_numbers_of_protobuf(value: Any, found: int) -> None:  # noqa: ANN401
    assert int64(Fields({"n": value}, "x"), "n") == found
    assert int64(Fields({}, "x"), "n") == 0


def test_an_annotation_without_a_time() -> None:
    document = MESSAGE.entries[0].as_annotation()
    document["Payload"]["integratedTime"] = 0
    assert LogEntry.from_annotation(Fields(document, "a")).integrated_time is None


def test_a_note() -> None:
    note = WORLD.rekor2.checkpoint(extra=["one", "two"])
    checkpoint = Checkpoint.parse(note, where="c")
    assert checkpoint.origin == WORLD.rekor2.host
    assert checkpoint.size == WORLD.rekor2.tree.size
    assert checkpoint.root_hash == WORLD.rekor2.tree.head()
    assert checkpoint.text.endswith(b"one\ntwo\n")
    (signature,) = checkpoint.signatures
    assert (signature.name, signature.hint) == (WORLD.rekor2.host, WORLD.rekor2.hint)


NOTE = WORLD.rekor2.checkpoint()
LINE = NOTE.split("\n\n")[1]
BAD_NOTES = {
    "nothing": "",
    "no end": NOTE[:-1],
    "an empty line behind": NOTE + "\n",
    "text behind": NOTE + "x\n",
    "no signatures": NOTE.split("\n\n")[0] + "\n\n",
    "two blank lines": NOTE.replace("\n\n", "\n\n\n"),
    "no origin": NOTE.replace(WORLD.rekor2.host, "", 1),
    "a tab": NOTE.replace(WORLD.rekor2.host, "a\tb", 1),
    "a size with a sign": NOTE.replace(f"\n{WORLD.rekor2.tree.size}\n", "\n-1\n"),
    "a size of 20 digits": NOTE.replace(f"\n{WORLD.rekor2.tree.size}\n", "\n" + "1" * 20 + "\n"),
    "a short root": NOTE.replace(b64(WORLD.rekor2.tree.head()), b64(b"x" * 31)),
    "a hyphen": NOTE.replace("\u2014", "-"),
    "a name with a space": NOTE.replace(LINE, "\u2014 a b " + b64(b"x" * 68) + "\n"),
    "no name": NOTE.replace(LINE, "\u2014  " + b64(b"x" * 68) + "\n"),
    "a hint alone": NOTE.replace(LINE, "\u2014 a " + b64(b"xxxx") + "\n"),
    "no base64": NOTE.replace(LINE, "\u2014 a " + "A" * 9 + "\n"),
}


@pytest.mark.parametrize("case", BAD_NOTES)
def test_no_notes(case: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(BAD_NOTES[case], where="c")


def test_a_long_note() -> None:
    with pytest.raises(LimitError):
        Checkpoint.parse("x" * 70_000, where="c")


def test_pem() -> None:
    raw = STATEMENT.signer.public_pem
    block = decode_block(raw, "PUBLIC KEY", where="p")
    assert block.der == STATEMENT.signer.spki
    assert len(decode_blocks(raw * 3, where="p", count_max=3)) == 3
    for wrong in (b"", b"x", raw[5:], raw * 4, raw.replace(b"PUBLIC", b"private", 1)):
        with pytest.raises(FormatError):
            decode_blocks(wrong, where="p", count_max=3)
    with pytest.raises(FormatError, match="something else"):
        decode_block(raw, "CERTIFICATE", where="p")


def test_leap_seconds_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A114: under TZ=right/UTC the C library counts them; the log signed another number then."""
    seconds = 1_768_478_400
    fields = Fields({"integratedTime": seconds}, "entry")
    expected = log_entry._at(seconds, fields)
    monkeypatch.setenv("TZ", "right/UTC")
    time.tzset()
    try:
        found = log_entry._at(seconds, fields)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == expected == datetime(2026, 1, 15, 12, tzinfo=UTC)
