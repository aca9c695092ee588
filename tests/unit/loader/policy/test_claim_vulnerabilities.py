"""`claim = "vulnerabilities"`: results, counts, ages, exceptions (row CT-5)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.model.strictjson import JsonValue
from loader.policy.model import Policy
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.unit.loader.policy.claiming import BY_KEY, attest, claims, facts, require, run
from tests.unit.loader.policy.judging import CREATED, NAME
from tests.unit.loader.policy.scene import AS_PACKED, Scene

VULN = statements.COSIGN_VULN
FINISHED = "2026-01-15T11:00:00Z"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def trivy(*found: tuple[str, str, str, str]) -> Json:
    """Trivy's JSON of these: id, package, severity, version that mends it."""
    return {
        "SchemaVersion": 2,
        "ArtifactName": "app",
        "Results": [
            {
                "Target": "app (debian 12)",
                "Class": "os-pkgs",
                "Vulnerabilities": [
                    {
                        "VulnerabilityID": name,
                        "PkgName": package,
                        "InstalledVersion": "1.0",
                        "FixedVersion": fixed,
                        "Severity": severity,
                        "References": ["https://x.example"],
                    }
                    for name, package, severity, fixed in found
                ],
            },
            {"Target": "nothing found here", "Class": "lang-pkgs"},
        ],
    }


def grype(*found: tuple[str, str, str, str]) -> Json:
    return {
        "matches": [
            {
                "vulnerability": {
                    "id": name,
                    "severity": severity.capitalize(),
                    "fix": {"versions": [], "state": "fixed" if fixed else "not-fixed"},
                },
                "relatedVulnerabilities": [{"id": "CVE-1999-0001", "severity": "Critical"}],
                "artifact": {"name": package, "version": "1.0"},
            }
            for name, package, severity, fixed in found
        ],
        "descriptor": {"name": "grype", "version": "0.90"},
    }


SCORE = {"CRITICAL": "9.8", "HIGH": "7.0", "MEDIUM": "5.5", "LOW": "2.0"}


def sarif(*found: tuple[str, str, str, str]) -> Json:
    return {
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Trivy",
                        "rules": [
                            {"id": name, "properties": {"security-severity": SCORE[severity]}}
                            for name, _, severity, _ in found
                        ],
                    }
                },
                "results": [
                    {
                        "ruleId": name,
                        "level": "note",
                        "locations": [{"physicalLocation": {"artifactLocation": {"uri": package}}}],
                    }
                    for name, package, _, _ in found
                ],
            }
        ],
    }


def in_toto(*found: tuple[str, str, str, str]) -> list[Json]:
    return [
        {"id": name, "severity": [{"method": "nvd", "score": SCORE[severity]}]}
        for name, _, severity, _ in found
    ]


FOUND = (
    ("CVE-2026-0001", "openssl", "CRITICAL", "1.1"),
    ("CVE-2026-0002", "zlib", "HIGH", ""),
    ("CVE-2026-0003", "zlib", "HIGH", "1.2"),
    ("CVE-2026-0004", "curl", "MEDIUM", ""),
    ("CVE-2026-0005", "curl", "LOW", ""),
)


@pytest.mark.parametrize("made", [trivy, grype, sarif, in_toto], ids=lambda f: f.__name__)
def test_ct5_every_format_counts_alike(scene: Scene, made: object) -> None:
    kind = "https://in-toto.io/attestation/vulns/v0.1" if made is in_toto else VULN
    twice = (*FOUND, FOUND[0])  # one finding that is listed twice is one
    attest(scene, kind, statements.vulnerabilities(FINISHED, made(*twice)))  # type: ignore[operator]
    found = facts(run(scene, require("vulnerabilities")))
    assert found["findings"] == "1 critical, 2 high, 1 medium, 1 low"
    assert run(scene, require("vulnerabilities", "max = { critical = 1, high = 2 }"))
    refusal = refused(scene, require("vulnerabilities", "max = { critical = 0, high = 1 }"))
    assert (refusal.code, refusal.exit_status) == ("policy.contents", 14)
    assert "1 critical, 2 high" in refusal.found
    assert "CVE-2026-0001" in refusal.found
    low = "max = { critical = 1, high = 2, medium = 1, low = 0 }"
    assert "CVE-2026-0005" in refused(scene, require("vulnerabilities", low)).found


@pytest.mark.parametrize(
    "kind",
    [
        VULN,
        "cosign.sigstore.dev/attestation/vuln/v1",
        "https://in-toto.io/attestation/vulns/v0.1",
        "https://in-toto.io/attestation/vulns/v0.2",
    ],
)
def test_every_type_in_use(scene: Scene, kind: str) -> None:
    attest(scene, kind, statements.vulnerabilities(FINISHED, []))
    assert facts(run(scene, require("vulnerabilities")))["findings"] == "none"
    other = require("vulnerabilities", 'type = "https://in-toto.io/attestation/vulns/v9"')
    assert refused(scene, other).code == "no-evidence.claim"


