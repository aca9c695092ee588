"""Pins of Notary roots: the precedence of Notary's client, and each way to write one (DC-3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import AirlockError, AnchorFileError, FormatError, TrustRootError
from loader.policy.model import Policy
from loader.trust.notary_pins import NotaryPins, PinnedAuthorities, PinnedKeys
from loader.trust.store import TrustStore
from tests.fakes.notaryworld import Authority, Key, Repository
from tests.unit.loader.policy.judging import NAME, write

IDS = [f"{n:064x}" for n in range(6)]
ACME = Authority.make("Acme")
APP = Authority.make("Acme App")
POLICY = f"""
schema = 1
[[image]]
match = "{NAME}"
[[image.require]]
claim = "content-trust"
notary-root = "hub"
"""


def configured(**settings: object) -> NotaryPins:
    files = {"acme.pem": ACME.pem, "app.pem": APP.pem, "both.pem": ACME.pem + APP.pem}
    raw = json.dumps({"trust_pinning": settings, "remote_server": {"url": "https://x"}}).encode()
    return NotaryPins.parse(raw, name="hub", read=files.__getitem__)


PINS = configured(
    certs={
        "docker.io/library/ubuntu": [IDS[0]],
        "docker.io/endophage/b*": [IDS[1]],
        "docker.io/endophage/*": [IDS[2], IDS[3]],
        "docker.io/acme/app": [IDS[4]],
    },
    ca={
        "docker.io/acme": "acme.pem",
        "docker.io/acme/app": "app.pem",
        "docker.io/library": "acme.pem",
    },
    disable_tofu=False,
)


@pytest.mark.parametrize(
    ("gun", "pinned"),
    [
        # trustpinning/trustpin.go and its test: an exact name, else the longest wildcard; ids of
        # several wildcards are never merged
        ("docker.io/library/ubuntu", {IDS[0]}),
        ("docker.io/endophage/foo", {IDS[2], IDS[3]}),
        ("docker.io/endophage/bar", {IDS[1]}),
        ("docker.io/endophage/b", {IDS[1]}),
        ("docker.io/endophage/", {IDS[2], IDS[3]}),
        # ids go before authorities, and where they do not fit nothing falls back to them
        ("docker.io/acme/app", {IDS[4]}),
        # the longest beginning of an authority
        ("docker.io/acme/app2", "CN=Acme App"),
        ("docker.io/acme/web", "CN=Acme"),
        ("docker.io/library/alpine", "CN=Acme"),
        # a beginning of letters, as Notary has it: not of parts
        ("docker.io/acme-other/web", "CN=Acme"),
        # nothing: and there is no trust on first use, whatever `disable_tofu` says
        ("docker.io/endophag", None),
        ("docker.io/other/app", None),
        ("quay.io/acme/app", None),
        ("", None),
    ],
)
def test_dc_3_precedence(gun: str, pinned: object) -> None:
    match PINS.pin_of(gun):
        case PinnedKeys(key_ids=key_ids):
            assert key_ids == pinned
        case PinnedAuthorities(names=names):
            assert names == (pinned,)
        case None:
            assert pinned is None


def test_an_exact_name_with_no_ids_pins_nothing_that_exists() -> None:
    pin = configured(certs={NAME: []}).pin_of(NAME)
    assert isinstance(pin, PinnedKeys)
    assert pin.key_ids == frozenset()


def test_several_authorities_in_one_file() -> None:
    pin = configured(ca={"": "both.pem"}).pin_of("anything/at/all")
    assert isinstance(pin, PinnedAuthorities)
    assert len(pin.certificates) == 2
    assert str(pin) == "authority CN=Acme or CN=Acme App"


def test_one_id() -> None:
    pin = NotaryPins.parse(IDS[1].encode() + b"\n", name="hub", read=lambda _: b"").pin_of(NAME)
    assert pin == PinnedKeys(key_ids=frozenset({IDS[1]}))


def test_a_root_pins_the_ids_of_its_root_keys() -> None:
    world = Repository(gun=NAME)
    pins = NotaryPins.parse(world.publish()["root"], name="hub", read=lambda _: b"")
    assert pins.pin_of(NAME) == PinnedKeys(key_ids=frozenset(world.root_ids))


@pytest.mark.parametrize("kind", ["P-256", "RSA-2048"])
def test_a_certificate_pins_the_key_that_is_written_in_it(kind: str) -> None:
    key = Key.certified("root", NAME, kind)
    pin = NotaryPins.parse(key.public, name="hub", read=lambda _: b"").pin_of(NAME)
    assert pin == PinnedKeys(key_ids=frozenset({key.key_id}))


def test_an_authoritys_certificate_pins_it() -> None:
    pin = NotaryPins.parse(ACME.pem, name="hub", read=lambda _: b"").pin_of(NAME)
    assert isinstance(pin, PinnedAuthorities)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"trust_pinning":{}}',
        b'{"trust_pinning":{"certs":{},"ca":{}}}',
        b'{"trust_pinning":{"certs":{"a":["short"]}}}',
        b'{"trust_pinning":{"certs":{"a":"id"}}}',
        b'{"trust_pinning":{"certs":["a"]}}',
        b'{"trust_pinning":{"cert":{}}}',
        IDS[5].upper().encode().replace(b"0", b"A"),
        IDS[5].encode() + b"0",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_pins_nothing(raw: bytes) -> None:
    with pytest.raises(FormatError):
        NotaryPins.parse(raw, name="hub", read=lambda _: b"")


# --- as anchors -----------------------------------------------------------------------------------


def opened(folder: Path, text: str = POLICY) -> TrustStore:
    policy = Policy.parse(text.encode(), where="policy.toml")
    return TrustStore.open(policy, policy_directory=folder, builtin=folder / "nowhere")


@pytest.mark.parametrize("name", ["notary-root.json", "notary-root.pem"])
def test_in_an_anchors_folder(tmp_path: Path, name: str) -> None:
    world = Repository(gun=NAME)
    raw = world.publish()["root"] if name.endswith("json") else ACME.pem
    write(tmp_path, {f"anchors/hub/{name}": raw, "anchors/hub/README.md": b"whose it is"})
    assert opened(tmp_path).notary_pins("hub").pin_of(NAME)


def test_a_folder_of_keys_and_a_notary_root(tmp_path: Path) -> None:
    key = Key.bare("release").signer
    files = {"anchors/hub/notary-root.pem": ACME.pem, "anchors/hub/key.pub": key.public_pem}
    write(tmp_path, files)
    text = POLICY + '[[image.require]]\nclaim = "signature"\nkey = "hub"\n'
    store = opened(tmp_path, text)
    assert {anchor.kind for anchor in store.anchors} == {"notary-root", "key"}


def test_in_the_policy_itself(tmp_path: Path) -> None:
    text = POLICY + f'[anchor.hub]\nnotary-root = "{IDS[1]}"\n'
    pin = opened(tmp_path, text).notary_pins("hub").pin_of(NAME)
    assert pin == PinnedKeys(key_ids=frozenset({IDS[1]}))


def test_a_configuration_with_an_authority_beside_it(tmp_path: Path) -> None:
    pins = {"trust_pinning": {"ca": {NAME: "acme.pem"}}}
    write(tmp_path, {"pins/notary.json": json.dumps(pins).encode(), "pins/acme.pem": ACME.pem})
    text = POLICY + '[anchor.hub]\nnotary-root = "pins/notary.json"\n'
    assert opened(tmp_path, text).notary_pins("hub").pin_of(NAME)
    (tmp_path / "pins/acme.pem").unlink()
    with pytest.raises(AnchorFileError) as caught:
        opened(tmp_path, text)
    assert caught.value.where.endswith("pins/acme.pem")


def test_nowhere(tmp_path: Path) -> None:
    with pytest.raises(TrustRootError) as caught:
        opened(tmp_path)
    assert caught.value.exit_status == 15


@pytest.mark.parametrize(
    "lines",
    [
        'notary-root = "x.json"\nkey = "y.pub"',
        'notary-root = "x.json"\ntrusted-root = "y.json"',
        'notary-root = "x.json"\ncertificate = "y.pem"',
        "notary-root = 1",
    ],
)
def test_an_anchor_is_exactly_one_thing(tmp_path: Path, lines: str) -> None:
    with pytest.raises(AirlockError) as caught:
        opened(tmp_path, POLICY + f"[anchor.hub]\n{lines}\n")
    assert caught.value.code == "usage.policy"


def test_a_key_is_no_notary_root(tmp_path: Path) -> None:
    with pytest.raises(AirlockError) as caught:
        opened(tmp_path, POLICY + '[anchor.hub]\nkey = "hub.pub"\n')
    assert "is no notary-root" in str(caught.value)
