"""Any bytes at the doors behind the JSON: certificates, timestamps, keys. A value, or a refusal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import RefusedError
from loader.trust.keys import PublicKey
from loader.verify.certificate import Leaf
from loader.verify.identity import read_signer
from loader.verify.message import Message
from loader.verify.sct import verify_scts
from loader.verify.signature import verify_signature
from loader.verify.timestamp import verify_timestamp
from tests.fakes.sigworld.encoding import der_of
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import IMAGE, key_of, keyless

WORLD = World("hostile")
ACT = WORLD.sign_image(IMAGE, WORLD.keyless(), timestamp=True)
ROOT = keyless(WORLD).trusted_root
CERTIFICATE = der_of(ACT.signer.certificate) if ACT.signer.certificate else b""
(STAMP,) = ACT.stamps(ACT.signature)


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """The good bytes with a few changed, taken out or put in."""
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(("flip", "set", "cut", "insert", "end"))):
            case "flip":
                raw[position] ^= 1 << draw(st.integers(0, 7))
            case "set":
                raw[position] = draw(st.sampled_from((0x00, 0x30, 0x7F, 0x80, 0x84, 0xFF)))
            case "cut":
                del raw[position : position + draw(st.integers(1, 8))]
            case "insert":
                raw[position:position] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del raw[position + 1 :]
        raw = raw or bytearray(b"\x00")
    return bytes(raw)


@settings(max_examples=300, deadline=None)
@given(st.one_of(spoilt(CERTIFICATE), st.binary(max_size=64)))
def test_certificates(raw: bytes) -> None:
    assert ROOT is not None
    issuer = ROOT.certificate_authorities[0].chain[0]
    try:
        leaf = Leaf.parse(raw, size_max=65536)
        read_signer(leaf)
        verify_scts(leaf, issuer, ROOT.ct_logs)
    except RefusedError as e:
        assert e.code.startswith("signature.")  # noqa: PT017 (any of several)


@settings(max_examples=300, deadline=None)
@given(st.one_of(spoilt(STAMP), st.binary(max_size=64)))
def test_timestamps(raw: bytes) -> None:
    assert ROOT is not None
    try:
        found = verify_timestamp(raw, ACT.signature, ROOT.timestamp_authorities)
    except RefusedError as e:
        assert e.code == "signature.timestamp"  # noqa: PT017
        return
    # What nobody signed may change (version numbers, the name of the hash); never the time.
    assert found is None or found.at == ACT.at


@settings(deadline=None)
@given(st.one_of(spoilt(WORLD.managed().spki), spoilt(WORLD.managed().public_pem)))
def test_keys(raw: bytes) -> None:
    try:
        PublicKey.parse(raw, name="k")
    except RefusedError as e:
        assert e.code == "signature.key"  # noqa: PT017


@settings(deadline=None)  # the first example makes an RSA key
@given(st.data(), st.sampled_from(["P-256", "P-521", "Ed25519", "RSA-2048"]))
def test_signatures(data: st.DataObject, kind: str) -> None:
    signer = WORLD.managed("spoilt", kind)
    good = signer.sign(b"message")
    raw = data.draw(spoilt(good))
    try:
        verify_signature(key_of(signer), raw, Message.of(b"message"), what="it")
    except RefusedError as e:
        assert e.code == "signature.mismatch"  # noqa: PT017
        return
    assert raw == good
