"""The schema for editors says of every key what the reader says of it, and knows no other."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bundler.policies.schema import policy_schema
from loader.errors import PolicyFileError
from loader.policy.keys import Form, Key, Listing, Named, Record, Text, Whole
from loader.policy.model import POLICY_KEYS, Policy
from loader.policy.reading import CLAIM_KEYS, Claim
from loader.policy.reading_anchors import ANCHOR_KEYS
from tests.presence import ROOT

SCHEMA = policy_schema()
GOOD: dict[str, Any] = {
    "schema": 1,
    "image": [{"match": "ghcr.io/acme/app", "require": [{"claim": "signature", "key": "release"}]}],
}


def complaints(document: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [error.message for error in validator.iter_errors(document)]


def reader_refuses(text: str) -> str:
    try:
        Policy.parse(text.encode(), where="policy.toml")
    except PolicyFileError as e:
        return f"{e.where}: {e.message}"
    return ""


def plain(value: object) -> object:
    """What a TOML editor hands to the schema: dates are strings there."""
    found: object = json.loads(json.dumps(value, default=lambda at: at.isoformat()))
    return found


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.toml")), ids=lambda p: p.name)
def test_the_policies_that_ship_follow_it(path: Path) -> None:
    assert complaints(plain(tomllib.loads(path.read_text()))) == []


def blocks() -> Iterator[str]:
    """Every whole policy that docs/policy.md shows."""
    for part in (ROOT / "docs" / "policy.md").read_text().split("```toml\n")[1:]:
        block = part.partition("```")[0]
        if "schema = 1" in block:
            yield block


@pytest.mark.parametrize("block", list(blocks()), ids=lambda block: str(len(block)))
def test_the_policies_of_the_documentation_follow_it(block: str) -> None:
    assert complaints(plain(tomllib.loads(block))) == []


# --- every key ------------------------------------------------------------------------------------


def wrong(form: Form) -> Iterator[object]:
    """Values that a form does not take, in TOML's types."""
    match form:
        case Text(words=words):
            yield from (7, "") if not words else (7, "none-of-these-words")
        case Whole(minimum=minimum, maximum=maximum):
            yield from (minimum - 1, maximum + 1, "1")
        case Named(names=names):
            yield from ("text",) if not names else ("text", {"no-such-name": "x"})
        case Listing():
            yield from ("text", [])
        case Record():
            yield from ("text", {"no-such-key": 1})
        case _:
            yield 7.5


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return value.isoformat() if isinstance(value, dt.date) else json.dumps(value)


def whole(claim: Claim) -> dict[str, object]:
    """A requirement with no more than it needs."""
    found: dict[str, object] = {"claim": claim}
    for key in CLAIM_KEYS[claim]:
        if key.name == "key":
            found[key.name] = "release"
        elif key.name == "path":
            found[key.name] = "releases/{tag}.json"
        elif key.required and key.name != "claim":
            assert isinstance(key.form, Text)
            found[key.name] = key.form.words[0] if key.form.words else "https://acme.example/t"
    return found


def cases() -> Iterator[tuple[Claim, Key, object]]:
    for claim, keys in CLAIM_KEYS.items():
        for key in keys:
            for value in wrong(key.form):
                yield claim, key, value


