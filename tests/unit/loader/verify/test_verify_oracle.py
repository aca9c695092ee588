"""sigstore-python as a second opinion: where it can judge, it must say what we say.

Its gaps are known and listed (SIGSTORE §2): it wants a certificate, exactly one log entry with a
proof, so some of what we accept it cannot judge. What we refuse on these
cases and it accepts is listed as well, each with the check that it does not make.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sigstore.errors import Error
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy
from sigstore_models.common.v1 import HashAlgorithm

from loader.verify.conformance import verify_bundle_main
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import digest_of
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.world import World
from tests.presence import SHARED
from tests.unit.loader.verify.test_conformance_suite import CASES, IDENTITY, ISSUER, SUITE
from tests.unit.loader.verify.test_conformance_suite import arguments as suite_arguments

PRODUCTION = SHARED / "real" / "trusted-roots" / "sigstore-production.json"
# What sigstore-python cannot judge, or judges more strictly, of what we accept.
IT_REFUSES = {
    "intoto-with-custom-trust-root": "knows no intoto entries",
    "trust-root-tsa-validity-end-inclusive": "takes the end of a TSA's window as exclusive",
}


def opinion(bundle: bytes, artifact: bytes, root: Path, identity: str, issuer: str) -> str:
    """Its verdict: "accept", or the kind of its refusal."""
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root)))
        parsed = Bundle.from_json(bundle)
        who = policy.Identity(identity=identity, issuer=issuer)
        if "dsseEnvelope" in json.loads(bundle):
            _, payload = verifier.verify_dsse(parsed, who)
            digest = hashlib.sha256(artifact).hexdigest()
            # Its own `dsse.Statement` wants a name in every subject; cosign writes none.
            said = [s["digest"].get("sha256") for s in json.loads(payload)["subject"]]
            return "accept" if digest in said else "subject"
        verifier.verify_artifact(
            Hashed(algorithm=HashAlgorithm.SHA2_256, digest=hashlib.sha256(artifact).digest()),
            parsed,
            who,
        )
    except (Error, ValueError, TypeError) as e:
        return type(e).__name__
    return "accept"


def _text(path: Path, default: str) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else default


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("name", [n for n in CASES if not (SUITE / n / "key.pub").exists()])
def test_conformance_cases(name: str) -> None:
    case = SUITE / name
    artifact = case / "artifact" if (case / "artifact").exists() else SUITE / "a.txt"
    root = case / "trusted_root.json" if (case / "trusted_root.json").exists() else PRODUCTION
    ours = verify_bundle_main([*suite_arguments(case), str(artifact)])
    theirs = opinion(
        (case / "bundle.sigstore.json").read_bytes(),
        artifact.read_bytes(),
        root,
        _text(case / "identity", IDENTITY),
        _text(case / "issuer", ISSUER),
    )
    if name in IT_REFUSES:
        assert (ours, theirs != "accept") == (0, True)
    else:
        assert (ours == 0) == (theirs == "accept"), theirs


@pytest.mark.parametrize("log", ["v1", "v2"])
@pytest.mark.parametrize("of", ["message", "statement"])
def test_the_worlds_bundles(tmp_path: Path, log: Any, of: str) -> None:  # noqa: ANN401
    world = World("oracle")
    artifact = b"an artifact"
    root = tmp_path / "root.json"
    root.write_text(json.dumps(world.trusted_root()))
    signer = world.keyless()
    act = (
        world.sign(artifact, signer, log=log)
        if of == "message"
        else world.sign_statement(
            statements.statement(digest_of(artifact), statements.SLSA_V1, statements.slsa_v1()),
            signer,
            log=log,
        )
    )
    bundle, file = tmp_path / "b.json", tmp_path / "a"
    bundle.write_text(json.dumps(act.bundle()))
    file.write_bytes(artifact)
    identity = workflow()
    said = [
        "--bundle",
        str(bundle),
        "--certificate-identity",
        identity.san.value,
        "--certificate-oidc-issuer",
        identity.extensions[8],
        "--trusted-root",
        str(root),
        str(file),
    ]
    assert verify_bundle_main(said) == 0
    theirs = opinion(
        bundle.read_bytes(), artifact, root, identity.san.value, identity.extensions[8]
    )
    assert theirs == "accept"
