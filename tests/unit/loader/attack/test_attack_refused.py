"""Attacks that were tried and refused, each with the code that it must go on being refused with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from loader.errors import RefusedError
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.verify.sigstore import Material
from tests.fakes import attach
from tests.fakes.content import Json
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.ca import email, other_name, uri
from tests.fakes.sigworld.encoding import b64, der_of
from tests.fakes.sigworld.odd_keys import explicit_p256, rsa_spki
from tests.fakes.sigworld.tsa import TimestampAuthority
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import entry_of
from tests.unit.loader.policy.scene import AS_PACKED, IDENTITY, KEYLESS, PACKER, Scene, encoded
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
    layer_of,
    managed,
    root_of,
    signed,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World("attacked")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def entries(bundle: Json) -> list[Json]:
    found: list[Json] = bundle["verificationMaterial"]["tlogEntries"]
    return found


# --- logs: entries of our log and of the attacker's, in any mixture -------------------------------


def promise_by_another_log(mine: World, other: World) -> Json:
    """The attacker's log signs the promise, and says that it is ours."""
    signer = mine.keyless()
    act = mine.sign_image(IMAGE, signer)
    theirs = other.rekor1.add(act.entries[0].body, at=mine.at + timedelta(seconds=2))
    bundle = act.bundle()
    entry = theirs.as_bundle_entry()
    entry["logId"] = entries(bundle)[0]["logId"]
    bundle["verificationMaterial"]["tlogEntries"] = [entry]
    return bundle


def checkpoint_by_another_log(mine: World, other: World) -> Json:
    """Promise by our log, proof and checkpoint by the attacker's, which has our log's name."""
    act = mine.sign_image(IMAGE, mine.keyless())
    theirs = other.rekor1.add(act.entries[0].body, at=mine.at)
    bundle = act.bundle()
    entries(bundle)[0]["inclusionProof"] = theirs.inclusion_proof()
    return bundle


def proof_of_another_entry(mine: World, _: World) -> Json:
    """A genuine proof and checkpoint of our log, of the entry next to ours."""
    first, second = (mine.sign_image(IMAGE, mine.keyless()) for _ in range(2))
    bundle = first.bundle()
    entries(bundle)[0]["inclusionProof"] = second.entries[0].inclusion_proof()
    return bundle


def only_another_log(mine: World, other: World) -> Json:
    """Nothing but an entry of a log that the trusted root does not know: no time at all."""
    act = mine.sign_image(IMAGE, mine.keyless())
    bundle = act.bundle()
    theirs = other.rekor1.add(act.entries[0].body, at=mine.at)
    bundle["verificationMaterial"]["tlogEntries"] = [theirs.as_bundle_entry()]
    return bundle


def entry_of_the_same_key_elsewhere(mine: World, _: World) -> Json:
    """One key, two certificates of different people; the log recorded the other one's."""
    key = mine.managed("shared")
    victim = mine.keyless(key=key)
    attacker = mine.keyless(key=key, sans=[email("attacker@mail.example")])
    recorded = mine.sign_image(IMAGE, attacker)
    bundle = recorded.bundle()
    assert victim.certificate is not None
    material = bundle["verificationMaterial"]
    material["certificate"]["rawBytes"] = b64(der_of(victim.certificate))
    return bundle


def both_logs_and_one_lie(mine: World, other: World) -> Json:
    """A good entry of one log beside a false one of another that is known as well."""
    act = mine.sign_image(IMAGE, mine.keyless(), log="both")
    bundle = act.bundle()
    liar = other.sign_image(IMAGE, other.keyless(), log="v2").bundle()
    entries(bundle)[1]["inclusionProof"] = entries(liar)[0]["inclusionProof"]
    return bundle


LOGS: dict[str, tuple[Callable[[World, World], Json], str]] = {
    "a promise by another log": (promise_by_another_log, "signature.set"),
    "a checkpoint by another log": (checkpoint_by_another_log, "signature.checkpoint"),
    "a proof of another entry": (proof_of_another_entry, "signature.inclusion"),
    "only an unknown log": (only_another_log, "signature.no-time"),
    "somebody else's certificate": (entry_of_the_same_key_elsewhere, "signature.entry.key"),
    "one lie beside a truth": (both_logs_and_one_lie, "signature.checkpoint"),
}


@pytest.mark.parametrize("attack", LOGS)
def test_entries(world: World, attack: str) -> None:
    forge, code = LOGS[attack]
    other = World("attacker")
    other.rekor1.host, other.rekor2.host = world.rekor1.host, world.rekor2.host
    assert code_of(bundle_of(forge(world, other)), keyless(world)) == code


def test_an_old_certificate_cannot_be_logged_again(world: World) -> None:
    # Anybody may log a public signature once more, to make it look young.
    act = world.sign_image(IMAGE, world.keyless())
    bundle = act.bundle()
    again = world.rekor1.add(act.entries[0].body, at=world.at + timedelta(days=30))
    for listed in ([again], [act.entries[0], again]):
        bundle["verificationMaterial"]["tlogEntries"] = [one.as_bundle_entry() for one in listed]
        assert code_of(bundle_of(bundle), keyless(world)) == "signature.certificate.time"


