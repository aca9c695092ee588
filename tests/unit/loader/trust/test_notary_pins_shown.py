"""`trust add` and `trust show` with Notary pins: recognized by what they are, and in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import AirlockError, AnchorFileError
from loader.trust.notary_pins import NotaryPins
from loader.trusting import pin_file
from tests.fakes.notaryworld import Authority, Key, Repository

GUN = "docker.io/acme/app"
ID = "ab" * 32


@pytest.mark.parametrize("kind", ["configuration", "root", "certificate", "authority"])
def test_a_pin_is_added_under_the_name_that_it_is_found_by(tmp_path: Path, kind: str) -> None:
    world = Repository(gun=GUN)
    raw = {
        "configuration": json.dumps({"trust_pinning": {"certs": {GUN: [ID]}}}).encode(),
        "root": world.publish()["root"],
        "certificate": Key.certified("root", GUN).public,
        "authority": Authority.make("Acme").pem,
    }[kind]
    source = tmp_path / ("some.pem" if raw.startswith(b"-----") else "some.json")
    source.write_bytes(raw)
    target, fingerprint = pin_file(tmp_path / "anchors", "hub", source)
    ending = source.suffix
    assert target == tmp_path / "anchors" / "hub" / f"notary-root{ending}"
    assert target.read_bytes() == raw
    assert fingerprint.startswith("notary root, ")
    assert {"configuration": ID, "root": world.root_ids[0]}.get(kind, "") in fingerprint


def test_pins_that_are_not_whole_in_one_file(tmp_path: Path) -> None:
    source = tmp_path / "pins.json"
    source.write_text(json.dumps({"trust_pinning": {"ca": {GUN: "acme.pem"}}}))
    with pytest.raises(AnchorFileError) as caught:
        pin_file(tmp_path / "anchors", "hub", source)
    assert "by hand" in caught.value.hint
    assert not (tmp_path / "anchors" / "hub" / "notary-root.json").exists()


def test_garbage_is_no_pin(tmp_path: Path) -> None:
    source = tmp_path / "pins.json"
    source.write_text("{}")
    with pytest.raises(AirlockError):
        pin_file(tmp_path / "anchors", "hub", source)


def test_pins_in_words() -> None:
    pins = NotaryPins.parse(
        json.dumps(
            {"trust_pinning": {"certs": {GUN: [ID], "docker.io/*": []}, "ca": {"": "acme.pem"}}}
        ).encode(),
        name="hub",
        read=lambda _: Authority.make("Acme").pem,
    )
    assert list(pins.lines()) == [
        "docker.io/*: root key none",
        f"{GUN}: root key {ID}",
        "...: authority CN=Acme",
    ]
