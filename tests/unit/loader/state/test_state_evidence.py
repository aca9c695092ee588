"""Kept evidence: written whole or not at all, named by digest, and never believed for its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    DigestError,
    LimitError,
    LocalError,
    MissingError,
    StatePermissionError,
)
from loader.model.descriptor import Descriptor, MediaType
from loader.state.evidence import EvidenceStore

RAW = b"a manifest"
DIGEST = Digest.of(RAW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "evidence"
    with EvidenceStore.open(folder, create=True) as store:
        store.keep([(DIGEST, RAW)])
    return folder


def read(folder: Path, *, size_max: int = 100) -> bytes:
    with EvidenceStore.open(folder, create=False) as store:
        return store.bytes_of(DIGEST, size_max=size_max)


def described(size: int) -> Descriptor:
    return Descriptor(media_type=MediaType("application/json"), digest=DIGEST, size=size)


def test_what_was_kept_is_given_back(folder: Path) -> None:
    assert read(folder) == RAW
    assert (folder / DIGEST.hex).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    with EvidenceStore.open(folder, create=False) as store:
        assert store.read(described(len(RAW)), where="x", size_max=100) == RAW
        assert store.sizes() == {DIGEST: len(RAW)}


def test_what_is_there_is_not_written_again(folder: Path) -> None:
    before = (folder / DIGEST.hex).stat()
    with EvidenceStore.open(folder, create=True) as store:
        store.keep([(DIGEST, RAW), (DIGEST, RAW)])
    assert (folder / DIGEST.hex).stat().st_ino == before.st_ino


def test_a_blob_that_was_changed_is_written_anew(folder: Path) -> None:
    (folder / DIGEST.hex).write_bytes(b"another")
    with EvidenceStore.open(folder, create=True) as store:
        store.keep([(DIGEST, RAW)])
    assert read(folder) == RAW


def _truncate(path: Path) -> None:
    path.write_bytes(RAW[:-1])


def _lengthen(path: Path) -> None:
    path.write_bytes(RAW + b"x")


def _flip(path: Path) -> None:
    path.write_bytes(b"b" + RAW[1:])


def _remove(path: Path) -> None:
    path.unlink()


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_truncate, DigestError),
        (_lengthen, DigestError),
        (_flip, DigestError),
        (_remove, MissingError),
        (_open_to_all, StatePermissionError),
        (_link, LocalError),
        (_folder, LocalError),
        (_pipe, DigestError),
    ],
)
def test_what_is_not_as_it_was_kept_is_never_given(
    folder: Path, spoil: Callable[[Path], None], kind: type[AirlockError]
) -> None:
    spoil(folder / DIGEST.hex)
    with pytest.raises(kind):
        read(folder)


def test_no_more_is_read_than_is_asked_for(folder: Path) -> None:
    (folder / DIGEST.hex).write_bytes(b"x" * 1_000_000)
    with pytest.raises(DigestError, match="more than 100 bytes"):
        read(folder)
    with (
        EvidenceStore.open(folder, create=False) as store,
        pytest.raises(LimitError),
    ):
        store.read(described(101), where="x", size_max=100)


def test_a_folder_that_others_may_write_is_not_used(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(StatePermissionError):
        EvidenceStore.open(folder, create=True)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        EvidenceStore.open(tmp_path / "none", create=False)
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_run_left_is_removed_and_nothing_else(folder: Path) -> None:
    (folder / f"{'1' * 64}.part").write_bytes(b"half")
    other = Digest.of(b"other")
    with EvidenceStore.open(folder, create=True) as store:
        store.keep([(other, b"other")])
        assert store.sizes() == {DIGEST: len(RAW), other: 5}
        store.remove([other])
        store.remove([other])
    assert [path.name for path in folder.iterdir()] == [DIGEST.hex]


def test_an_error_while_blobs_are_given_leaves_nothing_whole(tmp_path: Path) -> None:
    def blobs() -> object:
        yield DIGEST, RAW
        raise KeyError

    with EvidenceStore.open(tmp_path / "evidence", create=True) as store:
        with pytest.raises(KeyError):
            store.keep(blobs())  # type: ignore[arg-type]
        assert store.sizes() == {}