@pytest.mark.parametrize(
    ("claim", "key", "value"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[1].name}-{number}")
        for number, case in enumerate(cases())
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(claim: Claim, key: Key, value: object) -> None:
    requirement = whole(claim) | {key.name: value}
    if key.name == "any":
        del requirement["key"]  # one speaker, or a list of them
    document = GOOD | {"image": [GOOD["image"][0] | {"require": [requirement]}]}
    assert complaints(document)
    text = "schema = 1\n[[image]]\nmatch = 'ghcr.io/acme/app'\n[[image.require]]\n"
    text += "".join(f"{name} = {toml(one)}\n" for name, one in requirement.items())
    assert f"require[0].{key.name}" in reader_refuses(text)


@pytest.mark.parametrize("claim", CLAIM_KEYS)
def test_a_requirement_with_what_it_needs_passes_both(claim: Claim) -> None:
    requirement = whole(claim)
    assert not complaints(GOOD | {"image": [GOOD["image"][0] | {"require": [requirement]}]})
    text = "schema = 1\n[[image]]\nmatch = 'ghcr.io/acme/app'\n[[image.require]]\n"
    text += "".join(f"{name} = {toml(one)}\n" for name, one in requirement.items())
    assert not reader_refuses(text)


@pytest.mark.parametrize("claim", CLAIM_KEYS)
def test_a_key_that_is_not_listed_is_refused_by_both(claim: Claim) -> None:
    requirement = whole(claim) | {"no-such-key": 1}
    document = GOOD | {"image": [GOOD["image"][0] | {"require": [requirement]}]}
    assert complaints(document)
    text = "schema = 1\n[[image]]\nmatch = 'a.example/b'\n[[image.require]]\n"
    text += "".join(f"{name} = {toml(one)}\n" for name, one in requirement.items())
    assert "unknown key" in reader_refuses(text)


@pytest.mark.parametrize("key", POLICY_KEYS, ids=lambda key: key.name)
def test_the_keys_of_the_file_are_of_one_kind_for_both(key: Key) -> None:
    for value in wrong(key.form):
        document = GOOD | {key.name: value}
        assert complaints(document), value
        text = "".join(f"{name} = {toml(one)}\n" for name, one in document.items())
        assert reader_refuses(text), value


def test_an_anchor_has_the_same_keys_for_both() -> None:
    good = "schema = 1\n[[image]]\nmatch = 'a.example/b'\n[[image.require]]\nclaim = 'signature'\n"
    good += "key = 'x'\n[anchor.x]\n"
    for key in ANCHOR_KEYS:
        assert "unknown key" not in reader_refuses(f"{good}{key.name} = 'file'\n")
        assert complaints(GOOD | {"anchor": {"x": {key.name: 7}}})
    assert "unknown key" in reader_refuses(f"{good}no-such-key = 'file'\n")
    assert complaints(GOOD | {"anchor": {"x": {"no-such-key": "file"}}})


def test_docs_policy_names_every_key() -> None:
    page = (ROOT / "docs" / "policy.md").read_text()
    every = {key.name for keys in CLAIM_KEYS.values() for key in keys}
    every |= {key.name for key in (*POLICY_KEYS, *ANCHOR_KEYS)}
    missing = {
        name
        for name in every
        if f"`{name}" not in page
        and f"[[{name}" not in page
        and f"[{name}" not in page
        and not name.startswith("certificate-github-workflow-")
    }
    assert not missing


def below(form: Form) -> Iterator[Key]:
    """Every key of the tables in a form, however deep they stand."""
    match form:
        case Record(keys=keys):
            for key in keys:
                yield key
                yield from below(key.form)
        case Listing(of=of) | Named(of=of):
            yield from below(of)
        case _:
            pass


def test_docs_policy_names_every_key_of_tables_in_tables() -> None:
    spans = re.findall(r"`[^`\n]+`", (ROOT / "docs" / "policy.md").read_text())
    words = {word for span in spans for word in re.findall(r"[a-z][a-z-]*[a-z]", span)}
    keys = (*POLICY_KEYS, *ANCHOR_KEYS, *(key for some in CLAIM_KEYS.values() for key in some))
    every = {key.name for one in keys for key in (one, *below(one.form))}
    assert {"until", "reason", "allow", "before", "level", "id"} <= every
    workflow = "certificate-github-workflow-"
    assert {name for name in every - words if not name.startswith(workflow)} == set()


def test_whoever_reads_no_further_is_told_nothing() -> None:
    """`airlock policy schema | head`: no traceback, and not the status of success."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bundler.cli", "policy", "schema"],
            check=False,
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (20, b"")
