"""Canonical JSON, ids of keys, instants as Go writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import FormatError, JsonError
from loader.model.canonical_json import canonical
from loader.model.notary import parse_targets, parse_timestamp
from loader.model.notary_roles import key_id_of
from loader.trust.keys import PublicKey
from loader.trust.notary_ids import bare_key_id
from tests.fakes import notaryworld
from tests.fakes.notaryworld import Key, Repository
from tests.presence import ROOT, SHARED

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_canonical_json_is_what_the_other_writer_writes(value: Any) -> None:  # noqa: ANN401
    assert canonical(value) == notaryworld.canonical(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [True, False, None]}, b'{"a":[true,false,null],"b":1}'),
        ("tab\tnewline\nzero\0", b'"tab\tnewline\nzero\0"'),
        ('a"b\\c', b'"a\\"b\\\\c"'),
        ("<&>\u2028\u00e9", '"<&>\u2028\u00e9"'.encode()),
        ({"\ufffd": 1, "\U00010000": 2}, '{"\ufffd":1,"\U00010000":2}'.encode()),
        (-7, b"-7"),
        ({}, b"{}"),
        ([], b"[]"),
    ],
)
def test_canonical_json(value: Any, written: bytes) -> None:  # noqa: ANN401
    assert canonical(value) == written


def test_a_fraction_has_no_canonical_form() -> None:
    with pytest.raises(JsonError):
        canonical([1.5])


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048", "Ed25519"])
def test_ids_of_bare_keys(kind: str) -> None:
    key = Key.bare("some", kind)
    assert bare_key_id(PublicKey.of(key.signer.public, name="some")) == key.key_id
    assert key_id_of(key.kind, notaryworld.b64(key.public)) == key.key_id


@pytest.mark.engine("shared")
def test_ids_that_notary_gave() -> None:
    folder = SHARED / "real/notary-0.3/tuf/docker.com/notary0.3/tst/metadata"
    root = json.loads(Path(folder / "root.json").read_text())["signed"]
    assert root["keys"]
    for key_id, key in root["keys"].items():
        assert key_id_of(key["keytype"], key["keyval"]["public"]) == key_id


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("2026-12-05T00:34:29.296871037Z", "2026-12-05T00:34:29.296871+00:00"),
        ("2116-07-03T17:56:36.027379879-05:00", "2116-07-03T22:56:36.027379+00:00"),
        ("2026-12-05T00:34:29Z", "2026-12-05T00:34:29+00:00"),
        ("2026-12-05T00:34:29+05:30", "2026-12-04T19:04:29+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_instants(text: str, plain: str) -> None:
    raw = notaryworld.changed(_timestamp(), lambda d: d["signed"].update(expires=text))
    assert parse_timestamp(raw).expires.isoformat() == plain


@pytest.mark.parametrize(
    "text",
    ["2026-12-05", "2026-12-05T00:34:29", "2026-12-05 00:34:29Z", "2026-12-05T00:34:29.Z",
     "2026-12-05T24:34:29Z", "2026-12-05T00:34:29+99:00", "0001-01-01T00:00:00+01:00", ""],
)  # fmt: skip
def test_no_instants(text: str) -> None:
    raw = notaryworld.changed(_timestamp(), lambda d: d["signed"].update(expires=text))
    with pytest.raises(FormatError):
        parse_timestamp(raw)


def _timestamp() -> bytes:
    return Repository(gun="registry.acme.example/acme/app").publish()["timestamp"]


def test_tags_that_differ_in_case_are_two() -> None:
    world = Repository(gun="registry.acme.example/acme/app")
    world.tag("Latest", b"1")
    world.tag("latest", b"2")
    found = parse_targets(world.publish()["targets"], role="targets").content.targets
    assert sorted(found) == ["Latest", "latest"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_a_format_error(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parse_timestamp(raw)


def test_the_document_and_the_code_number_the_same_steps() -> None:
    folder = ROOT / "loader/verify/notary"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    document = (ROOT / "docs/verification.md").read_text()
    steps = re.findall(r"# \((n[0-9])\)", code)
    assert steps == [f"n{number}" for number in range(1, 6)]
    assert re.findall(r"^\| \((n[0-9])\) \|", document, re.MULTILINE) == steps
