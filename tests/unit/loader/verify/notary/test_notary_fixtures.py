"""The Notary fixtures: metadata that notary 0.7 and docker 20.10 wrote, and what became of it.

Each case says which roots are pinned, what the client saw before, when it is judged, and what comes
of it; the name of the test is its id. `notary` and docker take the roles in another order: where
they differ, docker's is the answer here.
"""

from __future__ import annotations

import json
import tarfile
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import AirlockError
from loader.model.notary_roles import BASE_ROLES, RELEASES, TARGETS
from loader.policy.claims.content_trust import ContentTrustClaim, weigh_trust
from loader.policy.speakers import Said
from loader.trust.notary_pins import NotaryPins
from loader.verify.notary.facts import ContentTrust
from tests.presence import SHARED, missing
from tests.unit.loader.verify.notary.judged import judged, pinned

pytestmark = pytest.mark.engine("shared")
Json = dict[str, Any]

REFUSED = {
    "removed-tag": "no-evidence.claim",
    "unknown-tag": "no-evidence.claim",
    "delegation-removed": "no-evidence.claim",
    "n-targets-changed": "signature.notary",
    "n-targets-changed-hashes-fixed": "signature.notary",
    "n-snapshot-changed": "signature.notary",
    "n-timestamp-changed": "signature.notary",
    "n-root-changed": "trustroot.notary",
    "n-signature-missing": "signature.notary",
    "n-mix-targets": "signature.notary",
    "n-mix-snapshot": "signature.notary",
    "n-rollback": "rollback.notary",
    "n-other-gun": "trustroot.notary",
    "n-other-gun-unpinned": "trustroot.notary",
    "n-delegation-missing": "signature.notary",
    "n-delegation-changed": "signature.notary",
    "n-delegation-older": "signature.notary",
    "n-expired": "expired",
    "n-missing-timestamp": "signature.notary",
    "n-root-new-unsigned-by-old": "trustroot.notary",
}
"""Why each case that must fail does, here; in the fixtures, why it does for the real client."""
BEFORE_ROTATION = "5329020c8e508e7752cc09a2916556ac0d8684bbb2fe0b99bdcb19f8de8a5b82"


@cache
def cases() -> dict[str, Json]:
    if missing("shared"):
        return {}
    document = json.loads((SHARED / "fixtures" / "fixtures.json").read_text())
    return {case["id"]: case for case in document["notary"]}


def files_of(archive: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(SHARED / "fixtures" / archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                found[member.name.removesuffix(".json")] = file.read()
    return found


def run(case: Json) -> ContentTrust:
    pins, seen = pinned(*case["pinned_root_keyids"], gun=case["gun"]), None
    if case["client_state"]:
        before = pins
        if "root-before-rotation" in case["client_state"]:
            before = pinned(BEFORE_ROTATION, gun=case["gun"])
        seen = judged(files_of(case["client_state"]), before, gun=case["gun"])
    return judged(files_of(case["metadata"]), pins, seen=seen, gun=case["gun"])


def verdict(case: Json, *, conflict: str = "docker-order") -> str:
    """The digest of the tag, or why there is none."""
    try:
        trust = run(case)
    except AirlockError as e:
        return e.code
    at = datetime.fromisoformat(case["reference_time"])
    if any(role.expires is not None and role.expires < at for role in trust.roles):
        return "expired"
    claim = ContentTrustClaim(
        said=Said(where="", speakers=()),
        notary_root="x",
        conflict=conflict,  # type: ignore[arg-type]
    )
    said = {one.role: one.fingerprint for one in trust.said(case["tag"])}
    chosen = said.get(RELEASES) or said.get(TARGETS)
    digest = "" if chosen is None else f"sha256:{chosen.sha256.hex()}"
    weighed = weigh_trust(claim, trust, b"", digest=Digest.of(b""), tag=case["tag"])
    problem = weighed.problem
    if problem is None or problem.code == "signature.unverified":
        return digest  # the bytes are not here; that they differ says that the tag was found
    return problem.code


@pytest.mark.parametrize("name", sorted(cases()))
def test_fixture(name: str) -> None:
    case = cases()[name]
    expected = case["digest"] if case["expect"] == "pass" else REFUSED[name]
    assert verdict(case) == case.get("docker_digest", expected)
    if "docker_digest" in case:
        assert verdict(case, conflict="refuse") == "policy.content-trust-conflict"


def test_all_are_here() -> None:
    assert len(cases()) == 32
    assert {n for n, case in cases().items() if case["expect"] == "fail"} == set(REFUSED)


def test_real_tools_said_the_same() -> None:
    for name, case in cases().items():
        if case["oracle"]:
            said = case["oracle"]["notary-0.7.0"]
            assert said.startswith(case["expect"]), name


def test_docker_trust_sign() -> None:
    """`docker trust sign` by docker 20.10: the tag is in `targets/releases` and by its signer."""
    case = cases()["docker-trust"]
    trust = run(case)
    said = trust.said("1.0.0")
    assert [one.role for one in said] == ["targets/acme", RELEASES]
    with tarfile.open(SHARED / "fixtures" / case["image"]) as outer:
        manifest = next(
            raw
            for member in outer
            if (file := outer.extractfile(member)) is not None
            and f"sha256:{Digest.of(raw := file.read()).hex}" == case["digest"]
        )
    assert [one.fingerprint.differs(manifest) for one in said] == ["", ""]


def test_dc_9_rotated_from_the_first_root() -> None:
    case = cases()["root-rotated"]
    trust = judged(files_of(case["metadata"]), [BEFORE_ROTATION], gun=case["gun"])
    assert (trust.begins, trust.seen.newest) == (2, 3)
    without = {n: r for n, r in files_of(case["metadata"]).items() if n == "root" or "." not in n}
    with pytest.raises(AirlockError) as caught:
        judged(without, [BEFORE_ROTATION], gun=case["gun"])
    assert caught.value.code == "trustroot.notary"


def test_dc_2_metadata_of_a_client_of_2016() -> None:
    """notary 0.3: RSA-PSS in a delegation, instants with offsets, a hundred years to expiry."""
    folder = SHARED / "real/notary-0.3/tuf/docker.com/notary0.3/tst/metadata"
    files = {str(p.relative_to(folder))[:-5]: p.read_bytes() for p in folder.rglob("*.json")}
    pins = NotaryPins.parse(files["root"], name="0.3", read=lambda _: b"")
    trust = judged(files, pins, gun="docker.com/notary0.3/tst")
    assert {role.name for role in trust.roles} == {*BASE_ROLES, RELEASES}
    assert [one.role for one in trust.said("hello")] == [RELEASES]
    assert all(role.problem == "" for role in trust.roles)
