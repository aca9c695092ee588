from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from loader.errors import InputError, PartialInputError
from loader.source import BundleFile

BYTES = bytes(range(256)) * 40


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.tar.zst"
    path.write_bytes(BYTES)
    return path


def test_reads_front_to_back_and_counts(archive: Path) -> None:
    with BundleFile.open(archive) as source:
        pieces = []
        while piece := source.read(1000):
            pieces.append(piece)
        assert b"".join(pieces) == BYTES
        assert source.position == source.size == len(BYTES)
        assert source.read(1) == b""


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _link(path: Path) -> Path:
    path.symlink_to("/etc/passwd")
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _dangling(path: Path) -> Path:
    path.symlink_to("nowhere")
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    return path


def _device(path: Path) -> Path:
    del path
    return Path("/dev/null")


def _standard_input(path: Path) -> Path:
    del path
    return Path("-")


def _nothing(path: Path) -> Path:
    return path


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (_folder, "a folder"),
        (_fifo, "a FIFO"),
        (_link, "a link"),
        (_loop, "a link"),
        (_dangling, "a link"),
        (_socket, "No such device or address"),
        (_device, "a character device"),
        (_standard_input, ""),
        (_nothing, "No such file or directory"),
    ],
)
def test_only_a_regular_file_is_opened(make: object, found: str, tmp_path: Path) -> None:
    path = make(tmp_path / "x")  # type: ignore[operator]
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(InputError) as error:
        BundleFile.open(path)
    assert error.value.found == found
    assert error.value.exit_status == 20
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "an open file was left behind"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.may_skip("CI runs as root, who reads everything")
def test_an_unreadable_file_is_this_machines_fault(archive: Path) -> None:
    archive.chmod(0)
    with pytest.raises(InputError):
        BundleFile.open(archive)


def test_what_was_opened_is_read_whatever_the_path_leads_to(archive: Path) -> None:
    """A121, T37: another file is renamed into its place while it is read."""
    other = archive.with_name("other")
    other.write_bytes(b"evil" * 3000)
    with BundleFile.open(archive) as source:
        first = source.read(100)
        other.rename(archive)
        rest = source.read(1 << 20)
    assert first + rest == BYTES


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_file_that_somebody_still_writes_is_not_held_to_be_broken(
    archive: Path, change: str
) -> None:
    with BundleFile.open(archive) as source:
        source.read(10)
        source.expect_whole()
        match change:
            case "grow":
                with archive.open("ab") as file:
                    file.write(b"more")
            case "shrink":
                os.truncate(archive, 100)
            case _:
                os.utime(archive, (1, 1))
        with pytest.raises(PartialInputError) as error:
            source.expect_whole()
        assert error.value.error_class == "partial-input"


def test_a_medium_that_fails_says_where(archive: Path) -> None:
    with BundleFile.open(archive) as source:
        source.read(10)
        fd = source._fd
        source._fd = os.open("/proc/self/mem", os.O_RDONLY)  # reading at 0 is EIO
        os.close(fd)
        with pytest.raises(InputError, match="byte 10"):
            source.read(10)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        BundleFile.open(tmp_path / "a\x1b[31m\nb")
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)
