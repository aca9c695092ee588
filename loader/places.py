"""Where this host keeps policy, anchors, memory and quarantine (DESIGN §11, Places).

For root the system's folders, for anybody else the XDG defaults below the home that the user
database names, or everything below one folder (`--root`). No environment variable moves them: a
variable that leads to an empty folder would make the host forget what it accepted.

A folder that holds state is opened once, looked at, and then used through its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from loader.errors import (
    InputError,
    LocalError,
    NoSpaceError,
    ReadOnlyError,
    StateError,
    StatePermissionError,
    UsageError,
    shown,
)

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths of one host, or of one user on it."""

    policy: Path
    config: Path
    anchors: Path
    state: Path
    """Folder of the ledger, the floors and the quarantine; its lock is held on the folder."""
    lock_note: Path
    """Says who holds the lock; the lock itself is on the state folder, which nobody deletes."""

    @classmethod
    def under(cls, folder: Path) -> Self:
        """Return the system's places below another folder."""
        return cls(
            policy=folder / "etc/airlock/policy.toml",
            config=folder / "etc/airlock/config.toml",
            anchors=folder / "etc/airlock/anchors",
            state=folder / "var/lib/airlock",
            lock_note=folder / "run/airlock.lock",
        )

    @classmethod
    def of_this_user(cls) -> Self:
        """Return the system's places for root, the XDG defaults for anybody else.

        Raises:
            UsageError: the user database does not know this user.
        """
        if os.geteuid() == 0:
            return cls.under(Path("/"))
        try:
            home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        except KeyError as e:
            raise UsageError(
                "this user has no home in the user database, so there is no place for state",
                found=f"user {os.geteuid()}",
                hint="say where it belongs: --root DIR",
            ) from e
        state = home / ".local/state/airlock"
        return cls(
            policy=home / ".config/airlock/policy.toml",
            config=home / ".config/airlock/config.toml",
            anchors=home / ".config/airlock/anchors",
            state=state,
            lock_note=state / "lock",
        )

    @property
    def ledger(self) -> Path:
        """The ledger, an SQLite database."""
        return self.state / "ledger.sqlite"

    @property
    def floors(self) -> Path:
        """The second, checksummed copy of the floors."""
        return self.state / "floors"

    @property
    def watched(self) -> Path:
        """What `watch` remembers of files: attempts and verdicts. Nothing is accepted by it."""
        return self.state / "watched.sqlite"

    @property
    def evidence(self) -> Path:
        """What acceptances rested on, by digest: what `verify-local` judges again."""
        return self.state / "evidence"

    @property
    def quarantine(self) -> Path:
        """Where layers wait until the whole bundle was read."""
        return self.state / "quarantine"


def write_durably(path: Path, raw: bytes, *, mode: int = 0o666) -> None:
    """Write a file, through to the disk; a link in its place is not followed.

    Raises:
        OSError: the disk does not take it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk.

    Raises:
        OSError: it cannot.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def local_error(e: OSError, *, what: str, where: str = "") -> LocalError:
    """Say which of this machine's faults an operating system's error is."""
    found = e.strerror or type(e).__name__
    if e.errno in _NO_SPACE:
        return NoSpaceError(
            what, where=where, found=found, hint="make room, or raise the quota, and run it again"
        )
    if e.errno == errno.EROFS:
        return ReadOnlyError(what, where=where, found=found)
    return LocalError(what, where=where, found=found)


def state_error(e: OSError, *, what: str, where: str = "") -> LocalError:
    """As `local_error`, for the host's own memory: whatever else it is, it is a fault of state."""
    error = local_error(e, what=what, where=where)
    if isinstance(error, (NoSpaceError, ReadOnlyError)):
        return error
    return StateError(what, where=where, found=error.found)


def open_private_folder(path: Path, *, create: bool) -> int:
    """Return an open descriptor of a folder that only its owner, who is us or root, may change.

    Raises:
        FileNotFoundError: it is not there, and `create` is false.
        StatePermissionError: it is no folder, a link, somebody else's, or others may write to it.
        LocalError: it cannot be made or opened.
    """
    where = shown(str(path))
    if create:
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        except OSError as e:
            raise state_error(e, what="a folder for state cannot be made", where=where) from e
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as e:
        if e.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise StatePermissionError(
                "this is not a folder", where=where, expected="a folder, not a link"
            ) from e
        raise state_error(e, what="a folder for state cannot be opened", where=where) from e
    try:
        expect_private(os.fstat(fd), where=where)
    except BaseException:
        os.close(fd)
        raise
    return fd


def expect_private(status: os.stat_result, *, where: str) -> None:
    """Refuse a file or folder of state that somebody else could have written.

    Raises:
        StatePermissionError: its owner is neither us nor root, or group or others may write to it.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise StatePermissionError(
            "state belongs to somebody else",
            where=where,
            expected=f"user {os.geteuid()} or root",
            found=f"user {status.st_uid}",
        )
    if stat.S_IMODE(status.st_mode) & _WRITABLE_BY_OTHERS:
        raise StatePermissionError(
            "others may write to state",
            where=where,
            expected="no write permission for group and others",
            found=f"mode {stat.S_IMODE(status.st_mode):04o}",
            hint="find out who changed it before you mend the mode",
        )


def open_regular(path: Path, *, what: str) -> int:
    """Open a file that an operator names, to be read; no pipe is waited for.

    Raises:
        InputError: it is not a readable regular file.
    """
    where = shown(str(path))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as e:
        raise InputError(f"{what} cannot be opened", where=where, found=e.strerror or "") from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"{what} is not a regular file", where=where)
    return fd


def read_small_file(path: Path, *, size_max: int, what: str) -> bytes:
    """Return the bytes of an operator's file: policy, key, configuration.

    Raises:
        InputError: it is not a readable regular file, or larger than `size_max` bytes.
    """
    where = shown(str(path))
    with os.fdopen(open_regular(path, what=what), "rb") as file:
        try:
            raw = file.read(size_max + 1)
        except OSError as e:
            raise InputError(f"{what} cannot be read", where=where, found=e.strerror or "") from e
    if len(raw) > size_max:
        raise InputError(f"{what} is too large", where=where, expected=f"at most {size_max} bytes")
    return raw
