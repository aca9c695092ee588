"""`sign-command`: a program signs records, started before the loader cuts itself off."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.e2e.loading import FarSide, Publisher

PROGRAM = """\
#!{python}
import base64, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[2], "rb").read(), None)
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


def use_token(host: FarSide, program: str) -> None:
    """Have a program sign for a host; `{python}` in it becomes the interpreter."""
    folder = host.root / "etc/airlock"
    private = Ed25519PrivateKey.generate()
    (folder / "token.key").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "token.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (folder / "sign").write_text(program.replace("{python}", sys.executable))
    (folder / "sign").chmod(0o755)
    (folder / "config.toml").write_text(f"""
schema = 1
[ledger]
sign-command = ["{folder}/sign", "--key", "{folder}/token.key"]
public-key = "token.pub"
""")


def test_a_program_signs_in_place_of_the_file(tmp_path: Path, publisher: Publisher) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    use_token(host, PROGRAM)
    bundle = tmp_path / "bundle.tar.zst"
    publisher.bundle(bundle)
    assert host.load(bundle).status == 0, host.load(bundle).err
    assert not (host.state / "host.key").exists()
    with sqlite3.connect(host.state / "ledger.sqlite") as db:
        assert db.execute("SELECT count(*), count(signature) FROM records").fetchone() == (2, 2)


@pytest.mark.parametrize(
    "program",
    ["#!/bin/false\n", "#!/bin/sh\necho no signature\n", "#!/bin/sh\necho AAAA\n"],
    ids=["fails", "says something else", "signs with another key"],
)
def test_without_a_signature_nothing_is_loaded(
    tmp_path: Path, publisher: Publisher, program: str
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    use_token(host, program)
    bundle = tmp_path / "bundle.tar.zst"
    publisher.bundle(bundle)
    ran = host.load(bundle)
    assert ran.status == 20
    assert "airlock: error[state." in ran.err
    assert host.target() == {}


def test_a_program_that_others_may_change_is_not_run(tmp_path: Path, publisher: Publisher) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    use_token(host, PROGRAM)
    (host.root / "etc/airlock/sign").chmod(0o777)
    bundle = tmp_path / "bundle.tar.zst"
    publisher.bundle(bundle)
    ran = host.load(bundle)
    assert ran.status == 21
    assert "could be changed by somebody else" in ran.err
