"""One test for each advisory that FORMATS §1.5 and THREATS T20 to T29 name: the attack, refused.

The attack is made anew with the signing world; what is asserted is the check that was missing.
What cannot happen here, and why:

| advisory | whose | why there is nothing to attack |
|---|---|---|
| CVE-2020-15163 | python-tuf | no TUF client: roots are pinned files, never a bundle's |
| CVE-2021-41131 | python-tuf | as above: no role's name becomes a path |
| CVE-2026-23991 | go-tuf | as above |
| CVE-2026-24686 | go-tuf | as above |
| CVE-2026-24137 | sigstore | as above: no target's name becomes a path |

"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loader.errors import PolicyFileError, RefusedError
from loader.policy.model import Policy
from loader.policy.patterns import Regexp
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact
from tests.fakes import attach
from tests.fakes.sigworld import statements, trustroot
from tests.fakes.sigworld.ca import CertificateAuthority
from tests.fakes.sigworld.encoding import b64, compact
from tests.fakes.sigworld.identity import person
from tests.fakes.sigworld.world import World
from tests.presence import ROOT, SHARED
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, Scene
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
    layer_of,
    managed,
    root_of,
    signed,
)

OTHER = "sha256:" + "cd" * 32
EVE = person("eve@example.com")
SCOPE = {
    "FORMATS.md": r"Known bugs this table prevents:.*",
    "THREATS.md": r"(?m)^\| T2\d \|.*",
}
ADVISORY = re.compile(r"CVE-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}")
ALIASES = {
    "GHSA-ccxc-vr6p-4858": "CVE-2022-23649",
    "GHSA-8gw7-4j42-w388": "CVE-2022-36056",
    "GHSA-whqx-f9j3-ch6m": "CVE-2026-22703",
    "GHSA-vjxv-45g9-9296": "CVE-2022-35929",
    "GHSA-w6c6-c85g-mmv6": "CVE-2026-39395",
    "GHSA-wqqc-jjcq-vfxm": "CVE-2026-54787",
}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# --- T20: log entry, signature, key and artifact are bound to one another -----------------------


def test_cve_2022_23649(world: World) -> None:
    # cosign: the promise of any entry passed for a proof that this signature is logged.
    signer = world.managed("publisher")
    mine = world.sign_image_legacy(IMAGE, signer)
    mine.entries = world.sign_image_legacy(IMAGE, world.managed("eve")).entries
    assert code_of(layer_of(mine.layer()), managed(world, signer)) == "signature.entry.signature"


def test_cve_2022_36056(world: World) -> None:
    # cosign: a bundle that does not refer to the signature, and a certificate of somebody else.
    signer = world.keyless()
    mine = world.sign(b"file", signer)
    other = world.sign(b"another", signer)
    for act, code in ((mine, ""), (other, "signature.digest")):
        bundle = bundle_of(act.bundle())
        try:
            verify_artifact(bundle, Message.of(b"file"), keyless(world))
            found = ""
        except RefusedError as e:
            found = e.code
        assert found == code
    twin = world.keyless(EVE, key=signer)
    mixed = copy.copy(mine)
    mixed.entries = world.sign(b"file", twin).entries
    assert code_of(bundle_of(mixed.bundle()), keyless(world)) == "signature.entry.key"


def test_cve_2026_22703(world: World) -> None:
    """A054."""
    # cosign with a trusted root: a genuine entry of another artifact, signature or key passed.
    signer, eve = world.keyless(), world.keyless(EVE)
    mine = world.sign_image(IMAGE, signer)
    for other, code in (
        (world.sign_image(OTHER, signer), "signature.entry.digest"),
        (world.sign_image(IMAGE, eve), "signature.entry.signature"),
        (world.sign_image(IMAGE, world.keyless(EVE, key=signer)), "signature.entry.key"),
    ):
        mixed = copy.copy(mine)
        mixed.entries = other.entries
        assert code_of(bundle_of(mixed.bundle()), keyless(world)) == code


def test_cve_2024_51746(world: World) -> None:
    # gitsign: of several entries found, the wrong one was looked at. Here every one must fit.
    mine = world.sign_image(IMAGE, world.keyless())
    mine.entries = [*mine.entries, *world.sign_image(OTHER, world.keyless(EVE)).entries]
    assert code_of(bundle_of(mine.bundle()), keyless(world)) == "signature.entry.digest"
    mine.entries.reverse()
    assert code_of(bundle_of(mine.bundle()), keyless(world)) == "signature.entry.digest"


# --- T21: what an attestation says of whom is looked at ------------------------------------------


def _statement(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    made = statements.statement(IMAGE, statements.SPDX, {"spdxVersion": "SPDX-2.3"})
    return {k: v for k, v in (made | changes).items() if v is not None}


def test_cve_2022_35929(scene: Scene) -> None:
    # cosign verify-attestation: no attestation of the type that was asked for, and it passed.
    image = scene.image
    said = statements.statement(image.digest, statements.SPDX, {"spdxVersion": "SPDX-2.3"})
    act = scene.world.sign_statement(said, scene.release, log="none")
    attach.attach_bundle(image, act.bundle())
    assert scene.refused(AS_PACKED + KEY).code == "no-evidence.claim"


def test_cve_2022_35930(scene: Scene) -> None:
    # policy-controller: the same in admission; besides, one image's attestation for another's.
    act = scene.world.sign_image(OTHER, scene.release, log="none")
    attach.attach_bundle(scene.image, act.bundle())
    assert scene.refused(AS_PACKED + KEY).code == "signature.unverified"


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"null",
        b"[]",
        compact(_statement(subject=[])),
        compact(_statement(subject=None)),
        compact(_statement(subject=[{"name": "app"}])),
        compact(_statement(subject=[{"digest": {}}])),
        compact(_statement(predicateType="")),
        compact(_statement(predicateType=None)),
        compact(_statement(_type="https://in-toto.io/Statement/v9")),
    ],
)
def test_cve_2026_39395(world: World, payload: bytes) -> None:
    # cosign verify-blob-attestation: a payload that cannot be read, or says nothing, passed.
    signer = world.managed("publisher")
    act = world.sign_statement(payload, signer, log="none")
    assert code_of(bundle_of(act.bundle()), managed(world, signer)) == "signature.payload"


# --- T22: whatever goes wrong is a refusal -------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x30\x00", b"\x30\x80"])
def test_cve_2026_44310(world: World, tmp_path: Path, raw: bytes) -> None:
    # gitsign: an empty certificate made it panic, and the exit status was 0.
    bundle = world.sign(b"file", world.keyless()).bundle()
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = b64(raw)
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "bundle").write_text(json.dumps(bundle))
    (tmp_path / "root.json").write_text(json.dumps(world.trusted_root()))
    done = _verify_blob(tmp_path)
    assert done.returncode in {11, 19}
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def _verify_blob(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loader", "verify-blob", str(folder / "file")]
    command += ["--bundle", str(folder / "bundle"), "--trusted-root", str(folder / "root.json")]
    command += ["--certificate-identity-regexp", r"https://github\.com/acme/app/.*"]
    command += ["--certificate-oidc-issuer", "https://token.actions.githubusercontent.com"]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


# --- T23: thresholds count logs, authorities and people ------------------------------------------


def _twice_logged(world: World) -> Any:  # noqa: ANN401
    """One signature, logged twice in one log."""
    act = world.sign_image(IMAGE, world.keyless())
    again = world.rekor1.add(act.entries[0].body, at=act.at)
    act.entries = [*act.entries, again]
    return act


def test_ghsa_9vcr_p3rj_q5q6(world: World) -> None:
    # sigstore-go: two entries in one log satisfied "two logs".
    facts = signed(bundle_of(_twice_logged(world).bundle()), keyless(world))
    assert len(facts.logs) == 2
    assert len({log.log for log in facts.logs}) == 1


def test_cve_2026_49834(scene: Scene) -> None:
    # sigstore-go: the same for timestamp authorities; policy counts whom, not how often.
    world = scene.world
    act = world.sign_image(scene.image.digest, world.keyless(), timestamp=True)
    act.timestamps = [
        world.tsa.timestamp(act.signature, at=act.at, nonce=nonce) for nonce in (1, 2)
    ]
    attach.attach_bundle(scene.image, act.bundle())
    assert scene.run(AS_PACKED + KEYLESS + "timestamps = 1\n")
    assert scene.refused(AS_PACKED + KEYLESS + "timestamps = 2\n").code == "policy.condition"


def _two(name: str) -> str:
    return f"""
