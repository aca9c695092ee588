"""Genuine parts, wrongly put together; and logs, authorities and publishers that lie.

The swap matrix (THREATS T20): every kind of log entry, each bound value from another genuine
signature, each with an error of its own. CVE-2022-23649, CVE-2022-36056, CVE-2026-22703 and their
kin were comparisons that nobody made.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.sigworld import entries, statements
from tests.fakes.sigworld.encoding import compact, pem_of
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import SignedMessage, SignedStatement
from tests.fakes.sigworld.world import LogChoice, World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
    layer_of,
    managed,
)

OTHER = "sha256:" + "cd" * 32
Act = SignedMessage | SignedStatement
Make = Callable[[World, str, Signer], Act]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def _statement(digest: str) -> dict[str, Any]:
    return statements.statement(digest, statements.SLSA_V1, statements.slsa_v1())


def _message(log: LogChoice, entry: Any = "hashedrekord") -> Make:  # noqa: ANN401
    return lambda world, digest, signer: world.sign_image_legacy(
        digest, signer, log=log, entry=entry, timestamp=log == "v2"
    )


def _envelope(log: LogChoice, entry: Any = "dsse") -> Make:  # noqa: ANN401
    return lambda world, digest, signer: world.sign_statement(
        _statement(digest), signer, log=log, entry=entry, timestamp=log == "v2"
    )


# name: how it is signed, how it is carried, whether the entry records a signature
KINDS: dict[str, tuple[Make, str, bool]] = {
    "hashedrekord 0.0.1, layer": (_message("v1"), "layer", True),
    "hashedrekord 0.0.1, bundle": (_message("v1"), "bundle", True),
    "hashedrekord 0.0.2, message": (_message("v2"), "bundle", True),
    "hashedrekord 0.0.2, envelope": (_envelope("v2"), "bundle", True),
    "rekord 0.0.1, layer": (_message("v1", "rekord"), "layer", True),
    "rekord 0.0.1, bundle": (_message("v1", "rekord"), "bundle", True),
    "dsse 0.0.1, layer": (_envelope("v1"), "layer", True),
    "dsse 0.0.1, bundle": (_envelope("v1"), "bundle", True),
    "intoto 0.0.2, layer": (_envelope("v1", "intoto-0.0.2"), "layer", True),
    "intoto 0.0.2, bundle": (_envelope("v1", "intoto-0.0.2"), "bundle", True),
    "intoto 0.0.1, layer": (_envelope("v1", "intoto-0.0.1"), "layer", False),
}


def _carry(act: Act, carried: str) -> Any:  # noqa: ANN401
    return layer_of(act.layer()) if carried == "layer" else bundle_of(act.bundle())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["certificate", "key"])
def test_swapped_entries(world: World, kind: str, by: str) -> None:
    make, carried, has_signature = KINDS[kind]
    signature_code = "signature.entry.signature" if has_signature else "signature.entry.digest"
    if by == "key":
        signer, stranger = world.managed("swap"), world.managed("stranger")
        material = managed(world, signer)
    else:
        signer, stranger = world.keyless(), world.keyless(person("eve@example.com"))
        material = keyless(world)
    mine = make(world, IMAGE, signer)
    assert code_of(_carry(mine, carried), material) == ""

    mixed = copy.copy(mine)
    mixed.entries = make(world, OTHER, signer).entries
    assert code_of(_carry(mixed, carried), material) == "signature.entry.digest"

    mixed.entries = make(world, IMAGE, stranger).entries
    assert code_of(_carry(mixed, carried), material) == signature_code

    if by == "certificate":
        # The same key, the same signature: but certified for somebody else.
        twin = world.keyless(person("eve@example.com"), key=signer)
        mixed.entries = make(world, IMAGE, twin).entries
        assert code_of(_carry(mixed, carried), material) == "signature.entry.key"
        mixed.entries = mine.entries
        mixed.signer = twin
        assert code_of(_carry(mixed, carried), material) == "signature.entry.key"


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_signatures(world: World, kind: str) -> None:
    make, carried, has_signature = KINDS[kind]
    mine = make(world, IMAGE, world.keyless())
    other = make(world, IMAGE, world.keyless(person("eve@example.com")))
    mixed = copy.copy(mine)
    mixed.signature = other.signature
    if isinstance(mixed, SignedStatement) and isinstance(other, SignedStatement):
        mixed.signatures = other.signatures
    # Where the time is a timestamp, that is over the signature too: here it is made anew.
    expected = "signature.entry.signature" if has_signature else "signature.entry.digest"
    assert code_of(_carry(mixed, carried), keyless(world)) == expected
    mixed.entries = []
    without_log = code_of(_carry(mixed, carried), keyless(world))
    assert without_log == "signature.mismatch"


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_payloads(world: World, kind: str) -> None:
    make, carried, _ = KINDS[kind]
    mine, other = (make(world, digest, world.keyless()) for digest in (IMAGE, OTHER))
    mixed = copy.copy(mine)
    if isinstance(mixed, SignedStatement) and isinstance(other, SignedStatement):
        mixed.payload = other.payload
    elif isinstance(mixed, SignedMessage) and isinstance(other, SignedMessage):
        mixed.message = other.message
    assert code_of(_carry(mixed, carried), keyless(world)) == "signature.entry.digest"
    mixed.entries = []
    assert code_of(_carry(mixed, carried), keyless(world)) == "signature.mismatch"


# --- entries that are genuine and of another kind -----------------------------------------------


def _logged(world: World, act: Act, body: bytes) -> Act:
    """The same act with another body in the log."""
    spoilt = copy.copy(act)
    spoilt.entries = [world.rekor1.add(body, at=act.at)]
    return spoilt


def test_plain_entries_for_envelopes(world: World) -> None:
    signer = world.keyless()
    act = world.sign_statement(_statement(IMAGE), signer, entry="hashedrekord")
    for carried in ("bundle", "layer"):
        assert code_of(_carry(act, carried), keyless(world)) == "signature.entry.kind"


def test_envelope_entries_for_plain_signatures(world: World) -> None:
    signer = world.keyless()
    act = world.sign_image_legacy(IMAGE, signer)
    envelope = world.sign_statement(_statement(IMAGE), signer)
    act.entries = envelope.entries
    assert code_of(layer_of(act.layer()), keyless(world)) == "signature.entry.kind"


def test_an_entry_without_a_signature_needs_the_envelopes_bytes(world: World) -> None:
    # A bundle does not keep them: intoto 0.0.1 would bind to nothing but the certificate.
    act = world.sign_statement(_statement(IMAGE), world.keyless(), entry="intoto-0.0.1")
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.entry.kind"


def test_an_entry_of_an_unknown_kind(world: World) -> None:
    act = world.sign_image_legacy(IMAGE, world.keyless())
    body = compact({"apiVersion": "0.0.1", "kind": "alpine", "spec": {}})
    for carried in ("bundle", "layer"):
        found = code_of(_carry(_logged(world, act, body), carried), keyless(world))
        assert found == "signature.entry.kind"


@pytest.mark.parametrize("change", [{"kind": "dsse"}, {"version": "0.0.2"}])
def test_a_kind_beside_the_body_that_is_not_in_it(world: World, change: dict[str, str]) -> None:
    bundle = world.sign_image_legacy(IMAGE, world.keyless()).bundle()
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"].update(change)
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.entry.kind"


def test_a_bare_key_where_a_certificate_signed(world: World) -> None:
    signer = world.keyless()
    act = world.sign_image_legacy(IMAGE, signer)
    body = entries.hashedrekord_001(act.message, act.signature, signer.public_pem)
    found = code_of(layer_of(_logged(world, act, body).layer()), keyless(world))
    assert found == "signature.entry.key"


def test_a_certificate_where_a_key_signed(world: World) -> None:
    signer = world.managed("plain")
    act = world.sign_image_legacy(IMAGE, signer)
    certified = world.keyless(key=signer)
    assert certified.certificate is not None
    body = entries.hashedrekord_001(act.message, act.signature, pem_of(certified.certificate))
    spoilt = _logged(world, act, body)
    assert code_of(layer_of(spoilt.layer()), managed(world, signer)) == "signature.entry.key"


def test_another_kind_of_key_in_a_v2_entry(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    body = json.loads(act.entries[0].body)
    body["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ED25519"
    act.entries = [world.rekor2.add(compact(body), at=act.at)]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.entry.key"


def test_an_entry_of_an_envelope_with_one_signature_more(world: World) -> None:
    signer = world.keyless()
    act = world.sign_statement(_statement(IMAGE), signer)
    more = world.sign_statement(_statement(IMAGE), signer, also=[world.managed("more")])
    act.entries = more.entries
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.entry.signature"
    assert code_of(layer_of(act.layer()), keyless(world)) == "signature.entry.signature"


def test_an_envelope_in_other_bytes(world: World) -> None:
    # Payload and signatures are the same; the JSON around them is not the one that was logged.
    act = world.sign_statement(_statement(IMAGE), world.keyless())
    layer = act.layer()
    layer.blob += b"\n"
    assert code_of(layer_of(layer), keyless(world)) == "signature.entry.digest"


def test_a_payload_type_that_only_the_log_says(world: World) -> None:
    act = world.sign_statement(_statement(IMAGE), world.keyless(), entry="intoto-0.0.2")
    body = json.loads(act.entries[0].body)
    body["spec"]["content"]["envelope"]["payloadType"] = "text/plain"
    spoilt = _logged(world, act, compact(body))
    assert code_of(bundle_of(spoilt.bundle()), keyless(world)) == "signature.entry.digest"


def test_the_oldest_entries_name_no_payload(world: World) -> None:
    act = world.sign_statement(_statement(IMAGE), world.keyless(), entry="intoto-0.0.1")
    body = json.loads(act.entries[0].body)
    del body["spec"]["content"]["payloadHash"]
    assert code_of(layer_of(_logged(world, act, compact(body)).layer()), keyless(world)) == ""
    body["spec"]["content"]["payloadHash"] = {"algorithm": "sha256", "value": "00" * 32}
    found = code_of(layer_of(_logged(world, act, compact(body)).layer()), keyless(world))
    assert found == "signature.entry.digest"
