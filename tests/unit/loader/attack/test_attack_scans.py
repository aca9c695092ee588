"""Attacks on scans: holes that are written so that nobody counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.errors import PolicyError
from loader.model.scan import read_scan
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.unit.loader.policy.claiming import (
    attest,
    facts,
    require,
    run,
)
from tests.unit.loader.policy.scene import AS_PACKED, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


BAD: Json = {"id": "CVE-2026-0001", "severity": "CrItIcAl "}
TRIVY_BAD: Json = {"VulnerabilityID": "CVE-2026-0001", "Severity": " critical"}


def sarif(result: Json, rule: Json) -> Json:
    rule = {"id": "CVE-2026-0001"} | rule
    driver = {"driver": {"rules": [rule]}}
    return {"runs": [{"tool": driver, "results": [{"ruleId": "CVE-2026-0001"} | result]}]}


@pytest.mark.parametrize(
    "result",
    [
        {"matches": [{"vulnerability": BAD}]},
        {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [TRIVY_BAD]}]},
        {"SchemaVersion": 2, "matches": [{"vulnerability": BAD}]},
        {"SchemaVersion": 2, "results": [{"Vulnerabilities": [TRIVY_BAD]}]},
        {"Results": None, "matches": [{"vulnerability": BAD}]},
        {"Results": [], "runs": [], "matches": [{"vulnerability": BAD}]},
        sarif({}, {"defaultConfiguration": {"level": "error"}}),
        sarif({"level": "error"}, {"properties": {}}),
    ],
)
def test_ct5_a_hole_is_not_hidden_by_how_it_is_written(scene: Scene, result: Json) -> None:
    attest(scene, statements.COSIGN_VULN, statements.vulnerabilities(result=result))
    refusal = refused(scene, require("vulnerabilities", "max = { critical = 0, high = 0 }"))
    assert refusal.code == "policy.contents"


@pytest.mark.parametrize("score", ["nan", "NaN", "-1", -0.5, "-inf"])
def test_ct5_what_is_no_score_is_not_negligible(score: object) -> None:
    (found,) = read_scan(
        {"scanner": {"result": sarif({}, {"properties": {"security-severity": score}})}}
    ).findings
    assert found.severity == "unknown"


@pytest.mark.parametrize(
    "finished",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-15T11:00:00", "2026-01-15", ""],
)
def test_ct5_a_date_that_nobody_can_go_by(scene: Scene, finished: str) -> None:
    attest(scene, statements.COSIGN_VULN, statements.vulnerabilities(finished, {"matches": []}))
    assert refused(scene, require("vulnerabilities", 'max-age = "30d"')).code == "policy.contents"


def test_ct5_a_clean_scan_does_not_wash_a_bad_one_where_all_must_hold(scene: Scene) -> None:
    for matches in ([], [{"vulnerability": BAD}]):
        scan = statements.vulnerabilities(result={"matches": matches})
        attest(scene, statements.COSIGN_VULN, scan)
    most = ("max = { critical = 0 }",)
    assert facts(run(scene, require("vulnerabilities", *most)))["findings"] == "none"
    everyone = require("vulnerabilities", *most, 'quantifier = "all"')
    assert refused(scene, everyone).code == "policy.quantifier"
