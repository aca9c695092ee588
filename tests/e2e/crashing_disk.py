"""A disk that loses, at a power cut, whatever was not synced: any subset of it (CASES part 3, C).

strace writes down what a run does to the files of one folder; here each point of that history is
a place to cut the power. What had been synced is there. Of the rest, each write and each change of
the folder's entries is there or is not, in any combination, and a write may be torn at a sector.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_TO_CONTENTS = ("write", "truncate")
CALLS = (
    "openat,creat,write,pwrite64,pwritev,writev,ftruncate,fallocate,fsync,fdatasync,rename,"
    "renameat,renameat2,unlink,unlinkat,link,linkat"
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)(<[^>]*>)?")

_RESUMED = re.compile(r"\d+ +<\.\.\. \w+ resumed>(.*)")


@dataclass(frozen=True, slots=True)
class Change:
    """What a run did to one file's content, or to one name of the folder."""

    file: int
    """By a number of its own; zero where it is about a name alone."""
    kind: str
    name: str = ""
    to: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class History:
    """Files as they were, and all that was done to them."""

    names: dict[str, int]
    contents: dict[int, bytes]
    changes: list[Change] = field(default_factory=list)

    @classmethod
    def read(cls, log: Path, folder: Path, *, before: Mapping[str, bytes]) -> History:
        """Read a log of `strace -f -y -xx -s 10000000 -e trace=CALLS`.

        Args:
            log: what strace wrote.
            folder: only what lies directly in it counts.
            before: the folder's files as they were.
        """
        names = {name: number for number, name in enumerate(before, start=1)}
        history = cls(dict(names), {names[name]: raw for name, raw in before.items()})
        _Reader(history, names, str(folder)).read(log.read_text())
        return history

    def images(self, cut: int, *, seed: int, at_most: int) -> Iterator[dict[str, bytes]]:
        """Yield what may be on disk where the power is cut before a change.

        All combinations where there are no more than so many, else so many drawn from them.
        """
        contents, names, pending = self._behind(cut)
        for kept, torn in _choices(len(pending), seed=seed, at_most=at_most):
            now, there = dict(contents), dict(names)
            for number in sorted(kept):
                change = pending[number]
                if change.kind not in _TO_CONTENTS:
                    _move(there, change)
                    continue
                data = change.data
                if number == torn:
                    data = data[: len(data) // SECTOR // 2 * SECTOR]
                _write(now, change, data)
            yield {name: now.get(file, b"") for name, file in there.items()}

    def _behind(self, cut: int) -> tuple[dict[int, bytes], dict[str, int], list[Change]]:
        """Return what is on disk for certain, and what was done since it was last synced."""
        contents, names = dict(self.contents), dict(self.names)
        pending: list[Change] = []
        for change in self.changes[:cut]:
            match change.kind:
                case "sync":
                    lasting = [
                        one
                        for one in pending
                        if one.file == change.file and one.kind in _TO_CONTENTS
                    ]
                    for one in lasting:
                        _write(contents, one, one.data)
                case "sync-folder":
                    lasting = [one for one in pending if one.kind not in _TO_CONTENTS]
                    for one in lasting:
                        _move(names, one)
                case _:
                    pending.append(change)
                    continue
            pending = [one for one in pending if one not in lasting]
        return contents, names, pending


class _Reader:
    """Turns lines of strace into changes."""

    def __init__(self, history: History, names: dict[str, int], folder: str) -> None:
        self.history = history
        self.names = names
        self.folder = folder
        self.positions: dict[int, int] = {}
        self.next = len(names) + 1

    def read(self, text: str) -> None:
        begun: dict[str, str] = {}
        for part in text.splitlines():
            # Of two threads at once the first is written down in two parts; it counts at its end.
            thread = part.partition(" ")[0]
            if part.endswith(" <unfinished ...>"):
                begun[thread] = part.removesuffix(" <unfinished ...>")
                continue
            resumed = _RESUMED.match(part)
            line = part if resumed is None else f"{begun.pop(thread)}{resumed[1]}"
            match = _LINE.match(line)
            if match is None or match[3].startswith("-"):
                continue
            call, arguments, result = match[1], match[2].split(", "), int(match[3])
            getattr(self, f"_{call}")(arguments, result)

    def _ours(self, path: str) -> str | None:
        parent, _, name = path.rpartition("/")
        return name if parent == self.folder else None

    def _file(self, fd: str) -> int | None:
        """The file that a descriptor leads to; zero for the folder itself."""
        path = _where(fd)
        if path == self.folder:
            return 0
        name = self._ours(path)
        return None if name is None else self.names.get(name)

    def _path(self, fd: str, text: str) -> str | None:
        path = _text(text)
        if not path.startswith("/"):
            path = f"{_where(fd)}/{path}"
        return self._ours(path)

    def _add(self, file: int, kind: str, **more: str | int | bytes) -> None:
        self.history.changes.append(Change(file, kind, **more))  # type: ignore[arg-type]

    def _openat(self, a: list[str], _: int) -> None:
        name = self._path(a[0], a[1])
        if name is None or ("O_CREAT" not in a[2] and "O_TRUNC" not in a[2]):
            return
        if name not in self.names:
            self.names[name] = self.next
            self.history.contents[self.next] = b""
            self._add(self.next, "create", name=name)
            self.next += 1
        elif "O_TRUNC" in a[2]:
            self._add(self.names[name], "truncate")
        self.positions[self.names[name]] = 0

    def _write(self, a: list[str], result: int) -> None:
        file = self._file(a[0])
        if file:
            at = self.positions.get(file, 0)
            self._add(file, "write", offset=at, data=_bytes(a[1])[:result])
            self.positions[file] = at + result

    def _pwrite64(self, a: list[str], result: int) -> None:
        file = self._file(a[0])
        if file:
            self._add(file, "write", offset=int(a[3]), data=_bytes(a[1])[:result])

    def _ftruncate(self, a: list[str], _: int) -> None:
        file = self._file(a[0])
        if file:
            self._add(file, "truncate", offset=int(a[1]))

    def _fsync(self, a: list[str], _: int) -> None:
        file = self._file(a[0])
        if file == 0:
            self._add(0, "sync-folder")
        elif file:
            self._add(file, "sync")

    _fdatasync = _fsync

    def _rename(self, a: list[str], _: int) -> None:
        self._renamed(self._path("", a[0]), self._path("", a[1]))

    def _renameat(self, a: list[str], _: int) -> None:
        self._renamed(self._path(a[0], a[1]), self._path(a[2], a[3]))

    _renameat2 = _renameat

    def _renamed(self, name: str | None, to: str | None) -> None:
        if name is None and to is None:
            return
        assert name is not None, "nothing comes into the folder from elsewhere"
        assert to is not None, "nothing leaves it"
        file = self.names.pop(name)
        self.names[to] = file
        self._add(file, "rename", name=name, to=to)

    def _unlink(self, a: list[str], _: int) -> None:
        self._unlinked(self._path("", a[0]))

    def _unlinkat(self, a: list[str], _: int) -> None:
        self._unlinked(self._path(a[0], a[1]))

    def _unlinked(self, name: str | None) -> None:
        if name is not None and name in self.names:
            self._add(self.names.pop(name), "unlink", name=name)


def _where(fd: str) -> str:
    """The path behind a descriptor's number, `7<\\x2f…>`, also of a file that is deleted."""
    return _text(fd.partition("<")[2].partition(">")[0])


def _text(escaped: str) -> str:
    return _bytes(escaped).decode("utf-8", "surrogateescape")


def _bytes(escaped: str) -> bytes:
    assert not escaped.endswith("..."), "strace was to write all of it"
    found = escaped.strip('"')
    return bytes.fromhex(found.replace("\\x", "")) if "\\x" in found else found.encode()


def _write(contents: dict[int, bytes], change: Change, data: bytes) -> None:
    raw = contents.get(change.file, b"")
    if change.kind == "truncate":
        contents[change.file] = raw[: change.offset].ljust(change.offset, b"\0")
        return
    raw = raw.ljust(change.offset, b"\0")
    contents[change.file] = raw[: change.offset] + data + raw[change.offset + len(data) :]


def _move(names: dict[str, int], change: Change) -> None:
    match change.kind:
        case "create":
            names[change.name] = change.file
        case "unlink":
            if names.get(change.name) == change.file:
                del names[change.name]
        case _:
            if names.get(change.name) == change.file:
                del names[change.name]
            names[change.to] = change.file


def _choices(count: int, *, seed: int, at_most: int) -> Iterator[tuple[frozenset[int], int | None]]:
    """Yield which of the pending changes are there, and which one of these is torn."""
    numbers = range(count)
    if 2**count <= at_most:
        for size in range(count + 1):
            for chosen in itertools.combinations(numbers, size):
                yield frozenset(chosen), None
        return
    drawn = random.Random(seed)
    yield frozenset(), None
    yield frozenset(numbers), None
    for _ in range(at_most - 2):
        kept = frozenset(number for number in numbers if drawn.random() < 0.5)
        yield kept, drawn.choice([*kept, None])