[[image.require]]
claim = "signature"
any = [{{ key = "release" }}, {{ key = "{name}" }}]
threshold = 2
"""


def test_ghsa_3633_5h82_39pq(scene: Scene) -> None:
    # go-tuf: two signatures by one key reached a threshold of two.
    for _ in range(2):
        act = scene.world.sign_image(scene.image.digest, scene.release, log="none")
        attach.attach_bundle(scene.image, act.bundle())
    assert scene.refused(AS_PACKED + _two("second")).code == "policy.threshold"


def test_cve_2020_6174(scene: Scene) -> None:
    # python-tuf: one key under two names reached a threshold of two.
    (scene.folder / "anchors/alias").mkdir()
    (scene.folder / "anchors/alias/key.pub").write_bytes(scene.release.public_pem)
    act = scene.world.sign_image(scene.image.digest, scene.release, log="none")
    attach.attach_bundle(scene.image, act.bundle())
    assert scene.refused(AS_PACKED + _two("alias")).code == "policy.threshold"


@pytest.mark.parametrize("threshold", ["0", "-1", "true", "0.5", '"0"', "65"])
def test_cve_2026_23992(threshold: str) -> None:
    # go-tuf: a threshold of zero is met by nobody's signature.
    text = f"schema = 1\n{AS_PACKED}{_two('second')}".replace("= 2", f"= {threshold}")
    with pytest.raises(PolicyFileError):
        Policy.parse(text.encode(), where="policy.toml")


# --- T24: every window, at every verified time ---------------------------------------------------


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("tlogs", "signature.entry.time"),
        ("timestampAuthorities", "signature.timestamp"),
        ("certificateAuthorities", "signature.certificate.time"),
        ("ctlogs", "signature.sct"),
    ],
)
def test_cve_2026_54787(world: World, part: str, code: str) -> None:
    # sigstore-go: what a log's or authority's key signed after its window had ended.
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    document = world.trusted_root()
    for one in document[part]:
        one.get("publicKey", one)["validFor"] = trustroot.validity(
            world.since, world.at - timedelta(seconds=1)
        )
    assert code_of(bundle_of(act.bundle()), Material(trusted_root=root_of(document))) == code


def test_cve_2026_24122() -> None:
    # cosign: the issuing authority's certificate had expired when the leaf was used.
    world = World("expired", since_days=400)
    world.ca = CertificateAuthority(
        "expired", start=world.since, years=1, promises=[world.ct.promise()]
    )
    act = world.sign_image(IMAGE, world.keyless())
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.certificate.time"


def test_cve_2026_39984(world: World) -> None:
    # timestamp-authority: the certificate that was checked is not the one that signed.
    stranger = World("stranger").tsa
    act = world.sign_image(IMAGE, world.keyless(), log="none")
    act.timestamps = [stranger.timestamp(act.signature, at=act.at, embedded=[world.tsa.leaf])]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.timestamp"
    both = [world.tsa.leaf, stranger.leaf]
    act.timestamps = [stranger.timestamp(act.signature, at=act.at, embedded=both)]
    assert code_of(bundle_of(act.bundle()), keyless(world)) == "signature.timestamp"


def test_cve_2024_55655(world: World) -> None:
    # sigstore-python: an integrated time that no promise signs dated the certificate's use.
    act = world.sign_image(IMAGE, world.keyless())
    bundle = act.bundle(promise=False)
    assert "integratedTime" in bundle["verificationMaterial"]["tlogEntries"][0]
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.no-time"


# --- T25: one identity is not another ------------------------------------------------------------


@pytest.mark.parametrize(
    "san",
    [
        "https://evil.example/?https://github.com/acme/app/x",
        "https://github.com/acme/app/x\nhttps://evil.example",
        "https://github.com/acme/app",
        "https://github.com/acme/apple/x",
        "https://github.com.evil.example/acme/app/x",
        "HTTPS://github.com/acme/app/x",
    ],
)
def test_cve_2026_22772(san: str) -> None:
    # Fulcio and others: a pattern without anchors matches a part of a stranger's name.
    pattern = Regexp.parse(r"https://github\.com/acme/app/[^\n]+", where="policy")
    assert pattern.matches("https://github.com/acme/app/x")
    assert not pattern.matches(san)


# --- T28, T29 ------------------------------------------------------------------------------------


def _entries_of(count: int) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        bundle = world.sign_image(IMAGE, world.keyless()).bundle()
        [good] = bundle["verificationMaterial"]["tlogEntries"]
        junk = [{**good, "logIndex": str(n)} for n in range(count)]
        bundle["verificationMaterial"]["tlogEntries"] = junk
        return bundle

    return make


def _proof_of(count: int) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        bundle = world.sign_image(IMAGE, world.keyless()).bundle()
        proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
        proof["hashes"] = [b64(bytes(32))] * count
        return bundle

    return make


def _stamps_of(count: int) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        act = world.sign_image(IMAGE, world.keyless())
        act.timestamps = [
            world.tsa.timestamp(act.signature, at=act.at, nonce=n + 1) for n in range(count)
        ]
        return act.bundle()

    return make


def _subjects_of(count: int) -> Callable[[World], dict[str, Any]]:
    def make(world: World) -> dict[str, Any]:
        subject = [{"digest": {"sha256": f"{n:064x}"}} for n in range(count)]
        return world.sign_statement(_statement(subject=subject), world.keyless()).bundle()

    return make


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_entries_of(10_000), "limit.exceeded"),
        (_proof_of(65), "limit.exceeded"),
        (_stamps_of(33), "limit.exceeded"),
        (_subjects_of(1025), "signature.payload"),
    ],
    ids=["entries", "hashes", "timestamps", "subjects"],
)
def test_cve_2024_45395(world: World, make: Callable[[World], dict[str, Any]], code: str) -> None:
    # sigstore-go: lists without end in a bundle kept a verifier busy for ever.
    try:
        found = code_of(bundle_of(make(world)), keyless(world))
    except RefusedError as e:
        found = e.code
    assert found == code


def test_cve_2023_47122(world: World, tmp_path: Path) -> None:
    # gitsign: a log's key was fetched from the log. Here a root that does not know it says no,
    # whatever the environment names; and T26: no variable turns a check off.
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "bundle").write_text(json.dumps(world.sign(b"file", world.keyless()).bundle()))
    (tmp_path / "root.json").write_text(json.dumps(world.trusted_root(logs=[])))
    environment = {
        "SIGSTORE_REKOR_PUBLIC_KEY": str(tmp_path / "root.json"),
        "SIGSTORE_ROOT_FILE": str(tmp_path / "root.json"),
        "SIGSTORE_TUF_ROOT": str(tmp_path),
        "COSIGN_EXPERIMENTAL": "1",
        "COSIGN_INSECURE_IGNORE_TLOG": "1",
        "AIRLOCK_INSECURE": "1",
        "TUF_MIRROR": "https://evil.example",
    }
    done = _verify_blob(tmp_path, **environment)
    assert done.returncode == 11
    assert "error[signature.no-time]" in done.stderr


# --- the list is whole ---------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_dir")
def test_every_advisory_has_a_test_or_a_reason() -> None:
    named: set[str] = set()
    for file, scope in SCOPE.items():
        text = (SHARED / file).read_text(encoding="utf-8")
        named |= {one for part in re.findall(scope, text) for one in ADVISORY.findall(part)}
    assert len(named) > 25
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    excused = set(ADVISORY.findall(__doc__ or ""))
    missing = {
        one
        for one in {ALIASES.get(name, name) for name in named} - excused
        if f"test_{one.lower().replace('-', '_')}" not in tests
    }
    assert missing == set()
