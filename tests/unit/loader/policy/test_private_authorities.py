"""`[anchor.NAME] certificate`: an own authority without Fulcio, dated by a timestamp authority."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from loader.errors import AnchorFileError, PolicyFileError
from tests.fakes import attach
from tests.fakes.sigworld.ca import CertificateAuthority, email
from tests.fakes.sigworld.encoding import pem_of
from tests.fakes.sigworld.identity import Identity
from tests.fakes.sigworld.keys import Signer
from tests.unit.loader.policy.scene import AS_PACKED, Scene

RELEASE = Identity(san=email("release@corp.example"))
POLICY = f"""
[anchor.corp]
certificate = "ca.pem"
trusted-root = "timestamps.json"
{AS_PACKED}
[[image.require]]
claim = "signature"
trusted-root = "corp"
certificate-identity = "release@corp.example"
certificate-oidc-issuer-regexp = '^$'
log = "none"
sct = 0
timestamps = 1
"""


class Corp:
    def __init__(self, folder: Path) -> None:
        self.scene = Scene(folder)
        self.world = self.scene.world
        self.ca = CertificateAuthority("corp", start=self.world.since)
        # The root's own authorities are the public ones: they must not speak for the corp.
        root = self.world.trusted_root()
        (folder / "timestamps.json").write_text(json.dumps(root))
        self.write(*self.ca.chain)

    def write(self, *certificates: object) -> None:
        pems = b"".join(pem_of(one) for one in certificates)  # type: ignore[arg-type]
        (self.scene.folder / "ca.pem").write_bytes(pems)

    def signer(self, ca: CertificateAuthority | None = None, **options: Any) -> Signer:  # noqa: ANN401
        lifetime = timedelta(days=300)
        options = {"ca": ca or self.ca, "at": self.world.since, "lifetime": lifetime, **options}
        return self.world.keyless(RELEASE, **options)

    def sign(self, signer: Signer, **options: Any) -> None:  # noqa: ANN401
        options = {"log": "none", "at": self.world.since + timedelta(days=9), **options}
        act = self.world.sign_image(self.scene.image.digest, signer, **options)
        attach.attach_bundle(self.scene.image, act.bundle())


@pytest.fixture
def corp(tmp_path: Path) -> Corp:
    return Corp(tmp_path)


def test_a_private_authority_speaks(corp: Corp) -> None:
    corp.sign(corp.signer())
    judgement = corp.scene.run(POLICY)
    [claim] = judgement.images[0].claims
    assert claim.who == ("release@corp.example (no issuer named)",)
    # Of the root alone nobody knows the intermediate, which a bundle v0.3 does not carry.
    corp.write(corp.ca.chain[-1])
    assert corp.scene.refused(POLICY).code == "signature.unverified"


@pytest.mark.parametrize(
    ("signer", "options"),
    [
        ({}, {"timestamp": False}),
        ({"eku": ()}, {}),
        ({"eku": (ExtendedKeyUsageOID.SERVER_AUTH,)}, {}),
        ({"digital_signature": False}, {}),
        ({"lifetime": timedelta(days=8)}, {}),
        ({"authority": True}, {}),
    ],
    ids=["no time", "no purpose", "for servers", "not to sign", "expired then", "an authority"],
)
def test_what_does_not_count(corp: Corp, signer: dict[str, Any], options: dict[str, Any]) -> None:
    corp.sign(corp.signer(**signer), **options)
    assert corp.scene.refused(POLICY).code == "signature.unverified"


def test_another_authority_of_the_same_name(corp: Corp) -> None:
    twin = CertificateAuthority("corp", start=corp.world.since, kind="P-256")
    assert twin.chain[-1].subject == corp.ca.chain[-1].subject
    corp.sign(corp.signer(twin))
    assert corp.scene.refused(POLICY).code == "signature.unverified"


def test_the_roots_own_authorities_do_not_speak(corp: Corp) -> None:
    corp.sign(corp.signer(corp.world.ca))
    assert corp.scene.refused(POLICY).code == "signature.unverified"


def test_a_certificate_alone_dates_nothing(corp: Corp) -> None:
    with pytest.raises(PolicyFileError) as caught:
        corp.scene.policy(POLICY.replace('trusted-root = "timestamps.json"\n', ""))
    assert "name both" in caught.value.hint
    with pytest.raises(PolicyFileError):
        corp.scene.policy(POLICY.replace("trusted-root =", "key =", 1))


@pytest.mark.parametrize("how", ["order", "key", "nothing", "rubbish", "absent"])
def test_files_that_are_no_path(corp: Corp, how: str) -> None:
    path = corp.scene.folder / "ca.pem"
    match how:
        case "order":
            corp.write(*reversed(corp.ca.chain))
        case "key":
            path.write_bytes(corp.scene.release.public_pem)
        case "nothing":
            path.write_bytes(b"")
        case "rubbish":
            path.write_bytes(pem_of(corp.ca.chain[-1]).replace(b"MII", b"AAA", 1))
        case _:
            path.unlink()
    with pytest.raises(AnchorFileError):
        corp.scene.trust(corp.scene.policy(POLICY))
