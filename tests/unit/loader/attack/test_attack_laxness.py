"""What another reader would refuse: a document that can be written in two ways, another type.

sigstore-go reads bundles with protojson (no unknown fields, each field of its type), certificates
with crypto/x509 (name constraints hold whether critical or not, no curve is written out). What they
refuse is refused here, so that nobody's "verified" rests on our reader being the kinder one.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from loader.errors import RefusedError
from loader.model.envelope import decode_loose_base64
from loader.model.fields import Fields, decode_base64
from loader.trust.keys import PublicKey
from loader.verify.sigstore import Material
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.ca import CertificateAuthority, sign_certificate
from tests.fakes.sigworld.encoding import b64
from tests.fakes.sigworld.odd_keys import explicit_p256
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
    layer_of,
    managed,
    root_of,
)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def world() -> World:
    return World("lax")


def code(document: Json, material: Material) -> str:
    try:
        return code_of(bundle_of(document), material)
    except RefusedError as e:
        return e.code


# --- JSON: unknown fields, other types ------------------------------------------------------------


def objects(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from objects(item, (*path, key))


def at(document: Json, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401
    value: Any = document
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize("made", ["certificate", "key", "message", "chain"])
def test_no_object_of_a_bundle_has_a_field_that_is_not_known(world: World, made: str) -> None:
    key = world.managed("release")
    document, material = {
        "certificate": (
            world.sign_image(IMAGE, world.keyless(), log="both", timestamp=True).bundle(),
            keyless(world),
        ),
        "key": (world.sign_image(IMAGE, key).bundle(), managed(world, key)),
        "message": (world.sign_image_legacy(IMAGE, key).bundle(), managed(world, key)),
        "chain": (
            world.sign_image(IMAGE, world.keyless()).bundle("0.1", chain=True),
            keyless(world),
        ),
    }[made]
    assert code(document, material) == ""
    paths = list(objects(document))
    assert len(paths) > 8
    for path in paths:
        spoilt = copy.deepcopy(document)
        at(spoilt, path)["unknown"] = "x"
        assert code(spoilt, material) == "json.field", path


@pytest.mark.parametrize("value", [0, False, [], {}, 7, True, ["x"]], ids=repr)
def test_what_nobody_signed_is_text_all_the_same(world: World, value: object) -> None:
    key = world.managed("release")
    document = world.sign_image(IMAGE, key).bundle()
    material = managed(world, key)
    for path in (
        ("verificationMaterial", "publicKey", "hint"),
        ("dsseEnvelope", "signatures", 0, "keyid"),
    ):
        spoilt = copy.deepcopy(document)
        at(spoilt, path[:-1])[path[-1]] = value
        assert code(spoilt, material) == "json.field", path
        at(spoilt, path[:-1])[path[-1]] = None
        assert code(spoilt, material) == ""


@pytest.mark.parametrize("value", [0, False, [], {}], ids=repr)
def test_names_are_text_or_nothing(world: World, value: object) -> None:
    key = world.managed("release")
    said = statements.statement(IMAGE, statements.SLSA_V1, {})
    said["subject"][0]["name"] = value
    bundle = world.sign_statement(said, key, log="none").bundle()
    assert code(bundle, managed(world, key)) == "signature.payload"
    payload = json.loads(statements.simple_signing(IMAGE, "registry.example/app"))
    payload["critical"]["identity"]["docker-reference"] = value
    layer = world.sign(json.dumps(payload).encode(), key, log="none").layer()
    assert code_of(layer_of(layer), managed(world, key)) == "signature.payload"


def test_a_field_of_text_is_empty_or_text() -> None:
    fields = Fields(
        {"text": "x", "empty": "", "null": None, "zero": 0, "no": False, "list": []}, ""
    )
    assert fields.text_or_empty("text") == "x"
    assert [fields.text_or_empty(name) for name in ("empty", "null", "absent")] == ["", "", ""]
    for name in ("zero", "no", "list"):
        with pytest.raises(RefusedError, match="not a string"):
            fields.text_or_empty(name)


# --- base64: one writing of the same bytes ------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("QQ", "QQ=", "Q", "QQ===", "QQ==\n", " QQ==", "Q Q==", "QQ==QQ==", "=QQ=", "QUI=QUI="),
        *("QR==", "QUJ=", "QQ==\x00", "\uff31Q==", "QQ==\u2028", "QQ\r\n==", "QU\u0131="),
    ],
    ids=ascii,
)
def test_base64_is_written_in_one_way(text: str) -> None:
    for decode in (decode_base64, decode_loose_base64):
        with pytest.raises(RefusedError):
            decode(text, where="here")


def test_an_envelope_may_use_either_alphabet_and_not_both() -> None:
    raw = bytes.fromhex("fbeffefbeffe") + bytes(range(256))
    standard = base64.b64encode(raw).decode()
    urls = base64.urlsafe_b64encode(raw).decode()
    assert decode_loose_base64(standard, where="") == decode_loose_base64(urls, where="") == raw
    assert "+" in standard
    assert "/" in standard
    with pytest.raises(RefusedError, match="two alphabets"):
        decode_loose_base64(standard.replace("+", "-"), where="")
    with pytest.raises(RefusedError, match="not standard"):
        decode_base64(urls, where="")


@pytest.mark.parametrize("size", range(1, 7))
def test_every_length_has_one_writing(size: int) -> None:
    text = base64.b64encode(b"\x00" * size).decode()
    assert decode_loose_base64(text, where="") == b"\x00" * size
    signs = text.rstrip("=")
    spare = {0: 0, 1: 2, 2: 4}[len(text) - len(signs)]
    for bits in range(1, 1 << spare):
        sign = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[bits]
        lax = signs[:-1] + sign + "=" * (len(text) - len(signs))
        assert base64.b64decode(lax) == b"\x00" * size
        for decode in (decode_base64, decode_loose_base64):
            with pytest.raises(RefusedError):
                decode(lax, where="")


# --- certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("who", ["intermediate", "root"])
def test_an_authority_with_name_constraints_speaks_for_nobody(who: str, *, critical: bool) -> None:
    # Go's x509 holds a leaf to them though they are not critical; we do not read them at all.
    world = World(f"constrained {who}".replace(" ", ""))
    constraint = x509.NameConstraints([x509.DNSName("only.example")], None)
    world.ca = constrained(world, who, constraint, critical=critical)
    act = world.sign_image(IMAGE, world.keyless())
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.certificate.chain"
    plain = World(world.name)
    assert (
        code_of(bundle_of(plain.sign_image(IMAGE, plain.keyless()).bundle()), keyless(plain)) == ""
    )


def constrained(
    world: World, who: str, constraint: x509.NameConstraints, *, critical: bool
) -> CertificateAuthority:
    """The world's authority, one of whose certificates is issued again with name constraints."""
    ca = world.ca
    of, by = (ca.root, ca.root) if who == "root" else (ca.issuer, ca.root)
    assert of.certificate is not None
    old = of.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(of.public)
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(constraint, critical=critical)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    again = of.with_certificate(sign_certificate(builder, by))
    if who == "root":
        ca.root = again
    else:
        ca.issuer = again
    return ca


def test_no_curve_is_written_out(world: World) -> None:
    # The very parameters of P-256: Go, and RFC 5480 §2.1.1, want them by name.
    signer = world.managed("explicit")
    assert PublicKey.from_der(signer.spki, name="key").algorithm == "ECDSA P-256"
    with pytest.raises(RefusedError) as refused:
        PublicKey.from_der(explicit_p256(signer.spki[-65:]), name="key")
    assert refused.value.code == "signature.key"


def test_a_log_whose_key_is_written_in_another_way_signs_nothing(world: World) -> None:
    document = world.trusted_root()
    log = document["tlogs"][0]["publicKey"]
    log["rawBytes"] = b64(explicit_p256(world.rekor1.signer.spki[-65:]))
    act = world.sign_image(IMAGE, world.keyless(), at=world.at + timedelta(seconds=2))
    found = code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document)))
    assert found == "signature.no-time"