# --- timestamps by a certificate that the pinned root issued, and not for that --------------------

STAMPERS: dict[str, dict[str, Any]] = {
    "for code signing": {"eku": (ExtendedKeyUsageOID.CODE_SIGNING,)},
    "for both": {"eku": (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING)},
    "for nothing": {"eku": ()},
    "not critical": {"eku_critical": False},
    "expired": {"leaf_end": -1},
}


@pytest.mark.parametrize("attack", STAMPERS)
def test_stamps_of_an_authority_that_pins_its_issuer_alone(world: World, attack: str) -> None:
    document = world.trusted_root()
    document["timestampAuthorities"][0]["certChain"]["certificates"].pop(0)
    del document["timestampAuthorities"][0]["validFor"]
    options = dict(STAMPERS[attack])
    if "leaf_end" in options:
        options["leaf_end"] = world.at - timedelta(days=1)
    stamper = TimestampAuthority(world.name, start=world.since, **options)
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    act.timestamps = [stamper.timestamp(act.signature, at=world.at)]
    material = Material(trusted_root=root_of(document))
    assert code_of(bundle_of(act.bundle()), material) == "signature.timestamp"
    act.timestamps = [world.tsa.timestamp(act.signature, at=world.at)]
    assert code_of(bundle_of(act.bundle()), material) == ""


def test_another_stamp_of_the_pinned_issuer(world: World) -> None:
    sibling = TimestampAuthority(
        world.name, start=world.since, leaf_end=world.at + timedelta(days=1)
    )
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    for embedded in ([sibling.leaf], [world.tsa.leaf, sibling.leaf], [world.tsa.leaf]):
        act.timestamps = [sibling.timestamp(act.signature, at=world.at, embedded=embedded)]
        assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.timestamp"


def test_authorities_of_one_kind_are_none_of_the_other(world: World) -> None:
    document = world.trusted_root()
    document["certificateAuthorities"], document["timestampAuthorities"] = (
        document["timestampAuthorities"],
        document["certificateAuthorities"],
    )
    material = Material(trusted_root=root_of(document))
    stamped = world.sign_image(IMAGE, world.keyless(), log="none").bundle()
    logged = world.sign_image(IMAGE, world.keyless()).bundle()
    assert code_of(bundle_of(stamped), material) == "signature.timestamp"
    assert code_of(bundle_of(logged), material) == "signature.certificate.chain"


# --- one signature, presented as another kind -----------------------------------------------------


def test_a_signature_over_an_envelope_is_none_over_a_payload(world: World) -> None:
    signer = world.managed("release")
    act = world.sign_image(IMAGE, signer, log="none")
    layer = world.sign_image_legacy(IMAGE, signer, log="none").layer()
    layer.annotations["dev.cosignproject.cosign/signature"] = b64(act.signature)
    assert code_of(layer_of(layer), managed(world, signer)) == "signature.mismatch"


@pytest.mark.parametrize(
    "payload_type",
    [
        "application/vnd.in-toto+json ",
        "application/vnd.in-toto+JSON",
        "application/vnd.in-toto.x.y+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "text/plain",
    ],
)
def test_payloads_of_another_type(world: World, payload_type: str) -> None:
    signer = world.managed("release")
    act = world.sign_statement(
        statements.image_statement(IMAGE), signer, log="none", payload_type=payload_type
    )
    assert code_of(bundle_of(act.bundle()), managed(world, signer)) == "signature.payload"


def test_two_payloads_of_one_encoding_do_not_exist(world: World) -> None:
    # `DSSEv1 4 ab c 1 x`: lengths keep type and payload apart.
    signer = world.managed("release")
    act = world.sign_statement(statements.image_statement(IMAGE), signer, log="none")
    bundle = act.bundle()
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    envelope["payloadType"] += f" {len(payload)}"
    assert code_of(bundle_of(bundle), managed(world, signer)) == "signature.mismatch"
    envelope["payloadType"] = "application/vnd.in-toto+json"
    envelope["payload"] = b64(payload + b" ")
    assert code_of(bundle_of(bundle), managed(world, signer)) == "signature.mismatch"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}',
        (
            b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha512":"00"}}],'
            b'"predicateType":"x","predicateType":"y"}'
        ),
        b'{"_type":"https://in-toto.io/Statement/v1","Subject":[],"subject":[],"predicateType":"x"}',
        b"[]",
        b"null",
        b"\xef\xbb\xbf{}",
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
    ],
)
def test_signed_nonsense(world: World, payload: bytes) -> None:
    signer = world.managed("release")
    act = world.sign_statement(payload, signer, log="none")
    assert code_of(bundle_of(act.bundle()), managed(world, signer)) == "signature.payload"


# --- who: names that look alike, and names of another kind ----------------------------------------


