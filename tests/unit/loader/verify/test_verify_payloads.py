"""What was signed: it is parsed last, and refused if it could be read in two ways, or in none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import compact, hex_digest
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    layer_of,
    managed,
)

OTHER = "sha256:" + "cd" * 32


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def _statement(digest: str) -> dict[str, Any]:
    return statements.statement(digest, statements.SLSA_V1, statements.slsa_v1())


SUBJECT = {"name": "x", "digest": {"sha256": IMAGE[7:]}}
STATEMENTS: dict[str, tuple[Any, str]] = {
    "as it is": (_statement(IMAGE), ""),
    "no predicate": ({**_statement(IMAGE), "predicate": None}, ""),
    "a predicate that is text": ({**_statement(IMAGE), "predicate": "SPDXVersion: 2.3"}, ""),
    "another type": ({**_statement(IMAGE), "_type": "https://in-toto.io/Statement/v2"}, "no"),
    "no type": ({k: v for k, v in _statement(IMAGE).items() if k != "_type"}, "no"),
    "no predicate type": (
        {k: v for k, v in _statement(IMAGE).items() if k != "predicateType"},
        "no",
    ),
    "a predicate type that is no text": ({**_statement(IMAGE), "predicateType": 1}, "no"),
    "no subjects": ({**_statement(IMAGE), "subject": []}, "no"),
    "subject null": ({**_statement(IMAGE), "subject": None}, "no"),
    "a null among subjects": ({**_statement(IMAGE), "subject": [None]}, "no"),
    "a subject without digests": ({**_statement(IMAGE), "subject": [{"digest": {}}]}, "no"),
    "a digest in capitals": (
        {**_statement(IMAGE), "subject": [{"digest": {"sha256": IMAGE[7:].upper()}}]},
        "no",
    ),
    "a digest that is too short": (
        {**_statement(IMAGE), "subject": [{"digest": {"sha256": IMAGE[7:-2]}}]},
        "no",
    ),
    "1,024 subjects": ({**_statement(IMAGE), "subject": [SUBJECT] * 1024}, ""),
    "1,025 subjects": ({**_statement(IMAGE), "subject": [SUBJECT] * 1025}, "no"),
    "33 digests": (
        {
            **_statement(IMAGE),
            "subject": [{"digest": {f"sha{n}": "00" for n in range(33)}}],
        },
        "no",
    ),
    "keys that differ in case": ({**_statement(IMAGE), "Subject": [SUBJECT]}, "no"),
    "an extra field": ({**_statement(IMAGE), "extra": 1}, ""),
    "not JSON": (b"{", "no"),
    "a key twice": (
        compact(_statement(IMAGE)).replace(b'{"_type"', b'{"subject":[],"_type"', 1),
        "no",
    ),
    "something behind it": (compact(_statement(IMAGE)) + b"{}", "no"),
    "deep": (
        compact(_statement(IMAGE)).replace(
            b'"predicate":', b'"deep":' + b"[" * 70 + b"]" * 70 + b',"predicate":', 1
        ),
        "no",
    ),
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_statements(world: World, case: str) -> None:
    statement, refused = STATEMENTS[case]
    signer = world.managed("publisher")
    act = world.sign_statement(statement, signer, log="none")
    expected = "signature.payload" if refused else ""
    assert code_of(bundle_of(act.bundle()), managed(world, signer)) == expected
    assert code_of(layer_of(act.layer()), managed(world, signer)) == expected


@pytest.mark.parametrize(
    ("payload_type", "code"),
    [
        ("application/vnd.in-toto+json", ""),
        ("application/vnd.in-toto.provenance+json", ""),
        ("application/vnd.in-toto.Provenance+json", "signature.payload"),
        ("application/vnd.in-toto+json ", "signature.payload"),
        ("application/json", "signature.payload"),
        ("text/plain", "signature.payload"),
    ],
)
def test_payload_types(world: World, payload_type: str, code: str) -> None:
    signer = world.managed("publisher")
    act = world.sign_statement(_statement(IMAGE), signer, log="none", payload_type=payload_type)
    assert code_of(bundle_of(act.bundle()), managed(world, signer)) == code


def _simple(**changes: Any) -> bytes:  # noqa: ANN401
    payload = json.loads(statements.simple_signing(IMAGE, "registry.example/app"))
    payload["critical"].update(changes)
    return compact(payload)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (_simple(), ""),
        (_simple(identity={"docker-reference": ""}), ""),
        (_simple(type="atomic container signature"), "signature.payload"),
        (_simple(type=None), "signature.payload"),
        (_simple(image={}), "signature.payload"),
        (_simple(image={"docker-manifest-digest": IMAGE[7:]}), "signature.payload"),
        (_simple(image={"docker-manifest-digest": IMAGE.upper()}), "signature.payload"),
        (_simple(image={"docker-manifest-digest": IMAGE + "\n"}), "signature.payload"),
        (_simple(identity=None), "signature.payload"),
        (_simple(Image={"docker-manifest-digest": OTHER}), "signature.payload"),
        (b"[]", "signature.payload"),
        (b"\xff", "signature.payload"),
    ],
    ids=lambda v: "" if isinstance(v, str) else hex_digest(v)[:8],
)
def test_simple_signing(world: World, payload: bytes, code: str) -> None:
    signer = world.managed("publisher")
    act = world.sign(payload, signer, log="none")
    assert code_of(layer_of(act.layer()), managed(world, signer)) == code
