"""Whole under its name, or not at all: full disks, signals, other runs, old leftovers, FAT."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundler.pack import publish as publishing
from bundler.pack.publish import file_system_of, publish, replace_document
from bundler.pack.writer import Written
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    BusyError,
    FileTooLargeError,
    InternalError,
    LocalError,
    NoSpaceError,
    ReadOnlyError,
    UsageError,
)
from loader.limits import GIB

ROOT = Path(__file__).parents[4]


def written(data: bytes) -> Written:
    return Written(size=len(data), digest=Digest.of(data))


def put(path: Path, data: bytes) -> None:
    with publish(path, size_max=len(data)) as out:
        out.write(data)
        out.commit(written(data))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_an_archive_and_its_digest_appear(tmp_path: Path) -> None:
    put(tmp_path / "b.tar.zst", b"content")
    assert names(tmp_path) == ["SHA256SUMS", "b.tar.zst"]
    assert (tmp_path / "b.tar.zst").read_bytes() == b"content"
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == "b.tar.zst: OK\n"


@pytest.mark.parametrize("name", ["SHA256SUMS", "sha256sums", "SHA256SUMS.part"])
def test_an_archive_is_not_called_as_the_sums_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="taken"):
        put(tmp_path / name, b"content")
    assert names(tmp_path) == []


def test_the_sums_of_other_files_stay(tmp_path: Path) -> None:
    for name in ("b", "a b", "new\nline", "back\\slash", "b"):
        put(tmp_path / name, name.encode())
    (tmp_path / "b").write_bytes(b"x")
    put(tmp_path / "b", b"newer")
    assert len((tmp_path / "SHA256SUMS").read_bytes().splitlines()) == 4
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )


def test_lines_that_somebody_else_wrote_into_the_sums_stay(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"# by hand\n\n")
    put(tmp_path / "b", b"1")
    line = hashlib.sha256(b"1").hexdigest().encode() + b"  b"
    assert (tmp_path / "SHA256SUMS").read_bytes().splitlines() == [b"# by hand", line]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_ends_early_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "b.tar.zst"
    put(path, b"old")
    with pytest.raises(error), publish(path, size_max=1) as out:  # noqa: PT012
        out.write(b"half")
        raise error
    assert names(tmp_path) == ["SHA256SUMS", "b.tar.zst"]
    assert path.read_bytes() == b"old"


def test_forgetting_to_commit_publishes_nothing(tmp_path: Path) -> None:
    with publish(tmp_path / "b", size_max=1) as out:
        out.write(b"x")
    assert names(tmp_path) == []


def test_a_file_of_another_size_than_was_written_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InternalError), publish(tmp_path / "b", size_max=1) as out:  # noqa: PT012
        out.write(b"x")
        out.commit(written(b"xy"))
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_run_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b.part").write_bytes(b"long leftovers")
    put(tmp_path / "b", b"x")
    assert (tmp_path / "b").read_bytes() == b"x"
    assert names(tmp_path) == ["SHA256SUMS", "b"]


def test_a_link_in_place_of_the_part_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "b.part").symlink_to(victim)
    with pytest.raises(LocalError):
        put(tmp_path / "b", b"x")
    assert victim.read_bytes() == b"precious"


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with publish(path, size_max=1) as first:
        with pytest.raises(BusyError), publish(path, size_max=1):
            pass
        first.write(b"1")
        first.commit(written(b"1"))
    assert path.read_bytes() == b"1"
    assert names(tmp_path) == ["SHA256SUMS", "b"]


def test_a_part_file_that_was_taken_away_while_we_waited_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "b.part"
    real = fcntl.flock
    taken: list[int] = []

    def late(descriptor: int, how: int) -> None:
        if not taken:
            taken.append(descriptor)
            part.unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    put(tmp_path / "b", b"x")
    assert (tmp_path / "b").read_bytes() == b"x"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as refused:
        put(tmp_path / "none" / "b", b"x")
    assert "none" in refused.value.where


def test_room_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(NoSpaceError, match="not enough room"),
        publish(tmp_path / "b", size_max=2**62),
    ):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EFBIG, FileTooLargeError),
        (errno.EROFS, ReadOnlyError),
        (errno.EIO, LocalError),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fails_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[AirlockError],
) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(error):
        put(tmp_path / "b", b"x")
    assert names(tmp_path) == []


@pytest.mark.engine("netns")
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    """A real file system of 1 MiB: there is room when it begins, and then there is none."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from bundler.pack.publish import publish
from loader.errors import NoSpaceError
folder = Path(sys.argv[1])
try:
    with publish(folder / "b", size_max=1000) as out:
        for _ in range(1000):
            out.write(bytes(65536))
except NoSpaceError as e:
    print(e.code, sorted(p.name for p in folder.iterdir()))
