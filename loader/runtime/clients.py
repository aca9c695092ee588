"""Where the runtimes' own clients are, what they inherit, which sockets they are pointed at.

The client is looked for in the system's own folders, never along PATH: what stands earlier there
was put by whoever could write it (CASES A146). It inherits a short list of variables and nothing of
the frozen loader's own libraries (A189).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from loader.errors import RuntimeAbsentError, RuntimeLoadError, shown

CLIENT_FOLDERS: Final = tuple(
    Path(folder)
    for folder in (
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/opt/bin",
        "/run/current-system/sw/bin",
    )
)
CLIENT_PATH: Final = ":".join(str(folder) for folder in CLIENT_FOLDERS)
_INHERITED: Final = (
    "HOME",
    "LOGNAME",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
)
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def find_client(name: str) -> Path:
    """Return the absolute, resolved path of a client that nobody but root and this user may change.

    Raises:
        RuntimeAbsentError: it is in none of the system's folders.
        RuntimeLoadError: it belongs to, or is writable by, somebody else.
    """
    for folder in CLIENT_FOLDERS:
        path = folder / name
        if path.exists():
            return check_client(path)
    raise RuntimeAbsentError(
        f"there is no {name} on this machine",
        expected=f"a program in one of {', '.join(str(f) for f in CLIENT_FOLDERS[:6])}",
        hint=f"install {name}, or load --into oci:DIR, which needs no client",
    )


def check_client(path: Path) -> Path:
    """Return the resolved path of a program, if it is one that may be run.

    Raises:
        RuntimeAbsentError: it is not there.
        RuntimeLoadError: it is not a program, or others may change it.
    """
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except OSError as e:
        raise RuntimeAbsentError("there is no such client", where=str(path)) from e
    if not stat.S_ISREG(status.st_mode) or not os.access(resolved, os.X_OK):
        raise RuntimeLoadError("the runtime's client is not a program", where=str(resolved))
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & _OTHERS_MAY_WRITE:
        raise RuntimeLoadError(
            "the runtime's client could be changed by somebody else",
            where=str(resolved),
            expected="owned by root or by you, writable by its owner alone",
            found=f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
        )
    return resolved


def check_socket(path: Path, *, name: str) -> Path:
    """Return the path of a daemon's socket, if it is one that root or this user made (CASES A145).

    Raises:
        RuntimeAbsentError: nothing is there.
        RuntimeLoadError: it is a link or a file, or belongs to somebody else.
    """
    try:
        status = path.lstat()
    except FileNotFoundError as e:
        raise RuntimeAbsentError(
            f"no {name} daemon listens here",
            where=shown(str(path)),
            hint=f"start {name}, or say where its socket is",
        ) from e
    except OSError as e:
        raise RuntimeLoadError(
            f"the {name} daemon's socket cannot be looked at",
            where=shown(str(path)),
            found=shown(e.strerror),
        ) from e
    if not stat.S_ISSOCK(status.st_mode):
        raise RuntimeLoadError(
            f"what should be the {name} daemon's socket is something else",
            where=shown(str(path)),
            expected="a Unix socket, not a link to one",
            found=stat.filemode(status.st_mode),
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise RuntimeLoadError(
            f"the {name} daemon's socket belongs to somebody else",
            where=shown(str(path)),
            expected="root or you",
            found=f"user {status.st_uid}",
        )
    return path


def temporary_folder(environment: Mapping[str, str]) -> Path | None:
    """Return TMPDIR, if nobody but root and this user can put anything in place of what is in it.

    What a runtime imports passes through files there: in a folder of another user, or below one,
    that user could swap them (CASES A181).
    """
    path = Path(environment.get("TMPDIR") or "")
    if not path.is_absolute():
        return None
    try:
        resolved = path.resolve(strict=True)
        safe = all(_is_ours_alone(folder) for folder in (resolved, *resolved.parents))
    except OSError:
        return None
    return resolved if safe else None


def _is_ours_alone(folder: Path) -> bool:
    """Tell whether others can neither rename nor replace what is ours in a folder."""
    status = folder.stat()
    shared = status.st_mode & _OTHERS_MAY_WRITE and not status.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(status.st_mode) and status.st_uid in {0, os.geteuid()} and not shared


def clean_environment(environment: Mapping[str, str], *further: str) -> dict[str, str]:
    """Return what a client inherits.

    A frozen program's start-up code puts its own libraries into LD_LIBRARY_PATH and keeps what was
    there under another name; the client gets back what was there.
    """
    kept = {name: environment[name] for name in (*_INHERITED, *further) if name in environment}
    temporary = temporary_folder(environment)
    if temporary is not None:
        kept["TMPDIR"] = str(temporary)
    kept["PATH"] = CLIENT_PATH
    kept["LC_ALL"] = "C"
    if environment.get("LD_LIBRARY_PATH_ORIG"):
        kept["LD_LIBRARY_PATH"] = environment["LD_LIBRARY_PATH_ORIG"]
    return kept
