from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader._seal import SEAL
from loader.digest import Digest
from loader.errors import (
    DigestError,
    LocalError,
    MissingError,
    NoSpaceError,
    StatePermissionError,
    TruncatedError,
)
from loader.model.bundle import Member, blob_name
from loader.stage.area import Area, StagedBundle
from loader.witness import Admitted, Staged

LAYERS = (b"one" * 1000, b"", b"three" * 70_000)


def member(raw: bytes) -> Member:
    digest = Digest.of(raw)
    return Member(name=blob_name(digest), size=len(raw), digest=digest)


MEMBERS = tuple(member(raw) for raw in LAYERS)


def no_documents(digest: Digest) -> bytes | None:
    del digest
    return None


def chunks(raw: bytes) -> Iterator[memoryview]:
    for start in range(0, len(raw), 65536):
        yield memoryview(raw)[start : start + 65536]


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    return tmp_path / "quarantine"


def stage(area: Area, *, documents: dict[Digest, bytes] | None = None) -> Staged[StagedBundle[str]]:
    return area.stage(
        Admitted("judged", SEAL),
        [(member(raw), chunks(raw)) for raw in LAYERS],
        expected=MEMBERS,
        documents=(documents or {}).get,
        finish=lambda: None,
    )


def test_what_was_staged_is_read_again(quarantine: Path) -> None:
    note = b"a manifest"
    with Area.open(quarantine) as area:
        staged = stage(area, documents={Digest.of(note): note})
        bundle = staged.value
        assert bundle.admitted == "judged"
        for raw in (*LAYERS, note):
            with bundle.open(Digest.of(raw)) as file:
                assert file.read() == raw
        with pytest.raises(MissingError):
            bundle.open(Digest.of(b"unknown"))
        [run] = quarantine.iterdir()
        assert run.stat().st_mode & 0o777 == 0o700
        assert {path.name for path in run.iterdir()} == {m.digest.hex for m in MEMBERS}
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in run.iterdir())
    assert list(quarantine.iterdir()) == []


def test_nothing_is_left_when_reading_fails(quarantine: Path) -> None:
    def cut() -> Iterator[bytes]:
        yield b"half"
        raise TruncatedError("the archive ends too early")

    with pytest.raises(TruncatedError), Area.open(quarantine) as area:
        area.stage(
            Admitted("judged", SEAL),
            [(MEMBERS[0], chunks(LAYERS[0])), (MEMBERS[2], cut())],
            expected=MEMBERS,
            documents=no_documents,
            finish=lambda: None,
        )
    assert list(quarantine.iterdir()) == []


def test_the_end_of_the_archive_is_heard_before_anything_is_vouched_for(quarantine: Path) -> None:
    def finish() -> None:
        raise TruncatedError("no end")

    with pytest.raises(TruncatedError), Area.open(quarantine) as area:
        area.stage(
            Admitted("judged", SEAL),
            [(MEMBERS[0], chunks(LAYERS[0]))],
            expected=MEMBERS[:1],
            documents=no_documents,
            finish=finish,
        )


@pytest.mark.parametrize(
    ("raws", "expected"),
    [
        (LAYERS[:2], MEMBERS),
        (LAYERS, MEMBERS[:2]),
        ((LAYERS[0] + b"x",), None),
        ((LAYERS[0][:-1],), None),
    ],
    ids=["one too few", "one too many", "longer", "shorter"],
)
def test_other_layers_than_announced_are_refused(
    raws: tuple[bytes, ...], expected: tuple[Member, ...] | None, quarantine: Path
) -> None:
    # The reader refuses these already; whoever mints looks for himself.
    members = MEMBERS if expected else (MEMBERS[0],)
    with Area.open(quarantine) as area, pytest.raises(DigestError):
        area.stage(
            Admitted("judged", SEAL),
            [(m, chunks(raw)) for m, raw in zip(members, raws, strict=False)],
            expected=expected or members,
            documents=no_documents,
            finish=lambda: None,
        )


def test_what_dead_runs_left_is_removed_and_no_link_followed(
    quarantine: Path, tmp_path: Path
) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("gold")
    left = quarantine / "run-1-dead"
    left.mkdir(parents=True, mode=0o700)
    quarantine.chmod(0o700)
    (left / MEMBERS[0].digest.hex).write_bytes(b"same name, other bytes")
    (left / "deep" / "deeper").mkdir(parents=True)
    (left / "deep" / "link").symlink_to(treasure)
    (quarantine / "link").symlink_to(treasure)
    (quarantine / "file").write_bytes(b"junk" * 1000)
    with Area.open(quarantine) as area:
        stage(area)
        assert [path.name for path in quarantine.iterdir()] == [area.path.name]
    assert (treasure / "gold").read_text() == "gold"


@pytest.mark.parametrize("kind", ["link", "file", "writable"])
def test_a_quarantine_that_others_could_change_is_refused(kind: str, quarantine: Path) -> None:
    match kind:
        case "link":
            (quarantine.parent / "elsewhere").mkdir()
            quarantine.symlink_to(quarantine.parent / "elsewhere")
        case "file":
            quarantine.write_bytes(b"")
        case _:
            quarantine.mkdir()
            quarantine.chmod(0o777)
    with pytest.raises(StatePermissionError):
        Area.open(quarantine)


def test_a_blob_that_shrank_in_quarantine_is_noticed(quarantine: Path) -> None:
    with Area.open(quarantine) as area:
        bundle = stage(area).value
        os.truncate(area.path / MEMBERS[0].digest.hex, 10)
        with pytest.raises(DigestError):
            bundle.open(MEMBERS[0].digest)
        (area.path / MEMBERS[2].digest.hex).unlink()
        with pytest.raises(MissingError):
            bundle.open(MEMBERS[2].digest)
        (area.path / MEMBERS[2].digest.hex).symlink_to("/etc/passwd")
        with pytest.raises(LocalError):
            bundle.open(MEMBERS[2].digest)


def test_space_is_looked_for_before_the_first_layer(quarantine: Path) -> None:
    with Area.open(quarantine) as area:
        area.expect_space(MEMBERS)
        status = os.statvfs(quarantine)
        free = status.f_bavail * status.f_frsize
        huge = Member(name="x", size=free, digest=MEMBERS[0].digest)
        with pytest.raises(NoSpaceError) as error:
            area.expect_space([huge])
        assert error.value.exit_status == 20
        assert list(area.path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EIO, LocalError),
    ],
)
def test_a_disk_that_fails_is_this_machines_fault(
    number: int, kind: type[LocalError], quarantine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, data: memoryview) -> int:
        if len(data) < 65536:
            raise OSError(number, os.strerror(number))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(kind) as error, Area.open(quarantine) as area:
        stage(area)
    assert error.value.exit_status == 20
    monkeypatch.undo()
    assert list(quarantine.iterdir()) == []


def test_short_writes_are_written_on(quarantine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:999]))
    with Area.open(quarantine) as area:
        bundle = stage(area).value
        monkeypatch.undo()
        with bundle.open(MEMBERS[2].digest) as file:
            assert file.read() == LAYERS[2]
