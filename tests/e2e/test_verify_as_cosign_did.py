"""Every fixture that real cosign 3.1.3 judged, judged by `airlock verify` with the same flags.

The fixtures hold what cosign said of each. We say the same, but where a line below tells why not.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bundler.cli import main
from tests import presence

FIXTURES = presence.SHARED / "fixtures"
ORACLE = "cosign-3.1.3"
Fixture = dict[str, Any]

_REBUILT = (
    "cosign makes the log entry anew from the bundle, and does not look at what it says there"
)
_KIND = "cosign does not look at what kind of document was signed"
DIFFERENT = {
    "n-tlog-body-changed": _REBUILT,
    "n-proof-index": _REBUILT,
    "n-proof-index-negative": _REBUILT,
    "n-proof-size": _REBUILT,
    "n-proof-root": _REBUILT,
    "n-statement-type-other": _KIND,
    "n-legacy-type-other": _KIND,
    "n-legacy-type-atomic": _KIND,
    "n-legacy-timestamp-missing": "--use-signed-timestamps wants none where there is a log entry",
    "n-att-as-signature": "any attestation is a signature for cosign",
}
"""What cosign accepts and we do not. There is nothing that it refuses and we accept."""


def _listed() -> list[Fixture]:
    path = FIXTURES / "fixtures.json"
    if not path.is_file():
        return []
    every: list[Fixture] = json.loads(path.read_bytes())["fixtures"]
    return [one for one in every if ORACLE in (one.get("oracle") or {}) and "threshold" not in one]


def flags_of(fixture: Fixture) -> list[str]:
    verify = fixture["verify"]
    flags = ["--trusted-root", str(FIXTURES / verify["trusted_root"])]
    if "key" in verify:
        flags += ["--key", str(FIXTURES / verify["key"])]
    else:
        flags += ["--certificate-identity", verify["identity"]]
        flags += ["--certificate-oidc-issuer", verify["issuer"]]
    if not verify["require_tlog"]:
        flags.append("--insecure-ignore-tlog=true")
    if verify["require_timestamp"]:
        flags.append("--use-signed-timestamps")
    if fixture["kind"] == "attestation":
        flags += ["--type", verify["predicate_type"]]
    for name, value in verify.get("annotations", {}).items():
        flags += ["-a", f"{name}={value}"]
    return flags


@pytest.mark.parametrize("fixture", _listed(), ids=lambda f: f["id"])
def test_we_say_what_cosign_said(
    fixture: Fixture, shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(shared_dir / "fixtures" / fixture["layout"]) as tar:
        tar.extractall(tmp_path / "layout", filter="data")
    source = f"oci:{tmp_path / 'layout'}@{fixture['image']['digest']}"
    words = ["verify", source, *flags_of(fixture), "--json", "--cache", str(tmp_path / "cache")]
    status = main(words)
    said = capsys.readouterr()
    ours = "pass" if status == 0 else "fail"
    theirs = fixture["oracle"][ORACLE].partition(":")[0]
    assert status not in {2, 70}, said.err
    assert bool(said.out) is (ours == "pass")
    if fixture["id"] in DIFFERENT:
        assert (ours, theirs) == ("fail", "pass"), DIFFERENT[fixture["id"]]
        return
    assert ours == theirs, f"{fixture['why']}\n{fixture['oracle'][ORACLE]}\n{said.err}"
