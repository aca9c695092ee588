"""Certificate paths, names and keys in detail: authorities that may not issue, odd encodings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from loader.digest import Digest
from loader.errors import CertificateError, RefusedError
from loader.model.sigstore_bundle import SigstoreBundle
from loader.trust.trusted_root import Authority
from loader.trust.validity import ALWAYS
from loader.verify import conformance
from loader.verify.certificate import Leaf, verify_path
from loader.verify.conformance import verify_bundle_main
from loader.verify.message import Message
from loader.verify.signature import verify_signature, verify_with_hash
from loader.verify.sigstore import (
    CertificateSigner,
    Material,
    verify_artifact,
    verify_evidence,
)
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.ca import fulcio_extension, key_usage, name_of
from tests.fakes.sigworld.encoding import der_of
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.world import START, World
from tests.unit.loader.verify.worlds import IMAGE, bundle_of, code_of, key_of, keyless, root_of

Extensions = Sequence[tuple[x509.ExtensionType, bool]]
FROM, TO = START - timedelta(days=30), START + timedelta(days=30)
PLAIN: Extensions = [
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (key_usage(signature=False, authority=True), True),
]


def certificate(
    name: str,
    key: Any,  # noqa: ANN401
    *,
    issuer: str,
    signer: Any,  # noqa: ANN401
    extensions: Extensions = PLAIN,
    start: datetime = FROM,
    end: datetime = TO,
    algorithm: Any = None,  # noqa: ANN401
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of("acme", name))
        .issuer_name(name_of("acme", issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, algorithm or hashes.SHA256())


KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "middle", "leaf")}
LEAF: Extensions = [
    (key_usage(signature=True, authority=False), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
    (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://a.example")]), True),
]


def leaf_of(signer: str = "middle", **options: Any) -> Leaf:  # noqa: ANN401
    made = certificate(
        "leaf", KEYS["leaf"], issuer=signer, signer=KEYS[signer], extensions=LEAF, **options
    )
    return Leaf.parse(der_of(made), size_max=65536)


def root(**options: Any) -> x509.Certificate:  # noqa: ANN401
    return certificate("root", KEYS["root"], issuer="root", signer=KEYS["root"], **options)


def middle(**options: Any) -> x509.Certificate:  # noqa: ANN401
    options = {"key": KEYS["middle"], "signer": KEYS["root"]} | options
    return certificate("middle", options.pop("key"), issuer="root", **options)


def judged(
    leaf: Leaf,
    *chain: x509.Certificate,
    untrusted: Sequence[bytes] = (),
    times: Sequence[datetime] = (START,),
) -> str:
    authority = Authority(name="acme", chain=chain, valid_for=ALWAYS)
    try:
        issuer = verify_path(leaf, [authority], untrusted=tuple(untrusted), times=tuple(times))
    except RefusedError as e:
        return e.code
    return issuer.subject.rfc4514_string().partition(",")[0]


CHAIN = "signature.certificate.chain"
TIME = "signature.certificate.time"
PURPOSE = ExtendedKeyUsageOID
CONSTRAINED = (x509.BasicConstraints(ca=True, path_length=0), True)
MAY_SIGN = (key_usage(signature=False, authority=True), True)
AUTHORITIES: dict[str, tuple[Extensions, str]] = {
    "plain": (PLAIN, "CN=middle"),
    "no further authority below": ([CONSTRAINED, MAY_SIGN], "CN=middle"),
    "no key usage": ([(x509.BasicConstraints(ca=True, path_length=None), True)], "CN=middle"),
    "for code signing": (
        [*PLAIN, (x509.ExtendedKeyUsage([PURPOSE.CODE_SIGNING]), False)],
        "CN=middle",
    ),
    "for anything": (
        [*PLAIN, (x509.ExtendedKeyUsage([PURPOSE.ANY_EXTENDED_KEY_USAGE]), False)],
        "CN=middle",
    ),
    "for timestamps": ([*PLAIN, (x509.ExtendedKeyUsage([PURPOSE.TIME_STAMPING]), False)], CHAIN),
    "no constraints": ([MAY_SIGN], CHAIN),
    "no authority": ([(x509.BasicConstraints(ca=False, path_length=None), True), MAY_SIGN], CHAIN),
    "may not sign certificates": (
        [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (key_usage(signature=True, authority=False), True),
        ],
        CHAIN,
    ),
    "name constraints": (
        [*PLAIN, (x509.NameConstraints([x509.DNSName("a.example")], None), True)],
        CHAIN,
    ),
}


@pytest.mark.parametrize("case", AUTHORITIES)
@pytest.mark.parametrize("how", ["pinned", "untrusted"])
def test_authorities(case: str, how: str) -> None:
    extensions, expected = AUTHORITIES[case]
    between = middle(extensions=extensions)
    if how == "pinned":
        assert judged(leaf_of(), between, root()) == expected
    else:
        assert judged(leaf_of(), root(), untrusted=[der_of(between)]) == expected


def test_a_path_that_is_too_long_for_its_anchor() -> None:
    anchor = root(extensions=[CONSTRAINED, MAY_SIGN])
    assert judged(leaf_of("root"), anchor) == "CN=root"
    assert judged(leaf_of(), middle(), anchor) == CHAIN
    assert judged(leaf_of(), anchor, untrusted=[der_of(middle())]) == CHAIN


def test_hints_that_lead_nowhere() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    impostor = certificate("middle", KEYS["middle"], issuer="root", signer=stranger)
    good = der_of(middle())
    for untrusted, expected in (
        ([], CHAIN),
        ([b"\x30\x00"], CHAIN),
        ([der_of(impostor)], CHAIN),
        ([der_of(root())], CHAIN),
        ([b"\x30\x00", good], "CN=middle"),
        ([der_of(root()), good], "CN=middle"),
        ([good, good], "CN=middle"),
    ):
        assert judged(leaf_of(), root(), untrusted=untrusted) == expected


def test_two_that_issue_each_other() -> None:
    # The walk upwards ends: nobody is visited twice.
    first = certificate("middle", KEYS["middle"], issuer="leaf", signer=KEYS["leaf"])
    second = certificate("leaf", KEYS["leaf"], issuer="middle", signer=KEYS["middle"])
    assert judged(leaf_of(), root(), untrusted=[der_of(first), der_of(second)] * 4) == CHAIN


def test_an_authority_with_a_key_that_is_not_accepted() -> None:
    odd = ec.generate_private_key(ec.SECP224R1())
    assert (
        judged(
            Leaf.parse(
                der_of(
                    certificate("leaf", KEYS["leaf"], issuer="middle", signer=odd, extensions=LEAF)
                ),
                size_max=65536,
            ),
            middle(key=odd),
            root(),
        )
        == CHAIN
    )


def test_a_hash_that_is_not_accepted() -> None:
    assert judged(leaf_of(algorithm=hashes.SHA224()), middle(), root()) == CHAIN
    assert judged(leaf_of(), middle(algorithm=hashes.SHA224()), root()) == CHAIN
    assert judged(leaf_of(algorithm=hashes.SHA512()), middle(), root()) == "CN=middle"


@pytest.mark.parametrize("which", ["leaf", "middle", "root"])
@pytest.mark.parametrize(
    ("shift", "holds"), [(-1, True), (0, True), (1, False)], ids=["before", "at", "after"]
)
def test_the_ends_of_lives(which: str, shift: int, *, holds: bool) -> None:
    second = timedelta(seconds=1)
    ends: dict[str, Any] = {"end": START + timedelta(minutes=5)}
    starts: dict[str, Any] = {"start": START - timedelta(minutes=5)}
    for options, at in (
        (ends, START + timedelta(minutes=5) + shift * second),
        (starts, START - timedelta(minutes=5) - shift * second),
    ):
        found = judged(
            leaf_of(**(options if which == "leaf" else {})),
            middle(**(options if which == "middle" else {})),
            root(**(options if which == "root" else {})),
            times=[START, at],
        )
        assert found == ("CN=middle" if holds else TIME)


def test_an_old_version() -> None:
    # Without its version a certificate is one of version 1 (RFC 5280 §4.1.2.1).
    made = certificate("x", KEYS["leaf"], issuer="x", signer=KEYS["leaf"], extensions=[])
    version = b"\xa0\x03\x02\x01\x02"
    body = made.tbs_certificate_bytes.partition(version)[2]
    rest = der_of(made).partition(made.tbs_certificate_bytes)[2]
    old = _sequence(_sequence(body) + rest)
    assert x509.load_der_x509_certificate(old).version is x509.Version.v1
    with pytest.raises(CertificateError, match="old version"):
        Leaf.parse(old, size_max=65536)


def _sequence(content: bytes) -> bytes:
    size = len(content)
    header = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
    return b"\x30" + (header if size < 128 or size > 255 else bytes([0x81, size])) + content


def test_a_large_certificate() -> None:
    with pytest.raises(CertificateError, match="too large"):
        Leaf.parse(b"\x00" * 101, size_max=100)


def test_a_serial_number_below_zero(recwarn: pytest.WarningsRecorder) -> None:
    # `cryptography` would but write a warning on standard error.
    made = certificate("x", KEYS["leaf"], issuer="x", signer=KEYS["leaf"], extensions=LEAF)
    raw = der_of(made)
    serial = made.serial_number.to_bytes((made.serial_number.bit_length() + 8) // 8)
    below = raw.replace(serial, bytes([serial[0] | 0x80]) + serial[1:], 1)
    assert below != raw
    with pytest.raises(CertificateError, match="serial number"):
        Leaf.parse(below, size_max=65536)
    assert len(recwarn) == 0


# --- names --------------------------------------------------------------------------------------

IDENTITY = "signature.certificate.identity"
TEXTS = {
    "a text": (b"\x0c\x01a", "a"),
    "an empty text": (b"\x0c\x00", ""),
    "128 bytes": (b"\x0c\x81\x80" + b"a" * 128, "a" * 128),
    "300 bytes": (b"\x0c\x82\x01\x2c" + b"a" * 300, "a" * 300),
    "umlauts": (b"\x0c\x02\xc3\xa4", "\u00e4"),
    "nothing": (b"", None),
    "a tag": (b"\x0c", None),
    "another tag": (b"\x13\x01a", None),
    "too short": (b"\x0c\x02a", None),
    "too long": (b"\x0c\x01aa", None),
    "no UTF-8": (b"\x0c\x01\xff", None),
    "a long form for a short length": (b"\x0c\x81\x01a", None),
    "a zero before the length": (b"\x0c\x82\x00\x80" + b"a" * 128, None),
    "an indefinite length": (b"\x0c\x80a\x00\x00", None),
    "a length of three bytes": (b"\x0c\x83\x00\x01\x00" + b"a" * 256, None),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_of_extensions(case: str) -> None:
    raw, text = TEXTS[case]
    world = World("texts")
    oid = fulcio_extension(30, "x").oid
    signer = world.keyless(raw_extensions=[(x509.UnrecognizedExtension(oid, raw), False)])
    evidence = bundle_of(world.sign_image(IMAGE, signer).bundle())
    if text is None:
        assert code_of(evidence, keyless(world)) == IDENTITY
        return
    found = verify_evidence(evidence, keyless(world)).value.signer
    assert isinstance(found, CertificateSigner)
    assert found.extensions["30"] == text


def test_extensions_that_are_no_numbers_of_ours() -> None:
    world = World("texts")
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8.1")
    signer = world.keyless(raw_extensions=[(x509.UnrecognizedExtension(oid, b"x"), False)])
    evidence = bundle_of(world.sign_image(IMAGE, signer).bundle())
    assert code_of(evidence, keyless(world)) == ""


@pytest.mark.parametrize("text", ["https://a.example/\x1b[2J", "https://a.example/\n", ""])
def test_identities_that_cannot_be_shown(text: str) -> None:
    world = World("texts")
    signer = world.keyless(sans=[x509.UniformResourceIdentifier(text)])
    evidence = bundle_of(world.sign_image(IMAGE, signer).bundle())
    assert code_of(evidence, keyless(world)) == IDENTITY


def test_too_many_scts() -> None:
    world = World("many")
    promises = [world.ct.promise(at=START + timedelta(seconds=n)) for n in range(17)]
    for count, code in ((16, ""), (17, "signature.sct")):
        act = world.sign_image(IMAGE, world.keyless(promises=promises[:count]))
        assert code_of(bundle_of(act.bundle()), keyless(world)) == code


def test_scts_that_cannot_be_read() -> None:
    world = World("garbled")
    oid = x509.PrecertificateSignedCertificateTimestamps.oid
    raw = x509.UnrecognizedExtension(oid, b"\x04\x04\x00\x09\x00\x07")
    act = world.sign_image(IMAGE, world.keyless(promises=(), raw_extensions=[(raw, False)]))
    assert code_of(bundle_of(act.bundle()), keyless(world)).startswith("signature.")


# --- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA-2048", "Ed25519"])
def test_signatures_that_are_none(kind: str) -> None:
    signer = Signer.make("odd", kind)
    key, message = key_of(signer), Message.of(b"message")
    good = signer.sign(b"message")
    verify_signature(key, good, message, what="it")
    for bad in (b"", b"\x00", good[:-1], good + b"\x00", b"\x30\x06\x02\x01\x00\x02\x01\x00"):
        with pytest.raises(RefusedError, match="not a signature by this key"):
            verify_signature(key, bad, message, what="it")
        with pytest.raises(RefusedError, match="not a signature by this key"):
            verify_with_hash(key, bad, message, hash_name="sha256", what="it")


def test_a_digest_that_the_key_does_not_sign() -> None:
    key = key_of(Signer.make("big", "P-384"))
    only = Message(digests={"sha512": b"\x00" * 64})
    with pytest.raises(RefusedError, match="not one that this key signs"):
        verify_signature(key, b"x", only, what="it")
    with pytest.raises(RefusedError, match="not a signature by this key"):
        verify_with_hash(key, b"x", only, hash_name="sha256", what="it")


def test_a_certificate_without_a_trusted_root() -> None:
    world = World("rootless")
    signer = world.keyless()
    evidence = bundle_of(world.sign_image(IMAGE, signer).bundle())
    # A pinned key: the certificate beside it counts for nothing, but must be of this key.
    assert code_of(evidence, Material(key=key_of(signer))) == ""
    assert code_of(evidence, Material(key=key_of(world.managed()))) == "signature.signer"


def test_a_message_of_another_hash_is_no_images() -> None:
    world = World("hashes")
    signer = world.managed("big", "P-384")
    bundle = bundle_of(world.sign(b"manifest", signer, log="none").bundle())
    assert code_of(bundle, Material(key=key_of(signer))) == "signature.digest"
    found = verify_artifact(bundle, Message.of(b"manifest"), Material(key=key_of(signer)))
    assert found.value.subjects == {Digest.of(b"manifest")}
    big = Signer.make("bigger", "P-521")
    other = bundle_of(world.sign(b"manifest", big, log="none").bundle())
    alone = Message(digests={"sha512": hashlib.sha512(b"manifest").digest()})
    with pytest.raises(RefusedError, match="without a SHA-256 digest"):
        verify_artifact(other, alone, Material(key=key_of(big)))
    unknown = json.loads(bundle.raw)
    unknown["messageSignature"]["messageDigest"]["algorithm"] = "SHA3_256"
    raw = SigstoreBundle.parse(json.dumps(unknown).encode(), where="b")
    assert code_of(raw, Material(key=key_of(signer))) == "signature.digest"


# --- the conformance client's own conditions ----------------------------------------------------


def _files(world: World, folder: Path, bundle: object, artifact: bytes) -> list[str]:
    (folder / "b").write_text(json.dumps(bundle))
    (folder / "r").write_text(json.dumps(world.trusted_root()))
    (folder / "a").write_bytes(artifact)
    return ["--bundle", str(folder / "b"), "--trusted-root", str(folder / "r"), str(folder / "a")]


def test_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World("client")
    signer = world.managed()
    said = _files(world, tmp_path, world.sign(b"x", signer, log="none").bundle(), b"x")
    (tmp_path / "k").write_bytes(signer.public_pem)
    assert verify_bundle_main(["--key", str(tmp_path / "k"), *said]) == 14
    assert "no entry in a log" in capsys.readouterr().err


def test_a_file_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World("client")
    signer = world.managed()
    said = _files(world, tmp_path, world.sign(b"x" * 99, signer).bundle(), b"x" * 99)
    (tmp_path / "k").write_bytes(signer.public_pem)
    # As if 99 bytes were more than is held in memory.
    monkeypatch.setattr(conformance, "HELD_MAX", 50)
    assert verify_bundle_main(["--key", str(tmp_path / "k"), *said]) == 0
    assert "by key" in capsys.readouterr().out


def test_a_statement_about_several(tmp_path: Path) -> None:
    world = World("client")
    signer = world.managed()
    statement = statements.statement(str(Digest.of(b"x")), statements.SLSA_V1, {})
    statement["subject"].append({"name": "y", "digest": {"sha256": Digest.of(b"y").hex}})
    bundle = world.sign_statement(statement, signer).bundle()
    (tmp_path / "k").write_bytes(signer.public_pem)
    for artifact, status in ((b"x", 0), (b"y", 0), (b"z", 11)):
        said = _files(world, tmp_path, bundle, artifact)
        assert verify_bundle_main(["--key", str(tmp_path / "k"), *said]) == status


def test_a_large_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World("client")
    said = _files(world, tmp_path, {}, b"x")
    (tmp_path / "k").write_bytes(b"\x00" * (2 << 20))
    assert verify_bundle_main(["--key", str(tmp_path / "k"), *said]) == 2
    assert "too large" in capsys.readouterr().err


def test_roots_are_apart() -> None:
    # What holds under one root does not under another of the same names.
    mine, other = World("twins"), World("twins", since_days=200)
    other.ca = type(other.ca)("twins2", start=other.since, promises=[other.ct.promise()])
    evidence = bundle_of(mine.sign_image(IMAGE, mine.keyless()).bundle())
    assert code_of(evidence, Material(trusted_root=root_of(mine.trusted_root()))) == ""
    assert code_of(evidence, Material(trusted_root=root_of(other.trusted_root()))) == CHAIN