def test_ct5_signed_and_empty_is_not_signed_and_clean(scene: Scene) -> None:
    """What `cosign attest --type vuln --predicate x.sarif` signs: nothing at all."""
    attest(scene, VULN, statements.vulnerabilities("0001-01-01T00:00:00Z"))
    refusal = refused(scene, require("vulnerabilities"))
    assert (refusal.code, refusal.exit_status) == ("policy.scan-empty", 14)
    assert "signed, but empty" in refusal.found
    let = run(scene, require("vulnerabilities", "require-results = false"))
    assert facts(let)["findings"] == "none: signed, and empty"
    aged = require("vulnerabilities", "require-results = false", 'max-age = "30d"')
    assert "no date" in refused(scene, aged).found
    undated = aged + "allow-undated = true\n"
    assert run(scene, undated)
    late = scene.refused(AS_PACKED + undated, now=CREATED + timedelta(days=31))
    assert "too old" in late.found


def test_ct5_clean_results_are_no_empty_ones(scene: Scene) -> None:
    for made in (trivy, grype, sarif):
        attest(scene, VULN, statements.vulnerabilities(FINISHED, made()))
    attest(scene, VULN, statements.vulnerabilities(FINISHED, {"SchemaVersion": 2}))
    text = require("vulnerabilities", "max = { critical = 0 }", 'quantifier = "all"')
    assert claims(run(scene, text))[0].holds == "met"


def test_a_result_that_nobody_can_count(scene: Scene) -> None:
    attest(scene, VULN, statements.vulnerabilities(FINISHED, {"vulnerabilities": []}))
    assert facts(run(scene, require("vulnerabilities")))["findings"] == "not countable"
    refusal = refused(scene, require("vulnerabilities", "max = { critical = 0 }"))
    assert "nobody here can count" in refusal.found


@pytest.mark.parametrize(
    ("finished", "message"),
    [
        ("2025-12-16T13:00:00Z", ""),
        ("2025-12-15T13:00:00Z", "too old"),
        ("2026-01-15T12:05:00Z", ""),
        ("2026-01-15T12:30:00Z", "after it was signed"),
        ("", "no date"),
    ],
)
def test_ct5_age(scene: Scene, finished: str, message: str) -> None:
    attest(scene, VULN, statements.vulnerabilities(finished, trivy()))
    text = require("vulnerabilities", 'max-age = "30d"')
    if not message:
        assert run(scene, text)
        return
    refusal = refused(scene, text)
    assert refusal.code == "policy.contents"
    assert message in refusal.found
    if message == "too old":
        assert "31d: 2025-12-15T13:00:00Z" in refusal.found


def test_what_is_let_through_has_a_reason_and_an_end(scene: Scene) -> None:
    attest(scene, VULN, statements.vulnerabilities(FINISHED, trivy(*FOUND)))
    line = (
        'ignore = [{ id = "CVE-2026-0001", until = 2026-01-20, reason = "not reachable, ACME-7" }]'
    )
    text = require("vulnerabilities", "max = { critical = 0 }", line)
    judgement = run(scene, text)
    (ignored,) = (f for f in claims(judgement)[0].facts if f.name == "ignored")
    assert (ignored.value, ignored.source) == (
        "CVE-2026-0001",
        "until 2026-01-20: not reachable, ACME-7",
    )
    last = CREATED.replace(day=20, hour=23)
    assert scene.run(AS_PACKED + text, now=last)
    over = scene.refused(AS_PACKED + text, now=last + timedelta(hours=2))
    assert "CVE-2026-0001" in over.found


def test_what_nobody_can_mend_may_be_left_away(scene: Scene) -> None:
    found = (("CVE-1-0001", "a", "CRITICAL", ""), ("CVE-1-0002", "b", "CRITICAL", "2"))
    attest(scene, VULN, statements.vulnerabilities(FINISHED, trivy(*found)))
    lines = ("max = { critical = 1 }", "ignore-unfixed = true")
    judgement = run(scene, require("vulnerabilities", *lines))
    assert ("ignored", "1 findings") in {(f.name, f.value) for f in claims(judgement)[0].facts}
    refusal = refused(scene, require("vulnerabilities", "max = { critical = 0 }", lines[1]))
    assert "CVE-1-0002" in refusal.found
    assert "CVE-1-0001" not in refusal.found


