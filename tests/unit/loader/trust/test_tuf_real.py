"""Chains that others signed: Sigstore's own roots, and a repository whose keys are identities."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest

from loader.errors import TrustRootError
from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf import TrustedSet
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_replay import Replayed, replay
from loader.verify.keyless import SigstoreKeys
from tests.fakes.tuf_repository import CarriedFiles, plain_key, signed
from tests.unit.loader.trust import tuf_fixtures
from tests.unit.loader.trust.tuf_fixtures import REAL

pytestmark = pytest.mark.engine("shared")
REFERENCE = datetime(2026, 8, 25, tzinfo=UTC)
"""Root 15 expired on 2026-11-20, and no newer one is at hand."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """securesystemslib judges identities by asking Sigstore's TUF repository; nothing here may."""

    def refuse(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"a socket was made: {arguments}")

    monkeypatch.setattr(socket, "socket", refuse)


def sigstore(version: int) -> bytes:
    folder = REAL / "sigstore-root-signing/metadata/root_history"
    return (folder / f"{version}.root.json").read_bytes()


def chain(pinned: int, newest: int = 15) -> TrustedSet:
    trusted = TrustedSet(sigstore(pinned), name="sigstore")
    for version in range(pinned + 1, newest + 1):
        trusted.update_root(sigstore(version))
    return trusted


@pytest.mark.parametrize("pinned", range(5, 15))
def test_op_11_from_root(pinned: int) -> None:
    """OP-11: pinned to any root from 5 on, the chain arrives at 15 with no network."""
    trusted = chain(pinned)
    assert trusted.root.version == 15
    trusted.update_timestamp((REAL / "sigstore-root-signing/metadata/timestamp.json").read_bytes())
    assert {n for n, role in trusted.roles.items() if role.expires < REFERENCE} == set()
    assert trusted.roles["root"].expires == datetime(2026, 11, 20, 13, 58, 18, tzinfo=UTC)


def test_op_11_pinned_to_root_4_says_why_not() -> None:
    with pytest.raises(TrustRootError) as caught:
        chain(4)
    assert caught.value.code == "trustroot.signature"
    assert "the key cannot be used" in caught.value.found


@pytest.mark.parametrize("pinned", [1, 2, 3])
def test_op_11_roots_before_that_cannot_be_read(pinned: int) -> None:
    with pytest.raises(TrustRootError, match="not TUF metadata"):
        chain(pinned)


def test_op_11_a_future_root_that_nobody_of_the_old_signed() -> None:
    document = json.loads(sigstore(15))["signed"] | {"version": 16}
    with pytest.raises(TrustRootError) as caught:
        chain(14).update_root(signed(document, [plain_key("somebody")]))
    assert caught.value.code == "trustroot.signature"


# --- tuf-on-ci: every key is a Sigstore identity (OP-7) ----------------------------------------


def identities() -> dict[str, bytes]:
    files = tuf_fixtures.read_tree(REAL / "tuf-on-ci-sigstore")
    return tuf_fixtures.as_carried(files)


def arrived(carried: dict[str, bytes], pinned: int = 1) -> Replayed:
    raw = (REAL / "trusted-roots/sigstore-production.json").read_bytes()
    root = TrustedRoot.parse(raw, name="sigstore")
    pin = TufPin(root=identities()[f"{pinned}.root.json"])
    return replay(
        CarriedFiles(carried), pin, name="tuf-on-ci", keys=SigstoreKeys(trusted_root=root)
    )


@pytest.mark.parametrize("pinned", [1, 2, 3])
def test_op_7_from_root(pinned: int) -> None:
    """OP-7: bundles v0.2 and v0.3, `sig` in hex and in base64, key ids that are called "abcd"."""
    found = arrived(identities(), pinned)
    assert found.root_version == 4
    assert found.signed_at == datetime(2026, 8, 8, 3, 0, 41, tzinfo=UTC)
    assert tuf_fixtures.expired(found) == set()
    assert tuf_fixtures.expired(found, REFERENCE) == {"timestamp"}, "it lives two days"
    assert found.target("release/1.0.json") is None


def edited(file: str, change: Any) -> dict[str, bytes]:  # noqa: ANN401 - a function of a document
    carried = identities()
    document = json.loads(carried[file])
    change(document)
    return carried | {file: json.dumps(document).encode()}


def _other_identity(document: Any) -> None:  # noqa: ANN401
    for key in document["signed"]["keys"].values():
        key["keyval"]["identity"] = "somebody@example.org"


def _swapped_bundle(document: Any) -> None:  # noqa: ANN401
    other = json.loads(identities()["targets.json"])["signatures"][0]
    document["signatures"][0] |= {"sig": other["sig"], "bundle": other["bundle"]}


def _threshold(document: Any) -> None:  # noqa: ANN401
    document["signed"]["roles"]["root"]["threshold"] = 2


def _version(document: Any) -> None:  # noqa: ANN401
    document["signed"]["version"] -= 1


def _other_sig(document: Any) -> None:  # noqa: ANN401
    document["signatures"][0]["sig"] = "00"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("3.root.json", _other_identity),
        ("4.root.json", _swapped_bundle),
        ("4.root.json", _threshold),
        ("timestamp.json", _version),
        ("timestamp.json", _other_sig),
    ],
    ids=["identity", "bundle-swapped", "threshold-raised", "version-rollback", "sig-of-another"],
)
def test_op_7_refused(file: str, change: Any) -> None:  # noqa: ANN401
    with pytest.raises(TrustRootError) as caught:
        arrived(edited(file, change))
    assert caught.value.code == "trustroot.signature"


def test_op_7_root_3_is_missing() -> None:
    carried = identities()
    del carried["3.root.json"]
    with pytest.raises(TrustRootError) as caught:
        arrived(carried)
    assert caught.value.code == "trustroot.incomplete"
    assert "3.root.json" in caught.value.expected


def test_op_7_an_older_timestamp_than_the_host_has_seen() -> None:
    found = arrived(identities())
    seen, kept = found.remembered({})
    older = dict(seen.roles) | {
        "timestamp": seen.roles["timestamp"].__class__(
            version=837, signers=seen.roles["timestamp"].signers
        )
    }
    raw = (REAL / "trusted-roots/sigstore-production.json").read_bytes()
    with pytest.raises(TrustRootError) as caught:
        replay(
            CarriedFiles(identities()),
            TufPin(root=identities()["1.root.json"]),
            name="tuf-on-ci",
            seen=seen.__class__(roots=seen.roots, roles=older, files=seen.files),
            kept=kept,
            keys=SigstoreKeys(trusted_root=TrustedRoot.parse(raw, name="sigstore")),
        )
    assert caught.value.code == "trustroot.rollback"
