"""`doctor` names what a load would stumble over, or what somebody else could change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher

KEPT = {"config": "config.toml", "policy": "policy.toml", "anchors": "anchors"}


@pytest.mark.parametrize("what", KEPT)
def test_what_others_may_write_is_said(what: str, tmp_path: Path) -> None:
    host = FarSide(Publisher().write_host(tmp_path / "host"), tmp_path / "loaded")
    folder = host.root / "etc/airlock"
    (folder / "config.toml").write_text("schema = 1\n")
    (folder / "anchors").mkdir()
    (folder / "anchors/more.pub").write_text("")
    found = {one["what"]: one for one in host.run("doctor", "--json").verdict["findings"]}
    assert {found[name]["health"] for name in KEPT} == {"ok"}
    path = folder / KEPT[what]
    spoiled = path / "more.pub" if path.is_dir() else path
    spoiled.chmod(0o666)
    ran = host.run("doctor", "--json")
    found = {one["what"]: one for one in ran.verdict["findings"]}
    others = {found[name]["health"] for name in KEPT if name != what}
    assert others == {"ok"}
    assert found[what]["health"] == ("fault" if what == "config" else "warning")
    assert "others may write" in found[what]["words"]
    assert spoiled.name in found[what]["words"]
    if what == "config":
        assert ran.status == 20