@pytest.mark.parametrize(
    "predicate",
    [
        None,
        [],
        {"scanner": None},
        {"scanner": {"result": {"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}]}]}}},
        {"scanner": {"result": {"Results": ["x"]}}},
        {"scanner": {"result": {"Results": [{"Vulnerabilities": {}}]}}},
        {"scanner": {"result": {"matches": [{}]}}},
        {"scanner": {"result": {"runs": [{}]}}},
        {"scanner": {"result": ["x"]}},
        {"scanner": {"result": [{}]}},
        {"scanner": {"result": None}, "metadata": []},
    ],
)
def test_what_is_no_scan(scene: Scene, predicate: object) -> None:
    attest(scene, VULN, predicate)
    refusal = refused(scene, require("vulnerabilities", "require-results = false"))
    assert (refusal.code, refusal.exit_status) == ("policy.contents", 14)
    assert "cannot be understood" in refusal.found


@pytest.mark.parametrize("word", ["UNKNOWN", "", "SEVERE", "P0", "10"])
def test_what_nobody_graded_counts_as_the_worst(scene: Scene, word: str) -> None:
    """It may be as bad as anything: under no bound at all it would be let through unseen."""
    found = (("CVE-1-0001", "a", word, ""), ("CVE-1-0002", "b", "HIGH", ""))
    attest(scene, VULN, statements.vulnerabilities(FINISHED, trivy(*found)))
    text = "max = { critical = 0, high = 1 }"
    refusal = refused(scene, require("vulnerabilities", text))
    assert refusal.code == "policy.contents"
    assert "1 of unknown severity: CVE-1-0001" in refusal.found
    assert "at most 0 critical or of unknown severity" in refusal.found
    assert "unless `max` bounds `unknown`" in refusal.hint
    assert run(scene, require("vulnerabilities", text.replace("= 0", "= 1", 1)))
    assert run(scene, require("vulnerabilities", "max = { critical = 0, high = 1, unknown = 1 }"))
    refused(scene, require("vulnerabilities", "max = { critical = 0, high = 1, unknown = 0 }"))
    assert run(scene, require("vulnerabilities", "max = { unknown = 1 }"))
    assert run(scene, require("vulnerabilities"))  # where nothing is bounded


@pytest.mark.parametrize(
    "result",
    [
        {"matches": [{"vulnerability": {"id": "CVE-1-1"}}]},
        {"runs": [{"tool": {"driver": {}}, "results": [{"ruleId": "CVE-1-1", "level": "fatal"}]}]},
        [{"id": "CVE-1-1"}],
        [{"id": "CVE-1-1", "severity": [{"method": "nvd", "score": "high-ish"}]}],
    ],
)
def test_a_grade_that_is_none_counts_as_the_worst(scene: Scene, result: JsonValue) -> None:
    attest(scene, VULN, statements.vulnerabilities(FINISHED, result))
    refusal = refused(scene, require("vulnerabilities", "max = { critical = 0 }"))
    assert "1 of unknown severity: CVE-1-1" in refusal.found


def test_scores_and_words() -> None:
    from loader.model.scan import _of_score, _severity  # noqa: PLC0415

    scores: list[tuple[JsonValue, str]] = [
        (9, "critical"),
        ("8.9", "high"),
        (4.0, "medium"),
        ("0.1", "low"),
        (0, "negligible"),
        ("HIGH", "high"),
        ("x", "unknown"),
        (None, "unknown"),
        (True, "unknown"),
        ([], "unknown"),
    ]
    for score, severity in scores:
        assert _of_score(score) == severity
    assert [_severity(x) for x in ("Important", "MODERATE", "")] == ["high", "medium", "unknown"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("max = {}", "asks for nothing"),
        ("max = { high = 0 }", "none for a worse one"),
        ("max = { critical = 0, medium = 0 }", "none for a worse one"),
        ("max = { severe = 0 }", "unknown key"),
        ("max = { critical = -1 }", "not an integer"),
        ('max = { critical = "0" }', "not an integer"),
        ("ignore-unfixed = true", "none are counted"),
        ('ignore = [{ id = "CVE-1-1", until = 2026-01-01, reason = "x" }]', "none are counted"),
        ("allow-undated = true", "no age is limited"),
        ("require-results = 0", "not true or false"),
        ('max-age = "forever"', "not a length"),
        ('max = { critical = 0 }\nignore = [{ id = "CVE-1-1", reason = "x" }]', "missing"),
        ('max = { critical = 0 }\nignore = [{ id = "CVE-1-1", until = 2026-01-01 }]', "missing"),
        (
            'max = { critical = 0 }\nignore = [{ id = "CVE-1-1", until = "2026-01-01" }]',
            "not a date",
        ),
        (
            'max = { critical = 0 }\nignore = [{ id = "*", until = 2026-01-01, reason = "x" }]',
            "not a vulnerability's id",
        ),
        ("max = { critical = 0 }\nignore = []", "not an array"),
    ],
)
def test_what_could_mean_nothing_is_refused(lines: str, message: str) -> None:
    text = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n'
    text += require("vulnerabilities", lines, who=BY_KEY)
    with pytest.raises(PolicyFileError) as caught:
        Policy.parse(text.encode(), where="policy.toml")
    assert message in caught.value.message
