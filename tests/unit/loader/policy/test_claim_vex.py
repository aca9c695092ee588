"""`vex` of `claim = "vulnerabilities"`: OpenVEX by those whom policy names, and by nobody else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loader.errors import PolicyFileError
from loader.model.vex import STATEMENT_COUNT_MAX
from loader.policy.facts import Judgement
from tests.fakes.sigworld.encoding import Json
from tests.unit.loader.policy.claiming import BY_KEY, attest, claims, facts, require, run
from tests.unit.loader.policy.judging import CREATED
from tests.unit.loader.policy.scene import AS_PACKED, Scene
from tests.unit.loader.policy.vexing import ASKED, CVE, LATE, OPENVEX, counts, say, scan, vex

OTHER = "sha256:" + "0" * 64


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    scan(made)
    return made


@pytest.mark.parametrize("status", ["not_affected", "fixed"])
@pytest.mark.parametrize("kind", [OPENVEX, "https://openvex.dev/ns"])
def test_vex_silences_a_finding_and_the_verdict_says_by_whom(
    scene: Scene, status: str, kind: str
) -> None:
    counts(scene)
    document = vex(scene.image.digest, status)
    attest(scene, kind, document, by=scene.world.managed("second"))
    judgement = run(scene, ASKED)
    [fact] = [one for one in claims(judgement)[0].facts if one.name == "silenced"]
    assert fact.value.startswith(f"1 finding: {CVE} openssl 1.0 ({status}")
    assert fact.source.startswith("VEX by key 'second'")
    why = [one.why_not for one in judgement.images[0].considered if "openvex" in one.piece.what]
    assert [str(one) for one in why if one is not None and "heard as VEX" in one.message]
    assert facts(judgement)["findings"] == "1 critical"  # what the scanner said stays said


def test_vex_is_heard_only_where_policy_says_so(scene: Scene) -> None:
    say(scene, vex(scene.image.digest))
    counts(scene, require("vulnerabilities", "max = { critical = 0 }"))
    # Who is heard under one requirement is not heard under another.
    counts(scene, ASKED + require("vulnerabilities", "max = { critical = 0 }"))
    assert run(scene, ASKED)


def test_vex_by_a_stranger_silences_nothing(scene: Scene) -> None:
    say(scene, vex(scene.image.digest), by="release")
    counts(scene)
    judgement = scene.refused(AS_PACKED + ASKED).judgement
    assert isinstance(judgement, Judgement)
    [why] = [x.why_not for x in judgement.images[0].considered if "openvex" in x.piece.what]
    assert why is not None
    assert why.code == "signature.mismatch"
    # Neither does the one who made the scan, unless `vex` names them as well.
    attest(scene, OPENVEX, vex(scene.image.digest))
    counts(scene)


def test_vex_in_another_image_s_attestation(scene: Scene) -> None:
    say(scene, vex(scene.image.digest), on=OTHER)
    counts(scene)


@pytest.mark.parametrize(
    "product", [f"pkg:oci/app@{OTHER}", "pkg:oci/app", "app", "pkg:oci/app@1.0.0"]
)
def test_vex_about_another_product(scene: Scene, product: str) -> None:
    say(scene, vex(scene.image.digest, products=[{"@id": product}]))
    counts(scene)


def test_vex_about_another_vulnerability_or_by_an_alias(scene: Scene) -> None:
    say(scene, vex(scene.image.digest, vulnerability={"name": "CVE-2026-9999"}))
    counts(scene)
    say(scene, vex(scene.image.digest, vulnerability={"name": "GHSA-x", "aliases": [CVE]}))
    assert run(scene, ASKED)


@pytest.mark.parametrize(
    ("part", "silenced"),
    [
        ("pkg:deb/debian/openssl@1.0", True),
        ("pkg:deb/debian/openssl?arch=amd64", True),
        ("pkg:deb/debian/openssl@1.1", False),
        ("pkg:deb/debian/zlib@1.0", False),
        ("pkg:golang/example.org/openssl@1.0", False),
        ("pkg:deb/debian/openssl@1.0#usr/lib/engines", False),
        ("pkg:deb/debian/openssl?arch=amd64#usr/lib/engines", False),
    ],
)
def test_vex_about_a_part(scene: Scene, part: str, *, silenced: bool) -> None:
    product: Json = {"@id": scene.image.digest, "subcomponents": [{"@id": part}]}
    say(scene, vex(scene.image.digest, products=[product]))
    if silenced:
        assert run(scene, ASKED)
    else:
        counts(scene)


@pytest.mark.parametrize("status", ["affected", "under_investigation"])
def test_a_newer_statement_opens_a_finding_again(scene: Scene, status: str) -> None:
    say(scene, vex(scene.image.digest, "fixed"))
    say(scene, vex(scene.image.digest, "fixed"))  # said twice is said once
    assert facts(run(scene, ASKED))["silenced"].startswith("1 finding:")
    say(scene, vex(scene.image.digest, status, timestamp=LATE))
    counts(scene)


def test_a_newer_statement_against_it_needs_no_part(scene: Scene) -> None:
    say(scene, vex(scene.image.digest))
    product: Json = {"@id": scene.image.digest, "subcomponents": [{"@id": "pkg:deb/x/lib%2B%2B"}]}
    say(scene, vex(scene.image.digest, "affected", timestamp=LATE, products=[product]))
    counts(scene)


def test_a_newer_statement_closes_it_and_an_equal_one_does_not(scene: Scene) -> None:
    say(scene, vex(scene.image.digest, "affected"))
    say(scene, vex(scene.image.digest))
    counts(scene)
    say(scene, vex(scene.image.digest, timestamp=LATE))
    assert run(scene, ASKED)


def test_a_statement_from_the_future_silences_nothing(scene: Scene) -> None:
    say(scene, vex(scene.image.digest, timestamp="2026-01-20T00:00:00Z"))
    counts(scene)
    assert scene.run(AS_PACKED + ASKED, now=CREATED + timedelta(days=5))


@pytest.mark.parametrize(
    "over",
    [
        {"status": "harmless"},
        {"status": None},
        {"products": None},
        {"products": "app"},
        {"vulnerability": CVE},
        {"timestamp": "yesterday"},
        {"justification": None},
        {"products": [{"@id": "app", "subcomponents": []}]},
    ],
    ids=str,
)
def test_a_broken_document_says_nothing_at_all(scene: Scene, over: Json) -> None:
    document = vex(scene.image.digest)
    document["statements"] += vex(scene.image.digest, **over)["statements"]
    say(scene, document)
    counts(scene)
    say(scene, [])
    say(scene, None)
    counts(scene)


def test_a_huge_document_says_nothing_at_all(scene: Scene) -> None:
    document = vex(scene.image.digest)
    document["statements"] *= STATEMENT_COUNT_MAX + 1
    say(scene, document)
    counts(scene)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['vex = { key = "second" }'], "none are counted"),
        (["max = { critical = 0 }", "vex = {}"], "nobody is named"),
        (["max = { critical = 0 }", "vex = true"], "not a table"),
        (["max = { critical = 0 }", 'vex = { key = "second", threshold = 2 }'], "threshold"),
        (["max = { critical = 0 }", 'vex = { key = "second", author = "x" }'], "author"),
    ],
)
def test_vex_that_would_mean_nothing(scene: Scene, lines: list[str], message: str) -> None:
    with pytest.raises(PolicyFileError, match=message):
        scene.policy(AS_PACKED + require("vulnerabilities", *lines, who=BY_KEY))


def test_vex_names_an_anchor_that_must_be_there(scene: Scene) -> None:
    policy = scene.policy(AS_PACKED + ASKED)
    assert "second" in {use.name for use in policy.uses}


def test_one_requirement_hears_nobody_whom_another_names(scene: Scene) -> None:
    say(scene, vex(scene.image.digest), by="second")
    other = ASKED.replace('key = "second"', 'key = "packer"')
    assert facts(run(scene, ASKED))["silenced"].startswith("1 finding:")
    counts(scene, ASKED + other)
    counts(scene, other + ASKED)