"""
    mount = (
        f'mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, script],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "nospace.disk []\n"


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from bundler.pack.publish import publish
with publish(Path(sys.argv[1]), size_max=1) as out:
    out.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        assert names(tmp_path) == ["b.part"]
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    assert process.returncode != 0
    assert names(tmp_path) == []


MOUNTS = b"""\
20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
21 20 0:40 / /mnt rw - tmpfs none rw
22 20 %d:%d / %s rw - vfat /dev/sdb1 rw
23 20 0:99 / /mnt/other rw shared:1 - fuseblk /dev/sdc1 rw
"""


def escaped(path: Path) -> bytes:
    return os.fsencode(path).replace(b"\\", b"\\134").replace(b" ", b"\\040")


def mount_table(tmp_path: Path, stick: Path, *, device: int) -> Path:
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS % (os.major(device), os.minor(device), escaped(stick)))
    return table


def test_a_stick_is_known_by_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    table = mount_table(tmp_path, Path("/elsewhere"), device=device)
    monkeypatch.setattr(publishing, "_MOUNTINFO", table)
    assert file_system_of(tmp_path).kind == "vfat"


def test_a_stick_is_known_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stick = tmp_path / "my stick"
    (stick / "deep").mkdir(parents=True)
    table = mount_table(tmp_path, stick, device=os.makedev(4095, 7))
    monkeypatch.setattr(publishing, "_MOUNTINFO", table)
    assert file_system_of(stick).kind == file_system_of(stick / "deep").kind == "vfat"
    assert file_system_of(tmp_path).kind == "ext4"
    assert file_system_of(tmp_path).file_size_max is None


def test_no_mount_table_means_no_more_than_not_knowing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_MOUNTINFO", tmp_path / "none")
    assert file_system_of(tmp_path).kind == ""


def test_here_it_is_what_stat_says(tmp_path: Path) -> None:
    done = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert file_system_of(tmp_path).kind == done.stdout.split()[-1]


def test_on_fat_four_gibibytes_are_said_to_be_the_limit_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = mount_table(tmp_path, tmp_path, device=tmp_path.stat().st_dev)
    monkeypatch.setattr(publishing, "_MOUNTINFO", table)
    assert file_system_of(tmp_path).file_size_max == 4 * GIB - 1
    folder = tmp_path / "stick"
    folder.mkdir()
    with (
        pytest.raises(FileTooLargeError, match="4 GiB") as refused,
        publish(folder / "b", size_max=4 * GIB),
    ):
        pass
    assert "exFAT" in refused.value.hint
    assert refused.value.exit_status == 20
    assert names(folder) == []
    put(folder / "b", b"small")


AT_ONCE = """
import sys
from pathlib import Path
from bundler.pack.publish import publish, replace_document
from bundler.pack.writer import Written
from loader.digest import Digest
folder, worker = Path(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
for number in range(20):
    data = f"{worker} {number}".encode()
    with publish(folder / f"b-{worker}-{number}", size_max=len(data)) as out:
        out.write(data)
        out.commit(Written(size=len(data), digest=Digest.of(data)))
    replace_document(folder / "airlock.lock", worker.encode() * (1 + number) * 5000)
"""


def test_packs_into_one_folder_lose_no_line(tmp_path: Path) -> None:
    """Each reads the sums, adds a line and writes them: all at once, as a build server does."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for name in "wxyz"
    ]
    for one in workers:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    for one in workers:
        assert one.communicate(timeout=60)[1] == b""
        assert one.returncode == 0
    lines = (tmp_path / "SHA256SUMS").read_bytes().splitlines()
    assert len(lines) == 80
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], check=True, cwd=tmp_path
    )
    # One of the locks, whole: never two writers' bytes in one.
    assert len(set((tmp_path / "airlock.lock").read_bytes())) == 1


def test_sums_that_cannot_be_written_publish_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "SHA256SUMS.part").symlink_to(victim)
    with pytest.raises(LocalError):
        put(tmp_path / "b", b"x")
    assert names(tmp_path) == ["SHA256SUMS.part", "victim"]
    assert victim.read_bytes() == b"precious"
    (tmp_path / "SHA256SUMS.part").unlink()
    (tmp_path / "SHA256SUMS").mkdir()
    with pytest.raises(LocalError):
        put(tmp_path / "b", b"x")
    assert "SHA256SUMS.part" not in names(tmp_path)


def test_a_document_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "airlock.lock"
    replace_document(path, b"one")
    (tmp_path / "airlock.lock.part").write_bytes(b"left over from a run that was killed")
    replace_document(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["airlock.lock"]
    with pytest.raises(LocalError):
        replace_document(tmp_path / "nowhere" / "airlock.lock", b"x")
