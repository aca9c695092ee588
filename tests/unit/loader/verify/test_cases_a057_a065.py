"""CASES A057 to A065 variant by variant, as far as no other file has them; each in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from loader.errors import RefusedError
from loader.verify.sigstore import Material
from tests.fakes import attach
from tests.fakes.sigworld import der
from tests.fakes.sigworld.encoding import b64, der_of, pem_of
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.odd_keys import explicit_p256
from tests.fakes.sigworld.signed import CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.scene import AS_PACKED, KEYLESS, Scene, encoded
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

SECONDS_MAX = 2.0
"""A058; the rest is held to it as well."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS_MAX


def refused(document: Any, material: Material) -> str:  # noqa: ANN401
    try:
        return code_of(bundle_of(document), material)
    except RefusedError as e:
        return e.code


# --- A057: certificates -------------------------------------------------------------------------


def large(world: World) -> x509.Certificate:
    """A genuine certificate with an extension of a MiB that nobody need understand."""
    more = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x04" * MIB)
    certificate = world.keyless(raw_extensions=[(more, False)]).certificate
    assert certificate is not None
    return certificate


def own(world: World) -> bytes:
    certificate = world.keyless().certificate
    assert certificate is not None
    return der_of(certificate)


CERTIFICATES: dict[str, tuple[Callable[[World], bytes], str]] = {
    "empty": (lambda _: b"", "json.field"),
    "not DER": (lambda _: b"-----BEGIN", "signature.certificate"),
    "a MiB of DER": (lambda w: der_of(large(w)), "limit.exceeded"),
    "an authority's": (lambda w: der_of(w.ca.chain[0]), "signature.certificate"),
    "the root's": (lambda w: der_of(w.ca.chain[-1]), "signature.certificate"),
    "a certificate and a byte": (
        lambda w: own(w) + b"\x00",
        "signature.certificate",
    ),
    "two certificates": (
        lambda w: own(w) + der_of(w.ca.chain[0]),
        "signature.certificate",
    ),
}


@pytest.mark.parametrize("case", CERTIFICATES)
@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_a057_certificates(world: World, case: str, version: str) -> None:
    make, code = CERTIFICATES[case]
    document = world.sign_image(IMAGE, world.keyless()).bundle(version)
    material = document["verificationMaterial"]
    holder = (
        material["certificate"]
        if version == "0.3"
        else material["x509CertificateChain"]["certificates"][0]
    )
    holder["rawBytes"] = b64(make(world))
    assert refused(document, keyless(world)) == code


@pytest.mark.parametrize("case", ["empty", "a MiB of DER", "an authority's", "two certificates"])
def test_a057_certificates_of_layers(world: World, case: str) -> None:
    layer = world.sign_image_legacy(IMAGE, world.keyless()).layer()
    assert code_of(layer_of(layer), keyless(world)) == ""
    own = layer.annotations[CERTIFICATE_ANNOTATION]
    text, codes = {
        # Without a certificate it is a signature by some key, and nobody named a key.
        "empty": ("", {"signature.signer"}),
        "a MiB of DER": (pem_of(large(world)).decode(), {"json.field", "limit.exceeded"}),
        "an authority's": (pem_of(world.ca.chain[0]).decode(), {"signature.certificate"}),
        "two certificates": (own + pem_of(world.ca.chain[0]).decode(), {"json.field"}),
    }[case]
    layer.annotations[CERTIFICATE_ANNOTATION] = text
    try:
        found = code_of(layer_of(layer), keyless(world))
    except RefusedError as e:
        found = e.code
    assert found in codes


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_a057_a_chain_with_its_root(version: str) -> None:
    # v0.3 has no chain. Before, npm and SLSA's generators wrote the root as well (SIGSTORE §1.5):
    # it is a hint like every other, and makes nobody trusted.
    world, stranger = World("chained"), World("stranger")
    document = world.sign_image(IMAGE, world.keyless()).bundle(version, chain=True)
    chain = document["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain.append({"rawBytes": b64(der_of(world.ca.chain[-1]))})
    assert refused(document, keyless(world)) == ("json.field" if version == "0.3" else "")
    if version != "0.3":
        others = keyless(world, authorities=[stranger.ca])
        assert refused(document, others) == "signature.certificate.chain"


@pytest.mark.parametrize("count", [10, 11, 50])
@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_a057_a_long_chain(version: str, count: int) -> None:
    world = World("long")
    document = world.sign_image(IMAGE, world.keyless()).bundle(version, chain=True)
    holder = document["verificationMaterial"]["x509CertificateChain"]
    leaf, *above = holder["certificates"]
    holder["certificates"] = [leaf, *(above * count)][:count]
    assert refused(document, keyless(world)) == ("" if count == 10 else "limit.exceeded")


def test_a057_a_long_chain_of_a_layer(world: World) -> None:
    layer = world.sign_image_legacy(IMAGE, world.keyless()).layer()
    layer.annotations[CHAIN_ANNOTATION] = pem_of(world.ca.chain[0]).decode() * 50
    with pytest.raises(RefusedError) as caught:
        layer_of(layer)
    assert caught.value.code == "json.field"


def test_a057_a_long_chain_that_leads_somewhere() -> None:
    # Ten authorities, each issued by the next: the walk is as long as the chain, and no longer.
    world = World("walk")
    keys = [Signer.make(f"walk/{number}") for number in range(10)]
    root = world.ca.root
    chain: list[x509.Certificate] = []
    above = root
    for key in reversed(keys):
        assert above.certificate is not None
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, key.name)]))
            .issuer_name(above.certificate.subject)
            .public_key(key.public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(world.since)
            .not_valid_after(world.at + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(above.key, hashes.SHA256())
        )
        above = key.with_certificate(made)
        chain.insert(0, made)
    world.ca.issuer = above
    document = world.sign_image(IMAGE, world.keyless()).bundle("0.2", chain=True)
    holder = document["verificationMaterial"]["x509CertificateChain"]
    holder["certificates"] = [
        holder["certificates"][0],
        *({"rawBytes": b64(der_of(one))} for one in chain[:9]),
    ]
    anchored = world.trusted_root()
    anchored["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": b64(der_of(chain[-1]))}
    ]
    material = Material(trusted_root=root_of(anchored))
    assert refused(document, material) == ""
    # The anchor's own path length is 1: from the root it would be too far.
    anchored["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": b64(der_of(world.ca.root.certificate))}  # type: ignore[arg-type]
    ]
    material = Material(trusted_root=root_of(anchored))
    assert refused(document, material) == "signature.certificate.chain"


