from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.cli import main


@pytest.mark.parametrize("what", ["nothing", "a folder", "a pipe"])
def test_what_is_no_file_is_said_and_not_waited_for(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "saved.tar"
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    assert main(["compare", f"docker-archive:{path}", f"docker-archive:{path}"]) == 20
    said = capsys.readouterr().err
    assert "error[io.input]: the archive cannot be opened" in said
    assert "Traceback" not in said