@pytest.mark.parametrize(
    "san",
    [
        uri(IDENTITY + "0"),
        uri(IDENTITY[:-1]),
        uri(IDENTITY.replace("acme", "ACME")),
        uri(IDENTITY + "/"),
        uri(IDENTITY + "?x"),
        email("release@mail.example"),
        other_name(IDENTITY + " "),
        other_name(IDENTITY.replace("acme", "\u0430cme")),
        other_name(IDENTITY.replace("github.com", "github\u2024com")),
        other_name(IDENTITY.replace("/", "\u2215")),
    ],
    ids=lambda san: ascii(san.value)[-30:],
)
def test_identities_that_look_alike(scene: Scene, san: Any) -> None:  # noqa: ANN401
    signer = scene.world.keyless(sans=[san])
    attach.attach_bundle(
        scene.image, encoded(scene.world.sign_image(scene.image.digest, signer).bundle())
    )
    assert scene.refused(AS_PACKED + KEYLESS, entry_of(scene.image)).code == "identity.mismatch"


@pytest.mark.parametrize(
    "sans",
    [
        [uri(IDENTITY), uri("https://attacker.example/")],
        [uri(IDENTITY), email("attacker@mail.example")],
        [other_name(IDENTITY + "\n")],
        [other_name(IDENTITY + "\x00.attacker.example")],
        [other_name("\u202e" + IDENTITY)],
    ],
)
def test_identities_that_nobody_may_have(world: World, sans: list[Any]) -> None:
    bundle = world.sign_image(IMAGE, world.keyless(sans=sans)).bundle()
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.certificate.identity"


# --- a statement's own signature ------------------------------------------------------------------


def test_a_seal_of_another_statement(scene: Scene) -> None:
    attach.attach_bundle(
        scene.image,
        encoded(scene.world.sign_image(scene.image.digest, scene.release, log="none").bundle()),
    )
    old = scene.statement()
    new = scene.statement(entry_of(scene.image))
    assert old.raw != new.raw or old == new
    other = scene.statement(entry_of(scene.image, "registry.acme.example/acme/app:2.0.0"))
    seals = scene.sealed(other, scene.packer)
    refused = scene.refused(AS_PACKED + PACKER, statement=new, signatures=seals)
    assert refused.code == "signature.unverified"
    # Its digest exchanged for that of the statement at hand: the signature is still of the other.
    forged = json.loads(seals[0])
    forged["messageSignature"]["messageDigest"]["digest"] = b64(new.digest.raw)
    refused = scene.refused(AS_PACKED + PACKER, statement=new, signatures=(encoded(forged),))
    assert refused.code == "signature.unverified"


# --- keys and trusted roots -----------------------------------------------------------------------


MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
KEYS = {
    "RSA, exponent 1": rsa_spki(MODULUS, 1),
    "RSA, exponent 2": rsa_spki(MODULUS, 2),
    "RSA, exponent of 33 bits": rsa_spki(MODULUS, 2**32 + 1),
    "RSA, 16384 bits": rsa_spki(2**16383 + 1, 65537),
    "P-256, another generator": explicit_p256(
        World("explicit").managed().spki[-65:],
        generator=b"\x04" + POINT.x.to_bytes(32) + POINT.y.to_bytes(32),
    ),
    "P-256, no point": World().managed().spki[:-1] + b"\x00",
}


@pytest.mark.parametrize("attack", KEYS)
def test_keys(attack: str) -> None:
    with pytest.raises(RefusedError) as refused:
        PublicKey.from_der(KEYS[attack], name="key")
    assert refused.value.code == "signature.key"


@pytest.mark.parametrize(
    "second",
    [b"{}", b'{"mediaType":"x"}', b"{", b"# a comment", b'{"a":1}}', b"[]", b"null", b"\x00"],
)
def test_a_hostile_second_line_of_a_root(world: World, second: bytes) -> None:
    raw = json.dumps(world.trusted_root()).encode()
    for document in (raw + b"\n" + second, second + b"\n" + raw, raw + b"\r" + second):
        with pytest.raises(RefusedError) as refused:
            TrustedRoot.parse(document, name="root")
        assert refused.value.code == "trustroot.format"


def test_windows_of_one_log_that_overlap_do_not_add_up(world: World) -> None:
    # An attacker chooses the integrated time where nothing signs it, and so which window is tried.
    signer = world.managed("release")
    bundle = world.sign_image(IMAGE, signer, timestamp=True).bundle()
    entry = entries(bundle)[0]
    del entry["inclusionPromise"]
    document = world.trusted_root()
    (one, *_) = document["tlogs"]
    early = json.loads(json.dumps(one))
    early["publicKey"]["validFor"] = {
        "start": "2000-01-01T00:00:00Z",
        "end": "2001-01-01T00:00:00Z",
    }
    document["tlogs"] = [early, one]
    material = Material(trusted_root=root_of(document), key=managed(world, signer).key)
    assert len(signed(bundle_of(bundle), material).times) == 1
    entry["integratedTime"] = "960000000"
    assert code_of(bundle_of(bundle), material) == "signature.entry.time"