# --- A058: keys of certificates -----------------------------------------------------------------


def rewritten(world: World, certificate: x509.Certificate, spki: bytes) -> x509.Certificate:
    """The certificate with its key written in another way, signed again by its authority."""
    tbs = certificate.tbs_certificate_bytes
    own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    content = tbs[4:]  # behind a SEQUENCE of a length of two bytes
    assert tbs[:2] == b"\x30\x82"
    assert own in content
    changed = der.sequence(content.replace(own, spki, 1))
    signer = world.ca.issuer
    algorithm = der.sequence(der.oid("1.2.840.10045.4.3.3"))
    signature = signer.sign(changed)
    return x509.load_der_x509_certificate(
        der.sequence(changed, algorithm, der.tlv(3, b"\x00", signature))
    )


def test_a058_an_ed25519_signature_under_a_p256_certificate(world: World) -> None:
    certified = world.keyless()
    edwards = world.managed("edwards", "Ed25519")
    forged = edwards.with_certificate(certified.certificate, certified.chain)
    for act in (world.sign_image(IMAGE, forged), world.sign_image(IMAGE, forged, log="none")):
        assert refused(act.bundle(), keyless(world)) == "signature.mismatch"
    layer = world.sign_image_legacy(IMAGE, forged).layer()
    assert code_of(layer_of(layer), keyless(world)) == "signature.mismatch"


@pytest.mark.parametrize("case", ["RSA-1024", "RSA-16384", "explicit parameters", "RSA, e = 3"])
def test_a058_keys(world: World, case: str) -> None:
    signer = world.keyless()
    assert signer.certificate is not None
    match case:
        case "RSA-1024":
            key: Any = rsa.generate_private_key(65537, 1024).public_key()
            certificate = world.ca.issue(key, [workflow().san], at=world.at)
        case "RSA-16384":
            key = rsa.RSAPublicNumbers(65537, 2**16383 + 1).public_key()
            certificate = world.ca.issue(key, [workflow().san], at=world.at)
        case "RSA, e = 3":
            # Small, and sound with the padding that is checked; a long one is what costs.
            key = rsa.RSAPublicNumbers(2**1024 + 1, 2**2047 + 1).public_key()
            certificate = world.ca.issue(key, [workflow().san], at=world.at)
        case _:
            spki = signer.spki
            certificate = rewritten(world, signer.certificate, explicit_p256(spki[-65:]))
    odd = signer.with_certificate(certificate, world.ca.chain)
    document = world.sign_image(IMAGE, odd).bundle()
    assert refused(document, keyless(world)) == "signature.certificate"


