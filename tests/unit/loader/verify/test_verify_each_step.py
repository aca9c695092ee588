"""One check each, where nothing else would refuse: what `make sabotage` found nobody looking at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loader.errors import InclusionError, RefusedError
from loader.model.entry import InclusionProof
from loader.trust.trusted_root import TrustedRoot
from loader.verify.merkle import leaf_hash, node_hash, verify_inclusion
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact
from tests.fakes.content import digest_of
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import b64
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    key_of,
    keyless,
    layer_of,
    root_of,
    signed,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_bundle_that_names_another_digest(world: World) -> None:
    # (1) The signature is over the file; only the digest beside it is another's.
    signer = world.managed()
    document = world.sign(b"a file", signer, log="none").bundle()
    material = Material(key=key_of(signer))
    file = Message.of(b"a file")
    assert verify_artifact(bundle_of(document), file, material)
    document["messageSignature"]["messageDigest"]["digest"] = b64(
        bytes.fromhex(digest_of(b"another").removeprefix("sha256:"))
    )
    with pytest.raises(RefusedError) as caught:
        verify_artifact(bundle_of(document), file, material)
    assert caught.value.code == "signature.digest"


@pytest.mark.parametrize("name", ["SHA2_384", "SHA2_512", "SHA3_256"])
def test_a_digest_by_another_name_is_no_images(world: World, name: str) -> None:
    # (1) Of the right length, and of the right bytes: still not what it says.
    signer = world.managed()
    document = world.sign(b"manifest", signer, log="none").bundle()
    assert code_of(bundle_of(document), Material(key=key_of(signer))) == ""
    document["messageSignature"]["messageDigest"]["algorithm"] = name
    assert code_of(bundle_of(document), Material(key=key_of(signer))) == "signature.digest"


def test_what_a_legacy_timestamp_is_over(world: World) -> None:
    # (1), (6.1) cosign stamps an attestation's envelope; a bundle's stamp is over a signature.
    said = statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1(), name="app")
    act = world.sign_statement(said, world.keyless(), timestamp=True)
    found = signed(layer_of(act.layer()), keyless(world))
    assert {time.source for time in found.times} == {"log", "timestamp"}
    act.timestamps = [world.tsa.timestamp(act.signature, at=act.at)]
    assert code_of(layer_of(act.layer()), keyless(world)) == "signature.timestamp"
    assert code_of(bundle_of(act.bundle()), keyless(world)) == ""


def test_an_entry_of_an_unknown_log(world: World) -> None:
    # (3.1) It proves nothing and harms nothing, alone or beside one of a known log.
    beside = bundle_of(world.sign_image(IMAGE, world.keyless(), log="both").bundle())
    for known in (world.rekor1, world.rekor2):
        found = signed(beside, keyless(world, logs=[known]))
        assert [one.log for one in found.logs] == [known.log_id.hex()]
    stamped = world.sign_image(IMAGE, world.keyless(), log="v1", timestamp=True)
    found = signed(bundle_of(stamped.bundle()), keyless(world, logs=[world.rekor2]))
    assert (found.logs, [time.source for time in found.times]) == ((), ["timestamp"])


def test_the_oldest_bundles_need_a_promise(world: World) -> None:
    # (3.2) Though a proof is there, and a timestamp says when.
    act = world.sign_image(IMAGE, world.keyless(), timestamp=True)
    assert code_of(bundle_of(act.bundle("0.1")), keyless(world)) == ""
    bare = bundle_of(act.bundle("0.1", promise=False))
    assert code_of(bare, keyless(world)) == "signature.entry.unproven"


def _renamed(world: World, log_id: bytes) -> TrustedRoot:
    """The trusted root, with another id for the first log."""
    document = world.trusted_root()
    document["tlogs"][0]["logId"] = {"keyId": b64(log_id)}
    return root_of(document)


def test_a_genuine_promise_of_a_log_that_makes_none(world: World) -> None:
    # (3.3) A log whose id is not its key's digest makes no promises, whoever signs one.
    act = world.sign_image(IMAGE, world.keyless(), timestamp=True)
    log, other = world.rekor1, b"\x07" * 32

    def promised(log_id: bytes) -> Any:  # noqa: ANN401
        document = act.bundle("0.1", proof=False)
        (entry,) = document["verificationMaterial"]["tlogEntries"]
        promise = log.sign_promise(
            act.entries[0].body, int(entry["integratedTime"]), int(entry["logIndex"]), log_id
        )
        entry["logId"] = {"keyId": b64(log_id)}
        entry["inclusionPromise"] = {"signedEntryTimestamp": b64(promise)}
        return bundle_of(document)

    same = Material(trusted_root=_renamed(world, log.log_id))
    assert code_of(promised(log.log_id), same) == ""
    renamed = Material(trusted_root=_renamed(world, other))
    assert code_of(promised(other), renamed) == "signature.set"


def test_a_promise_is_over_the_logs_id(world: World) -> None:
    # (3.3) The log's own key signed all of it, for an entry of another log.
    act = world.sign_image(IMAGE, world.keyless())
    document = act.bundle()
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    values = act.entries[0].body, int(entry["integratedTime"]), int(entry["logIndex"])
    for log_id, code in ((world.rekor1.log_id, ""), (b"\x07" * 32, "signature.set")):
        promise = world.rekor1.sign_promise(*values, log_id)
        entry["inclusionPromise"] = {"signedEntryTimestamp": b64(promise)}
        assert code_of(bundle_of(document), keyless(world)) == code


A, B, C = (leaf_hash(text) for text in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    ("index", "size", "hashes", "root_hash"),
    [
        (0, 2, (B,), node_hash(A, B)),
        (1, 1, (), A),
        (7, 1, (), A),
        (0, 8, (B,), node_hash(A, B)),
        (0, 2, (B, C), node_hash(C, node_hash(A, B))),
    ],
    ids=["as it is", "outside", "far outside", "below the root", "left over"],
)
def test_a_path_that_leads_to_the_root_of_another_tree(
    index: int, size: int, hashes: tuple[bytes, ...], root_hash: bytes
) -> None:
    # (3.6) The hashes do meet; but not for this leaf of a tree of this size.
    proof = InclusionProof(
        log_index=index, tree_size=size, root_hash=root_hash, hashes=hashes, checkpoint=None
    )
    if (index, size, hashes) == (0, 2, (B,)):
        verify_inclusion(proof, leaf=b"a", root_hash=root_hash)
        return
    with pytest.raises(InclusionError):
        verify_inclusion(proof, leaf=b"a", root_hash=root_hash)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA-2048", "Ed25519"])
def test_a_stranger_signed(world: World, kind: str) -> None:
    # (5) Well-formed, over the very same bytes, by a key of the same kind.
    mine, stranger = world.managed("mine", kind), world.managed("stranger", kind)
    for signer, code in ((mine, ""), (stranger, "signature.mismatch")):
        act = world.sign_image_legacy(IMAGE, signer, log="none")
        assert code_of(layer_of(act.layer()), Material(key=key_of(mine))) == code


def test_a_statement_about_another_file(world: World) -> None:
    signer = world.managed()
    said = statements.statement(
        digest_of(b"a file"), statements.SLSA_V1, statements.slsa_v1(), name="file"
    )
    bundle = bundle_of(world.sign_statement(said, signer, log="none").bundle())
    material = Material(key=key_of(signer))
    assert verify_artifact(bundle, Message.of(b"a file"), material)
    with pytest.raises(RefusedError) as caught:
        verify_artifact(bundle, Message.of(b"another"), material)
    assert caught.value.code == "signature.subject"


def test_a_claim_to_be_another_log(world: World) -> None:
    # (3.1), (3.4) The id says one log, everything else is the other's.
    document = world.sign_image(IMAGE, world.keyless(), log="both").bundle()
    first, second = document["verificationMaterial"]["tlogEntries"]
    first["logId"], second["logId"] = second["logId"], first["logId"]
    text = json.dumps(document)
    assert code_of(bundle_of(json.loads(text)), keyless(world)) in {
        "signature.set",
        "signature.checkpoint",
    }
