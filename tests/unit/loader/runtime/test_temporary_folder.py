"""Where the launcher's FIFO lies: never where somebody else could put another in its place.

What comes out of that FIFO is what the runtime imports (CASES A181: `TMPDIR=/evil`).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loader.runtime import launcher
from loader.runtime.calls import Call, Client
from loader.runtime.clients import clean_environment, temporary_folder

NOBODY = 65534


def launched_in(environment: dict[str, str]) -> Path:
    client = Client(
        name="sh",
        path=Path("/bin/sh"),
        prefix=("-c",),
        environment=clean_environment(environment),
        calls={"go": Call(arguments=('echo "$TMPDIR"',))},
    )
    with launcher.Launcher.start(client) as started:
        assert started.run("go").stdout.decode().strip() == client.environment.get("TMPDIR", "")
        return started._folder.parent


def test_a_folder_of_ones_own_is_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert launched_in({"TMPDIR": str(tmp_path)}) == tmp_path
    tmp_path.chmod(0o1777)
    assert launched_in({"TMPDIR": str(tmp_path)}) == tmp_path, "like /tmp itself"


def evil(tmp_path: Path, kind: str) -> Path:
    folder = tmp_path / "evil"
    folder.mkdir()
    match kind:
        case "everybody's":
            folder.chmod(0o777)
        case "a group's":
            folder.chmod(0o770)
        case "below everybody's":
            folder.chmod(0o777)
            folder /= "own"
            folder.mkdir(mode=0o700)
        case "somebody else's":
            if os.geteuid() != 0:
                pytest.skip("needs root to give a folder away")
            os.chown(folder, NOBODY, NOBODY)
        case "a link":
            folder.chmod(0o777)
            (tmp_path / "link").symlink_to(folder)
            folder = tmp_path / "link"
        case "not there":
            folder.rmdir()
        case _:
            return Path("evil")
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        "everybody's",
        "a group's",
        "below everybody's",
        "somebody else's",
        "a link",
        "not there",
        "relative",
    ],
)
@pytest.mark.may_skip("the suite is not always run as root")
def test_a_folder_that_others_may_change_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = evil(tmp_path, kind)
    (tmp_path / "good").mkdir(mode=0o700)
    monkeypatch.setattr(launcher, "TEMPORARY", (tmp_path / "good",))
    monkeypatch.setenv("TMPDIR", str(folder))
    assert launched_in({"TMPDIR": str(folder)}) == tmp_path / "good"
    assert temporary_folder({"TMPDIR": str(folder)}) is None
    assert not folder.exists() or not list(folder.rglob("airlock*"))
