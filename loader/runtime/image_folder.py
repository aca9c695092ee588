"""`images:DIR`, a folder whose archives k3s, RKE2 or k0s import by themselves.

One file an image: an OCI archive of one platform's manifest, byte for byte, under the image's name.
It appears by a rename when it is whole and on the disk, so nobody imports a half; nobody unpacks
here, so layers are compared with the config's diff_ids on the way. What stood under the same name
steps aside under a name that nobody imports, until the next load.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import rfc8785

from loader.digest import Digest
from loader.errors import (
    NoSpaceError,
    RuntimeAbsentError,
    RuntimeLoadError,
    RuntimeMismatchError,
    shown,
)
from loader.model.bundle import LAYOUT_INDEX_NAME, LAYOUT_NAME, blob_name
from loader.places import sync_folder
from loader.runtime.archive import named_archive, named_index
from loader.runtime.asking import put_back_unless_done
from loader.runtime.base import (
    CHUNK_SIZE,
    Discarded,
    Receipt,
    Undo,
    expect_named,
    only_platform,
    settle_name,
)

if TYPE_CHECKING:
    from loader.model.reference import Reference
    from loader.runtime.base import Expected, LoadRequest, PlatformImage
    from loader.witness import Staged

NAME: Final = "images"
FOLDERS: Final = {
    "k3s": "/var/lib/rancher/k3s/agent/images",
    "rke2": "/var/lib/rancher/rke2/agent/images",
    "k0s": "/var/lib/k0s/images",
}
"""Where each looks, as its documentation says."""
_BEFORE: Final = ".before"
_BLOCK: Final = 512
_MEMBERS_MAX: Final = 10_000
_KEPT_SIZE_MAX: Final = 1 << 20


class ImageFolder:
    """A folder of image archives."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The word on the command line."""
        return NAME

    def close(self) -> None:
        """Hold nothing."""

    def probe(self) -> str:
        """Say where it is; it is made by who imports from it, or by an operator."""
        try:
            status = self._path.stat()
        except OSError as e:
            raise RuntimeAbsentError(
                "there is no such folder of images",
                where=shown(str(self._path)),
                hint="is k3s, RKE2 or k0s installed here? mkdir -p makes the folder",
            ) from e
        if not stat.S_ISDIR(status.st_mode):
            raise RuntimeLoadError("not a folder", where=shown(str(self._path)))
        return f"folder of images {self._path}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Write the archive and put it in its place; see `Runtime.load`."""
        request = image.value
        chosen = only_platform(request, runtime=NAME)
        digest = chosen.manifest.descriptor.digest
        path = self._file(request.reference)
        name = request.reference.tagged
        current = _top_of(path)
        settle_name(request, current=current, wanted=str(digest), runtime=NAME)
        if current == str(digest):
            with contextlib.suppress(RuntimeMismatchError):
                return self._receipt(request, digest, _compare(path, chosen, name), None)
        before = _aside(path)
        aside = str(before) if current is not None else None
        undo = Undo(names={str(path): aside}, brought=() if aside is None else (aside,))
        with put_back_unless_done(lambda: _put_back(undo), runtime=NAME):
            part = path.with_name(f".{path.name}.part")
            _write(part, named_archive(chosen, request.blobs, name=name))
            with _disk(path):
                before.unlink(missing_ok=True)
                if current is not None:
                    path.rename(before)
                part.rename(path)
                sync_folder(path.parent)
            read_back = _compare(path, chosen, name)
        return self._receipt(request, digest, read_back, undo)

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Hash everything in the archive; see `Runtime.compare`."""
        chosen = only_platform(image, runtime=NAME)
        path = self._file(image.reference)
        expect_named(_top_of(path), name=str(path), runtime=NAME)
        return _compare(path, chosen, image.reference.tagged)

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove archives that stepped aside for a newer one; see `Runtime.discard`."""
        found: list[Discarded] = []
        for item in items:
            path = Path(item)
            if path.parent != self._path.absolute() or not path.name.endswith(_BEFORE):
                found.append(Discarded(item=item, what="kept", why="not what stepped aside"))
            elif not path.exists():
                found.append(Discarded(item=item, what="gone"))
            else:
                if really:
                    with _disk(path):
                        path.unlink()
                found.append(Discarded(item=item, what="removed" if really else "to-remove"))
        return tuple(found)

    def undo(self, receipt: Receipt) -> None:
        """Put back what stood there; see `Runtime.undo`."""
        _put_back(receipt.undo)

    def _file(self, reference: Reference) -> Path:
        """Return an image's file: one a name, whatever its length."""
        short = reference.repository.rpartition("/")[2][:40]
        mark = hashlib.sha256(reference.tagged.encode()).hexdigest()[:16]
        return self._path.absolute() / f"airlock-{short}-{mark}.tar"

    def _receipt(
        self,
        request: LoadRequest,
        digest: Digest,
        read_back: tuple[tuple[str, str], ...],
        undo: Undo | None,
    ) -> Receipt:
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=digest,
            what="already-there" if undo is None else "loaded",
            read_back=read_back,
            notes=(f"in {self._file(request.reference)}; imported by who watches the folder",),
            undo=Undo() if undo is None else undo,
        )


