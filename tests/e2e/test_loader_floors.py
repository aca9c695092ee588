"""Floors that a host did not learn by loading: Dangerzone's index, and those it is born with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.loading import POLICY, FarSide, Publisher

INDEXES = POLICY.replace(
    'match = "registry.acme.example/acme/*"',
    'match = "registry.acme.example/acme/*"\nrollback = "log-index"',
)


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(publisher: Publisher, tmp_path: Path) -> FarSide:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    (host.root / "etc/airlock/policy.toml").write_text(INDEXES)
    return host


def _position(host: FarSide, bundle: Path) -> tuple[str, int]:
    [image] = host.verify(bundle).verdict["images"]
    [place] = [log for claim in image["claims"] for log in claim["logs"]]
    return place["log"], place["log_index"]


def _import(host: FarSide, tmp_path: Path, text: str, *, log: str) -> int:
    path = tmp_path / "last_log_index"
    path.write_text(text)
    key = host.root / "etc/airlock/release.pub"
    return host.run("state", "import-log-index", path, "--key", key, "--log", log).status


def test_dz_4_dangerzones_last_log_index_is_honoured(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle)
    log, index = _position(host, bundle)
    assert _import(host, tmp_path, f"{index}\n", log=log) == 0
    assert host.load(bundle).status == 0, "the very entry is no older one"
    assert _import(host, tmp_path, f"{index + 1}", log=log) == 0
    newer = tmp_path / "2.tar.zst"
    publisher.bundle(newer, sequence=2, version="2", days=2)
    assert _position(host, newer)[1] == index + 1
    assert host.load(newer).status == 0
    assert _import(host, tmp_path, f"{index + 100}", log=log) == 0
    latest = tmp_path / "3.tar.zst"
    publisher.bundle(latest, sequence=3, version="3", days=3)
    ran = host.load(latest)
    assert (ran.status, ran.verdict["code"]) == (16, "rollback.log-index")
    assert host.load(latest, "--allow-downgrade", "the index was of another year").status == 0
    assert _import(host, tmp_path, "1", log=log) == 0, "and lowers nothing"
    assert dict.fromkeys(row[2] for row in host.memory()["logs"]) == {index + 100: None}
    assert "import-log-index: done" in host.run("history", "--all").out


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "1e9", "9" * 30, "1 2", '{"a": 1}'])
def test_what_is_no_index_is_not_imported(host: FarSide, tmp_path: Path, text: str) -> None:
    assert _import(host, tmp_path, text, log="00" * 32) == 2
    assert not host.state.exists()


def test_what_is_no_log_is_not_imported(host: FarSide, tmp_path: Path) -> None:
    assert _import(host, tmp_path, "1", log="rekor") == 2


def test_a106_a_new_host_knows_what_it_was_told_to_begin_with(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    """A106, A107: also after its memory was deleted."""
    (host.root / "etc/airlock/config.toml").write_text("schema = 1\n[floors]\nstable = 3\n")
    for number in (2, 3):
        publisher.bundle(tmp_path / f"{number}.tar.zst", sequence=number)
    for verb in (host.verify, host.load):
        ran = verb(tmp_path / "2.tar.zst")
        assert (ran.status, ran.verdict["code"]) == (16, "rollback.sequence")
        assert "config.toml" in ran.err
    assert host.load(tmp_path / "3.tar.zst").status == 0
    ran = host.load(tmp_path / "2.tar.zst", "--allow-downgrade", "three hangs")
    assert ran.status == 0
