"""Every kind of key, log, entry and format, signed by the tests' own world; and windows of time."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from loader.errors import RefusedError
from loader.model.cosign import CosignSignature
from loader.trust.validity import Validity
from loader.verify.message import Message
from loader.verify.sigstore import (
    CertificateSigner,
    KeySigner,
    Material,
    MessageDigest,
    verify_artifact,
)
from tests.fakes.sigworld import statements, trustroot
from tests.fakes.sigworld.ca import (
    CertificateAuthority,
    authority_certificate,
    email,
    name_of,
    other_name,
    uri,
)
from tests.fakes.sigworld.encoding import b64, der_of
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.note import Witness
from tests.fakes.sigworld.tsa import TimestampAuthority
from tests.fakes.sigworld.world import LogChoice, MessageEntry, StatementEntry, World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    key_of,
    keyless,
    layer_of,
    managed,
    root_of,
    signed,
)

KINDS = ["P-256", "P-384", "P-521", "Ed25519", "RSA-2048", "RSA-4096"]
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def provenance() -> dict[str, Any]:
    return statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1())


# --- what must hold -----------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["none", "v1", "v2", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_bundles_by_keys(world: World, kind: str, log: LogChoice) -> None:
    signer = world.managed("keys", kind)
    found = signed(
        bundle_of(world.sign_image(IMAGE, signer, log=log).bundle()), managed(world, signer)
    )
    assert isinstance(found.signer, KeySigner)
    assert found.signer.fingerprint == key_of(signer).fingerprint
    assert len(found.logs) == {"none": 0, "both": 2}.get(log, 1)
    assert all(log.proof == "verified" and log.checkpoint is not None for log in found.logs)
    assert [str(digest) for digest in found.subjects] == [IMAGE]
    assert found.predicate_type == "https://sigstore.dev/cosign/sign/v1"


@pytest.mark.parametrize("log", ["none", "v1", "v2", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_bundles_by_certificates(world: World, kind: str, log: LogChoice) -> None:
    bundle = world.sign_image(IMAGE, world.keyless(kind=kind), log=log, timestamp=True).bundle()
    found = signed(bundle_of(bundle), keyless(world))
    assert isinstance(found.signer, CertificateSigner)
    assert found.signer.san == workflow().san.value
    assert found.sct_count == 1
    assert len(found.times) == {"v1": 2, "both": 2}.get(log, 1)


@pytest.mark.parametrize("entry", ["dsse", "intoto-0.0.2"])
@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.3-old"])
def test_versions_and_entries(world: World, version: str, entry: StatementEntry) -> None:
    act = world.sign_statement(provenance(), world.keyless(), entry=entry)
    found = signed(bundle_of(act.bundle(version)), keyless(world))
    assert found.format == f"bundle v{version[:3]}"
    assert (found.logs[0].promise, found.logs[0].proof) == ("verified", "verified")


def test_the_first_version_without_a_proof(world: World) -> None:
    bundle = world.sign_image(IMAGE, world.keyless()).bundle("0.1", proof=False)
    assert signed(bundle_of(bundle), keyless(world)).logs[0].proof == "absent"


@pytest.mark.parametrize("entry", ["hashedrekord", "rekord"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_signatures(world: World, kind: str, entry: MessageEntry) -> None:
    for signer, material in (
        (world.keyless(kind=kind), keyless(world)),
        (world.managed("keys", kind), managed(world, world.managed("keys", kind))),
    ):
        act = world.sign_image_legacy(IMAGE, signer, entry=entry, timestamp=True)
        found = signed(layer_of(act.layer()), material)
        assert (len(found.logs), len(found.times)) == (1, 2)
        assert found.logs[0].promise == "verified"


@pytest.mark.parametrize("entry", ["dsse", "intoto-0.0.1", "intoto-0.0.2"])
def test_layers_of_attestations(world: World, entry: StatementEntry) -> None:
    act = world.sign_statement(provenance(), world.keyless(), entry=entry, timestamp=True)
    found = signed(layer_of(act.layer()), keyless(world))
    assert found.predicate_type == statements.SLSA_V1
    assert len(found.times) == 2


def test_an_envelope_that_two_signed(world: World) -> None:
    first, second = world.managed("first"), world.managed("second", "P-384")
    act = world.sign_statement(provenance(), first, also=[second])
    for signer in (first, second):
        found = signed(layer_of(act.layer()), managed(world, signer))
        assert isinstance(found.signer, KeySigner)
        assert found.signer.name == signer.name
        assert len(found.logs) == 1
    assert code_of(layer_of(act.layer()), managed(world, world.managed("third"))) != ""


@pytest.mark.parametrize("kind", ["P-384", "P-521"])
def test_the_hash_that_old_clients_used(world: World, kind: str) -> None:
    signer = world.managed("old", kind, digest="sha256")
    for act in (world.sign_image_legacy(IMAGE, signer), world.sign_image(IMAGE, signer, log="v2")):
        evidence = layer_of(act.layer()) if "message" in dir(act) else bundle_of(act.bundle())
        assert len(signed(evidence, managed(world, signer)).logs) == 1


def test_a_download(world: World) -> None:
    act = world.sign_image_legacy(IMAGE, world.keyless())
    line = json.dumps(act.download_line()).encode()
    (evidence,) = CosignSignature.parse_downloaded(line, where="line")
    assert signed(evidence, keyless(world)).sct_count == 1
    go = act.download_line()
    assert act.signer.certificate is not None
    go["Cert"] = {"Raw": b64(der_of(act.signer.certificate)), "SerialNumber": 10**48}
    go["Chain"] = [{"Raw": b64(der_of(one))} for one in act.signer.chain]
    again = CosignSignature.parse_downloaded(json.dumps(go).encode(), where="line")
    assert again == (evidence,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file(world: World, kind: str) -> None:
    raw = b"any file at all"
    signer = world.managed("blob", kind)
    bundle = bundle_of(world.sign(raw, signer, log="none").bundle())
    material = Material(key=key_of(signer))
    found = verify_artifact(bundle, Message.of(raw), material).value
    assert isinstance(found.payload, MessageDigest)
    with pytest.raises(RefusedError, match="another digest"):
        verify_artifact(bundle, Message.of(raw + b"!"), material)
    chunks = Message.of_chunks([raw])
    if kind == "Ed25519":
        with pytest.raises(RefusedError, match="signs the bytes themselves"):
            verify_artifact(bundle, chunks, material)
    else:
        assert verify_artifact(bundle, chunks, material).value.subjects == found.subjects


@pytest.mark.parametrize(
    ("san", "kind", "text"),
    [
        (uri("https://example.com/x"), "uri", "https://example.com/x"),
        (email("a@example.com"), "email", "a@example.com"),
        (other_name("someone!example.com"), "other-name", "someone!example.com"),
    ],
)
def test_identities(world: World, san: x509.GeneralName, kind: str, text: str) -> None:
    signer = world.keyless(sans=[san])
    found = signed(bundle_of(world.sign_image(IMAGE, signer).bundle()), keyless(world)).signer
    assert isinstance(found, CertificateSigner)
    assert (found.san, found.san_kind) == (text, kind)


def test_a_log_with_witnesses(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    world.rekor2.grow(9)
    witnesses = [Witness.make(f"witness.example/w{n}") for n in range(3)]
    bundle = act.bundle()
    bundle["verificationMaterial"]["tlogEntries"] = [
        act.entries[0].as_bundle_entry(size=world.rekor2.tree.size, witnesses=witnesses)
    ]
    checkpoint = signed(bundle_of(bundle), keyless(world)).logs[0].checkpoint
    assert checkpoint is not None
    assert len(checkpoint.signatures) == 4
    assert checkpoint.size == world.rekor2.tree.size


def test_several_instances_in_one_root(world: World) -> None:
    other = World("other")
    both = root_of(world.trusted_root())
    lines = b"\n".join(json.dumps(w.trusted_root()).encode() for w in (world, other))
    both = type(both).parse(lines, name="two")
    for mine in (world, other):
        evidence = bundle_of(mine.sign_image(IMAGE, mine.keyless(), log="both").bundle())
        assert len(signed(evidence, Material(trusted_root=both)).logs) == 2


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_intermediates_that_come_along(version: str) -> None:
    # Only under an anchor that pins none of its own.
    world = World("chained")
    bundle = bundle_of(world.sign_image(IMAGE, world.keyless()).bundle(version, chain=True))
    document = world.trusted_root()
    document["certificateAuthorities"][0]["certChain"]["certificates"].pop(0)
    assert code_of(bundle, Material(trusted_root=root_of(document))) == ""
    layer = layer_of(world.sign_image_legacy(IMAGE, world.keyless()).layer())
    assert code_of(layer, Material(trusted_root=root_of(document))) == ""
    alone = bundle_of(world.sign_image(IMAGE, world.keyless()).bundle("0.3"))
    found = code_of(alone, Material(trusted_root=root_of(document)))
    assert found == "signature.certificate.chain"


def test_a_pinned_intermediate_is_the_only_one() -> None:
    world = World("pinned")
    other = CertificateAuthority("pinned", start=world.since, promises=[world.ct.promise()])
    document = world.trusted_root()
    # Another intermediate under the same root, brought along by the evidence.
    other.issuer = _second_intermediate(world)
    signer = world.keyless(ca=other)
    bundle = world.sign_image(IMAGE, signer).bundle("0.2", chain=True)
    found = code_of(bundle_of(bundle), Material(trusted_root=root_of(document)))
    assert found == "signature.certificate.chain"
    document["certificateAuthorities"][0]["certChain"]["certificates"].pop(0)
    assert code_of(bundle_of(bundle), Material(trusted_root=root_of(document))) == ""


def _second_intermediate(world: World) -> Signer:
    lower = world.managed("second intermediate", "P-384")
    return lower.with_certificate(
        authority_certificate(
            lower,
            name_of("pinned", "second"),
            start=world.since,
            end=world.at + timedelta(days=900),
            path_length=0,
            issuer=world.ca.root,
        )
    )


# --- windows of time: closed intervals, at every verified time ----------------------------------

EDGES = [(-1, False), (0, True)]


@pytest.mark.parametrize(("slack", "holds"), EDGES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_window_of_a_log(side: str, slack: int, *, holds: bool) -> None:
    world = World("edges")
    at = world.at
    evidence = bundle_of(world.sign_image(IMAGE, world.keyless(), at=at).bundle())
    window = {"start": at - slack * SECOND} if side == "start" else {
        "start": world.since, "end": at + slack * SECOND
    }  # fmt: skip
    document = world.trusted_root()
    document["tlogs"] = [trustroot.rekor_log(world.rekor1, **window)]
    found = code_of(evidence, Material(trusted_root=root_of(document)))
    assert found == ("" if holds else "signature.entry.time")


@pytest.mark.parametrize(("slack", "holds"), EDGES)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("tlogs", "signature.entry.time"),
        ("timestampAuthorities", "signature.timestamp"),
        ("certificateAuthorities", "signature.certificate.time"),
        ("ctlogs", "signature.sct"),
    ],
)
def test_windows(part: str, code: str, side: str, slack: int, *, holds: bool) -> None:
    # With Rekor v2 the only time is the timestamp's; the SCT has the certificate's.
    world = World("edges")
    at = world.at
    evidence = bundle_of(world.sign_image(IMAGE, world.keyless(), log="v2", at=at).bundle())
    document = world.trusted_root()
    window = (
        trustroot.validity(at - slack * SECOND)
        if side == "start"
        else trustroot.validity(world.since, at + slack * SECOND)
    )
    for one in document[part]:
        holder = one.get("publicKey", one)
        holder["validFor"] = window
    found = code_of(evidence, Material(trusted_root=root_of(document)))
    assert found == ("" if holds else code)


@pytest.mark.parametrize(("slack", "holds"), EDGES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_window_of_a_key(world: World, side: str, slack: int, *, holds: bool) -> None:
    signer = world.managed("windowed")
    at = world.at
    evidence = bundle_of(world.sign_image(IMAGE, signer, at=at).bundle())
    window = (
        Validity(start=at - slack * SECOND)
        if side == "start"
        else Validity(end=at + slack * SECOND)
    )
    material = dataclasses.replace(managed(world, signer), key=key_of(signer, valid_for=window))
    assert code_of(evidence, material) == ("" if holds else "signature.key.time")


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (timedelta(seconds=-1), "signature.certificate.time"),
        (timedelta(0), ""),
        (timedelta(minutes=10), ""),
        (timedelta(minutes=10, seconds=1), "signature.certificate.time"),
    ],
)
@pytest.mark.parametrize("log", ["v1", "v2"])
def test_life_of_a_certificate(world: World, log: LogChoice, after: timedelta, code: str) -> None:
    """A063."""
    signer = world.keyless(at=world.at)
    act = world.sign_image(IMAGE, signer, log=log, at=world.at + after)
    assert code_of(bundle_of(act.bundle()), keyless(world)) == code


def test_every_time_counts(world: World) -> None:
    # The promise is within the certificate's life, the timestamp behind it.
    act = world.sign_image(IMAGE, world.keyless(), timestamp=True)
    act.timestamps = [world.tsa.timestamp(act.signature, at=world.at + timedelta(hours=1))]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.certificate.time"


@pytest.mark.parametrize("part", ["root", "intermediate"])
def test_an_authority_that_had_expired(part: str) -> None:
    """A068."""
    # The certificate itself is good (CVE-2026-24122).
    world = World("expired", since_days=400)
    world.ca = CertificateAuthority(
        "expired", start=world.since, years=1, promises=[world.ct.promise()]
    )
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    document = world.trusted_root()
    if part == "intermediate":
        del document["certificateAuthorities"][0]["validFor"]
    found = code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document)))
    assert found == "signature.certificate.time"


# --- timestamps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("embed", [True, False])
def test_timestamps(world: World, digest: str, *, embed: bool) -> None:
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    act.timestamps = [world.tsa.timestamp(act.signature, at=world.at, digest=digest, embed=embed)]
    found = signed(bundle_of(act.bundle()), keyless(world))
    (time,) = found.times
    assert (time.at, time.authority) == (world.at, world.tsa.uri)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imprint": b"\x00" * 32}, "not its authority's"),
        ({"spoil_signature": True}, "not its authority's"),
        ({"status": 2}, "not a timestamp"),
        ({"digest": "sha1"}, "not its authority's"),
    ],
)
def test_bad_timestamps(world: World, options: dict[str, Any], message: str) -> None:
    """A064."""
    act = world.sign_image(IMAGE, world.keyless(), timestamp=True)
    good = world.tsa.timestamp(act.signature, at=world.at)
    bad = world.tsa.timestamp(act.signature, at=world.at, **options)
    for stamps in ([bad], [good, bad], [bad, good]):
        act.timestamps = stamps
        with pytest.raises(RefusedError, match=message):
            signed(bundle_of(act.bundle()), keyless(world))


def test_timestamps_by_others_count_for_nothing(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless())
    other = World("elsewhere").tsa
    act.timestamps = [
        other.timestamp(act.signature, at=world.at),
        world.tsa.timestamp(act.signature, at=world.at),
    ]
    found = signed(bundle_of(act.bundle()), keyless(world))
    assert [t.authority for t in found.times if t.source == "timestamp"] == [world.tsa.uri]
    act.timestamps = act.timestamps[:1]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.timestamp"
    nobody = keyless(world, timestamp_authorities=[])
    assert [t.source for t in signed(bundle_of(act.bundle()), nobody).times] == ["log"]


def test_two_stamps_of_one_authority_are_one(world: World) -> None:
    """A064."""
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    act.timestamps = [world.tsa.timestamp(act.signature, at=world.at, nonce=n) for n in (1, 2)]
    found = signed(bundle_of(act.bundle()), keyless(world))
    assert len(found.times) == 2
    assert len({time.authority for time in found.times}) == 1


def test_an_authority_of_the_same_name_with_another_key(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    impostor = TimestampAuthority(world.name, start=world.since + timedelta(days=1))
    act.timestamps = [impostor.timestamp(act.signature, at=world.at, embed=True)]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.timestamp"


def test_an_authority_of_which_only_the_issuer_is_pinned(world: World) -> None:
    document = world.trusted_root()
    document["timestampAuthorities"][0]["certChain"]["certificates"].pop(0)
    material = Material(trusted_root=root_of(document))
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    for embed, code in ((True, ""), (False, "signature.timestamp")):
        act.timestamps = [world.tsa.timestamp(act.signature, at=world.at, embed=embed)]
        assert code_of(bundle_of(act.bundle()), material) == code
    stranger = World("elsewhere").tsa
    act.timestamps = [stranger.timestamp(act.signature, at=world.at)]
    assert code_of(bundle_of(act.bundle()), material) == "signature.timestamp"


def test_a_pinned_chain_of_an_authority_that_does_not_hold(world: World) -> None:
    document = world.trusted_root()
    chain = document["timestampAuthorities"][0]["certChain"]["certificates"]
    chain[1] = {"rawBytes": b64(der_of(World("elsewhere").tsa.chain[1]))}
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    found = code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document)))
    assert found == "signature.timestamp"


def test_an_authority_whose_certificate_had_expired() -> None:
    world = World("late", since_days=5000)
    document = world.trusted_root()
    del document["timestampAuthorities"][0]["validFor"]
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    assert world.at > world.tsa.leaf.not_valid_after_utc
    found = code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document)))
    assert found == "signature.timestamp"