def _write(part: Path, chunks: Iterator[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with _disk(part), os.fdopen(os.open(part, flags, 0o644), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _put_back(undo: Undo) -> None:
    for name, before in undo.names.items():
        path = Path(name)
        with _disk(path):
            if before is None:
                path.unlink(missing_ok=True)
            elif Path(before).exists():
                Path(before).replace(path)
            sync_folder(path.parent)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_BEFORE}")


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError("no space in the folder of images", where=str(path.parent)) from e
        raise RuntimeLoadError(
            "the folder of images cannot be used", where=shown(str(path)), found=shown(e.strerror)
        ) from e


# --- reading back ---------------------------------------------------------------------------------


def _top_of(path: Path) -> str | None:
    """Return the digest that an archive of ours says that it holds; a foreign file says nothing."""
    try:
        kept = dict(_members(path))[LAYOUT_INDEX_NAME][1]
    except FileNotFoundError:
        return None
    except (RuntimeMismatchError, KeyError):
        return "something else"
    at = kept.find(b'"digest":"sha256:')
    return kept[at + 10 : at + 81].decode("ascii", "replace") if at >= 0 else "something else"


def _compare(path: Path, chosen: PlatformImage, name: str) -> tuple[tuple[str, str], ...]:
    """Check that an archive holds exactly this image: every member has the digest of its name.

    Raises:
        RuntimeMismatchError: it does not.
    """
    found = dict(_members(path))
    manifest = chosen.manifest
    wanted = {
        manifest.descriptor.digest,
        chosen.config.descriptor.digest,
        *(layer.digest for layer in manifest.layers),
    }
    names = {blob_name(digest): digest.hex for digest in wanted}
    for member, digest in names.items():
        if found.get(member, ("", b""))[0] != digest:
            raise _mismatch(path, expected=digest, found="another digest, or nothing")
    if found.keys() != names.keys() | {LAYOUT_NAME, LAYOUT_INDEX_NAME}:
        raise _mismatch(path, expected="its members", found="others too")
    index = rfc8785.dumps(named_index(manifest.descriptor, name=name))
    if found[LAYOUT_INDEX_NAME][1] != index:
        raise _mismatch(path, expected="this image under its name", found="another index")
    return (
        ("archive", str(path)),
        ("manifest digest", str(manifest.descriptor.digest)),
        ("name", name),
    )


def _members(path: Path) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield each member's name, its SHA-256, and its bytes where they are few."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        for _ in range(_MEMBERS_MAX):
            block = file.read(_BLOCK)
            if len(block) != _BLOCK:
                raise _mismatch(path, expected="the end of an archive", found="nothing")
            if not any(block):
                return
            name = block[:100].split(b"\0", 1)[0].decode("ascii", "replace")
            size = _size(block[124:136], path)
            yield name, _content(file, size, path)
    raise _mismatch(path, expected=f"at most {_MEMBERS_MAX} members", found="more")


def _content(file: BinaryIO, size: int, path: Path) -> tuple[str, bytes]:
    sha256, kept, left = hashlib.sha256(), b"", size
    while left:
        chunk = file.read(min(left, CHUNK_SIZE))
        if not chunk:
            raise _mismatch(path, expected=f"{size} bytes", found="fewer")
        sha256.update(chunk)
        if size <= _KEPT_SIZE_MAX:
            kept += chunk
        left -= len(chunk)
    file.read(-size % _BLOCK)
    return sha256.hexdigest(), kept


def _size(field: bytes, path: Path) -> int:
    if field[0] == 0x80:  # noqa: PLR2004  # GNU's mark for base-256
        return int.from_bytes(field[1:], "big")
    text = field.rstrip(b" \0")
    if not text.isdigit() or text.strip(b"01234567"):
        raise _mismatch(path, expected="an archive", found="something else")
    return int(text, 8)


def _mismatch(path: Path, *, expected: str, found: str) -> RuntimeMismatchError:
    return RuntimeMismatchError(
        "an archive in the folder of images is not what was verified",
        where=str(path),
        expected=expected,
        found=found,
    )
