"""THREATS V12: cosign over the swap matrix. What it refuses, we refuse; what is genuine, both take.

Two files, two signers; one part of a bundle from the other, as in the matrix of the unit tests.
Offline, with the trusted root of the tests' own world: so its bundles are such as cosign reads.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.errors import RefusedError
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact
from tests.engines import program_path
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import digest_of
from tests.fakes.sigworld.identity import GITHUB_LOGIN_ISSUER, person
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import SignedMessage, SignedStatement
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.test_swap_matrix import PARTS, By, exchanged
from tests.unit.loader.verify.worlds import bundle_of, keyless, managed

pytestmark = pytest.mark.engine("cosign")
Json = dict[str, Any]
Make = Callable[[World, bytes, Signer], SignedMessage | SignedStatement]
TAKEN_BY_COSIGN = {
    "timestamp": "a stamp over another signature is passed over where a promise gives the time",
    "body": "of Rekor v2 it does not read the body, but makes it anew from the rest of the bundle",
}
"""What cosign 3 accepts and we refuse, and why that is no forgery; the list must not grow."""
FILES = {"P": b"the first file", "Q": b"the second file"}


def _message(log: Any) -> Make:  # noqa: ANN401
    return lambda world, raw, signer: world.sign(raw, signer, log=log, timestamp=True)


def _statement(log: Any, entry: Any = "dsse") -> Make:  # noqa: ANN401
    def make(world: World, raw: bytes, signer: Signer) -> SignedStatement:
        said = statements.statement(digest_of(raw), statements.SLSA_V1, statements.slsa_v1())
        return world.sign_statement(said, signer, log=log, entry=entry, timestamp=True)

    return make


KINDS: dict[str, Make] = {
    "hashedrekord 0.0.1": _message("v1"),
    "hashedrekord 0.0.2, message": _message("v2"),
    "hashedrekord 0.0.2, envelope": _statement("v2"),
    "dsse 0.0.1": _statement("v1"),
    "intoto 0.0.2": _statement("v1", "intoto-0.0.2"),
}


class Matrix:
    """Two genuine bundles of one kind, and what both verifiers say of whatever is made of them."""

    def __init__(self, folder: Path, kind: str, by: By) -> None:
        self.folder, self.by, self.world = folder, by, World("swap")
        self.is_statement = not kind.startswith("hashedrekord 0.0.1") and "message" not in kind
        self.signers: dict[str, Signer] = {}
        self.bundles: dict[str, Json] = {}
        for name, raw in FILES.items():
            signer = (
                self.world.managed(name)
                if by == "key"
                else self.world.keyless(person(f"{name.lower()}@example.com"))
            )
            self.signers[name] = signer
            self.bundles[name] = KINDS[kind](self.world, raw, signer).bundle()
            self.world.rekor1.grow(3)
            self.world.rekor2.grow(3)
            (folder / name).write_bytes(raw)
            (folder / f"{name}.pub").write_bytes(signer.public_pem)
        (folder / "root.json").write_text(json.dumps(self.world.trusted_root()))

    def ours(self, bundle: Json, signer: str, file: str) -> bool:
        material: Material = (
            managed(self.world, self.signers[signer]) if self.by == "key" else keyless(self.world)
        )
        try:
            verify_artifact(bundle_of(bundle), Message.of(FILES[file]), material)
        except RefusedError:
            return False
        return True

    def cosigns(self, bundle: Json, signer: str, file: str) -> bool:
        path = self.folder / "bundle.json"
        path.write_text(json.dumps(bundle))
        who = (
            ["--key", str(self.folder / f"{signer}.pub")]
            if self.by == "key"
            else [
                *("--certificate-identity-regexp", ".*"),
                *("--certificate-oidc-issuer", GITHUB_LOGIN_ISSUER),
            ]
        )
        verb = ["verify-blob"]
        if self.is_statement:
            verb = ["verify-blob-attestation", "--type", statements.SLSA_V1]
        done = subprocess.run(
            [program_path("cosign"), *verb, "--bundle", path, "--trusted-root",
             self.folder / "root.json", *who, self.folder / file],
            check=False, capture_output=True, text=True, timeout=60,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        return done.returncode == 0


@pytest.mark.parametrize("by", ["certificate", "key"])
@pytest.mark.parametrize("kind", KINDS)
def test_v12_whatever_cosign_refuses_is_refused(tmp_path: Path, kind: str, by: By) -> None:
    matrix = Matrix(tmp_path, kind, by)
    genuine = matrix.bundles["P"]
    for verdict in (matrix.ours, matrix.cosigns):
        assert verdict(genuine, "P", "P")
        assert not verdict(genuine, "P", "Q")
    entry = genuine["verificationMaterial"]["tlogEntries"][0]
    taken: set[str] = set()
    for part in PARTS:
        if (part == "promise" and "inclusionPromise" not in entry) or (
            part == "signer" and by == "key"
        ):
            continue
        mixed = exchanged(genuine, matrix.bundles["Q"], part)
        assert not matrix.ours(mixed, "P", "P"), part
        if matrix.cosigns(mixed, "P", "P"):
            taken.add(part)
    if by == "key":
        for verdict in (matrix.ours, matrix.cosigns):
            assert not verdict(genuine, "Q", "P")
    assert taken <= set(TAKEN_BY_COSIGN)
