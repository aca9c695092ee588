"""Signing certificates: which are refused by what they say, by who issued them, by their SCTs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from loader.errors import RefusedError
from loader.verify.sigstore import Material
from tests.fakes.sigworld.ca import email, fulcio_extension, name_of, uri
from tests.fakes.sigworld.encoding import b64
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
    root_of,
    signed,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


CERTIFICATES: dict[str, tuple[dict[str, Any], str]] = {
    "as it is": ({}, ""),
    "subject as well": ({"subject": name_of("acme", "x"), "san_critical": False}, ""),
    "constraints that say no": ({"basic_constraints": True}, ""),
    "an authority": ({"authority": True}, "signature.certificate"),
    "no digitalSignature": ({"digital_signature": False}, "signature.certificate"),
    "no purpose": ({"eku": ()}, "signature.certificate"),
    "for servers": ({"eku": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "signature.certificate"),
    "for anything": (
        {"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
        "signature.certificate",
    ),
    "no name": ({"sans": []}, "signature.certificate.identity"),
    "two names": (
        {"sans": [uri("https://a.example"), uri("https://b.example")]},
        "signature.certificate.identity",
    ),
    "two names of two kinds": (
        {"sans": [uri("https://a.example"), email("a@b.example")]},
        "signature.certificate.identity",
    ),
    "a host's name": (
        {"sans": [x509.DNSName("a.example")]},
        "signature.certificate.identity",
    ),
    "a name that is not critical": ({"san_critical": False}, "signature.certificate.identity"),
    "another other name": (
        {"sans": [x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a")]},
        "signature.certificate.identity",
    ),
    "two issuers": (
        {"extensions": workflow().but({1: "https://eve.example"}).extensions},
        "signature.certificate.identity",
    ),
    "old issuer alone": ({"extensions": {1: "https://issuer.example"}}, ""),
    "no issuer": ({"extensions": {}}, ""),
    "an extension that must be understood": (
        {
            "raw_extensions": [
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), True)
            ]
        },
        "signature.certificate",
    ),
    "one that need not": (
        {
            "raw_extensions": [
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), False)
            ]
        },
        "",
    ),
    "an extension that is no UTF8String": (
        {
            "raw_extensions": [
                (
                    x509.UnrecognizedExtension(fulcio_extension(30, "x").oid, b"\x13\x01x"),
                    False,
                )
            ]
        },
        "signature.certificate.identity",
    ),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_certificates(world: World, case: str) -> None:
    """A057."""
    options, code = CERTIFICATES[case]
    act = world.sign_image(IMAGE, world.keyless(**options))
    assert code_of(bundle_of(act.bundle()), keyless(world)) == code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json.field"),
        (b"\x30\x00", "signature.certificate"),
        (b"not DER", "signature.certificate"),
        (b"\x30\x82\xff\xff" + b"\x00" * 65_000, "signature.certificate"),
        (b"\x30" * 200_000, "limit.exceeded"),
    ],
    ids=["empty", "nothing", "no DER", "64 KiB", "200 kB"],
)
def test_no_certificates(world: World, raw: bytes, code: str) -> None:
    """A057."""
    bundle = world.sign_image(IMAGE, world.keyless()).bundle()
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = b64(raw)
    try:
        found = code_of(bundle_of(bundle), keyless(world))
    except RefusedError as e:
        found = e.code
    assert found == code


@pytest.mark.parametrize("kind", ["RSA-1024", "P-224", "secp256k1"])
def test_keys_that_are_too_weak_or_odd(world: World, kind: str) -> None:
    """A058."""
    key: Any = (
        rsa.generate_private_key(65537, 1024)
        if kind == "RSA-1024"
        else ec.generate_private_key(ec.SECP224R1() if kind == "P-224" else ec.SECP256K1())
    )
    signer = world.keyless()
    weak = world.ca.issue(key.public_key(), [workflow().san], at=world.at)
    bundle = world.sign_image(IMAGE, signer.with_certificate(weak, world.ca.chain)).bundle()
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.certificate"


@pytest.mark.parametrize(
    ("promises", "root_logs", "code", "count"),
    [
        ("none", "own", "", 0),
        ("own", "own", "", 1),
        ("twice", "own", "", 1),
        ("two logs", "both", "", 2),
        ("own and unknown", "own", "", 1),
        ("unknown", "own", "", 0),
        ("forged", "own", "signature.sct", 0),
        ("own and forged other", "both", "signature.sct", 0),
        ("extensions", "own", "", 1),
    ],
)
def test_scts(world: World, promises: str, root_logs: str, code: str, count: int) -> None:
    """A059."""
    other = World("second ct").ct
    made = {
        "none": [],
        "own": [world.ct.promise()],
        "twice": [world.ct.promise(), world.ct.promise(at=world.at + timedelta(seconds=1))],
        "two logs": [world.ct.promise(), other.promise()],
        "own and unknown": [world.ct.promise(), other.promise()],
        "unknown": [other.promise()],
        "forged": [world.ct.promise(signed_by=other)],
        "own and forged other": [world.ct.promise(), other.promise(signed_by=world.ct)],
        "extensions": [world.ct.promise(extensions=b"\x00\x01\x02")],
    }[promises]
    logs = [world.ct] if root_logs == "own" else [world.ct, other]
    evidence = bundle_of(world.sign_image(IMAGE, world.keyless(promises=made)).bundle())
    material = keyless(world, ct_logs=logs)
    assert code_of(evidence, material) == code
    if not code:
        assert signed(evidence, material).sct_count == count


def test_a_certificate_of_another_instance(world: World) -> None:
    other = World("other")
    act = world.sign_image(IMAGE, world.keyless(ca=other.ca))
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.certificate.chain"


def test_a_pinned_chain_that_does_not_hold(world: World) -> None:
    impostor = World(world.name)
    impostor.ca = type(impostor.ca)("eve", start=world.since, promises=[world.ct.promise()])
    chain = [b64(one.public_bytes(Encoding.DER)) for one in impostor.ca.chain]
    document = world.trusted_root()
    document["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": chain[0]},
        *document["certificateAuthorities"][0]["certChain"]["certificates"][1:],
    ]
    act = world.sign_image(IMAGE, world.keyless(ca=impostor.ca))
    # The pinned chain does not hold in itself: nothing that its first certificate issued counts.
    found = code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document)))
    assert found == "signature.certificate.chain"
