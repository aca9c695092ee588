"""One loader at a time: a lock that the kernel lets go of when its holder dies.

It is held on the state folder itself. A lock file can be deleted and made anew while somebody holds
the old one; the folder that everything lies in cannot. A note beside it tells people who holds it,
and is believed by nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from loader.errors import BusyError, shown
from loader.model.fields import format_instant
from loader.places import Places, open_private_folder, state_error

_NOTE_SIZE_MAX: Final = 200


class StateFolder:
    """The state folder, open and locked for this process alone."""

    __slots__ = ("_fd", "_note", "places")

    def __init__(self, fd: int, *, places: Places) -> None:
        self._fd = fd
        self._note = places.lock_note
        self.places = places

    @classmethod
    def lock(cls, places: Places, *, verb: str, at: datetime) -> Self:
        """Make the folder if it is not there, and lock it.

        Raises:
            BusyError: another loader holds it.
            StatePermissionError: somebody else could have written there.
            LocalError: it cannot be made or opened.
        """
        fd = open_private_folder(places.state, create=True)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            os.close(fd)
            raise BusyError(
                "another loader is at work on this host",
                where=shown(str(places.state)),
                found=_holder(places.lock_note),
                hint="wait until it is done, and run it again",
            ) from e
        except OSError as e:
            os.close(fd)
            raise state_error(
                e, what="the state folder cannot be locked", where=shown(str(places.state))
            ) from e
        folder = cls(fd, places=places)
        folder._write_note(f"pid {os.getpid()}, {verb}, since {format_instant(at)}")
        return folder

    @property
    def fd(self) -> int:
        """An open descriptor of the folder."""
        return self._fd

    def close(self) -> None:
        """Let go of the lock."""
        if self._fd >= 0:
            self._write_note("")
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_note(self, text: str) -> None:
        # For people only: where it cannot be written, the lock holds all the same.
        with contextlib.suppress(OSError):
            self._note.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._note, flags | os.O_NONBLOCK, 0o644)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)


def _holder(note: Path) -> str:
    with contextlib.suppress(OSError):
        fd = os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            text = file.read(_NOTE_SIZE_MAX)
        if text:
            return shown(text.decode("ascii", "replace"))
    return "a holder that left no note"
