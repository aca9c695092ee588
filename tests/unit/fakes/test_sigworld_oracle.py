"""sigstore-python, which shares no code with the signing world, accepts what the world signs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity as ExactIdentity

from tests.fakes.sigworld.ca import CertificateAuthority, other_name
from tests.fakes.sigworld.ct import CtLog
from tests.fakes.sigworld.encoding import Json, b64
from tests.fakes.sigworld.identity import GITHUB_ISSUER, Identity, person
from tests.fakes.sigworld.note import Witness
from tests.fakes.sigworld.tsa import TimestampAuthority
from tests.fakes.sigworld.world import World

SAN = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
DIGEST = "sha256:" + "ab" * 32
POLICY = ExactIdentity(identity=SAN, issuer=GITHUB_ISSUER)
Judge = Callable[[Json], Verifier]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def build(trusted_root: Json) -> Verifier:
        path = tmp_path / "trusted_root.json"
        path.write_text(json.dumps(trusted_root))
        return Verifier(trusted_root=TrustedRoot.from_file(str(path)))

    return build


def parsed(bundle: Json) -> Bundle:
    return Bundle.from_json(json.dumps(bundle))


@pytest.mark.parametrize(
    ("version", "log", "timestamp"),
    [
        ("0.1", "v1", False),
        ("0.2", "v1", False),
        ("0.3", "v1", False),
        ("0.3-old", "v1", False),
        ("0.3", "v1", True),
        ("0.3", "v2", True),
    ],
)
def test_message_bundle_is_accepted(
    world: World, judge: Judge, version: str, log: str, *, timestamp: bool
) -> None:
    signed = world.sign(b"artifact", world.keyless(), log=log, timestamp=timestamp)  # type: ignore[arg-type]
    judge(world.trusted_root()).verify_artifact(b"artifact", parsed(signed.bundle(version)), POLICY)


@pytest.mark.parametrize("log", ["v1", "v2"])
def test_image_signature_bundle_is_accepted(world: World, judge: Judge, log: str) -> None:
    signed = world.sign_image(DIGEST, world.keyless(), annotations={"build": "42"}, log=log)
    kind, payload = judge(world.trusted_root()).verify_dsse(parsed(signed.bundle()), POLICY)
    assert kind == "application/vnd.in-toto+json"
    assert json.loads(payload)["subject"][0] == {
        "digest": {"sha256": "ab" * 32},
        "annotations": {"build": "42"},
    }


@pytest.mark.parametrize("log", ["v1", "v2"])
def test_late_proof_with_witnesses_is_accepted(world: World, judge: Judge, log: str) -> None:
    signed = world.sign(b"artifact", world.keyless(), log=log)  # type: ignore[arg-type]
    entry = signed.entries[0]
    entry.log.grow(20)
    bundle = signed.bundle()
    bundle["verificationMaterial"]["tlogEntries"] = [
        entry.as_bundle_entry(size=entry.log.tree.size, witnesses=[Witness.make()])
    ]
    judge(world.trusted_root()).verify_artifact(b"artifact", parsed(bundle), POLICY)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("embed", [True, False])
def test_timestamp_of_each_hash_is_accepted(
    world: World, judge: Judge, digest: str, *, embed: bool
) -> None:
    signed = world.sign(b"artifact", world.keyless(), log="v2")
    signed.timestamps = [
        world.tsa.timestamp(signed.signature, at=signed.at, digest=digest, embed=embed, nonce=7)
    ]
    judge(world.trusted_root()).verify_artifact(b"artifact", parsed(signed.bundle()), POLICY)


@pytest.mark.parametrize(
    "identity",
    [
        person("a@acme.example"),
        Identity(
            san=other_name("alice!example"),
            extensions={1: "https://login.example", 8: "https://login.example"},
        ),
    ],
    ids=["email", "other-name"],
)
def test_other_kinds_of_name_are_accepted(world: World, judge: Judge, identity: Identity) -> None:
    signed = world.sign(b"artifact", world.keyless(identity))
    # sigstore-python compares an OtherName by its DER, tag and length included.
    name = "a@acme.example" if identity.extensions[1].endswith("oauth") else "\x0c\ralice!example"
    policy = ExactIdentity(identity=name, issuer=identity.extensions[8])
    judge(world.trusted_root()).verify_artifact(b"artifact", parsed(signed.bundle()), policy)


def test_root_without_intermediate_is_accepted(world: World, judge: Judge) -> None:
    flat = CertificateAuthority(
        "flat", start=world.since, intermediate=False, promises=[world.ct.promise()]
    )
    signed = world.sign(b"artifact", world.keyless(ca=flat))
    judge(world.trusted_root(authorities=[flat])).verify_artifact(
        b"artifact", parsed(signed.bundle()), POLICY
    )


def _wrong_imprint(world: World) -> Json:
    signed = world.sign(b"artifact", world.keyless(), log="v2")
    signed.timestamps = [world.tsa.timestamp(b"something else", at=signed.at)]
    return signed.bundle()


def _foreign_tsa(world: World) -> Json:
    signed = world.sign(b"artifact", world.keyless(), log="v2")
    signed.tsa = TimestampAuthority("elsewhere", start=world.since)
    return signed.bundle()


def _broken_timestamp(world: World) -> Json:
    signed = world.sign(b"artifact", world.keyless(), log="v2")
    signed.timestamps = [world.tsa.timestamp(signed.signature, at=signed.at, spoil_signature=True)]
    return signed.bundle()


def _no_sct(world: World) -> Json:
    return world.sign(b"artifact", world.keyless(promises=())).bundle()


def _sct_of_other_log(world: World) -> Json:
    other = CtLog("elsewhere")
    return world.sign(b"artifact", world.keyless(promises=[other.promise()])).bundle()


def _sct_by_other_key(world: World) -> Json:
    forged = world.ct.promise(signed_by=CtLog("elsewhere"))
    return world.sign(b"artifact", world.keyless(promises=[forged])).bundle()


def _late(world: World) -> Json:
    return world.sign(b"artifact", world.keyless(), at=world.later(hours=1)).bundle()


def _foreign_world(world: World) -> Json:
    del world
    return World("other").sign(b"artifact", World("other").keyless()).bundle()


def _promise_of_other_time(world: World) -> Json:
    bundle = world.sign(b"artifact", world.keyless()).bundle()
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    return bundle


def _checkpoint_by_other_key(world: World) -> Json:
    signed = world.sign(b"artifact", world.keyless())
    bundle = signed.bundle()
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["checkpoint"]["envelope"] = world.rekor1.checkpoint(
        int(proof["treeSize"]), signer=world.managed("stranger")
    )
    return bundle


def _proof_of_other_root(world: World) -> Json:
    signed = world.sign(b"artifact", world.keyless())
    bundle = signed.bundle()
    bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"][0] = b64(b"x" * 32)
    return bundle


@pytest.mark.parametrize(
    "spoilt",
    [
        _wrong_imprint,
        _foreign_tsa,
        _broken_timestamp,
        _no_sct,
        _sct_of_other_log,
        _sct_by_other_key,
        _late,
        _foreign_world,
        _promise_of_other_time,
        _checkpoint_by_other_key,
        _proof_of_other_root,
    ],
)
def test_spoilt_evidence_is_refused(
    world: World, judge: Judge, spoilt: Callable[[World], Json]
) -> None:
    bundle = spoilt(world)
    with pytest.raises(VerificationError):
        judge(world.trusted_root()).verify_artifact(b"artifact", parsed(bundle), POLICY)
