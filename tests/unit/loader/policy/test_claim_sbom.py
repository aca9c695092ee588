"""`claim = "sbom"`: formats, plausibility, age, licences (rows CT-4, OP-3)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError
from loader.policy.model import Policy
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.unit.loader.policy.claiming import BY_KEY, attest, facts, require, run
from tests.unit.loader.policy.judging import CREATED, NAME
from tests.unit.loader.policy.scene import AS_PACKED, Scene

TAG_VALUE = """SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
Created: 2026-01-15T11:00:00Z
PackageName: a
PackageLicenseConcluded: MIT
PackageName: b
PackageLicenseConcluded: Apache-2.0
"""
SPDX_3 = {
    "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
    "@graph": [
        {"type": "CreationInfo", "created": "2026-01-15T11:00:00Z", "specVersion": "3.0.1"},
        {"type": "software_Package", "name": "a"},
        {"type": "software_Package", "name": "b"},
        {"type": "Relationship", "relationshipType": "contains"},
    ],
}
SYFT = {"artifacts": [{"name": "a"}, {"name": "b"}], "descriptor": {"name": "syft"}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(scene: Scene, *requirements: str) -> PolicyError:
    return scene.refused(AS_PACKED + "".join(requirements))


def spdx(*licences: str, **changes: object) -> Json:
    packages = [
        {"name": f"p{n}", "SPDXID": f"SPDXRef-{n}", "licenseConcluded": licence}
        for n, licence in enumerate(licences or ("MIT", "MIT"))
    ]
    return statements.spdx() | {"packages": packages} | changes


def cyclonedx(*licences: Json, **changes: object) -> Json:
    components = [
        {"type": "library", "name": f"c{n}", "licenses": [licence]}
        for n, licence in enumerate(licences or ({"license": {"id": "MIT"}},) * 2)
    ]
    return statements.cyclonedx() | {"components": components} | changes


@pytest.mark.parametrize(
    ("kind", "predicate", "asked", "shown"),
    [
        ("https://spdx.dev/Document", spdx(), "spdx", "SPDX SPDX-2.3"),
        ("https://spdx.dev/Document/v2.3", spdx(), "spdx", "SPDX SPDX-2.3"),
        ("https://spdx.dev/Document/v2.3", spdx(), "https://spdx.dev/Document/v2.3", "SPDX"),
        ("https://spdx.dev/Document", TAG_VALUE, "spdx", "SPDX tag-value SPDX-2.3"),
        ("https://spdx.dev/Document", {"Data": TAG_VALUE}, "spdx", "SPDX tag-value"),
        ("https://spdx.dev/Document", {"Data": spdx()}, "spdx", "SPDX SPDX-2.3"),
        ("https://spdx.dev/Document/v3", SPDX_3, "spdx", "SPDX SPDX-3"),
        ("https://cyclonedx.org/bom", cyclonedx(), "cyclonedx", "CycloneDX 1.6"),
        ("https://cyclonedx.org/bom/v1.6", cyclonedx(), "cyclonedx", "CycloneDX 1.6"),
        ("https://syft.dev/bom", SYFT, "syft", "Syft"),
    ],
)
def test_formats(scene: Scene, kind: str, predicate: object, asked: str, shown: str) -> None:
    attest(scene, kind, predicate)
    line = f'type = "{asked}"'
    found = facts(run(scene, require("sbom", line)))
    assert found["format"].startswith(shown)
    assert found["components"] == "2"
    assert run(scene, require("sbom", line, "min-components = 2"))
    assert refused(scene, require("sbom", line, "min-components = 3")).code == "policy.contents"


@pytest.mark.parametrize("kind", ["https://spdx.dev/Document", "https://spdx.dev/Document/v2.2"])
def test_ct4_a_literal_type_is_that_one_alone(scene: Scene, kind: str) -> None:
    attest(scene, kind, spdx())
    text = require("sbom", 'type = "https://spdx.dev/Document/v2.3"')
    assert refused(scene, text).code == "no-evidence.claim"


def test_ct4_a_list_without_components(scene: Scene) -> None:
    attest(scene, "https://spdx.dev/Document/v2.3", spdx(packages=[]))
    refusal = refused(scene, require("sbom", 'type = "spdx"'))
    assert (refusal.code, refusal.exit_status) == ("policy.contents", 14)
    assert "too few components; expected at least 1; found 0" in refusal.found
    assert run(scene, require("sbom", 'type = "spdx"', "min-components = 0"))


def test_ct4_of_another_image(scene: Scene) -> None:
    attest(scene, statements.SPDX, spdx(), on="sha256:" + "e" * 64)
    assert refused(scene, require("sbom", 'type = "spdx"')).exit_status == 11


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        ("cyclonedx", {k: v for k, v in cyclonedx().items() if k != "bomFormat"}),
        ("cyclonedx", cyclonedx(bomFormat="cyclonedx")),
        ("cyclonedx", cyclonedx(specVersion=None)),
        ("cyclonedx", cyclonedx(components={})),
        ("cyclonedx", cyclonedx(components=["a"])),
        ("cyclonedx", cyclonedx(metadata=[])),
        ("spdx", spdx(spdxVersion="2.3")),
        ("spdx", spdx(spdxVersion=2)),
        ("spdx", spdx(packages=None)),
        ("spdx", spdx(packages={})),
        ("spdx", spdx(packages=[1])),
        ("spdx", spdx(creationInfo=None)),
        ("spdx", "SPDXVersion"),
        ("spdx", "Created: 2026-01-15T11:00:00Z\nSPDXVersion: SPDX-2.3"),
        ("spdx", None),
        ("spdx", []),
        ("spdx", {}),
        ("spdx", {"Data": {"Data": spdx()}}),
    ],
)
def test_op3_what_is_no_bill_of_materials(scene: Scene, kind: str, predicate: object) -> None:
    uri = statements.SPDX if kind == "spdx" else statements.CYCLONEDX
    attest(scene, uri, predicate)
    refusal = refused(scene, require("sbom", f'type = "{kind}"'))
    assert (refusal.code, refusal.exit_status) == ("policy.contents", 14)


def test_components_within_components_count(scene: Scene) -> None:
    inner = {"name": "x", "components": [{"name": "y"}, {"name": "z"}]}
    attest(scene, statements.CYCLONEDX, cyclonedx(components=[inner]))
    assert facts(run(scene, require("sbom", 'type = "cyclonedx"')))["components"] == "3"


@pytest.mark.parametrize(
    ("created", "days", "message"),
    [
        ("2025-12-30T13:00:00Z", 16, ""),
        ("2025-12-30T13:00:00.123456789-01:00", 16, ""),
        ("2025-12-30T12:59:00Z", 16, "too old"),
        ("0001-01-01T00:00:00Z", 16, "no date"),
        ("yesterday", 16, "no date"),
        (None, 16, "no date"),
        ("2026-01-15T12:30:00Z", 16, "after it was signed"),
    ],
)
def test_age(scene: Scene, created: str | None, days: int, message: str) -> None:
    attest(scene, statements.SPDX, spdx(creationInfo={"created": created}))
    text = require("sbom", 'type = "spdx"', f'max-age = "{days}d"')
    if message:
        assert message in refused(scene, text).found
    else:
        assert run(scene, text)
        assert "too old" in scene.refused(AS_PACKED + text, now=CREATED + timedelta(days=1)).found


@pytest.mark.parametrize(
    ("licences", "asked", "wrong"),
    [
        (("MIT", "Apache-2.0"), 'deny = ["GPL-3.0-only"]', ""),
        (("MIT", "GPL-3.0-only"), 'deny = ["GPL-3.0-only"]', "p1 GPL-3.0-only"),
        (("MIT OR GPL-3.0-only",), 'deny = ["GPL-3.0-only"]', "p0"),
        (("MIT", "Apache-2.0"), 'allow = ["MIT", "Apache-2.0"]', ""),
        (("MIT", "(MIT AND Apache-2.0)"), 'allow = ["MIT", "Apache-2.0"]', ""),
        (("MIT", "BSD-3-Clause"), 'allow = ["MIT"]', "p1 BSD-3-Clause"),
        (("MIT", "NOASSERTION"), 'allow = ["MIT"]', "p1 NOASSERTION"),
        (("",), 'allow = ["MIT"]', "no component says its licence"),
    ],
)
def test_licences(scene: Scene, licences: tuple[str, ...], asked: str, wrong: str) -> None:
    attest(scene, statements.SPDX, spdx(*licences))
    text = require("sbom", 'type = "spdx"', f"licences = {{ {asked} }}")
    if wrong:
        assert wrong in refused(scene, text).found
    else:
        assert run(scene, text)


def test_licences_of_cyclonedx(scene: Scene) -> None:
    licences: tuple[Json, ...] = (
        {"license": {"id": "MIT"}},
        {"license": {"name": "Own"}},
        {"expression": "MIT OR GPL-2.0-only"},
    )
    attest(scene, statements.CYCLONEDX, cyclonedx(*licences))
    text = require("sbom", 'type = "cyclonedx"', 'licences = { deny = ["GPL-2.0-only"] }')
    assert "c2 MIT OR GPL-2.0-only" in refused(scene, text).found
    text = require("sbom", 'type = "cyclonedx"', 'licences = { allow = ["MIT", "GPL-2.0-only"] }')
    assert "c1 Own" in refused(scene, text).found


def test_a_tag_value_document_has_licences_too(scene: Scene) -> None:
    attest(scene, statements.SPDX, TAG_VALUE)
    text = require("sbom", 'type = "spdx"', 'licences = { deny = ["Apache-2.0"] }')
    assert "b Apache-2.0" in refused(scene, text).found


@pytest.mark.parametrize(
    "lines",
    [
        "",
        'type = "sbom"',
        'type = "spdx"\nmin-components = -1',
        'type = "spdx"\nmax-age = "30"',
        'type = "spdx"\nmax-age = 30',
        'type = "spdx"\nlicences = {}',
        'type = "spdx"\nlicences = { deny = [] }',
        'type = "spdx"\nlicences = { deny = ["MIT", "MIT"] }',
        'type = "spdx"\nlicences = { deny = ["MIT"], allow = ["MIT"] }',
        'type = "spdx"\nlicences = { deny = ["MIT OR X"] }',
        'type = "spdx"\nlicences = { denied = ["MIT"] }',
        'type = "spdx"\nmax = { critical = 0 }',
    ],
)
def test_what_could_mean_nothing_is_refused(lines: str) -> None:
    text = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n' + require("sbom", lines, who=BY_KEY)
    with pytest.raises(PolicyFileError):
        Policy.parse(text.encode(), where="policy.toml")
