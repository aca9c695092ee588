"""`airlock trust import`: out of another client's cache, verified, with no server to ask."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bundler.cli import main
from bundler.notary.captured import Captured
from loader.trust_folder import TrustFolder
from tests.fakes.notaryworld import AT, Repository
from tests.fakes.tuf_repository import TufRepository, plain_key

GUN = "docker.io/acme/app"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder


def take(*arguments: str | Path, at: datetime = datetime(2026, 8, 1, tzinfo=UTC)) -> int:
    return main(["trust", "import", *map(str, arguments)], clock=lambda: at)


def test_dc_8_a_cache_of_docker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notary = Repository(gun=GUN)
    cache = tmp_path / "cache"
    Captured(gun=GUN, files=notary.publish(), origin="here").write(cache)
    (cache / "private").mkdir()
    (cache / "private/0000.key").write_text("a private key is nobody's business")
    out = tmp_path / "out"
    assert take(cache, "-o", out, at=AT) == 0
    said = capsys.readouterr().out
    assert f"{GUN}: 5 files from {cache}" in said
    assert "NOT PINNED" in said
    [entry] = TrustFolder(out).entries("hub")
    assert (entry.kind, entry.repository) == ("notary", GUN)
    assert not (out / "private").exists()
    assert take(cache, "docker.io/acme/other", "-o", out, at=AT) == 2, "it does not hold that one"


def test_a_cache_of_docker_that_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notary = Repository(gun=GUN)
    files = notary.publish() | {"targets": notary.files["snapshot"]}
    Captured(gun=GUN, files=files, origin="here").write(tmp_path / "cache")
    assert take(tmp_path / "cache", "-o", tmp_path / "out", at=AT) == 11
    assert "error[signature.notary]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cache_of_a_sigstore_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`~/.sigstore`: one repository, somewhere below, by the root that somebody names."""
    repository = TufRepository()
    repository.keys["root"] = [plain_key("acme/root", keyid="abcd")]
    repository.new_root()
    repository.target("trusted_root.json", b"{}")
    git = repository.publish().git()
    cache = tmp_path / ".sigstore"
    write(cache / "root/tuf.acme.example", {k.removeprefix("metadata/"): v for k, v in git.items()})
    (tmp_path / "1.root.json").write_bytes(repository.roots[1])
    out = tmp_path / "out"
    assert take(cache, "-o", out) == 2
    assert "--root FILE" in capsys.readouterr().err
    assert take(cache, "-o", out, "--root", tmp_path / "1.root.json") == 0
    said = capsys.readouterr().out
    assert "  root 2, until 2036-01-01T00:00:00Z" in said
    assert "'abcd'; nothing rests on them" in said
    assert "target trusted_root.json: there" in said
    [entry] = TrustFolder(out).entries("acme")
    assert set(entry.names) == set(repository.files)


@pytest.mark.parametrize("name", ["sigstore", "github"])
def test_a_built_in_root_by_its_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = write(tmp_path / "cache", TufRepository().publish().git())
    assert take(cache, "-o", tmp_path / "out", "--root", name) == 15
    assert "error[trustroot." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_folder(tmp_path: Path) -> None:
    assert take(tmp_path / "nowhere", "-o", tmp_path / "out") == 2
    (tmp_path / "empty").mkdir()
    assert take(tmp_path / "empty", "-o", tmp_path / "out", "--root", "sigstore") == 2