def test_a058_the_rewritten_certificate_is_genuine_but_for_its_key(world: World) -> None:
    """The control of the last case: written again with the key as it was, it is accepted."""
    signer = world.keyless(promises=())
    assert signer.certificate is not None
    again = rewritten(world, signer.certificate, signer.spki)
    document = world.sign_image(IMAGE, signer.with_certificate(again, world.ca.chain)).bundle()
    assert signed(bundle_of(document), keyless(world)).sct_count == 0


def test_a058_other_curves(world: World) -> None:
    signer = world.keyless()
    key = ec.generate_private_key(ec.SECP256K1())
    certificate = world.ca.issue(key.public_key(), [workflow().san], at=world.at)
    odd = signer.with_certificate(certificate, world.ca.chain)
    assert refused(world.sign_image(IMAGE, odd).bundle(), keyless(world)) == "signature.certificate"


# --- A059: promises of certificate logs, as policy sees them ------------------------------------


@pytest.mark.parametrize(
    ("promises", "sct", "code"),
    [
        ("own", 1, ""),
        ("none", 1, "policy.condition"),
        ("none", 0, ""),
        ("unknown", 1, "policy.condition"),
        ("twice", 2, "policy.condition"),
        ("own and unknown", 2, "policy.condition"),
        ("forged", 1, "signature.unverified"),
        ("forged", 0, "signature.unverified"),
    ],
)
def test_a059_promises(scene: Scene, promises: str, sct: int, code: str) -> None:
    world, other = scene.world, World("another ct").ct
    made = {
        "own": [world.ct.promise()],
        "none": [],
        "unknown": [other.promise()],
        "twice": [world.ct.promise(), world.ct.promise(at=world.at + timedelta(seconds=1))],
        "own and unknown": [world.ct.promise(), other.promise()],
        "forged": [world.ct.promise(signed_by=other)],
    }[promises]
    act = world.sign_image(scene.image.digest, world.keyless(promises=made))
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    text = f"{AS_PACKED}{KEYLESS}sct = {sct}\n"
    if code:
        assert scene.refused(text).code == code
    else:
        assert scene.run(text)


# --- A062, A063: what stands for a log, and its time --------------------------------------------


@pytest.mark.parametrize(
    ("log", "promise", "proof", "code"),
    [
        ("promise", True, False, ""),
        ("proof", True, False, "policy.condition"),
        ("proof", True, True, ""),
        ("proof", False, True, ""),
        ("promise", False, True, ""),
    ],
)
def test_a062_promise_or_proof(
    scene: Scene, log: str, code: str, *, promise: bool, proof: bool
) -> None:
    # Without the log's promise the time is a timestamp's. A promise alone is what v0.1 allowed.
    world = scene.world
    act = world.sign_image(scene.image.digest, world.keyless(), timestamp=True)
    version = "0.3" if proof else "0.1"
    attach.attach_bundle(scene.image, encoded(act.bundle(version, promise=promise, proof=proof)))
    text = f'{AS_PACKED}{KEYLESS}log = "{log}"\n'
    if code:
        assert scene.refused(text).code == code
    else:
        assert scene.run(text)


@pytest.mark.parametrize("kind", ["bundle", "layer"])
@pytest.mark.parametrize(
    ("after", "code"),
    [
        (timedelta(seconds=-1), "signature.certificate.time"),
        (timedelta(minutes=10), ""),
        (timedelta(minutes=10, seconds=1), "signature.certificate.time"),
        (timedelta(days=36500), "signature.certificate.time"),
    ],
    ids=["before", "the last second", "behind", "in a hundred years"],
)
def test_a063_integrated_times(world: World, kind: str, after: timedelta, code: str) -> None:
    act = world.sign_image_legacy(IMAGE, world.keyless(at=world.at), at=world.at + after)
    evidence = bundle_of(act.bundle()) if kind == "bundle" else layer_of(act.layer())
    assert code_of(evidence, keyless(world)) == code


# --- A065 ---------------------------------------------------------------------------------------


def test_a065_two_entries_of_one_log_are_one_log(world: World) -> None:
    # No rule of a policy counts logs; what is counted by whoever asks has the log's id.
    key = world.managed("release")
    act = world.sign_image(IMAGE, key)
    act.entries = [*act.entries, world.rekor1.add(act.entries[0].body, at=act.at)]
    logs = signed(bundle_of(act.bundle()), managed(world, key)).logs
    assert (len(logs), len({log.log for log in logs})) == (2, 1)
    both = signed(bundle_of(world.sign_image(IMAGE, key, log="both").bundle()), managed(world, key))
    assert len({log.log for log in both.logs}) == 2
    # The same entry twice is no bundle at all.
    act.entries = [act.entries[0], act.entries[0]]
    assert refused(act.bundle(), managed(world, key)) == "json.field"
