"""A health command that says no: the previous image's tag comes back, and the ledger says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.loading import Publisher
from tests.e2e.watching import Watcher
from tests.fakes.images import Layer
from tests.forked import Forker

NAME = "registry.acme.example/acme/app:1"


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for number in (1, 2, 3):
        publisher.bundle(
            folder / f"{number}.tar.zst",
            sequence=number,
            version=f"1.{number}",
            days=number,
            extra=[Layer.noise(100_000, seed=number)],
        )
    return folder


@pytest.fixture
def watcher(tmp_path: Path, forker: Forker, publisher: Publisher) -> Watcher:
    return Watcher.make(forker, publisher, tmp_path)


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def pointed_to(watcher: Watcher) -> str | None:
    index = watcher.host.loaded / "index.json"
    if not index.exists():
        return None
    [entry] = [
        one
        for one in json.loads(index.read_text())["manifests"]
        if one["annotations"]["org.opencontainers.image.ref.name"] == NAME
    ]
    return str(entry["digest"])


def test_an_unhealthy_image_gives_its_name_back_and_is_not_tried_again(
    watcher: Watcher, bundles: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    health = script(
        tmp_path / "health", f'echo "$@" >> {seen}; cat >> {seen}.json; test ! -e {tmp_path}/ill'
    )
    hook = script(tmp_path / "hook", f'echo "$@" >> {seen}; cat > /dev/null')
    watcher.configure(f'health = ["{health}", "--app", "x"]\nhook = ["{hook}"]')
    shutil.copy(bundles / "1.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert seen.read_text().splitlines() == ["--app x check", "loaded"]
    told = json.loads((tmp_path / "seen.json").read_text())
    assert (told["schema"], told["channel"], told["sequence"]) == ("airlock-watch/1", "stable", 1)
    assert told["images"] == [{"name": NAME, "digest": pointed_to(watcher)}]
    before = pointed_to(watcher), watcher.host.target(), watcher.host.memory()

    (tmp_path / "ill").touch()
    shutil.copy(bundles / "2.tar.zst", watcher.spool)
    assert watcher.look().status == 21
    assert watcher.code("2.tar.zst") == "runtime.unhealthy"
    assert (pointed_to(watcher), watcher.host.target(), watcher.host.memory()) == before
    assert watcher.host.quarantine() == []
    record = watcher.host.records()[-1]
    assert (record["outcome"], record["sequence"]) == ("failed", 2)
    assert record["failure"]["code"] == "runtime.unhealthy"
    assert seen.read_text().splitlines()[2:] == ["--app x check", "put-back"]

    assert watcher.look().status == 0, "known, and left alone"
    assert seen.read_text().splitlines()[4:] == []
    (tmp_path / "ill").unlink()
    shutil.copy(bundles / "3.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert watcher.sequence() == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [("exit 7", "found 7"), ("sleep 600", "took too long"), ("kill -9 $$", "found -9")],
)
def test_whatever_is_not_a_clear_yes_is_a_no(
    body: str, said: str, watcher: Watcher, bundles: Path, tmp_path: Path
) -> None:
    health = script(tmp_path / "health", f"cat > /dev/null; {body}")
    watcher.configure(f'health = ["{health}"]\nhealth-seconds = 1')
    shutil.copy(bundles / "1.tar.zst", watcher.spool)
    assert watcher.look().status == 21
    assert said in watcher.said[0]["words"]
    assert watcher.host.target() == {}
    assert watcher.sequence() == 0


def test_a_hook_that_fails_is_a_warning(watcher: Watcher, bundles: Path, tmp_path: Path) -> None:
    watcher.configure(f'hook = ["{script(tmp_path / "hook", "echo no >&2; exit 3")}"]')
    shutil.copy(bundles / "1.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert "the hook command says no" in watcher.said[0]["words"]
    assert watcher.sequence() == 1


@pytest.mark.parametrize("how", ["writable", "gone", "folder"])
def test_a146_a_command_that_others_may_change_runs_nothing(
    how: str, watcher: Watcher, bundles: Path, tmp_path: Path
) -> None:
    path = tmp_path / "health"
    script(path, "exit 0")
    match how:
        case "writable":
            path.chmod(0o777)
        case "gone":
            path.unlink()
        case _:
            path.unlink()
            path.mkdir()
    watcher.configure(f'health = ["{path}"]')
    shutil.copy(bundles / "1.tar.zst", watcher.spool)
    assert watcher.look().status == 21
    assert watcher.what() == {"1.tar.zst": "failed"}
    assert watcher.host.target() == {}


def test_a_bundle_that_is_there_already_asks_nobody(
    watcher: Watcher, bundles: Path, tmp_path: Path
) -> None:
    assert watcher.host.load(bundles / "1.tar.zst").status == 0
    health = script(tmp_path / "health", f"touch {tmp_path}/asked; exit 1")
    watcher.configure(f'health = ["{health}"]')
    shutil.copy(bundles / "1.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert watcher.what() == {"1.tar.zst": "current"}
    assert not (tmp_path / "asked").exists()
