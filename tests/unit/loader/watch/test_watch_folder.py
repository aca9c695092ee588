"""The names in a folder: one that a damaged medium cannot tell of hides no other."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from loader.errors import SpoolError
from loader.watch.spool import Spool


def breaking(monkeypatch: pytest.MonkeyPatch, *broken: str, code: int = errno.EIO) -> None:
    """What NTFS and exFAT answer for a file whose record is damaged."""
    real = os.stat

    def stat(path: str, **options: Any) -> os.stat_result:  # noqa: ANN401
        if path in broken:
            raise OSError(code, os.strerror(code), path)
        return real(path, **options)

    monkeypatch.setattr("loader.watch.spool.os.stat", stat)


@pytest.mark.parametrize("code", [errno.EIO, errno.EUCLEAN, errno.EOVERFLOW])
def test_a_file_that_the_medium_cannot_tell_of_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for name in ("a.tar", "b.tar", "c.tar"):
        (tmp_path / name).write_bytes(b"x")
    breaking(monkeypatch, "b.tar", code=code)
    with Spool.open(tmp_path, file_systems="any") as spool:
        listing = spool.list()
    assert [one.name for one in listing.files] == ["a.tar", "b.tar", "c.tar"]
    assert os.strerror(code) in listing.files[1].fault
    assert [one.fault for one in (listing.files[0], listing.files[2])] == ["", ""]


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(_: int) -> None:
        raise OSError(errno.EIO, "taken out")

    with Spool.open(tmp_path, file_systems="any") as spool:
        monkeypatch.setattr("loader.watch.spool.os.scandir", scandir)
        with pytest.raises(SpoolError, match="cannot be read"):
            spool.list()
