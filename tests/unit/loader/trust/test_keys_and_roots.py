"""Public keys, windows of time, and trusted roots: what is accepted, and what is refused."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from loader.errors import TrustRootFormatError, UnsupportedKeyError
from loader.model.fields import Fields
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf import TrustedSet
from loader.trust.tuf_words import DelegatorWords
from loader.trust.validity import ALWAYS, Validity
from tests.fakes.sigworld.encoding import b64
from tests.fakes.sigworld.world import World
from tests.presence import ROOT, SHARED

# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("P-256", "ECDSA P-256"),
        ("P-384", "ECDSA P-384"),
        ("P-521", "ECDSA P-521"),
        ("Ed25519", "Ed25519"),
        ("RSA-2048", "RSA"),
        ("RSA-4096", "RSA"),
    ],
)
def test_keys(kind: str, algorithm: str) -> None:
    signer = World().managed("keys", kind)
    key = PublicKey.parse(signer.public_pem, name="a key")
    assert (key.algorithm, key.spki, key.name) == (algorithm, signer.spki, "a key")
    assert key.fingerprint == signer.key_id.hex()
    assert key.valid_for is ALWAYS
    assert key == PublicKey.parse(signer.spki, name="a key")
    assert key == PublicKey.parse(signer.public_pem.replace(b"\n", b"\r\n"), name="a key")
    assert key == PublicKey.parse(b"\n" + signer.public_pem + b"\n\n", name="a key")
    assert PublicKey.parse(signer.public_pem, name="b key") != key


def _spki(key: Any) -> bytes:  # noqa: ANN401
    found: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


PEM = World().managed().public_pem
PRIVATE = World().managed().private_pem
BAD_KEYS = {
    "nothing": b"",
    "text": b"ssh-ed25519 AAAA",
    "private": PRIVATE,
    "no end": PEM[:-10],
    "two keys": PEM + PEM,
    "something before": b"# my key\n" + PEM,
    "something behind": PEM + b"x",
    "not base64": PEM.replace(b"M", b"*", 1),
    "truncated": World().managed().spki[:-1],
    "trailing": World().managed().spki + b"\x00",
    "large": b"\x00" * 100_000,
    "P-224": _spki(ec.generate_private_key(ec.SECP224R1())),
    "secp256k1": _spki(ec.generate_private_key(ec.SECP256K1())),
    "RSA-1024": _spki(rsa.generate_private_key(65537, 1024)),
    "DSA": _spki(dsa.generate_private_key(2048)),
    "Ed448": _spki(ed448.Ed448PrivateKey.generate()),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_no_keys(case: str) -> None:
    with pytest.raises(UnsupportedKeyError) as refused:
        PublicKey.parse(BAD_KEYS[case], name="key.pub")
    assert refused.value.code == "signature.key"
    assert refused.value.where == "key.pub"


def _rsa(modulus_bits: int, exponent: int) -> bytes:
    modulus = (1 << modulus_bits) - 159  # odd; nobody need know its factors
    return (
        rsa.RSAPublicNumbers(exponent, modulus)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize(
    ("bits", "exponent", "accepted"),
    [
        (2047, 65537, False),
        (2048, 65537, True),
        (2048, 3, True),
        (4096, 65537, True),
        (4097, 65537, False),
        (16384, 65537, False),
        (2048, 2**33 + 1, False),
        (2048, 2**1024 + 1, False),
    ],
)
def test_sizes_of_rsa(bits: int, exponent: int, *, accepted: bool) -> None:
    if accepted:
        assert PublicKey.parse(_rsa(bits, exponent), name="k").algorithm == "RSA"
        return
    with pytest.raises(UnsupportedKeyError):
        PublicKey.parse(_rsa(bits, exponent), name="k")


# --- windows ------------------------------------------------------------------------------------


def at(second: int, microsecond: int = 0) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, microsecond, tzinfo=UTC)


def test_windows_are_closed() -> None:
    window = Validity(start=at(10), end=at(20))
    found = [window.holds_at(at(s)) for s in (9, 10, 15, 20, 21)]
    assert found == [False, True, True, True, False]
    assert Validity(start=at(10)).holds_at(at(59))
    assert Validity(end=at(10)).holds_at(at(0))
    assert ALWAYS.holds_at(at(0))
    assert "no end" in str(Validity(start=at(10)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-01T00:00:10Z", at(10)),
        ("2026-01-01T00:00:10.5Z", at(10, 500_000)),
        ("2026-01-01T00:00:10.999Z", at(10, 999_000)),
        ("2026-01-01T00:00:10.123456789Z", at(10, 123_456)),
    ],
)
def test_instants(text: str, found: datetime) -> None:
    assert Validity.from_fields(Fields({"start": text}, "v")).start == found


@pytest.mark.parametrize(
    "document",
    [
        {"start": "2026-01-01"},
        {"start": "2026-01-01T00:00:10+01:00"},
        {"start": "2026-01-01t00:00:10z"},
        {"start": "2026-02-30T00:00:10Z"},
        {"start": 5},
        {"end": "2026-01-01T00:00:10.Z"},
        {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
    ],
)
def test_no_windows(document: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"instant|window|string"):
        Validity.from_fields(Fields(document, "v"))


# --- trusted roots ------------------------------------------------------------------------------

WORLD = World()
Change = Callable[[dict[str, Any]], object]


def parsed(document: object) -> TrustedRoot:
    return TrustedRoot.parse(json.dumps(document).encode(), name="root")


def test_a_root() -> None:
    root = parsed(WORLD.trusted_root())
    assert [log.name for log in root.logs] == [WORLD.rekor1.base_url, WORLD.rekor2.base_url]
    assert [log.is_named_by_key for log in root.logs] == [True, False]
    assert [log.origin for log in root.logs] == [WORLD.rekor1.host, WORLD.rekor2.host]
    assert [log.name for log in root.ct_logs] == [WORLD.ct.base_url]
    (authority,) = root.certificate_authorities
    assert (authority.name, len(authority.chain)) == (WORLD.ca.uri, 2)
    assert authority.anchor == WORLD.ca.chain[-1]
    assert root.timestamp_authorities[0].chain == WORLD.tsa.chain


@pytest.mark.parametrize("indent", [None, 2])
def test_pretty_or_not(indent: int | None) -> None:
    raw = json.dumps(WORLD.trusted_root(), indent=indent).encode()
    assert len(TrustedRoot.parse(raw, name="r").logs) == 2


def test_lines() -> None:
    raw = b"\n".join(json.dumps(World(name).trusted_root()).encode() for name in ("a", "b", "c"))
    assert len(TrustedRoot.parse(raw + b"\n\n", name="r").logs) == 6


def test_what_is_new_is_ignored() -> None:
    document = WORLD.trusted_root()
    document["future"] = {"x": 1}
    document["tlogs"][0]["operator"] = "x"
    assert len(parsed(document).logs) == 2


def test_a093_windows_that_overlap_are_how_publishers_rotate() -> None:
    """Two windows of one log, and two logs at one time: each counts within its own."""
    document = WORLD.trusted_root()
    again = copy.deepcopy(document["tlogs"][0])
    document["tlogs"][0]["publicKey"]["validFor"]["end"] = "2026-06-01T00:00:00Z"
    again["publicKey"]["validFor"] = {"start": "2026-05-01T00:00:00Z"}
    document["tlogs"].append(again)
    assert len(parsed(document).logs) == 3


@pytest.mark.parametrize("kind", ["tlogs", "ctlogs"])
def test_a093_two_keys_under_one_log_id(kind: str) -> None:
    document = WORLD.trusted_root()
    other = copy.deepcopy(World("other").trusted_root()[kind][0])
    other["logId"] = document[kind][0]["logId"]
    document[kind].append(other)
    with pytest.raises(TrustRootFormatError) as refused:
        parsed(document)
    assert "two keys for one log id" in refused.value.message


def test_a093_a_log_with_a_key_of_tomorrow() -> None:
    """Left out, and named: a publisher may add such a log before hosts know its kind of key."""
    document = WORLD.trusted_root()
    document["tlogs"][1]["publicKey"] |= {
        "rawBytes": b64(_spki(ed448.Ed448PrivateKey.generate())),
        "keyDetails": "ML_DSA_65",
    }
    root = parsed(document)
    assert [log.name for log in root.logs] == [WORLD.rekor1.base_url]
    assert root.unusable == (WORLD.rekor2.base_url,)


def _without(*path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        holder: Any = document
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]

    return change


def _with(value: object, *path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        holder: Any = document
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value

    return change


CA = ("certificateAuthorities", 0)
BAD_ROOTS: dict[str, Change] = {
    "no media type": _without("mediaType"),
    "another version": _with("application/json", "mediaType"),
    "a093 a log without a start": _without("tlogs", 0, "publicKey", "validFor", "start"),
    "a log without a window": _without("tlogs", 0, "publicKey", "validFor"),
    "a CT log without a start": _without("ctlogs", 0, "publicKey", "validFor", "start"),
    "a log without an id": _without("tlogs", 0, "logId"),
    "a log with a short id": _with("AAAA", "tlogs", 0, "logId", "keyId"),
    "a log without a key": _without("tlogs", 0, "publicKey", "rawBytes"),
    "an authority without certificates": _with([], *CA, "certChain", "certificates"),
    "a certificate that is none": _with(
        [{"rawBytes": b64(b"\x30\x00")}], *CA, "certChain", "certificates"
    ),
    "eleven certificates": _with([{"rawBytes": "AAAA"}] * 11, *CA, "certChain", "certificates"),
    "logs that are no list": _with({}, "tlogs"),
}


@pytest.mark.parametrize("case", BAD_ROOTS)
def test_no_roots(case: str) -> None:
    document = copy.deepcopy(WORLD.trusted_root())
    BAD_ROOTS[case](document)
    with pytest.raises(TrustRootFormatError) as refused:
        parsed(document)
    assert refused.value.where.startswith("root")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"{" * 100_000,
        json.dumps({"mediaType": WORLD.trusted_root()["mediaType"]}).encode(),
        b"\n".join([json.dumps(WORLD.trusted_root()).encode()] * 300),
    ],
    ids=["nothing", "empty", "list", "no text", "deep", "nobody", "300 lines"],
)
def test_no_documents(raw: bytes) -> None:
    with pytest.raises(TrustRootFormatError):
        TrustedRoot.parse(raw, name="root")


# --- what ships ---------------------------------------------------------------------------------


def test_the_roots_that_ship() -> None:
    public = TrustedRoot.parse(
        (ROOT / "trust-roots/sigstore/trusted_root.json").read_bytes(), name="sigstore"
    )
    assert [log.is_named_by_key for log in public.logs] == [True, False]
    assert [log.origin for log in public.logs] == [
        "rekor.sigstore.dev",
        "log2025-1.rekor.sigstore.dev",
    ]
    assert public.unusable == ()
    private = TrustedRoot.parse(
        (ROOT / "trust-roots/github/trusted_root.jsonl").read_bytes(), name="github"
    )
    assert (len(private.logs), len(private.ct_logs)) == (0, 0)
    assert len(private.certificate_authorities) == len(private.timestamp_authorities) == 6


@pytest.mark.parametrize(("name", "version", "enough"), [("sigstore", 15, 3), ("github", 3, 3)])
def test_the_tuf_roots_that_ship_are_ones_to_begin_with(
    name: str, version: int, enough: int
) -> None:
    """Each is signed by enough of its own keys, whatever its age: what a chain is replayed from."""
    raw = (ROOT / "trust-roots" / name / "root.json").read_bytes()
    trusted = TrustedSet(raw, name=name)
    assert trusted.root.version == version
    assert len(trusted.roles["root"].signers.fingerprints) >= enough
    assert trusted.root.roles["root"].threshold == enough
    assert DelegatorWords.parse(raw, name=name).warnings() == ()


def test_what_ships_is_what_its_list_says() -> None:
    folder = ROOT / "trust-roots"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    data = [p for p in folder.glob("*/*") if p.suffix != ".md"]
    assert {str(path.relative_to(folder)) for path in data} == set(listed)
    for path in data:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == listed[str(path.relative_to(folder))]
        assert digest in (path.parent / "README.md").read_text()


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize(
    ("shipped", "origin"),
    [
        ("sigstore/trusted_root.json", "trusted-roots/sigstore-production.json"),
        ("github/trusted_root.jsonl", "trusted-roots/github-2026-07.json"),
        ("dangerzone/release.pub", "ghcr-signer/trusted.pub"),
    ],
)
def test_what_ships_is_what_was_published(shipped: str, origin: str) -> None:
    published = (SHARED / "real" / origin).read_bytes()
    assert (ROOT / "trust-roots" / shipped).read_bytes() == published
